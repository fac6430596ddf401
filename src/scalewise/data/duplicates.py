"""Near-duplicate frames: the same atoms, hardly moved, in whatever order they are listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Bool, Complex, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scalewise.data.structure import Structure

#: Cells whose lattice vectors differ by more than this share, 6 % in volume, are not compared.
CELL_TOLERANCE: Final = 0.02
#: Frames with the most similar density waves that are matched atom by atom, per frame.
CANDIDATES: Final = 6
#: ... and whose squared difference is below this share of the median over all pairs. Of the 304
#: frames of shuffled and shifted salt water with a twin within 0.75 Å, 297 find one this way.
UNLIKE_SHARE: Final = 0.5
#: Matched atoms may move by this share of their spacing (density^(-1/3)). Two unrelated frames of
#: liquid water match at 0.6 of it, because with free choice some atom is always near.
MATCHED_SHARE: Final = 0.4
#: Pairs of frames compared at once; bounds the memory to some ten megabytes.
CHUNK: Final = 512

Links = list[tuple[int, int, float]]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of near-duplicate frames and the groups they chain up to.

    Attributes
    ----------
    first, second
        Frame numbers of each pair [pairs], first < second.
    distance
        Root-mean-square displacement of the pair (Å) [pairs].
    reordered
        Whether the pair was found only after matching atoms that are listed in another order.
    group
        Connected component of every frame [frames], numbered by first appearance.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    distance: Float[np.ndarray, " pairs"]
    reordered: Bool[np.ndarray, " pairs"]
    group: Int[np.ndarray, " frames"]

    def nearest(self) -> Float[np.ndarray, " frames"]:
        """Distance of every frame to its closest twin (Å), infinite without one."""
        nearest = np.full(len(self.group), np.inf)
        np.minimum.at(nearest, self.first, self.distance)
        np.minimum.at(nearest, self.second, self.distance)
        return nearest


def find_duplicates(
    frames: Sequence[Structure], distance: float, elements: Iterable[str] | None = None
) -> Duplicates:
    """Find frames whose atoms moved by less than ``distance`` and chain them to groups.

    Two frames are compared when they have the same composition, the same periodicity and cells
    that differ by less than 2 %. With u_i the displacement of atom i under the minimum image in the
    mean cell, and the change of the lattice vectors a_k, their distance is ::

        d = sqrt(1/N sum_i |u_i - <u>|^2 + 1/12 sum_k |a_k' - a_k|^2)

    over the N compared atoms: a common translation is no difference, and a strain counts as what it
    moves atoms by, wherever in the cell they are. Isolated molecules are
    superposed (rotated, mirrored) first. Periodic frames are compared a second time after an
    optimal assignment of atoms of one element to each other; such a pair must be closer than both
    ``distance`` and 0.4 times the spacing of the atoms, since unrelated liquids match at 0.6.
    Only pairs with similar density waves |sum_i exp(2 pi i n f_i)| reach that assignment; a
    reordered *and* rotated frame is not found.

    Parameters
    ----------
    frames
        Any labelled frames; labels are not looked at.
    distance
        Largest root-mean-square displacement of a pair, in Å.
    elements
        Elements that are compared; default: all but hydrogen (all, where there is nothing else).
    """
    ordered: Links = []
    matched: Links = []
    for members in _classes([(np.sort(f.numbers).tobytes(), f.pbc.tobytes()) for f in frames]):
        chosen = [_compared(frames[k], elements) for k in members]
        if not chosen[0].any():
            continue
        found: Links = []
        for same in _classes([frames[k].numbers.tobytes() for k in members]):
            stack = _Stack.of([frames[members[s]] for s in same], [chosen[s] for s in same])
            search = _in_order if stack.periodic else _superposed
            found += [
                (members[same[a]], members[same[b]], d) for a, b, d in search(stack, distance)
            ]
        ordered += found
        sorted_stack = _Stack.of([frames[k] for k in members], chosen, sort=True)
        if sorted_stack.periodic and len(members) > 1:
            known = {(a, b) for a, b, _ in found}
            local = _reordered(sorted_stack, distance, members, known)
            matched += [(members[a], members[b], d) for a, b, d in local]
    return _collect(ordered, matched, len(frames))


def _collect(ordered: Links, matched: Links, n: int) -> Duplicates:
    links = [(min(a, b), max(a, b), d, False) for a, b, d in ordered]
    links = sorted(links + [(min(a, b), max(a, b), d, True) for a, b, d in matched])
    first = np.array([link[0] for link in links], dtype=np.int64)
    second = np.array([link[1] for link in links], dtype=np.int64)
    graph = coo_array((np.ones(len(links)), (first, second)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    return Duplicates(
        first,
        second,
        np.array([link[2] for link in links], dtype=float),
        np.array([link[3] for link in links], dtype=bool),
        group.astype(np.int64),
    )


def _classes(keys: Sequence[object]) -> list[list[int]]:
    found: dict[object, list[int]] = {}
    for k, key in enumerate(keys):
        found.setdefault(key, []).append(k)
    return list(found.values())


def _compared(frame: Structure, elements: Iterable[str] | None) -> Bool[np.ndarray, " atoms"]:
    if elements is not None:
        return np.isin(frame.numbers, [atomic_numbers[e] for e in elements])
    heavy: np.ndarray = frame.numbers != 1
    return heavy if heavy.any() else np.ones_like(heavy)


@dataclass(frozen=True, eq=False)
class _Stack:
    """The compared atoms of frames of one composition: one array per property."""

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "frames atoms 3"]
    fractions: Float[np.ndarray, "frames atoms 3"]
    cells: Float[np.ndarray, "frames 3 3"]
    pbc: Bool[np.ndarray, " 3"]

    @property
    def periodic(self) -> bool:
        """Whether images are compared."""
        return bool(self.pbc.any())

    @classmethod
    def of(cls, frames: list[Structure], chosen: list[np.ndarray], sort: bool = False) -> _Stack:
        """Stack frames whose atoms are in the same order, or sort them by element."""
        orders = [
            np.flatnonzero(c)[np.argsort(f.numbers[c], kind="stable") if sort else slice(None)]
            for f, c in zip(frames, chosen, strict=True)
        ]
        positions = np.stack([f.positions[o] for f, o in zip(frames, orders, strict=True)])
        cells, pbc = np.stack([f.lattice for f in frames]), frames[0].pbc
        if pbc.any():  # along open axes no two atoms are apart by half of the cell
            extents = np.linalg.norm(np.ptp(positions, axis=1), axis=1)
            cells[:, ~pbc] *= 1.0 + 2.0 * float(extents.max())
        fractions = positions @ np.linalg.inv(cells) if pbc.any() else positions
        return cls(frames[0].numbers[orders[0]], positions, fractions, cells, pbc)

    def alike(self, rows: slice) -> Bool[np.ndarray, "rows frames"]:
        """Pairs row < column whose cells are nearly the same."""
        flat = self.cells[:, self.pbc].reshape(len(self.cells), -1)
        size = np.linalg.norm(flat, axis=1)
        change = np.linalg.norm(flat[rows, None] - flat[None], axis=-1)
        later: np.ndarray = np.arange(len(flat))[None] > np.arange(len(flat))[rows, None]
        return later & (change <= CELL_TOLERANCE * size[rows, None])

    def strain(self, a: np.ndarray | int, b: np.ndarray | int) -> Float[np.ndarray, ...]:
        """Mean square of what a change of the lattice vectors moves atoms by, Å² [pairs]."""
        change = (self.cells[a] - self.cells[b])[..., self.pbc, :]
        return np.asarray(np.sum(change**2, axis=(-2, -1)) / 12)

    def mean_cell(self, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "pairs 3 3"]:
        """Cell in which two frames are compared."""
        return 0.5 * (self.cells[a] + self.cells[b])


# --------------------------------------------------------------------- atoms in the same order


def _in_order(stack: _Stack, distance: float) -> Links:
    """Periodic frames. Most pairs are ruled out by a bound that costs one matrix product.

    With R_k = |mean_i exp(2 pi i u_ik)| for the fractional displacements u, 1 - cos x <= x^2/2
    gives mean_i u_ik^2 >= 2 (1 - R_k) / (2 pi)^2 for whatever translation is taken off.
    """
    n, atoms = stack.fractions.shape[:2]
    waves = np.exp(2j * np.pi * stack.fractions).astype(np.complex64).transpose(2, 0, 1)
    shortest = np.linalg.svd(stack.cells, compute_uv=False)[:, -1].min() * (1 - CELL_TOLERANCE)
    links: Links = []
    for start in range(0, n, CHUNK):
        rows = slice(start, min(start + CHUNK, n))
        mean = np.stack([w[rows] @ w.conj().T for w in waves]) / atoms
        bound = 2 * (1 - np.minimum(np.abs(mean), 1)).sum(axis=0) / (2 * np.pi) ** 2
        near = stack.alike(rows) & (shortest**2 * bound <= distance**2 + 1e-3)
        a, b = np.nonzero(near)
        drift = np.angle(mean[:, a, b]).T / (2 * np.pi)
        links += _measure(stack, a + start, b, drift, distance)
    return links


def _measure(
    stack: _Stack, a: np.ndarray, b: np.ndarray, drift: np.ndarray, distance: float
) -> Links:
    links: Links = []
    planes = np.ascontiguousarray(stack.fractions.transpose(2, 0, 1))
    for start in range(0, len(a), CHUNK):
        i, j, d = (v[start : start + CHUNK] for v in (a, b, drift))
        cell = stack.mean_cell(i, j)
        metric = cell @ cell.transpose(0, 2, 1)
        delta = [p[i] - p[j] - d[:, k, None] for k, p in enumerate(planes)]
        for plane in delta:
            plane -= np.rint(plane)
            plane -= plane.mean(axis=1, keepdims=True)
        square = sum(
            metric[:, k, m] * np.einsum("pn,pn->p", delta[k], delta[m])
            for k in range(3)
            for m in range(3)
        )
        rms = np.sqrt(np.maximum(square, 0.0) / planes.shape[2] + stack.strain(i, j))
        keep = rms < distance
        links += list(zip(i[keep].tolist(), j[keep].tolist(), rms[keep].tolist(), strict=True))
    return links


def _superposed(stack: _Stack, distance: float) -> Links:
    """Isolated frames, after the best rotation or mirror image (Kabsch).

    d^2 = (|A|^2 + |B|^2 - 2 sum of the singular values of A^T B) / N.
    """
    n, atoms = stack.positions.shape[:2]
    centred = stack.positions - stack.positions.mean(axis=1, keepdims=True)
    square = np.sum(centred**2, axis=(1, 2))
    flat = centred.transpose(0, 2, 1).reshape(3 * n, atoms)
    links: Links = []
    for start in range(0, n, 64):
        stop = min(start + 64, n)
        covariance = (flat[3 * start : 3 * stop] @ flat.T).reshape(stop - start, 3, n, 3)
        overlap = np.linalg.svd(covariance.transpose(0, 2, 1, 3), compute_uv=False).sum(axis=-1)
        mean = (square[start:stop, None] + square[None] - 2 * overlap) / atoms
        rms = np.sqrt(np.maximum(mean, 0.0))
        a, b = np.nonzero(np.triu(rms < distance, k=1 + start))
        links += list(zip((a + start).tolist(), b.tolist(), rms[a, b].tolist(), strict=True))
    return links


# --------------------------------------------------------------------- atoms in another order


def _reordered(
    stack: _Stack, distance: float, names: Sequence[int], known: set[tuple[int, int]]
) -> Links:
    waves = _density_waves(stack)
    links: Links = []
    for a, b in _candidates(stack, waves):
        if (names[a], names[b]) in known or (names[b], names[a]) in known:
            continue
        cell = 0.5 * (stack.cells[a] + stack.cells[b])
        volume = abs(np.linalg.det(cell)) * 0.5 ** np.count_nonzero(~stack.pbc)
        spacing = (volume / len(stack.numbers)) ** (1 / 3)
        limit = min(distance, MATCHED_SHARE * spacing)
        # the three longest waves carry the translation in their phases
        turn = np.sum(waves[a, :, :3] * waves[b, :, :3].conj(), axis=0)
        starts = (np.zeros(3), np.angle(turn) / (2 * np.pi))
        found = min(_match(stack, a, b, cell, drift, limit) for drift in starts)
        if found < limit:
            links.append((a, b, found))
    return links


def _density_waves(stack: _Stack) -> Complex[np.ndarray, "frames elements waves"]:
    """sum_i exp(2 pi i n f_i) / sqrt(N) per element, for the 13 shortest n (and -n)."""
    grid = [
        (x, y, z) for x in (0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)
    ]
    n = np.array(sorted(grid, key=lambda v: (sum(c * c for c in v), [-c for c in v])))
    phases = np.exp(2j * np.pi * (stack.fractions @ n.T))
    parts = [phases[:, stack.numbers == e].sum(axis=1) for e in np.unique(stack.numbers)]
    return np.stack(parts, axis=1) / np.sqrt(len(stack.numbers))


def _candidates(stack: _Stack, waves: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of frames whose waves have nearly the same heights: blind to order and translation."""
    heights = np.abs(waves).reshape(len(waves), -1)
    found: set[tuple[int, int]] = set()
    for start in range(0, len(heights), CHUNK):
        rows = slice(start, min(start + CHUNK, len(heights)))
        square = np.sum(heights**2, axis=1)
        gap = square[rows, None] + square[None] - 2 * heights[rows] @ heights.T
        comparable = stack.alike(rows)
        if not comparable.any():
            continue
        unlike = np.median(gap[comparable])
        gap[~comparable] = np.inf
        most = min(CANDIDATES, gap.shape[1])
        nearest = np.argpartition(gap, most - 1, axis=1)[:, :most]
        for a, columns in enumerate(nearest):
            found |= {(a + start, int(b)) for b in columns if gap[a, b] <= UNLIKE_SHARE * unlike}
    return sorted(found)


def _match(
    stack: _Stack, a: int, b: int, cell: np.ndarray, drift: np.ndarray, limit: float
) -> float:
    """Root-mean-square displacement (Å) after assigning atoms of one element to each other."""
    metric = cell @ cell.T
    for _ in range(2):  # the second time with the translation that the first assignment shows
        moved = stack.fractions[b] + drift
        delta = np.empty_like(moved)
        for element in np.unique(stack.numbers):
            mine = stack.numbers == element
            gap = [
                p[:, None] - q
                for p, q in zip(stack.fractions[a][mine].T, moved[mine].T, strict=True)
            ]
            for plane in gap:
                plane -= np.rint(plane)
            # |gap @ cell|^2 by planes: several times faster than products of many small rows
            cost = sum(
                (1 + (k != m)) * metric[k, m] * gap[k] * gap[m]
                for k in range(3)
                for m in range(k, 3)
                if abs(metric[k, m]) > 1e-12
            )
            # no assignment is cheaper than giving every atom its nearest
            if cost.min(axis=1).sum() > 2 * limit**2 * len(moved):
                return np.inf
            rows, columns = linear_sum_assignment(cost)
            delta[mine] = np.stack([plane[rows, columns] for plane in gap], axis=1)
        drift = drift + delta.mean(axis=0)
        delta -= delta.mean(axis=0)
    square = np.mean(np.sum((delta @ cell) ** 2, axis=1))
    return float(np.sqrt(square + stack.strain(a, b)))
