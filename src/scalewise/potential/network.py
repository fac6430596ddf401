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
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scalewise.potential import electrostatics
from scalewise.potential.angular import Harmonics
from scalewise.potential.electronegativity import first_charges
from scalewise.potential.graph import Graph
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
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        cutoffs: Tensor,
        *,
        block: int | None = None,
    ) -> AtomicProperties:
        """Energies [atoms], charges [atoms], long-range energies [frames].

        ``positions`` [atoms, 3] and ``cell`` [frames, 3, 3] are in Å; ``cutoffs`` [atoms], in Å,
        may not exceed ``settings.cutoff``. With ``block``, so many atoms at a time are worked on
        and what a derivative needs is computed again: less memory for a third more time.
        """
        parts = graph.rows(block or len(positions))
        run = partial(checkpoint, use_reentrant=False) if block else _directly
        edges = [
            run(partial(self._edges, part, rows), positions, cell, cutoffs) for rows, part in parts
        ]
        energies: Tensor | None = None
        last, seen = None, None
        for k in range(self.settings.layers):
            pieces = []
            for (_, part), edge, own, before in zip(
                parts, edges, _split(seen, block), _split_described(last, block), strict=False
            ):
                layer = partial(self._layer, k, graph, part)
                pieces.append(run(layer, edge, own, before))
            found, last, seen = _joined(pieces)
            if seen is not None:
                # an autograd.Function that gathers both ways would be faster, but torch.compile
                # drops its second derivative without a word, and index_put it cannot always compile
                seen = seen.flatten(0, 1)[graph.reverse].reshape(seen.shape)
            energies = found if energies is None else energies + found
        assert energies is not None
        assert last is not None
        if not self.settings.charges:
            nothing = positions.new_zeros(len(graph.cell))
            return AtomicProperties(energies, torch.zeros_like(energies), nothing)
        raw = self.charge(last.scalars)[:, 0] + self.element_charge[graph.species]
        charges = neutralised(raw, graph)
        near = [
            run(partial(self._near, part, rows), edge.distance, charges)
            for (rows, part), edge in zip(parts, edges, strict=True)
        ]
        energies = energies + (near[0] if len(near) == 1 else torch.cat(near))
        return AtomicProperties(
            energies, charges, self._long_range(graph, positions, cell, charges)
        )

    def _layer(
        self,
        k: int,
        graph: Graph,
        part: Graph,
        edges: Edges,
        seen: Tensor | None,
        before: Described | None,
    ) -> tuple[Tensor, Described, Tensor | None]:
        """Energies of some atoms [rows], their description, and what neighbours see of them.

        ``seen`` are the messages of their neighbours [rows, slots, channels], ``before`` is their
        own description in the layer before.
        """
        sources = self.source[graph.species[part.neighbour]] if seen is None else seen
        density = torch.bmm(edges.angular, edges.radial @ self.radial[k] * sources).transpose(0, 1)
        density = density * (self.centre[k][part.species] / math.sqrt(TYPICAL_NEIGHBOURS))
        if before is not None:
            density = density + self.kept[k - 1](before)
        described = self.products[k](density, self.bias[k][part.species])
        energies = self.scale * self.readout[k](described.scalars)[:, 0]
        if k + 1 == self.settings.layers:
            return energies, described, None
        return energies, described, self._messages(k, described, edges.angular)

    def _edges(
        self, part: Graph, rows: slice, positions: Tensor, cell: Tensor, cutoffs: Tensor
    ) -> Edges:
        s = self.settings
        vector = positions[part.neighbour] - positions[rows, None] + part.away
        vector = vector + torch.bmm(part.image, cell[part.frame])
        distance = torch.sqrt((vector * vector).sum(dim=-1))
        radial = bessel(distance, envelope(distance, cutoffs[rows, None]), s.cutoff, s.radial)
        return Edges(radial, self.harmonics(vector / distance[..., None]), distance)

    def _messages(self, k: int, described: Described, angular: Tensor) -> Tensor:
        """The fields of atoms, as their neighbours see them [rows, slots, channels]."""
        field = self.messages[k](self.sent[k](described))
        scalars = self.scalars[k](described.scalars)
        field = (field + self.constant * scalars).transpose(0, 1)
        return torch.bmm(angular.transpose(1, 2), field)

    def _near(self, part: Graph, rows: slice, distance: Tensor, charges: Tensor) -> Tensor:
        """Energy of charges with their neighbours, less that of smeared charges [rows]."""
        s = self.settings
        own = charges[rows]
        others = charges[part.neighbour] * envelope(distance, distance.new_tensor(s.cutoff))
        pairs = electrostatics.short_range(distance, own, others, s.smearing)
        return pairs - electrostatics.self_energy(own, s.smearing)

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


def _directly(function: Callable[..., Any], *inputs: Any) -> Any:
    return function(*inputs)


_Piece = tuple[Tensor, Described, Tensor | None]


def _split(value: Tensor | None, block: int | None) -> Iterable[Tensor | None]:
    """Parts of a value; slices would make a derivative of full size for each part."""
    if value is None or block is None:
        return repeat(value)
    return torch.split(value, block)


def _split_described(value: Described | None, block: int | None) -> Iterable[Described | None]:
    if value is None or block is None:
        return repeat(value)
    return (
        Described(*parts) for parts in zip(*(torch.split(v, block, -2) for v in value), strict=True)
    )


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    """The layer of all atoms from that of its parts."""
    if len(pieces) == 1:
        return pieces[0]
    energies, described, seen = zip(*pieces, strict=True)
    whole = Described(*(torch.cat(v, dim=-2) for v in zip(*described, strict=True)))
    return torch.cat(energies), whole, None if seen[0] is None else torch.cat(seen)


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
