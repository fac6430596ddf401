r"""The density network: atomic energies and charges of a graph, in few and large products.

Around each atom i, every layer collects a density of its neighbours,

.. math:: A_{i,c,lm} = \sum_j f(r_{ij}; r_i)\, R_c(r_{ij})\, x_{ij,c}\, Y_{lm}(\hat r_{ij}),

a batched matrix product over padded neighbour lists. In the first layer :math:`x_{ij,c}` is an
embedding of the neighbour's element. In the second, it is the neighbour's own field seen along the
pair, :math:`x_{ij,c} = \sum_{lm} F_{j,c,lm} Y_{lm}(\hat r_{ji})`, whose part of degree zero is the
usual scalar message: directions enter at the cost of one more matrix product. The cutoff
:math:`r_i` of an atom enters the envelope f alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalewise.potential import electrostatics
from scalewise.potential.angular import Harmonics
from scalewise.potential.electronegativity import first_charges
from scalewise.potential.graph import Graph, swap_ends
from scalewise.potential.layers import DegreeLinear, Described, FieldSum, ProductLayer
from scalewise.potential.radial import bessel, envelope
from scalewise.potential.settings import Network as NetworkSettings

#: Neighbours of an atom in condensed matter at common cutoffs; sets the size of densities only.
TYPICAL_NEIGHBOURS = 16.0


class AtomicProperties(NamedTuple):
    """Of each atom: the energy without long-range electrostatics, eV, and the charge, e.

    ``frames`` holds the long-range energy of each frame, eV.
    """

    energies: Tensor
    charges: Tensor
    frames: Tensor


class Edges(NamedTuple):
    """What the layers need of every slot.

    Attributes
    ----------
    radial
        Basis times envelope [atoms, slots, radial].
    angular
        Spherical harmonics [atoms, (degree+1)², slots].
    distance
        Å [atoms, slots].
    """

    radial: Tensor
    angular: Tensor
    distance: Tensor


class Network(nn.Module):
    """Atomic energies and charges as functions of positions, cell and cutoffs.

    Parameters
    ----------
    settings
        Sizes; see :class:`scalewise.potential.settings.Network`.
    elements
        Atomic numbers, increasing.
    dtype
        Of weights and constants. To change it later use :meth:`converted`, which keeps the
        constants exact; ``Module.to`` would carry over their rounding.
    """

    constant: Tensor
    scale: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        elements: Sequence[int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if list(elements) != sorted(set(elements)):
            raise ValueError(f"elements must increase strictly, got {list(elements)}")
        s = self.settings = settings
        self.elements = tuple(elements)
        kinds, c, h = len(elements), s.channels, s.hidden
        self.harmonics = Harmonics(s.degree)
        self.source = nn.Parameter(torch.randn(kinds, c))
        self.radial = nn.ParameterList(
            nn.Parameter(torch.randn(s.radial, c) / math.sqrt(s.radial)) for _ in range(s.layers)
        )
        self.centre = nn.ParameterList(
            nn.Parameter(1.0 + 0.3 * torch.randn(kinds, c)) for _ in range(s.layers)
        )
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(kinds, h)) for _ in range(s.layers))
        self.products = nn.ModuleList(ProductLayer(c, c, h, s.degree) for _ in range(s.layers))
        self.messages = nn.ModuleList(DegreeLinear(c, c, s.degree) for _ in range(s.layers - 1))
        self.kept = nn.ModuleList(FieldSum(c, s.degree) for _ in range(s.layers - 1))
        self.sent = nn.ModuleList(FieldSum(c, s.degree) for _ in range(s.layers - 1))
        self.scalars = nn.ModuleList(nn.Linear(h, c) for _ in range(s.layers - 1))
        constant = torch.zeros((s.degree + 1) ** 2, 1, 1)
        constant[0] = 1.0
        self.register_buffer("constant", constant, persistent=False)
        self.register_buffer("scale", torch.ones(()))
        self.readout = nn.ModuleList(_readout(h) for _ in range(s.layers))
        if s.charges:
            self.charge = nn.Linear(h, 1, bias=False)
            self.element_charge = nn.Parameter(first_charges(self.elements))
            nn.init.normal_(self.charge.weight, std=0.02)
        self.to(dtype)

    def converted(self, dtype: torch.dtype) -> Network:
        """Return a copy with weights of another type."""
        other = Network(self.settings, self.elements, dtype)
        other.load_state_dict(self.state_dict())
        return other.to(next(self.parameters()).device)

    def matrices(self) -> list[str]:
        """Names of the weights that mix channels, as opposed to embeddings, scales and shifts."""
        single = ("source", "centre", "bias", "kept", "sent", "readout", "charge")
        return [
            name
            for name, weight in self.named_parameters()
            if weight.ndim >= 2 and not name.startswith(single)
        ]

    def forward(
        self, graph: Graph, positions: Tensor, cell: Tensor, cutoffs: Tensor
    ) -> AtomicProperties:
        """Energies [atoms], charges [atoms], long-range energies [frames].

        ``positions`` [atoms, 3] and ``cell`` [frames, 3, 3] are in Å; ``cutoffs`` [atoms], in Å,
        may not exceed ``settings.cutoff``.
        """
        edges = self._edges(graph, positions, cell, cutoffs)
        described: Described | None = None
        energies: Tensor = positions.new_zeros(len(graph.species))
        for k in range(self.settings.layers):
            radial = edges.radial @ self.radial[k]
            if described is None:
                sources = self.source[graph.species[graph.neighbour]]
            else:
                sources = self._messages(k - 1, described, edges.angular, graph)
            density = torch.bmm(edges.angular, radial * sources).transpose(0, 1)
            density = density * (self.centre[k][graph.species] / math.sqrt(TYPICAL_NEIGHBOURS))
            if described is not None:
                density = density + self.kept[k - 1](described)
            described = self.products[k](density, self.bias[k][graph.species])
            energies = energies + self.scale * self.readout[k](described.scalars)[:, 0]
        assert described is not None
        if not self.settings.charges:
            nothing = positions.new_zeros(len(graph.cell))
            return AtomicProperties(energies, torch.zeros_like(energies), nothing)
        return self._with_charges(graph, positions, cell, edges, described, energies)

    def _edges(self, graph: Graph, positions: Tensor, cell: Tensor, cutoffs: Tensor) -> Edges:
        s = self.settings
        vector = positions[graph.neighbour] - positions[:, None] + graph.away
        vector = vector + torch.bmm(graph.image, cell[graph.frame])
        distance = torch.sqrt((vector * vector).sum(dim=-1))
        radial = bessel(distance, envelope(distance, cutoffs[:, None]), s.cutoff, s.radial)
        return Edges(radial, self.harmonics(vector / distance[..., None]), distance)

    def _messages(self, k: int, described: Described, angular: Tensor, graph: Graph) -> Tensor:
        """The fields of neighbours, seen along the pairs [atoms, slots, channels]."""
        field = self.messages[k](self.sent[k](described))
        scalars = self.scalars[k](described.scalars)
        field = (field + self.constant * scalars).transpose(0, 1)
        atoms, _, slots = angular.shape
        seen = torch.bmm(angular.transpose(1, 2), field).reshape(atoms * slots, -1)
        return swap_ends(seen, graph.reverse).reshape(atoms, slots, -1)

    def _with_charges(
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        edges: Edges,
        described: Described,
        energies: Tensor,
    ) -> AtomicProperties:
        raw = self.charge(described.scalars)[:, 0] + self.element_charge[graph.species]
        charges = neutralised(raw, graph)
        energies = energies - electrostatics.self_energy(charges, self.settings.smearing)
        near = envelope(edges.distance, edges.distance.new_tensor(self.settings.cutoff))
        energies = energies + electrostatics.short_range(
            edges.distance, charges, charges[graph.neighbour] * near, self.settings.smearing
        )
        return AtomicProperties(
            energies, charges, self._long_range(graph, positions, cell, charges)
        )

    def _long_range(self, graph: Graph, positions: Tensor, cell: Tensor, charges: Tensor) -> Tensor:
        smearing = self.settings.smearing
        if len(graph.cell) == 1:
            large = len(positions) > electrostatics.MESH_FROM
            if large and graph.periodic and not torch.compiler.is_compiling():
                energy = electrostatics.particle_mesh(positions, charges, cell[0], smearing)
                return energy[None]
            r, q = positions[None], charges[None]
        else:
            r, q = self._padded(graph, positions, charges)
        if graph.periodic:
            return electrostatics.ewald(r, q, cell, graph.waves, smearing)
        return electrostatics.open_boundary(r, q, smearing)

    @staticmethod
    def _padded(graph: Graph, positions: Tensor, charges: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and charges by frame, [frames, places, ...], zero in empty places."""
        slot = graph.frame * graph.largest + graph.place
        padded_charges = charges.new_zeros(len(graph.cell) * graph.largest)
        padded_positions = positions.new_zeros(len(graph.cell) * graph.largest, 3)
        padded_charges = padded_charges.index_put((slot,), charges)
        padded_positions = padded_positions.index_put((slot,), positions)
        frames = len(graph.cell)
        return padded_positions.reshape(frames, -1, 3), padded_charges.reshape(frames, -1)


def _readout(inputs: int) -> nn.Linear:
    """A linear layer that starts with small energies: the baseline holds the large ones."""
    layer = nn.Linear(inputs, 1)
    nn.init.normal_(layer.weight, std=0.05)
    nn.init.zeros_(layer.bias)
    return layer


def neutralised(raw: Tensor, graph: Graph) -> Tensor:
    """Shift the charges of every frame by one constant, to sum to its total charge [atoms]."""
    frames = len(graph.cell)
    zero = raw.new_zeros(frames)
    total = zero.index_add(0, graph.frame, raw)
    atoms = zero.index_add(0, graph.frame, torch.ones_like(raw))
    return raw + ((graph.charge - total) / atoms)[graph.frame]
