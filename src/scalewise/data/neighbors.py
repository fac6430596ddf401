"""Pairs within a cutoff, from vesin, with the checks that a periodic box needs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from vesin import NeighborList

from scalewise.core.errors import InputError
from scalewise.core.files import ALWAYS_FREE, check_memory, free_memory
from scalewise.data.structure import Structure, check_cell, check_positions, heights

#: Bytes of a listed pair while lists are made.
PAIR_BYTES: Final = 200
#: Atoms per Å³ that no cell has: thirty times those of diamond.
DENSEST: Final = 5.0
#: Å: no cutoff is shorter.
SHORTEST: Final = 1e-3
#: Boxes that vesin divides space into, at most.
BOXES: Final = 1e5
#: Pairs, images counted, that are compared one by one at most.
MOST_COMPARED: Final = 1e8
MOST_ATOMS: Final = 3000
#: Along open axes, Å beyond the cutoff to which empty space is narrowed.
GAP: Final = 1.0
#: Å along open axes that a sheet or a chain is thought to fill at least.
THICKNESS: Final = 2.0


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs i, j with the vector from i to j (Å), its length, and the lattice shift of j."""

    i: Int[np.ndarray, " pairs"]
    j: Int[np.ndarray, " pairs"]
    vector: Float[np.ndarray, "pairs 3"]
    distance: Float[np.ndarray, " pairs"]
    shift: Int[np.ndarray, "pairs 3"]

    def select(self, mask: np.ndarray) -> Pairs:
        """Keep the pairs where ``mask`` is true."""
        return Pairs(
            self.i[mask], self.j[mask], self.vector[mask], self.distance[mask], self.shift[mask]
        )


def build(frame: Structure, cutoff: float, *, full: bool = False, images: bool = False) -> Pairs:
    """Find all pairs closer than ``cutoff`` (Å), each once, or in both directions if ``full``.

    With ``images`` an atom may see its own images and one neighbor more than once, as it must in
    cells smaller than the cutoff.

    Raises
    ------
    InputError
        A cell lower than the cutoff, unless ``images``; positions that are not finite; a periodic
        cell without volume, or not finite, or skewed; more pairs than memory holds.
    """
    if not cutoff > SHORTEST:
        raise InputError("cutoff", f"{cutoff:g} Å", f"Neighbors are farther than {SHORTEST:g} Å.")
    check_cell(frame.cell, frame.pbc, frame.where)
    check_positions(frame.positions, frame.where)
    if not images:
        check_height(frame, cutoff)
    lattice = frame.lattice
    # the search divides space into boxes: far from the origin, or in empty space, they overflow
    whole = np.floor(frame.positions @ np.linalg.inv(lattice)) * frame.pbc
    points = _gathered(frame.positions - whole @ lattice, lattice[~frame.pbc], cutoff)
    extent, reach = _extent(points, lattice), cutoff
    if not frame.pbc.any():
        reach = min(cutoff, 1.0 + float(np.linalg.norm(extent)))
    space = _Space(lattice, frame.pbc, extent)
    _check_count(frame, space, points, reach)
    if space.boxable(reach):
        finder = NeighborList(cutoff=reach, full_list=full, sorted=True, n_threads=1)
        i, j, shift, distance, vector = finder.compute(
            points=points, box=lattice, periodic=frame.pbc, quantities="ijSdD"
        )
    else:
        i, j, shift, distance, vector = _every_pair(frame, space, points, reach, full=full)
    i, j = i.astype(np.int64), j.astype(np.int64)
    # of the positions as they were given, not as they were wrapped
    moved = (shift + whole[i] - whole[j]).astype(np.int64)
    return Pairs(i, j, vector, distance, moved)


@dataclass(frozen=True, eq=False)
class _Space:
    """Where atoms are: the lattice, completed, and how far they reach along open axes, Å [3]."""

    lattice: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    extent: Float[np.ndarray, " 3"]

    def boxable(self, cutoff: float) -> bool:
        """Whether vesin's boxes go with the shape of the space.

        It takes ``BOXES`` at most, and scales their number along each axis alike: where one axis is
        so much longer than another that none is left along the shorter, it divides by zero.
        """
        edges = np.where(self.pbc, heights(self.lattice), self.extent)
        boxes = np.maximum(np.floor(edges / cutoff), 1.0)
        scaled = boxes.min() * min(1.0, (BOXES / float(boxes.prod())) ** (1 / 3))
        return bool(scaled >= 1.5 or boxes.prod() < 0.5 * BOXES)

    def volume(self, least: float) -> float:
        """Of the atoms, Å³, which are thought to reach ``least`` (Å) at least along open axes."""
        across = np.maximum(self.extent, least)[~self.pbc]
        return abs(float(np.linalg.det(self.lattice))) * float(across.prod())


