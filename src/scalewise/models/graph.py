"""Frames as the network sees them: padded, distance-sorted neighbour lists of one or more frames.

A padded list makes a sum over neighbours a batched matrix product. Every pair is listed from both
ends, and ``reverse`` leads from one to the other. Sorted by distance, the list of a smaller cutoff
is a prefix of the list of a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from scalewise.core.errors import InputError
from scalewise.core.files import check_memory
from scalewise.data import neighbors as neighbours
from scalewise.data.structure import Frame
from scalewise.models.electrostatics import plan, wave_numbers

#: Slots are padded to a multiple of this: equal shapes for frames that are nearly equal.
SLOTS = 4
_SMALLER = (
    "Use a smaller structure or cell, or a network trained without charges "
    "(network.charges=false in train)."
)
#: Nuclei closer than this (Å) are an error of the input, not chemistry; H2 is 0.74 Å.
OVERLAP = 0.2


class Lists(NamedTuple):
    """Padded lists of some atoms, as in :class:`Graph`."""

    neighbour: Tensor
    image: Tensor
    away: Tensor


@dataclass(frozen=True, eq=False)
class Graph:
    """Neighbour lists and cells of a batch of frames, positions apart.

    Cells are in double precision, whatever the network's type, and so are the positions that go
    with a graph: the vectors between neighbours are formed of them, and only then rounded.

    Attributes
    ----------
    species
        Index of each atom's element in the network's list [atoms].
    neighbour
        Index of each neighbour [atoms, slots]; empty slots hold the atom itself.
    image
        Lattice vectors to add to the neighbour's position, as whole numbers [atoms, slots, 3].
    away
        A vector longer than the cutoff in empty slots, zero elsewhere, Å [atoms, slots, 3].
    reverse
        Where the same pair is listed from its other end, in the flattened slots [atoms * slots].
    sent
        Lists of the atoms that have an atom as neighbour; none: they are its own neighbours.
    parts
        Lists of consecutive atoms, each of another width, in place of one list for all; see
        :func:`scalewise.models.binning.focus`.
    ends, lattice
        The pairs that electrostatics sums, each once: its two atoms [2, pairs], and the lattice
        vectors to add to the second, as whole numbers [pairs, 3]. Other lists may be pruned to
        shorter cutoffs, charges act as far as ever.
    frame
        Frame of each atom [atoms].
    place
        Position of each atom within its frame [atoms].
    cell
        Lattice vectors in rows, Å [frames, 3, 3]; the unit matrix without periodicity.
    charge
        Total charge of each frame, e [frames].
    waves
        Whole numbers of the reciprocal vectors along each axis, three tensors; empty without
        periodicity.
    cutoff
        Å; every pair closer than this is listed.
    mesh
        Whether electrostatics is quicker on a mesh, in this frame alone.
    near
        The first slots of ``neighbour``, which hold all neighbours that a first layer of shorter
        range sees [atoms, fewer slots]; none: it looks at all.
    """

    species: Tensor
    neighbour: Tensor
    image: Tensor
    away: Tensor
    reverse: Tensor
    ends: Tensor
    lattice: Tensor
    frame: Tensor
    place: Tensor
    cell: Tensor
    charge: Tensor
    waves: tuple[Tensor, Tensor, Tensor]
    cutoff: float
    largest: int
    sent: Lists | None = None
    parts: tuple[Graph, ...] = ()
    near: Tensor | None = None
    mesh: bool = False

    @property
    def periodic(self) -> bool:
        """Whether the frames repeat in all three directions (or none in any)."""
        return self.waves[0].numel() > 0

    def rows(self, size: int) -> list[tuple[slice, Graph]]:
        """Cut the lists into parts of ``size`` atoms; neighbours keep their numbers in the whole.

        Of a part, only what is listed per atom and per slot is its own, but ``reverse`` and
        ``place``, which speak of the whole.
        """
        if not self.parts and size >= len(self.species):
            return [(slice(None), self)]
        found, start = [], 0
        for part in self.parts or (self,):
            for at in range(0, len(part.species), size):
                end = min(at + size, len(part.species))
                found.append((slice(start + at, start + end), part._cut(slice(at, end))))
            start += len(part.species)
        return found

    def _cut(self, rows: slice) -> Graph:
        names = ("species", "neighbour", "image", "away", "frame")
        sent = None if self.sent is None else Lists(*(v[rows] for v in self.sent))
        near = None if self.near is None else self.near[rows]
        return replace(self, sent=sent, near=near, **{n: getattr(self, n)[rows] for n in names})

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Graph:
        """Move to a device, and floating-point values but the cells to a type."""

        def move(value: Tensor, dtype: torch.dtype | None = dtype) -> Tensor:
            return value.to(device, dtype if value.is_floating_point() else None)

        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = move(value, None) if name == "cell" else move(value)
        moved["waves"] = tuple(move(w) for w in self.waves)
        return replace(self, **moved)


def build(
    frame: Frame,
    elements: Sequence[int],
    cutoff: float,
    *,
    smearing: float = 0.0,
    near: float | None = None,
) -> Graph:
    """List the neighbours of one frame (float64, on the CPU).

    Parameters
    ----------
    frame
        Atoms, cell and periodicity. Cells may be smaller than the cutoff: images are listed.
    elements
        Atomic numbers that the network knows, in its order.
    cutoff
        Å.
    smearing
        Width of the electrostatic charges, Å; zero: no charges.
    near
        Å, as far as the first layer sees, if less far than others; lists that are used while atoms
        move need as much more here as in the cutoff.

    Raises
    ------
    InputError
        An element that the network does not know, positions that are not finite, atoms on top of
        each other, a cell without volume, periodicity in one or two directions only, or a charge
        that is not a number.
    """
    check_elements(frame, elements)
    pairs = neighbours.build(frame, cutoff, full=True, images=True)
    _check_overlap(frame, pairs)
    if np.abs(pairs.shift).max(initial=0) >= 2**31:
        raise InputError(
            f"{frame.where}, key 'positions'",
            "atoms more than two thousand million lattice vectors from the cell",
            "Write positions near the cell, such as after atoms.wrap().",
        )
    atoms = len(frame.numbers)
    order = np.lexsort((pairs.distance, pairs.i))
    i, j, image = pairs.i[order], pairs.j[order], pairs.shift[order]
    count = np.bincount(i, minlength=atoms)
    slots = _slots(count)
    slot = i * slots + np.arange(len(i)) - (np.cumsum(count) - count)[i]
    neighbour = np.repeat(np.arange(atoms), slots)
    neighbour[slot] = j
    images = np.zeros((atoms * slots, 3), dtype=np.int32)
    images[slot] = image
    away = np.zeros((atoms * slots, 3))
    away[:, 0] = 2.0 * cutoff
    away[slot] = 0.0
    reverse = np.arange(atoms * slots)
    reverse[slot[_sorted(i, j, image)]] = slot[_sorted(j, i, -image)]
    once = (slot < reverse[slot]) & (smearing > 0)
    inner = _slots(np.bincount(i[pairs.distance[order] < near], minlength=atoms)) if near else slots
    periodic = bool(frame.pbc.all())
    cell = frame.cell if periodic else np.eye(3)
    charge = total_charge(frame)
    mesh, memory = plan(cell if periodic else None, smearing, atoms)
    shape = f"a cell of {_edges(cell)}" if periodic else f"all pairs of {atoms} atoms"
    check_memory(memory, f"{frame.where}, electrostatics", shape, _SMALLER)
    waves = wave_numbers(cell, smearing if periodic else 0.0)
    return Graph(
        species=torch.from_numpy(np.searchsorted(np.sort(elements), frame.numbers)),
        neighbour=torch.from_numpy(neighbour.reshape(atoms, slots)),
        image=torch.from_numpy(images.reshape(atoms, slots, 3)),
        away=torch.from_numpy(away.reshape(atoms, slots, 3)),
        reverse=torch.from_numpy(reverse),
        ends=torch.from_numpy(np.stack([i[once], j[once]])),
        lattice=torch.from_numpy(image[once].astype(np.int32)),
        frame=torch.zeros(atoms, dtype=torch.int64),
        place=torch.arange(atoms),
        cell=torch.from_numpy(np.ascontiguousarray(cell, dtype=float))[None],
        charge=torch.tensor([charge], dtype=torch.float64),
        waves=waves,
        cutoff=cutoff,
        largest=atoms,
        mesh=mesh,
        near=torch.from_numpy(neighbour.reshape(atoms, slots)[:, :inner]) if near else None,
    )


def moved_to(graph: Graph, cell: np.ndarray, smearing: float) -> Graph:
    """The lists of one frame in another cell, Å [3, 3], as long as they hold every pair there."""
    if not graph.periodic:
        return graph
    mesh, memory = plan(cell if smearing > 0 else None, smearing, len(graph.species))
    check_memory(memory, "electrostatics", f"a cell of {_edges(cell)}", _SMALLER)
    first, second, third = wave_numbers(cell, smearing)
    return replace(
        graph,
        cell=torch.from_numpy(np.ascontiguousarray(cell, dtype=float))[None].to(graph.cell.device),
        waves=(first.to(graph.away), second.to(graph.away), third.to(graph.away)),
        mesh=mesh,
    )


def _edges(cell: np.ndarray) -> str:
    a, b, c = np.linalg.norm(cell, axis=1)
    return f"{a:.4g} x {b:.4g} x {c:.4g} Å"


def _slots(count: np.ndarray) -> int:
    """Slots for the atom with most neighbours."""
    return max(SLOTS, -(-int(count.max(initial=0)) // SLOTS) * SLOTS)


def batch(graphs: Sequence[Graph]) -> Graph:
    """Join graphs of one cutoff into one, without any pair between them.

    Raises
    ------
    ValueError
        No graphs, different cutoffs, or periodic and isolated frames together.
    """
    if len(graphs) == 1:
        return graphs[0]
    kinds = {(g.cutoff, g.periodic) for g in graphs}
    if len(kinds) != 1:
        raise ValueError(f"one cutoff and one periodicity make a batch, got {sorted(kinds)}")
    slots = max(g.neighbour.shape[1] for g in graphs)
    atoms = np.cumsum([0] + [len(g.species) for g in graphs])
    frames = np.cumsum([0] + [len(g.cell) for g in graphs])
    starts, frame_starts = atoms[:-1].tolist(), frames[:-1].tolist()
    widest = [max((g.waves[a] for g in graphs), key=len) for a in range(3)]
    neighbour = torch.cat(
        [_widen(g.neighbour, slots) + a for g, a in zip(graphs, starts, strict=True)]
    )
    inner = [g.near.shape[1] for g in graphs if g.near is not None]
    return Graph(
        species=torch.cat([g.species for g in graphs]),
        neighbour=neighbour,
        image=torch.cat([_widen(g.image, slots) for g in graphs]),
        away=torch.cat([_widen(g.away, slots, far=2.0 * g.cutoff) for g in graphs]),
        reverse=torch.cat([_reverse(g, slots, a) for g, a in zip(graphs, starts, strict=True)]),
        ends=torch.cat([g.ends + a for g, a in zip(graphs, starts, strict=True)], dim=1),
        lattice=torch.cat([g.lattice for g in graphs]),
        frame=torch.cat([g.frame + f for g, f in zip(graphs, frame_starts, strict=True)]),
        place=torch.cat([g.place for g in graphs]),
        cell=torch.cat([g.cell for g in graphs]),
        charge=torch.cat([g.charge for g in graphs]),
        waves=(widest[0], widest[1], widest[2]),
        cutoff=graphs[0].cutoff,
        largest=max(g.largest for g in graphs),
        near=neighbour[:, : max(inner)] if len(inner) == len(graphs) else None,
    )


def _widen(value: Tensor, slots: int, *, far: float = 0.0) -> Tensor:
    """Add empty slots: the atom itself for numbers of atoms, (far, 0, 0) for vectors."""
    extra = slots - value.shape[1]
    if value.ndim == 3:
        vectors = value.new_tensor([far, 0.0, 0.0]).expand(len(value), extra, 3)
        return torch.cat([value, vectors], dim=1)
    own = torch.arange(len(value), device=value.device)[:, None].expand(-1, extra)
    return torch.cat([value, own], dim=1)


def _reverse(graph: Graph, slots: int, start: int) -> Tensor:
    """Reverse slots in lists of another width, from atom ``start`` on."""
    atoms, old = graph.neighbour.shape
    back = graph.reverse.reshape(atoms, old)
    moved = (back // old + start) * slots + back % old
    first = (torch.arange(atoms, device=back.device) + start)[:, None] * slots
    empty = first + torch.arange(old, slots, device=back.device)
    return torch.cat([moved, empty], dim=1).reshape(-1)


def reordered(graph: Graph, order: Tensor) -> Graph:
    """Bring the atoms of a graph with one list for all into another order [atoms]."""
    place = torch.argsort(order)
    slots = graph.neighbour.shape[1]
    back = graph.reverse.reshape(-1, slots)[order]
    own = {n: getattr(graph, n)[order] for n in ("species", "image", "away", "frame", "place")}
    neighbour = place[graph.neighbour[order]]
    return replace(
        graph,
        neighbour=neighbour,
        near=None if graph.near is None else neighbour[:, : graph.near.shape[1]],
        reverse=(place[back // slots] * slots + back % slots).reshape(-1),
        ends=place[graph.ends],
        **own,
    )


def _sorted(i: np.ndarray, j: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Order of directed pairs by (i, j, image): one integer per pair, sorted."""
    low = int(np.abs(image).max(initial=0))
    width, atoms = 2 * low + 1, int(max(i.max(initial=0), j.max(initial=0))) + 1
    if atoms**2 * width**3 >= 2**62:  # far from the cell: no integer holds them all
        return np.lexsort((image[:, 2], image[:, 1], image[:, 0], j, i))
    key = i * atoms + j
    for axis in range(3):
        key = key * width + (image[:, axis] + low)
    return np.argsort(key, kind="stable")


