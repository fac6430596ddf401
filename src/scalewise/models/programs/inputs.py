"""Kinds of programs, and the tensors that they take.

The modules that are named here are in :mod:`scalewise.models.programs.modules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from scalewise.models.adaptive_cutoff import AdaptiveScale
from scalewise.models.graph import Graph
from scalewise.models.scale import ResolvedScale


class Boundary(StrEnum):
    """What electrostatics sums over."""

    PERIODIC = "periodic"
    #: A slab or wire.
    PARTIAL = "partial"
    ISOLATED = "isolated"

    @classmethod
    def of(cls, graph: Graph) -> Boundary:
        """The boundary of a graph of one structure."""
        if graph.isolated:
            return cls.ISOLATED
        return cls.PARTIAL if graph.partial else cls.PERIODIC


class Part(StrEnum):
    """What a program computes of a potential."""

    #: All atoms: ``WholeModule``.
    WHOLE = "whole"
    #: The atoms of one process, without electrostatics: ``LocalModule``.
    LOCAL = "local"
    #: Their charges alone: ``ChargesModule``.
    CHARGES = "charges"
    #: The field of all smeared charges: ``SmearedModule``.
    SMEARED = "smeared"


@dataclass(frozen=True)
class Kind:
    """What a program computes.

    Attributes
    ----------
    long_range
        With the electrostatics of the network, else the network at short range.
    boundary
        Of electrostatics; without, programs are the same for all.
    mesh
        Whether electrostatics is summed on a mesh, as that of large cells is.
    adaptive
        Whether the adaptive cutoff chooses the cutoffs; else they are an input.
    part
        All of it, or what the processes of an engine compute one after the other.
    """

    long_range: bool
    boundary: Boundary = Boundary.PERIODIC
    mesh: bool = False
    adaptive: bool = False
    part: Part = Part.WHOLE

    @property
    def near(self) -> bool:
        """Whether it computes what is near the atoms of one process."""
        return self.part in (Part.LOCAL, Part.CHARGES)

    @property
    def name(self) -> str:
        """A word for files."""
        words = [] if self.part is Part.WHOLE else [str(self.part)]
        words += [] if self.near else [str(self.boundary) if self.long_range else "any"]
        words += ["mesh"] * self.mesh + ["long" if self.long_range else "short"]
        return "-".join([*words, *["adaptive"] * self.adaptive])


class Inputs(NamedTuple):
    """Tensors of one structure, in the order in which programs take them; unused ones are none.

    Meanings and types are those of :class:`scalewise.models.graph.Graph`. Of
    ``first_neighbor_index``, only the width matters. Waves are those of the mesh where one is used,
    else of the Ewald sum. ``short_*`` are the lists of the adaptive
    cutoff. ``LocalModule`` has lists of its first atoms alone; ``owned``, of which only the
    length matters, and ``potential`` (eV/e) are those of the atoms that it owns; ``charges`` (e)
    are those of ``SmearedModule``.
    """

    positions: Tensor
    cell: Tensor | None
    cutoffs: Tensor | None
    atom_types: Tensor
    neighbor_index: Tensor
    cell_shift: Tensor | None
    mask: Tensor
    reverse_neighbor_index: Tensor
    first_neighbor_index: Tensor | None
    edge_index: Tensor | None = None
    edge_cell_shift: Tensor | None = None
    periodic_axes: Tensor | None = None
    total_charge: Tensor | None = None
    first_wave: Tensor | None = None
    second_wave: Tensor | None = None
    third_wave: Tensor | None = None
    short_neighbor_index: Tensor | None = None
    short_cell_shift: Tensor | None = None
    short_mask: Tensor | None = None
    owned: Tensor | None = None
    potential: Tensor | None = None
    charges: Tensor | None = None

    @classmethod
    def of(
        cls, graph: Graph, positions: Tensor, scale: ResolvedScale | AdaptiveScale, kind: Kind
    ) -> Inputs:
        """What a program of a kind takes of a graph and its scale."""
        inputs = cls(
            positions,
            None if kind.near else graph.cell,
            scale.cutoffs if isinstance(scale, ResolvedScale) else None,
            graph.atom_types,
            graph.neighbor_index,
            None if kind.near else graph.cell_shift,
            graph.mask,
            graph.reverse_neighbor_index,
            graph.first_neighbor_index,
        )
        if isinstance(scale, AdaptiveScale):
            short = scale.short_graph
            inputs = inputs._replace(
                short_neighbor_index=short.neighbor_index,
                short_cell_shift=None if kind.near else short.cell_shift,
                short_mask=short.mask,
            )
        if kind.near:
            ones = torch.ones_like(positions[:, 0], dtype=graph.dtype)
            potential = kind.part is Part.LOCAL and kind.long_range
            return inputs._replace(owned=ones, potential=0.0 * ones if potential else None)
        if not kind.long_range:
            return inputs
        inputs = inputs._replace(
            edge_index=graph.edge_index,
            edge_cell_shift=graph.edge_cell_shift,
            total_charge=graph.total_charge,
        )
        if kind.boundary is Boundary.ISOLATED:
            return inputs
        first, second, third = graph.kvectors if graph.mesh is None else graph.mesh
        return inputs._replace(
            periodic_axes=graph.periodic_axes if kind.boundary is Boundary.PARTIAL else None,
            first_wave=first,
            second_wave=second,
            third_wave=third,
        )

    def shared(self, owned: int, described: int) -> Inputs:
        """The inputs of one process of several.

        It owns the first ``owned`` atoms and has neighbor lists of the first ``described``. An atom
        without a neighbor list sends no message.
        """
        rows, slots = slice(0, described), self.neighbor_index.shape[1]
        back = self.reverse_neighbor_index[: described * slots]
        itself = torch.arange(described * slots, device=back.device)
        assert self.owned is not None
        near, cutoffs, potential = self.first_neighbor_index, self.cutoffs, self.potential
        return self._replace(
            cutoffs=None if cutoffs is None else cutoffs[rows],
            neighbor_index=self.neighbor_index[rows],
            mask=self.mask[rows],
            reverse_neighbor_index=torch.where(back < described * slots, back, itself),
            first_neighbor_index=None if near is None else near[rows],
            owned=self.owned[:owned],
            potential=None if potential is None else potential[:owned],
        )

    def smeared(self) -> Inputs:
        """Those of ``SmearedModule`` among the inputs of a whole structure."""
        nothing: dict[str, Any] = dict.fromkeys(self._fields)
        kept = {k: getattr(self, k) for k in ("positions", "cell", *WAVES)}
        assert self.total_charge is not None
        charges = torch.ones_like(self.atom_types, dtype=self.total_charge.dtype)
        return Inputs(**{**nothing, **kept, "charges": charges})

    def tensors(self) -> tuple[Tensor, ...]:
        """Those that are used, in order."""
        return tuple(t for t in self if t is not None)

    def names(self) -> tuple[str, ...]:
        """Names of those that are used, in order."""
        return tuple(n for n, t in zip(self._fields, self, strict=True) if t is not None)


WAVES: Final = ("first_wave", "second_wave", "third_wave")
#: Dimensions whose size differs between structures.
DYNAMIC: Final[dict[str, tuple[int, ...]]] = {
    "positions": (0,),
    "cutoffs": (0,),
    "atom_types": (0,),
    "neighbor_index": (0, 1),
    "cell_shift": (0, 1),
    "mask": (0, 1),
    "reverse_neighbor_index": (0,),
    "first_neighbor_index": (0, 1),
    "edge_index": (1,),
    "edge_cell_shift": (0,),
    "first_wave": (0,),
    "second_wave": (0,),
    "third_wave": (0,),
    "short_neighbor_index": (0, 1),
    "short_cell_shift": (0, 1),
    "short_mask": (0, 1),
    "owned": (0,),
    "potential": (0,),
    "charges": (0,),
}
