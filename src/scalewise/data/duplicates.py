"""Near-duplicate frames: the same atoms with small displacements, in any order of the atoms."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scalewise.data import columns
from scalewise.data.candidates import (
    ALL_PAIRS,
    Pairs,
    every_pair,
    near_pairs,
    nearest_pairs,
    project,
)
from scalewise.data.displacement import Stack, compared_atoms, displacements
from scalewise.data.matching import density_waves, matched_displacements, similar_pairs
from scalewise.data.shards import numbers_of, take
from scalewise.data.structure import Structure

#: Members of a group that stand for it when groups are compared, and rounds of that comparison.
MEMBERS: Final = 8
ROUNDS: Final = 3

Links = tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of near-duplicate frames, and the groups of frames that are connected by pairs.

    If more than 256 frames have one composition, each frame is paired with its nearest ones only.

    Attributes
    ----------
    first, second
        Frame numbers of each pair [pairs], first < second.
    distance
        Root-mean-square displacement of the pair (Å) [pairs].
    reordered
        Whether the pair was found only after atoms in another order were matched [pairs].
    group
        Connected component of every frame [frames], numbered by first appearance.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    distance: Float[np.ndarray, " pairs"]
    reordered: Bool[np.ndarray, " pairs"]
    group: Int[np.ndarray, " frames"]

    def nearest(self) -> Float[np.ndarray, " frames"]:
        """Distance of every frame to its closest near-duplicate, Å [frames]; infinite if none."""
        nearest = np.full(len(self.group), np.inf)
        np.minimum.at(nearest, self.first, self.distance)
        np.minimum.at(nearest, self.second, self.distance)
        return nearest


def find_duplicates(
    frames: Sequence[Structure],
    distance: float,
    elements: Iterable[str] | None = None,
    roles: Sequence[Hashable] | None = None,
) -> Duplicates:
    """Find pairs of frames that differ by less than ``distance``, and the groups that they form.

    Two frames are compared when they have the same composition, the same periodicity and cells
    that differ by less than 0.4 %. With u_i the displacement of atom i under the minimum image in
    the mean cell, and the change of the lattice vectors a_k, their distance is ::

        d = sqrt(1/N sum_i |u_i - <u>|^2 + 1/12 sum_k |a_k' - a_k|^2)

    over the N compared atoms. A common translation does not count. A strain counts by the mean
    square displacement that it causes over the whole cell. Isolated molecules are first superposed
    by a rotation, with or without a reflection. Periodic frames are compared a second time after an
    optimal assignment of the atoms of each element to each other; such a pair must be closer than
    both ``distance`` and 0.4 times the spacing of the atoms, since unrelated liquids match at 0.6.
    The assignment is computed only for pairs with similar density waves |sum_i exp(2 pi i n f_i)|.
    A frame that is both reordered and rotated is not found.

    Up to 256 frames of one composition are all compared with each other. If there are more, each is
    compared with its nearest ones in eight principal components, so that the time grows little
    faster than the number of frames, and frames that are already in one group are not matched.

    Parameters
    ----------
    frames
        The frames; their labels are not used.
    distance
        Largest root-mean-square displacement of a pair, Å.
    elements
        Elements that are compared; default: all but hydrogen, or all elements if a frame has fewer
        than two other atoms (an isolated molecule: fewer than three).
    roles
        Role of each frame: every frame is then compared with its nearest ones of each role, so that
        near-duplicates in different roles are found even if a role has many frames.
    """
    kinds = _number(roles or [0] * len(frames))
    compared = None if elements is None else tuple(elements)
    ordered: list[Links] = []
    matched: list[Links] = []
    pbc = columns.periodicity(frames)
    keys = (
        (np.sort(z).tobytes(), p.tobytes()) for z, p in zip(numbers_of(frames), pbc, strict=True)
    )
    for members in _classes(keys):
        if len(members) < 2 or not compared_atoms(frames[members[0]], compared).any():
            continue
        parts = _classes(z.tobytes() for z in numbers_of(take(frames, members)))
        found = [
            _renamed(_in_order(take(frames, part), compared, distance, kinds[part]), part)
            for part in (members[p] for p in parts if len(p) > 1)
        ]
        ordered += found
        if frames[members[0]].pbc.any():
            alike = take(frames, members)
            links = _reordered(Stack.of(alike, compared, sort=True), distance, members, found)
            matched.append(_renamed(links, members))
    return _collect(ordered, matched, len(frames))


def _in_order(
    frames: Sequence[Structure], elements: Iterable[str] | None, distance: float, kind: np.ndarray
) -> Links:
    """Pairs of frames whose atoms are in the same order."""
    stack = Stack.of(frames, elements)
    if len(frames) <= ALL_PAIRS:
        return _close(stack, every_pair(len(frames)), distance)
    places = project(stack)
    found = [_close(stack, near_pairs(places, distance, kind), distance)]
    for _ in range(ROUNDS):
        links = _close(stack, _between_groups(places, found, distance), distance)
        if not len(links[0]):
            break
        found.append(links)
    return _joined(found)


def _between_groups(places: np.ndarray, found: Sequence[Links], distance: float) -> Pairs:
    """A few members of every group with their nearest ones of other groups.

    The nearest frames of a frame with many twins are all twins of each other: what links them to
    a second such crowd is farther.
    """
    a, b, _ = _joined(found)
    group = _components(a, b, len(places))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(places))
    order = order[np.argsort(group[order], kind="stable")]
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    chosen = order[rank < MEMBERS]
    first, second = nearest_pairs(places[chosen], np.arange(len(chosen)), 2 * MEMBERS, distance)
    first, second = chosen[first], chosen[second]
    other = group[first] < group[second]
    return first[other], second[other]


def _close(stack: Stack, pairs: Pairs, distance: float) -> Links:
    a, b = pairs
    apart = displacements(stack, a, b)
    near = apart < distance
    return a[near], b[near], apart[near]


def _reordered(stack: Stack, distance: float, members: np.ndarray, known: Sequence[Links]) -> Links:
    """Pairs that are found only after matching atoms."""
    waves = density_waves(stack)
    a, b = similar_pairs(stack, waves)
    size = int(members.max()) + 1
    first, second, _ = _joined(known)
    if len(members) > ALL_PAIRS:  # an assignment takes a millisecond, and one group is one already
        group = _components(first, second, size)
        new = group[members[a]] != group[members[b]]
    else:
        seen = np.minimum(first, second) * size + np.maximum(first, second)
        new = ~np.isin(members[a] * size + members[b], seen)
    (a, b), apart = matched_displacements(stack, waves, (a[new], b[new]), distance)
    return a, b, apart


def _joined(found: Sequence[Links]) -> Links:
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    if len(found) == 1:
        return found[0]
    a, b, apart = (np.concatenate(part) for part in zip(*found, strict=True))
    return a, b, apart


def _renamed(links: Links, names: np.ndarray) -> Links:
    a, b, apart = links
    if len(names) == names[-1] + 1:  # all frames there are
        return links
    return names[a], names[b], apart


def _components(a: np.ndarray, b: np.ndarray, n: int) -> Int[np.ndarray, " frames"]:
    links = (a.astype(np.int32), b.astype(np.int32))  # as SciPy keeps them
    graph = coo_array((np.ones(len(a), dtype=np.int8), links), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    found: np.ndarray = group.astype(np.int64)
    return found


def _collect(ordered: Sequence[Links], matched: Sequence[Links], n: int) -> Duplicates:
    a, b, apart = _joined([*ordered, *matched])
    group = _components(a, b, n)
    a, b = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((b, a))
    reordered = order >= sum(len(links[0]) for links in ordered)
    return Duplicates(a[order], b[order], apart[order], reordered, group)


def _number(values: Iterable[Hashable]) -> Int[np.ndarray, " values"]:
    """Number values by first appearance."""
    found: dict[Hashable, int] = {}
    return np.array([found.setdefault(v, len(found)) for v in values], dtype=np.int64)


def _classes(keys: Iterable[Hashable]) -> list[Int[np.ndarray, " members"]]:
    """Positions of equal keys, by first appearance."""
    number = _number(keys)
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