def total_charge(frame: Frame) -> float:
    """The frame's key ``total_charge`` or ``charge``, e; zero without.

    Raises
    ------
    InputError
        Something else than a finite number.
    """
    key = "total_charge" if "total_charge" in frame.info else "charge"
    value = frame.info.get(key, 0.0)
    try:
        charge = float(value)
    except (TypeError, ValueError):
        charge = math.nan
    if not math.isfinite(charge):
        raise InputError(
            f"{frame.where}, key '{key}'", f"{value!r}", "It must be a number, the charge in e."
        )
    return charge


def check_elements(frame: Frame, elements: Sequence[int]) -> None:
    """Refuse a frame that holds an element the network was not trained on."""
    unknown = sorted(set(frame.numbers.tolist()) - set(elements))
    if unknown:
        names = ", ".join(chemical_symbols[n] for n in unknown)
        known = ", ".join(chemical_symbols[n] for n in elements)
        raise InputError(
            f"{frame.where}, species",
            f"the element(s) {names}",
            f"The model knows {known}: train one with frames that hold them all.",
        )


def _check_overlap(frame: Frame, pairs: neighbours.Pairs) -> None:
    if len(pairs.distance) and float(pairs.distance.min()) < OVERLAP:
        worst = int(pairs.distance.argmin())
        raise InputError(
            f"{frame.where}, key 'positions'",
            f"atoms {pairs.i[worst]} and {pairs.j[worst]} are {pairs.distance[worst]:.3g} Å apart",
            "Remove the overlap, or convert the positions to Å.",
        )


