"""Graphs, the input of the network: padded, distance-sorted neighbor lists of one or more frames.

With a padded list, a sum over neighbors is a batched matrix product. Every pair is listed for both
of its atoms, and ``reverse_neighbor_index`` maps each entry to the other one. As lists are sorted
by distance, the list of a smaller cutoff is a prefix of the list of a larger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from scalewise.core.errors import InputError
from scalewise.core.files import check_memory
from scalewise.data import neighbors
from scalewise.data.charges import total_charge
from scalewise.data.structure import Structure
from scalewise.models.electrostatics import plan, wave_numbers
from scalewise.models.particle_mesh import mesh_numbers
from scalewise.models.truncation import box

#: Slots are padded to a multiple of this: equal shapes for frames that are nearly equal.
SLOTS = 4
_SMALLER = (
    "Use a smaller structure or cell, or a network trained without charges "
    "(network.charges=false in train)."
)
#: Å, components of the vector in padded entries of a list: farther than any cutoff.
FAR: Final = 1e3
#: Waves in which the charges of a slab or wire are summed at most: they take half a minute.
MOST_WAVES: Final = 2e7
#: Nuclei closer than this (Å) are an error of the input, not chemistry; H2 is 0.74 Å.
OVERLAP = 0.2


class Lists(NamedTuple):
    """Padded lists of some atoms, as in :class:`Graph`."""

    neighbor_index: Tensor
    cell_shift: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Graph:
    """Neighbor lists and cells of a batch of frames, without their positions.

    Cells are in double precision for every type of the network, and so are the positions that are
    used with a graph: vectors between neighbors are computed from them and then rounded.

    Attributes
    ----------
    atom_types
        Index of each atom's element in the network's list [atoms].
    neighbor_index
        Index of each neighbor [atoms, neighbors]; empty slots hold the atom itself.
    cell_shift
        Lattice vectors to add to the neighbor's position, as whole numbers in the order of ``cell``
        [atoms, neighbors, 3].
    mask
        Whether an entry of the padded lists is a neighbor [atoms, neighbors].
    reverse_neighbor_index
        Position of the entry of the same pair in the list of its other atom, in the flattened slots
        [atoms * slots].
    senders
        For each atom, list of the atoms of which it is a neighbor; none: they are its neighbors.
    bins
        Lists of consecutive atoms, of different widths, instead of one list for all atoms; see
        :func:`scalewise.models.binning.bin_atoms`.
    edge_index, edge_cell_shift
        Pairs of the electrostatic sum, each listed once: the two atoms [2, pairs], and the lattice
        vectors to add to the position of the second, as whole numbers [pairs, 3]. These pairs are
        kept if the other lists are trimmed to a shorter cutoff.
    system_index
        System of each atom [atoms].
    index_in_system
        Index of each atom within its system [atoms].
    cell
        Lattice vectors in rows, Å [systems, 3, 3]: those of periodic axes first, then those with
        which :func:`scalewise.models.truncation.box` replaces the others.
    periodic_axes
        Number of periodic axes of each frame [systems].
    total_charge
        Total charge of each frame, e [systems].
    kvectors
        Whole numbers of the reciprocal vectors along each axis, three tensors; empty without
        periodicity, and without charges.
    cutoff
        Cutoff, Å; every pair closer than this is listed.
    largest_system
        Number of atoms of the largest system.
    mesh
        Whole numbers of the waves of a mesh along each axis, if the electrostatics of this single
        system is faster on a mesh: :func:`scalewise.models.particle_mesh.mesh_numbers`.
    partial
        Whether any frame is a slab or wire.
    isolated
        Whether any frame is not periodic at all.
    first_neighbor_index
        The first entries of ``neighbor_index``, which hold all neighbors within the cutoff of the
        first layer [atoms, fewer slots]; none: the first layer has the cutoff of all layers.
    """

    atom_types: Tensor
    neighbor_index: Tensor
    cell_shift: Tensor
    mask: Tensor
    reverse_neighbor_index: Tensor
    edge_index: Tensor
    edge_cell_shift: Tensor
    system_index: Tensor
    index_in_system: Tensor
    cell: Tensor
    periodic_axes: Tensor
    total_charge: Tensor
    kvectors: tuple[Tensor, Tensor, Tensor]
    cutoff: float
    largest_system: int
    senders: Lists | None = None
    bins: tuple[Graph, ...] = ()
    first_neighbor_index: Tensor | None = None
    mesh: tuple[Tensor, Tensor, Tensor] | None = None
    partial: bool = False
    isolated: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of results; cells and positions are in double precision."""
        return self.total_charge.dtype

    def vectors(self, positions: Tensor, cell: Tensor) -> Tensor:
        """Vectors from atoms to their neighbors, Å [atoms, neighbors, 3]; ``FAR`` if masked."""
        return neighbor_vectors(self, self.system_index, slice(None), positions, cell, self.dtype)

    def rows(self, size: int) -> list[tuple[slice, Graph]]:
        """Cut the lists into parts of ``size`` atoms; neighbors keep their numbers in the whole.

        Of a part, only what is listed per atom and per slot is its own; ``reverse_neighbor_index``
        and ``index_in_system`` are those of the whole.
        """
        if not self.bins and size >= self.atom_types.shape[0]:
            return [(slice(None), self)]
        found, start = [], 0
        for part in self.bins or (self,):
            for at in range(0, part.atom_types.shape[0], size):
                end = min(at + size, part.atom_types.shape[0])
                found.append((slice(start + at, start + end), part._cut(slice(at, end))))
            start += part.atom_types.shape[0]
        return found

    def first(self, rows: int) -> tuple[slice, Graph]:
        """The neighbor lists of the first atoms, as one part of :meth:`rows`."""
        return slice(0, rows), self._cut(slice(0, rows))

    def _cut(self, rows: slice) -> Graph:
        names = ("atom_types", "neighbor_index", "cell_shift", "mask", "system_index")
        sent = None if self.senders is None else Lists(*(v[rows] for v in self.senders))
        near = None if self.first_neighbor_index is None else self.first_neighbor_index[rows]
        return replace(
            self,
            senders=sent,
            first_neighbor_index=near,
            **{n: getattr(self, n)[rows] for n in names},
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Graph:
        """Return a copy on a device, with all floating-point values except cells of a type."""

        def move(value: Tensor, dtype: torch.dtype | None = dtype) -> Tensor:
            return value.to(device, dtype if value.is_floating_point() else None)

        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = move(value, None) if name == "cell" else move(value)
        moved["kvectors"] = tuple(move(w) for w in self.kvectors)
        moved["mesh"] = None if self.mesh is None else tuple(move(n) for n in self.mesh)
        return replace(self, **moved)


def build(
    frame: Structure,
    elements: Sequence[int],
    cutoff: float,
    *,
    smearing: float = 0.0,
    near: float | None = None,
) -> Graph:
    """List the neighbors of one frame (float64, on the CPU).

    Parameters
    ----------
    frame
        Atoms, cell and periodicity. Cells may be smaller than the cutoff: images are listed.
    elements
        Atomic numbers that the network knows, in its order.
    cutoff
        Cutoff of the lists, Å.
    smearing
        Width of the smeared charges, Å; zero: no charges.
    near
        Cutoff of the first layer, Å, if it is shorter than that of the others. Lists with a skin
        need the skin in this cutoff, too.

    Raises
    ------
    InputError
        An element that the network does not know, positions that are not finite, atoms on top of
        each other, a periodic cell without volume, or a charge that is not a number.
    """
    check_elements(frame, elements)
    pairs = neighbors.build(frame, cutoff, images=True)
    check_apart(frame, pairs)
    if np.abs(pairs.shift).max(initial=0) >= 2**31:
        raise InputError(
            f"{frame.where}, key 'positions'",
            "atoms more than two thousand million lattice vectors from the cell",
            "Write positions near the cell, such as after atoms.wrap().",
        )
    atoms = len(frame.numbers)
    cell, axes = box(frame.lattice, frame.pbc, frame.positions, smearing)
    # every pair from its first atom, then every pair from its second
    i, j = np.concatenate([pairs.i, pairs.j]), np.concatenate([pairs.j, pairs.i])
    distance = np.concatenate([pairs.distance, pairs.distance])
    shift = pairs.shift[:, axes].astype(np.int32)
    count = np.bincount(i, minlength=atoms)
    slots = _slots(count)
    order = _nearest_first(i, distance, atoms)
    slot = np.empty(len(i), dtype=np.int64)
    slot[order] = i[order] * slots + np.arange(len(i)) - (np.cumsum(count) - count)[i[order]]
    neighbor = np.repeat(np.arange(atoms), slots)
    neighbor[slot] = j
    images = np.zeros((atoms * slots, 3), dtype=np.int32)
    images[slot] = np.concatenate([shift, -shift])
    mask = np.zeros(atoms * slots, dtype=bool)
    mask[slot] = True
    reverse = np.arange(atoms * slots)
    there, back = np.split(slot, 2)
    reverse[there], reverse[back] = back, there
    once = np.sort(np.minimum(there, back)) if smearing > 0 else there[:0]
    inner = _slots(np.bincount(i[distance < near], minlength=atoms)) if near else slots
    charge = total_charge(frame)
    mesh, waves = _sums(frame, cell, smearing)
    return Graph(
        atom_types=torch.from_numpy(np.searchsorted(np.sort(elements), frame.numbers)),
        neighbor_index=torch.from_numpy(neighbor.reshape(atoms, slots)),
        cell_shift=torch.from_numpy(images.reshape(atoms, slots, 3)),
        mask=torch.from_numpy(mask.reshape(atoms, slots)),
        reverse_neighbor_index=torch.from_numpy(reverse),
        edge_index=torch.from_numpy(np.stack([once // slots, neighbor[once]])),
        edge_cell_shift=torch.from_numpy(images[once]),
        system_index=torch.zeros(atoms, dtype=torch.int64),
        index_in_system=torch.arange(atoms),
        cell=torch.from_numpy(np.ascontiguousarray(cell, dtype=float))[None],
        periodic_axes=torch.tensor([int(frame.pbc.sum())]),
        total_charge=torch.tensor([charge], dtype=torch.float64),
        kvectors=waves,
        cutoff=cutoff,
        largest_system=atoms,
        mesh=mesh,
        partial=bool(frame.pbc.any()) and not frame.pbc.all(),
        isolated=not frame.pbc.any(),
        first_neighbor_index=torch.from_numpy(neighbor.reshape(atoms, slots)[:, :inner])
        if near
        else None,
    )


def moved_to(graph: Graph, frame: Structure, smearing: float) -> Graph:
    """The lists of one frame in the cell that it has now, as long as they hold every pair there."""
    if graph.isolated:
        return graph
    cell, _ = box(frame.lattice, frame.pbc, frame.positions, smearing)
    mesh, waves = _sums(frame, cell, smearing)
    moved = replace(graph, kvectors=waves, mesh=mesh).to(graph.cell.device, graph.dtype)
    cell = np.ascontiguousarray(cell, dtype=float)
    return replace(moved, cell=torch.from_numpy(cell)[None].to(graph.cell.device))


def _sums(
    frame: Structure, cell: np.ndarray, smearing: float
) -> tuple[tuple[Tensor, Tensor, Tensor] | None, tuple[Tensor, Tensor, Tensor]]:
    """The mesh of the charges' field, where one is quicker, and the waves of the Ewald sum."""
    axes, atoms = int(frame.pbc.sum()), len(frame.numbers)
    mesh, memory, waves = plan(cell if axes else None, smearing, atoms, axes)
    if axes < 3 and waves > MOST_WAVES:
        raise InputError(
            f"{frame.where}, key 'positions'",
            f"atoms so far apart along an open axis that charges are summed in {_edges(cell)}",
            "Remove atoms that have left the slab or wire, or use a network trained without "
            "charges (network.charges=false in train).",
        )
    shape = f"a cell of {_edges(cell)}" if axes else f"all pairs of {atoms} atoms"
    check_memory(memory, f"{frame.where}, electrostatics", shape, _SMALLER)
    numbers = mesh_numbers(cell, smearing) if mesh else None
    return numbers, wave_numbers(cell, smearing if axes else 0.0)


def _edges(cell: np.ndarray) -> str:
    a, b, c = np.linalg.norm(cell, axis=1)
    return f"{a:.4g} x {b:.4g} x {c:.4g} Å"


def _slots(count: np.ndarray) -> int:
    """Slots for the atom with most neighbors."""
    return max(SLOTS, -(-int(count.max(initial=0)) // SLOTS) * SLOTS)


def _nearest_first(i: np.ndarray, distance: np.ndarray, atoms: int) -> np.ndarray:
    """Order of directed pairs by their first atom, then by distance."""
    order = np.argsort(distance)
    # numpy sorts short integers in linear time: digit by digit
    for digit in range(0, max(1, atoms.bit_length()), 16):
        key = (i[order] >> digit).astype(np.uint16)
        order = order[np.argsort(key, kind="stable")]
    return order


def check_elements(frame: Structure, elements: Sequence[int]) -> None:
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


def check_apart(frame: Structure, pairs: neighbors.Pairs) -> None:
    """Refuse atoms that are at one place.

    Raises
    ------
    InputError
        Two atoms nearer than ``OVERLAP``.
    """
    if len(pairs.distance) and float(pairs.distance.min()) < OVERLAP:
        worst = int(pairs.distance.argmin())
        raise InputError(
            f"{frame.where}, key 'positions'",
            f"atoms {pairs.i[worst]} and {pairs.j[worst]} are {pairs.distance[worst]:.3g} Å apart",
            "Remove the overlap, or convert the positions to Å.",
        )


def spread(values: Tensor, system_index: Tensor) -> Tensor:
    """Values of systems [systems, ...] for the atoms, or pairs, that are in them [atoms, ...]."""
    # the compiler fails on lookups of one row, whose derivative adds to it
    if values.shape[0] == 1:
        return values.expand(system_index.shape[0], *values.shape[1:])
    return values[system_index]


def collected(values: Tensor, system_index: Tensor, systems: int) -> Tensor:
    """Sums over the atoms of each system, of values of the atoms [atoms]."""
    if systems == 1:
        return values.sum(dim=0, keepdim=True)
    return values.new_zeros(systems).index_add(0, system_index, values)


def neighbor_vectors(
    lists: Graph | Lists,
    system_index: Tensor,
    rows: slice,
    positions: Tensor,
    cell: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Vectors from listed atoms to their neighbors, Å [rows, neighbors, 3]; ``FAR`` where masked.

    The difference of the positions is taken in their own precision and then rounded to ``dtype``:
    the place of the atoms in space does not matter.

    Parameters
    ----------
    lists
        Padded neighbor lists of the atoms ``rows``.
    system_index
        System of each of these atoms among ``cell`` [rows].
    rows
        Which of the ``positions`` the lists belong to.
    positions, cell
        Å [atoms, 3] and [systems, 3, 3].
    dtype
        Of the result.
    """
    apart = positions[lists.neighbor_index] - positions[rows, None]
    apart = apart + torch.bmm(lists.cell_shift.to(cell.dtype), spread(cell, system_index))
    return torch.where(lists.mask[..., None], apart.to(dtype), FAR)
