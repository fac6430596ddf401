"""The potential in torch-sim, which simulates many structures at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from scalewise.data.structure import Structure
from scalewise.interfaces.lists import BufferedLists
from scalewise.interfaces.optional import require
from scalewise.models import checkpoint
from scalewise.models.graph import Graph
from scalewise.models.graph_operations import batch
from scalewise.models.potential import Potential, check_scale
from scalewise.models.protocol import Scale

#: Atoms of a system from which a compiled program is quicker than its share of a batch.
PROGRAM_PAYS: Final = 64

if TYPE_CHECKING:
    from torch_sim.models.interface import ModelInterface
else:
    ModelInterface = require("torch_sim.models.interface", "torchsim").ModelInterface


class TorchSimModel(ModelInterface):  # type: ignore[misc]  # torch-sim has no types here
    """torch-sim model of a potential: energies, forces and stresses of the systems of a state.

    Results are energies (eV) [systems], forces (eV/Å) [atoms, 3] and stresses (eV/Å³, positive
    under tension) [systems, 3, 3]. torch-sim supports periodicity in three directions or in none;
    it treats slabs and wires as systems without periodicity, and does not warn.

    Parameters
    ----------
    potential
        A potential, or the folder of a potential or of the run that trained it.
    cutoff
        Cutoff of all atoms, Å; default: that of the adaptive cutoff for each atom, else that of the
        network.
    long_range
        Whether long-range electrostatics are included; false is refused if the network was trained
        with them alone.
    total_charge
        Total charge of every system, e, which states of torch-sim do not hold.
    skin
        Length by which the neighbor list of each system exceeds the cutoff, Å.
    device, dtype
        Device and floating-point type of the network; default: those of the potential. States and
        results are in double precision, whose cost is negligible beside that of the network;
        positions in single precision would cause errors of 1e-4 eV/Å.
    compiled
        As in :class:`scalewise.interfaces.ase.ScalewiseCalculator`.

    Raises
    ------
    InputError
        No potential in the folder; torch-sim is not installed; a scale that the potential does not
        have; an unknown element, overlapping atoms.

    Examples
    --------
    ::

        import torch_sim as ts

        model = TorchSimModel("runs/train")
        state = ts.integrate(system=[atoms, others], model=model,
                             integrator=ts.nvt_langevin, n_steps=1000,
                             timestep=0.0005, temperature=300)
    """

    def __init__(
        self,
        potential: Potential | Path | str,
        *,
        cutoff: float | None = None,
        long_range: bool = True,
        total_charge: float = 0.0,
        skin: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        compiled: bool | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(potential, Potential):
            potential = checkpoint.read(checkpoint.locate(Path(potential)))
        self.potential = potential.to(device, dtype, compiled=compiled)
        self.scale = Scale(cutoff, long_range)
        check_scale(self.potential, self.scale)
        self.total_charge, self.skin = float(total_charge), skin
        self._lists = [BufferedLists(self.potential, skin)]
        self._device, self._dtype = self.potential.device, torch.float64
        self._compute_stress = self._compute_forces = True
        self._memory_scales_with = "n_atoms_x_density"

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Compute energy [systems], forces [atoms, 3] and stress [systems, 3, 3] of a state."""
        if isinstance(state, dict):
            import torch_sim

            state = torch_sim.SimState(**state, masses=torch.ones_like(state["atomic_numbers"]))
        systems = int(state.system_idx.max()) + 1 if len(state.system_idx) else 0
        pbc = np.broadcast_to(np.asarray(torch.as_tensor(state.pbc).cpu()), 3).astype(bool)
        while len(self._lists) < systems:
            self._lists.append(BufferedLists(self.potential, self.skin))
        frames, graphs = [], []
        cells = state.row_vector_cell.detach().double().cpu().numpy()
        for k in range(systems):
            own = state.system_idx == k
            numbers = state.atomic_numbers[own].cpu().numpy().astype(np.int64)
            frame = Structure(
                numbers=numbers,
                positions=state.positions[own].detach().double().cpu().numpy(),
                cell=cells[k] if pbc.any() else np.zeros((3, 3)),
                pbc=pbc,
                molecule=np.arange(len(numbers)),
                index=k,
                info={"charge": self.total_charge},
            )
            frames.append(frame)
            graphs.append(self._lists[k](frame))
        return self._results(state, frames, graphs)

    def _results(
        self, state: Any, frames: list[Structure], graphs: list[Graph]
    ) -> dict[str, Tensor]:
        empty = torch.zeros(0, 3, device=self._device, dtype=self._dtype)
        energies, forces = empty.new_zeros(len(frames)), torch.zeros_like(state.positions)
        stresses = empty.new_zeros(len(frames), 3, 3)
        for together in self._parts(graphs):
            places = np.concatenate([frames[k].positions for k in together])
            graph = batch([graphs[k] for k in together])
            found = self.potential.evaluate_graph(graph, places, self.scale)
            rows = torch.cat([torch.nonzero(state.system_idx == k)[:, 0] for k in together])
            forces[rows] = found.forces.to(forces.dtype)
            for energy, virial, k in zip(found.energy, found.virial, together, strict=True):
                base = self.potential.composition.energy(frames[k].numbers)
                energies[k] = energy.double() + base
                if (volume := frames[k].volume) is not None:
                    stresses[k] = virial.double() / volume
        results = {"energy": energies}
        if self._compute_forces:
            results["forces"] = forces
        if self._compute_stress:
            results["stress"] = stresses
        return results

    def _parts(self, graphs: list[Graph]) -> list[list[int]]:
        """Numbers of systems that are evaluated together: small ones together, large ones alone."""
        alone = [
            g.mesh is not None or (self.potential.compiled and len(g.atom_types) >= PROGRAM_PAYS)
            for g in graphs
        ]
        small = [k for k, large in enumerate(alone) if not large]
        return [[k] for k, large in enumerate(alone) if large] + ([small] if small else [])

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are returned; computing them takes no extra time."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        self._compute_stress = value

    @property
    def compute_forces(self) -> bool:
        """Whether forces are returned."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        self._compute_forces = value