def _extent(points: np.ndarray, lattice: np.ndarray) -> Float[np.ndarray, " 3"]:
    """How far atoms reach along each lattice vector, in its lengths [3]; of open axes, Å."""
    if not len(points):
        return np.zeros(3)
    return np.asarray(np.ptp(points @ np.linalg.inv(lattice), axis=0))


def _gathered(
    points: np.ndarray, axes: Float[np.ndarray, "open 3"], cutoff: float
) -> Float[np.ndarray, "atoms 3"]:
    """Positions with empty space narrowed, along each open axis, to little more than the cutoff.

    Atoms on its two sides are no neighbors before and after; atoms on one side stay as they are.
    """
    gathered = points
    for axis in axes if len(points) else ():
        along = points @ axis
        order = np.argsort(along, kind="stable")
        steps = np.diff(along[order], prepend=along[order[:1]])
        wide = steps > cutoff + GAP
        # what is beside each other is moved by the same amount: its distances keep all their digits
        taken = np.empty_like(along)
        taken[order] = along[order[0]] + np.cumsum(np.where(wide, steps - (cutoff + GAP), 0.0))
        gathered = gathered - taken[:, None] * axis
    return gathered


def _every_pair(
    frame: Structure, space: _Space, points: np.ndarray, cutoff: float, *, full: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What vesin returns, by comparing all pairs: for few atoms in spaces of odd shapes."""
    atoms = len(points)
    steps = np.where(space.pbc, np.ceil(cutoff / heights(space.lattice)), 0.0).astype(int)
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in steps.tolist()))))
    work = float(atoms) ** 2 * len(images)
    if work > MOST_COMPARED or atoms > MOST_ATOMS:
        raise InputError(
            frame.where,
            f"{atoms} atoms in a space much longer along one axis than along another",
            "Use a cell with edges of like length, or fewer atoms.",
        )
    found = []
    for image in images:
        apart = points[None] - points[:, None] + image @ space.lattice
        near = (apart * apart).sum(axis=-1) < cutoff * cutoff
        if not image.any():
            np.fill_diagonal(near, False)
        i, j = np.nonzero(near)
        if not full:  # each pair once: the first image that is not its own mirror image
            first = next((n for n in image if n), 0)
            kept = i < j if first == 0 else np.full(len(i), first > 0)
            i, j = i[kept], j[kept]
        found.append((i, j, np.repeat(image[None], len(i), axis=0), apart[i, j]))
    i, j, shift, vector = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((j, i))
    i, j, shift, vector = i[order], j[order], shift[order], vector[order]
    return i, j, shift, np.linalg.norm(vector, axis=1), vector


def _check_count(frame: Structure, space: _Space, points: np.ndarray, cutoff: float) -> None:
    """Refuse lists that memory does not hold."""
    atoms, periodic = len(points), bool(frame.pbc.any())
    sphere = 4 / 3 * math.pi * cutoff**3
    if periodic:
        density = atoms / space.volume(THICKNESS)
        if density > DENSEST:
            raise InputError(
                f"{frame.where}, key 'Lattice'",
                f"{density:.3g} atoms per Å³: they would lie upon each other",
                "Convert positions and cell to Å (nm looks like this).",
            )
        pairs = atoms * max(atoms / space.volume(cutoff) * sphere, 1.0)
    else:
        pairs = float(atoms) ** 2
    # in half-empty cells the atoms that are there see several times the mean
    most = 8.0 * pairs if periodic else pairs
    if PAIR_BYTES * most > ALWAYS_FREE and PAIR_BYTES * most > free_memory():
        tree = cKDTree(points)
        counted = float(tree.count_neighbors(tree, cutoff))
        pairs = max(pairs, counted) if periodic else counted
    check_memory(
        PAIR_BYTES * pairs,
        f"{frame.where}, within {cutoff:g} Å",
        f"about {pairs:.2g} pairs of neighbors of {atoms} atoms",
        "Use a shorter cutoff or a smaller structure, or check that lengths are in Å.",
    )


def height(frame: Structure) -> float:
    """Least distance (Å) between two faces of a cell along its periodic axes; infinite without."""
    return float(heights(frame.lattice)[frame.pbc].min(initial=math.inf))


def check_height(frame: Structure, cutoff: float) -> None:
    """Refuse cells lower than the cutoff (Å) along a periodic axis; see :func:`build`."""
    lowest = height(frame)
    if lowest < cutoff:
        raise InputError(
            f"{frame.where}, key 'Lattice'",
            f"the cell is {lowest:.2f} Å high, lower than the cutoff of {cutoff:g} Å",
            "Use larger cells, or shorter distances in selector.cutoff, branches.short_cutoff, "
            "branches.long_cutoff and regimes.",
        )
