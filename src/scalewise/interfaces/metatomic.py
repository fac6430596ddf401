"""The potential as a metatomic model: one file for every engine that runs metatomic models.

The model is a TorchScript program. Its neighbor lists, the choice between an Ewald sum and a mesh,
and the cell of slabs and wires follow :mod:`scalewise.models`, in the subset of Python that
TorchScript supports.
"""

import math
from typing import Dict, List, Optional  # noqa: UP035  (TorchScript reads these)

import torch

from scalewise.interfaces.optional import require
from scalewise.interfaces.traced import traced_energies
from scalewise.models import electrostatics, particle_mesh, truncation
from scalewise.models.potential import Potential, check_scale
from scalewise.models.protocol import Scale, knows_long_range

require("metatomic.torch", "metatomic")
from metatensor.torch import Labels, TensorBlock, TensorMap  # noqa: E402
from metatomic.torch import (  # noqa: E402
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)


class MetatomicEnergy(torch.nn.Module):
    """Energies of systems, as metatomic asks for them; see :func:`scalewise.metatomic_model`.

    Parameters
    ----------
    cores
        TorchScript of the energy, of :func:`scalewise.interfaces.traced.traced_energies`.
    elements, composition
        Atomic numbers in the network's order, and their energies, eV.
    cutoff, near, short
        Å: of the lists, of the first layer (zero: the same), and of the lists of an adaptive
        cutoff (zero: none).
    atom_cutoff
        Å, of all atoms, without an adaptive cutoff.
    smearing
        Å; zero: without long range.
    constants
        REACH, MARGIN, SPACING, WAVE, PRODUCT, SPREAD and BEGIN of the electrostatics.
    single
        Whether the network is in single precision.
    """

    table: torch.Tensor
    composition: torch.Tensor

    def __init__(
        self,
        cores: Dict[str, torch.nn.Module],  # noqa: UP006
        elements: List[int],  # noqa: UP006
        composition: List[float],  # noqa: UP006
        cutoff: float,
        near: float,
        short: float,
        atom_cutoff: float,
        smearing: float,
        constants: List[float],  # noqa: UP006
        single: bool,
    ) -> None:
        super().__init__()
        self.cores = torch.nn.ModuleDict(
            {name.removesuffix("-adaptive").replace("-", "_"): c for name, c in cores.items()}
        )
        table = torch.full((119,), -1, dtype=torch.int64)
        for index, number in enumerate(elements):
            table[number] = index
        self.register_buffer("table", table)
        self.register_buffer("composition", torch.tensor(composition, dtype=torch.float64))
        self.cutoff, self.near, self.short = cutoff, near, short
        self.atom_cutoff, self.smearing, self.single = atom_cutoff, smearing, single
        self.reach, self.margin, self.spacing = constants[0], constants[1], constants[2]
        self.wave, self.product = constants[3], constants[4]
        self.spread, self.begin = constants[5], constants[6]
        self.options = NeighborListOptions(
            cutoff=cutoff, full_list=True, strict=True, requestor="scalewise"
        )

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        """Full lists as far as the cutoff."""
        return [self.options]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels] = None,  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """Energies, eV, of systems or of their atoms."""
        found: Dict[str, TensorMap] = {}  # noqa: UP006
        if "energy" not in outputs:
            return found
        per_atom = outputs["energy"].sample_kind == "atom"
        values: List[torch.Tensor] = []  # noqa: UP006
        samples: List[torch.Tensor] = []  # noqa: UP006
        for index, system in enumerate(systems):
            energies = self.energies(system)
            atoms = torch.arange(energies.shape[0], device=energies.device)
            if selected_atoms is not None:
                chosen = selected_atoms.column("system") == index
                atoms = selected_atoms.column("atom")[chosen].to(torch.int64)
                energies = energies[atoms]
            if per_atom:
                values.append(energies)
                samples.append(torch.stack([torch.full_like(atoms, index), atoms], dim=1))
            else:
                values.append(energies.sum().reshape(1))
                samples.append(torch.full((1, 1), index, device=energies.device))
        names = ["system", "atom"] if per_atom else ["system"]
        device = values[0].device
        block = TensorBlock(
            values=torch.cat(values).reshape(-1, 1),
            samples=Labels(names, torch.cat(samples).to(torch.int64)),
            components=torch.jit.annotate(List[Labels], []),  # noqa: UP006
            properties=Labels("energy", torch.zeros(1, 1, dtype=torch.int64, device=device)),
        )
        key = Labels("_", torch.zeros(1, 1, dtype=torch.int64, device=device))
        found["energy"] = TensorMap(key, [block])
        return found

    def energies(self, system: System) -> torch.Tensor:
        """Energies of the atoms of one system, eV [atoms]; smeared charges are shared evenly."""
        positions = system.positions.to(torch.float64)
        device = positions.device
        atoms = positions.shape[0]
        types = self.table[system.types.to(torch.int64)]
        if bool((types < 0).any()):
            raise ValueError("an element that the potential was not trained on")
        if atoms == 0:
            return positions.new_zeros(0)
        dtype = torch.float32 if self.single else torch.float64
        order = torch.argsort((~system.pbc).to(torch.int64), stable=True)
        axes = int(system.pbc.sum())
        cell = self.box(positions, system.cell.to(torch.float64), order, axes)

        # lists sorted by distance, as scalewise.models.graph.build makes them
        listed = system.get_neighbor_list(self.options)
        first = listed.samples.column("first_atom").to(torch.int64)
        second = listed.samples.column("second_atom").to(torch.int64)
        shift = listed.samples.values[:, 2:5].to(torch.int64)[:, order]
        distance = torch.linalg.norm(listed.values.detach().reshape(-1, 3), dim=1)
        sorting = torch.argsort(distance)
        sorting = sorting[torch.argsort(first[sorting], stable=True)]
        first, second = first[sorting], second[sorting]
        shift, distance = shift[sorting], distance[sorting]
        count = torch.bincount(first, minlength=atoms)
        slots = self.width(count)
        slot = first * slots + torch.arange(first.shape[0], device=device)
        slot = slot - (torch.cumsum(count, 0) - count)[first]
        own = torch.arange(atoms, device=device)[:, None].expand(atoms, slots)
        neighbor = own.reshape(-1).clone()
        neighbor[slot] = second
        shifts = torch.zeros(atoms * slots, 3, dtype=torch.int32, device=device)
        shifts[slot] = shift.to(torch.int32)
        mask = torch.zeros(atoms * slots, dtype=torch.bool, device=device)
        mask[slot] = True
        low = int(shift.abs().max()) if shift.shape[0] > 0 else 0
        there, back = first * atoms + second, second * atoms + first
        for axis in range(3):
            there = there * (2 * low + 1) + (shift[:, axis] + low)
            back = back * (2 * low + 1) + (low - shift[:, axis])
        reverse = torch.arange(atoms * slots, device=device)
        reverse[slot[torch.argsort(there)]] = slot[torch.argsort(back)]
        once = slot < reverse[slot]
        neighbor = neighbor.reshape(atoms, slots)
        shifts = shifts.reshape(atoms, slots, 3)
        mask = mask.reshape(atoms, slots)
        near = slots
        if self.near > 0.0:
            near = self.width(torch.bincount(first[distance < self.near], minlength=atoms))
        inside = torch.zeros(atoms * slots, dtype=torch.bool, device=device)
        inside[slot] = distance < self.short
        within = self.width(inside.reshape(atoms, slots).sum(dim=1))

        first_wave = torch.zeros(0, dtype=dtype, device=device)
        second_wave, third_wave = first_wave, first_wave
        meshed = False
        if self.smearing > 0.0 and axes > 0:
            lengths = torch.linalg.norm(cell.detach(), dim=1)
            high = self.reach / self.smearing * lengths / (2.0 * math.pi)
            one, two, three = int(high[0]), int(high[1]), int(high[2])
            waves = float(one + 1) * float(2 * two + 1) * float(2 * three + 1)
            least = torch.clamp(lengths / (self.spacing * self.smearing), min=8.0)
            n1, n2 = fast(int(torch.ceil(least[0]))), fast(int(torch.ceil(least[1])))
            n3 = 2 * fast(int(torch.ceil(0.5 * least[2])))
            points = float(n1) * float(n2) * float(n3)
            by_waves = waves * (self.wave + self.product * atoms)
            # slabs and wires on a mesh are no part of this file: waves are exact, if slower
            meshed = axes == 3 and by_waves > points + self.spread * atoms + self.begin
            if meshed:
                first_wave = torch.fft.fftfreq(n1, 1.0 / n1, device=device).to(dtype)
                second_wave = torch.fft.fftfreq(n2, 1.0 / n2, device=device).to(dtype)
                third_wave = torch.arange(0, n3 // 2 + 1, device=device).to(dtype)
            else:
                first_wave = torch.arange(0, one + 1, device=device).to(dtype)
                second_wave = torch.arange(-two, two + 1, device=device).to(dtype)
                third_wave = torch.arange(-three, three + 1, device=device).to(dtype)

        cell = cell[None]
        cutoffs = torch.full((atoms,), self.atom_cutoff, dtype=dtype, device=device)
        edges, edge_shifts = torch.stack([first[once], second[once]]), shift[once].to(torch.int32)
        periodic_axes = torch.full((1,), axes, dtype=torch.int64, device=device)
        charge = torch.zeros(1, dtype=dtype, device=device)
        near_index = neighbor[:, :near]
        short_index, short_shifts = neighbor[:, :within], shifts[:, :within]
        short_mask = inside.reshape(atoms, slots)[:, :within]
        name = "any_short"
        if self.smearing > 0.0:
            name = "periodic_mesh_long" if meshed else "periodic_long"
            if axes < 3:
                name = "isolated_long" if axes == 0 else "partial_long"
        energies, smeared = positions.new_zeros(atoms), positions.new_zeros(1)
        # TorchScript writes this loop out: it has no look-up of modules
        for key, core in self.cores.items():
            if key == name:
                energies, smeared = core(
                    positions, cell, cutoffs, types, neighbor, shifts, mask, reverse, near_index,
                    edges, edge_shifts, periodic_axes, charge, first_wave, second_wave, third_wave,
                    short_index, short_shifts, short_mask,
                )  # fmt: skip
        shared = energies.to(torch.float64) + smeared.to(torch.float64).sum() / atoms
        found: torch.Tensor = shared + self.composition[types]
        return found

    def width(self, count: torch.Tensor) -> int:
        """Slots for the atom with most neighbors."""
        most = int(count.max()) if count.shape[0] > 0 else 0
        return max(4, (most + 3) // 4 * 4)

    def box(
        self, positions: torch.Tensor, cell: torch.Tensor, order: torch.Tensor, axes: int
    ) -> torch.Tensor:
        """The cell in which it is summed: that of :func:`scalewise.models.truncation.box`."""
        if axes == 3:
            return cell
        if axes == 0:
            return torch.eye(3, dtype=cell.dtype, device=cell.device)
        first = cell[order[0]]
        if axes == 2:
            second = cell[order[1]]
            normal = torch.linalg.cross(first, second).detach()
            open_axes = (normal / torch.linalg.norm(normal))[None]
        else:
            along = (first / torch.linalg.norm(first)).detach()
            helper = torch.zeros_like(along)
            helper[int(torch.argmin(along.abs()))] = 1.0
            one = torch.linalg.cross(along, helper)
            one = one / torch.linalg.norm(one)
            open_axes = torch.stack([one, torch.linalg.cross(along, one)])
            second = first
        across = positions.detach() @ open_axes.transpose(0, 1)
        centre = 0.5 * (across.amin(dim=0) + across.amax(dim=0))
        extent = 2.0 * float(torch.linalg.norm(across - centre, dim=1).max())
        length = 2.0 * (math.ceil(extent + 0.3) + self.margin * max(self.smearing, 0.0))
        open_axes = length * open_axes
        if axes == 2:
            return torch.stack([first, second, open_axes[0]])
        return torch.stack([first, open_axes[0], open_axes[1]])


def fast(least: int) -> int:
    """The next number without factors other than 2, 3 and 5: its Fourier transform is fast."""
    number = least
    while _rough(number) > 1:
        number += 1
    return number


def _rough(number: int) -> int:
    """What is left of a number without its factors 2, 3 and 5."""
    for factor in (2, 3, 5):
        while number % factor == 0:
            number = number // factor
    return number


def metatomic_model(
    potential: Potential,
    *,
    cutoff: float | None = None,
    long_range: bool = True,
) -> AtomisticModel:
    r"""Return a potential at one of its scales as a metatomic model.

    The model takes positions in double precision; vectors between neighbors are computed from them
    and then rounded to the type of the network. Engines differentiate the energy (eV) with respect
    to positions and cell (Å). Systems have no net charge.

    Parameters
    ----------
    potential
        A potential with any ladder, with or without an adaptive cutoff.
    cutoff
        Cutoff of all atoms, Å; default: that of the adaptive cutoff for each atom, else that of the
        network.
    long_range
        Whether long-range electrostatics are included; false is refused if the network was trained
        with them alone.

    Raises
    ------
    InputError
        metatomic is not installed; a cutoff longer than the network's; long range turned off in a
        network that was trained with it alone.

    Examples
    --------
    ::

        metatomic_model(potential).save("potential.pt")

    """
    scale = Scale(cutoff, long_range)
    potential = potential.to("cpu")
    check_scale(potential, scale)
    settings = potential.network.settings
    acts = knows_long_range(potential, scale)
    adaptive = cutoff is None and potential.adaptive_cutoff is not None
    lists = potential.cutoff if cutoff is None else float(cutoff)
    energy = MetatomicEnergy(
        dict(traced_energies(potential, scale)),
        list(potential.elements),
        potential.composition.energies.tolist(),
        settings.cutoff if acts else lists,
        settings.first_layer_cutoff or 0.0,
        settings.shortest_cutoff if adaptive else 0.0,
        lists,
        settings.smearing if acts else 0.0,
        [
            electrostatics.REACH,
            truncation.MARGIN,
            particle_mesh.SPACING,
            electrostatics.WAVE,
            electrostatics.PRODUCT,
            electrostatics.SPREAD,
            electrostatics.BEGIN,
        ],
        potential.dtype is torch.float32,
    ).eval()
    reach = potential.receptive_field(scale)
    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(unit="eV", sample_kind="atom")},
        atomic_types=list(potential.elements),
        # how far atoms change each other's energies: half as far as each other's forces
        interaction_range=reach if math.isinf(reach) else 0.5 * reach,
        length_unit="Angstrom",
        supported_devices=["cpu", "cuda"],
        dtype="float64",
    )
    metadata = ModelMetadata(name=potential.name, description="a potential of scalewise")
    return AtomisticModel(energy, metadata, capabilities)
