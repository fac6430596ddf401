r"""Networks as functions of tensors alone, for tracing to TorchScript and for compiled programs.

Two functions are enough for every engine. :class:`WholeModule` evaluates all atoms of one structure
and returns all results of a calculator. :class:`LocalModule` evaluates the atoms of one of several
processes, with neighbors that other processes own, and leaves the electrostatics to its caller. It
returns the charges q' before they are neutralised, and the gradient of

.. math:: L = \sum_i E_i + \sum_i \phi_i q'_i

over the atoms that the process owns. With :math:`\phi_i = \partial E_\mathrm{el} / \partial q'_i`
this gradient includes the derivative of the electrostatic energy of all processes through the
charges of the process's own atoms. These atoms come first, then the neighbors for which the layers
before the last are evaluated, which have neighbor lists, too, then the neighbors without lists.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scalewise.models import electrostatics
from scalewise.models.adaptive_cutoff import AdaptiveNetwork, AdaptiveScale
from scalewise.models.compiler import with_kernels
from scalewise.models.density import one_layer
from scalewise.models.density.network import DensityNetwork
from scalewise.models.graph import Graph
from scalewise.models.programs.inputs import WAVES, Boundary, Inputs, Kind
from scalewise.models.scale import ResolvedScale


class Module(nn.Module):
    """A network of one kind as a function of :class:`Inputs`.

    Parameters
    ----------
    network
        With its adaptive cutoff, if it has one.
    kind
        What is computed.
    names
        Of the inputs that are given, in order.
    """

    def __init__(
        self, network: DensityNetwork | AdaptiveNetwork, kind: Kind, names: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.network, self.kind, self.names = network, kind, names

    def graph(self, given: Inputs) -> Graph:
        """The graph that the tensors are of."""
        types, settings = given.atom_types, self.network.settings
        atoms, (rows, slots) = types.shape[0], given.neighbor_index.shape
        cell = given.cell
        if cell is None:
            cell = torch.eye(3, dtype=torch.float64, device=types.device)[None]
        shift = given.cell_shift
        if shift is None:
            shift = torch.zeros(1, dtype=torch.int32, device=types.device).expand(rows, slots, 3)
        dtype = next(self.network.parameters()).dtype
        empty = torch.zeros(0, dtype=dtype, device=types.device)
        none = torch.zeros(2, 0, dtype=torch.int64, device=types.device)
        waves = (
            empty if given.first_wave is None else given.first_wave,
            empty if given.second_wave is None else given.second_wave,
            empty if given.third_wave is None else given.third_wave,
        )
        axes = given.periodic_axes
        three = torch.full((1,), 3, dtype=torch.int64, device=types.device)
        near = given.first_neighbor_index
        return Graph(
            atom_types=types,
            neighbor_index=given.neighbor_index,
            cell_shift=shift,
            mask=given.mask,
            reverse_neighbor_index=given.reverse_neighbor_index,
            edge_index=none if given.edge_index is None else given.edge_index,
            edge_cell_shift=none.T if given.edge_cell_shift is None else given.edge_cell_shift,
            system_index=torch.zeros_like(types),
            index_in_system=torch.arange(atoms, device=types.device),
            cell=cell,
            periodic_axes=three if axes is None else axes,
            total_charge=torch.zeros(1, dtype=dtype, device=types.device)
            if given.total_charge is None
            else given.total_charge,
            kvectors=waves,
            mesh=waves if self.kind.mesh else None,
            cutoff=settings.cutoff,
            largest_system=atoms,
            partial=self.kind.boundary is Boundary.PARTIAL,
            isolated=self.kind.boundary is Boundary.ISOLATED,
            first_neighbor_index=None if near is None else given.neighbor_index[:, : near.shape[1]],
        )

    def scale(self, given: Inputs, graph: Graph) -> ResolvedScale | AdaptiveScale:
        """The scale of the atoms."""
        share = None
        if self.kind.long_range:
            share = torch.ones_like(given.neighbor_index[:, 0], dtype=graph.dtype)
        if given.short_neighbor_index is None:
            assert given.cutoffs is not None
            return ResolvedScale(given.cutoffs, share)
        assert given.short_mask is not None
        shift = given.short_cell_shift
        if shift is None:
            none = torch.zeros(1, dtype=torch.int32, device=given.atom_types.device)
            shift = none.expand(*given.short_neighbor_index.shape, 3)
        short = Graph(
            **{
                **{k: getattr(graph, k) for k in Graph.__dataclass_fields__},
                "neighbor_index": given.short_neighbor_index,
                "cell_shift": shift,
                "mask": given.short_mask,
                "first_neighbor_index": None,
            }
        )
        return AdaptiveScale(short, share)

    def given(self, tensors: tuple[Tensor, ...]) -> Inputs:
        """The inputs by name."""
        nothing: dict[str, Any] = dict.fromkeys(Inputs._fields)
        return Inputs(**{**nothing, **dict(zip(self.names, tensors, strict=True))})


class WholeModule(Module):
    """All atoms of a structure.

    It returns energies without smeared electrostatics, eV [atoms], and the energy of those [1];
    forces, eV/Å [atoms, 3]; virial, eV [1, 3, 3]; charges, e [atoms]; cutoffs, Å [atoms].
    """

    def energies(self, given: Inputs, strain: Tensor | None = None) -> tuple[Tensor, ...]:
        """Energies, long-range energy, charges and cutoffs."""
        graph = self.graph(given)
        positions, cell = given.positions, graph.cell
        if strain is not None:
            positions = positions + positions @ strain.transpose(0, 1)
            cell = cell + cell @ strain.transpose(0, 1)
        found = self.network(graph, positions, cell, self.scale(given, graph))
        return found.energies, found.long_range_energies, found.charges, found.cutoffs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        first, rest = tensors[0], tensors[1:]
        if with_kernels() and one_layer.suits(self.network):
            return self._at_once(self.given(tensors))

        def energy(positions: Tensor, strain: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            found = self.energies(self.given((positions, *rest)), strain)
            return found[0].sum() + found[1].sum(), found

        strain = first.new_zeros(3, 3)
        (gradient, virial), (_, found) = torch.func.grad_and_value(
            energy, argnums=(0, 1), has_aux=True
        )(first, strain)
        energies, smeared, charges, cutoffs = found
        dtype = energies.dtype
        return energies, smeared, -gradient.to(dtype), virial.to(dtype)[None], charges, cutoffs

    def _at_once(self, given: Inputs) -> tuple[Tensor, ...]:
        """The same of a network of one layer, by one kernel."""
        assert isinstance(self.network, DensityNetwork)
        graph, positions = self.graph(given), given.positions
        scale = self.scale(given, graph)
        assert isinstance(scale, ResolvedScale)
        energies, by_positions, virial = one_layer.energies_and_slopes(
            self.network, graph, positions, graph.cell, scale.cutoffs
        )
        none, dtype = torch.zeros_like(energies), energies.dtype
        forces = -by_positions.to(dtype)
        return energies, none[:1], forces, virial.to(dtype)[None], none, scale.cutoffs


class LocalModule(Module):
    """The atoms of one process, and the neighbors that others own.

    It returns energies of its own atoms, eV [owned]; the gradient of L, eV/Å [atoms, 3]; and, where
    there is long range, charges of its own before they are neutralised, e [owned].
    """

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        first, rest = tensors[0], tensors[1:]

        def weighed(positions: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            given = self.given((positions, *rest))
            found = self.local(given)
            total = found[0].sum()
            if given.potential is not None:
                total = total + (given.potential * found[1]).sum()
            return total, found

        gradient, (_, found) = torch.func.grad_and_value(weighed, has_aux=True)(first)
        return found[0], gradient, *found[1:]

    def local(self, given: Inputs) -> tuple[Tensor, ...]:
        """Energies of its own atoms, and charges where there is long range."""
        assert given.owned is not None
        graph = self.graph(given)
        scale = self.scale(given, graph)
        network = self.network
        described = given.neighbor_index.shape[0]
        if isinstance(scale, AdaptiveScale):
            assert isinstance(network, AdaptiveNetwork)
            chosen = network.cutoffs(scale.short_graph, given.positions, graph.cell)
            scale = ResolvedScale(chosen[:described], scale.long_range)
        own = network.network if isinstance(network, AdaptiveNetwork) else network
        energies, charges = own.local(
            graph, given.positions, graph.cell, scale, owned=given.owned.shape[0]
        )
        return (energies,) if charges is None else (energies, charges)


class SmearedModule(Module):
    """The field of all smeared charges, in a periodic cell or of isolated atoms.

    It returns the energy, eV [1], and its derivatives with respect to positions, charges and
    strain.
    """

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        given, smearing = self.given(tensors), self.network.settings.smearing
        assert given.cell is not None
        assert given.charges is not None
        cell = given.cell

        def energy(r: Tensor, q: Tensor, strain: Tensor) -> tuple[Tensor, Tensor]:
            turned = strain.transpose(0, 1)
            r, h = (r + r @ turned)[None], cell + cell @ turned
            if self.kind.boundary is Boundary.ISOLATED:
                found = electrostatics.open_boundary(r, q[None], smearing)
            else:
                first, second, third = (getattr(given, name) for name in WAVES)
                sums = electrostatics.particle_mesh if self.kind.mesh else electrostatics.ewald
                found = sums(r, q[None], h, (first, second, third), smearing)
            return found.sum(), found

        slopes, (_, found) = torch.func.grad_and_value(energy, argnums=(0, 1, 2), has_aux=True)(
            given.positions, given.charges, given.positions.new_zeros(3, 3)
        )
        return found, *slopes


class ChargesModule(LocalModule):
    """Charges before they are neutralised, e [owned], of the inputs of :class:`LocalModule`."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return (self.local(self.given(tensors))[1],)