def vectors(
    lists: Graph | Lists, frame: Tensor, rows: slice, positions: Tensor, cell: Tensor
) -> Tensor:
    """From each listed atom to its neighbours, Å [rows, slots, 3]; longer than a cutoff if empty.

    ``rows`` are the places of the listed atoms among ``positions`` [atoms, 3], ``frame`` [rows]
    their frames among ``cell`` [frames, 3, 3]. The difference is taken in their precision, and
    rounded to the type of the lists: where in space the atoms are makes no difference.
    """
    apart = positions[lists.neighbour] - positions[rows, None]
    apart = apart + torch.bmm(lists.image.to(cell.dtype), cell[frame])
    return apart.to(lists.away.dtype) + lists.away


def prune(graph: Graph, positions: Tensor, cutoff: float) -> Graph:
    """Keep the pairs closer than ``cutoff`` (Å) at other positions [atoms, 3].

    A list made with a longer cutoff holds every pair as long as no atom has moved by more than
    half the difference: engines rebuild it then, and prune it in every step. Slots keep the order
    of the longer list, and the pairs of the electrostatics stay.
    """
    atoms = len(graph.species)
    vector = vectors(graph, graph.frame, slice(None), positions, graph.cell)
    # a pair has exactly opposite vectors from its two ends, so both are kept or neither
    kept = (vector * vector).sum(dim=-1) < cutoff * cutoff
    width = max(SLOTS, -(-int(kept.sum(dim=1).max()) // SLOTS) * SLOTS)
    row = torch.arange(atoms, device=kept.device)[:, None]
    target = (row * width + kept.cumsum(dim=1) - 1).reshape(-1)
    old = kept.reshape(-1).nonzero()[:, 0]
    new = target[old]
    reverse = torch.arange(atoms * width, device=kept.device)
    reverse[new] = target[graph.reverse[old]]
    neighbour = row.expand(atoms, width).reshape(-1).clone()
    neighbour[new] = graph.neighbour.reshape(-1)[old]
    image = graph.image.new_zeros(atoms * width, 3)
    image[new] = graph.image.reshape(-1, 3)[old]
    away = graph.away.new_tensor([2.0 * cutoff, 0.0, 0.0]).repeat(atoms * width, 1)
    away[new] = 0.0
    neighbour = neighbour.reshape(atoms, width)
    return replace(
        graph,
        neighbour=neighbour,
        near=None if graph.near is None else neighbour[:, : graph.near.shape[1]],
        image=image.reshape(atoms, width, 3),
        away=away.reshape(atoms, width, 3),
        reverse=reverse,
        cutoff=cutoff,
    )
