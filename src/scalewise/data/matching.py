"""Near-duplicates whose atoms are listed in another order, or have exchanged positions."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from scalewise.data.candidates import ALL_PAIRS, Pairs, principal, unique_pairs
from scalewise.data.displacement import Stack

#: Frames with the most similar density waves that are matched atom by atom, per frame; and where
#: more frames have one composition than are all compared.
CANDIDATES: Final = 6
FEW: Final = 1
#: ... and whose squared difference is below this share of the median over all pairs. Of the 304
#: frames of shuffled and shifted salt water with a twin within 0.75 Å, 297 find one this way.
UNLIKE_SHARE: Final = 0.5
#: Matched atoms may move by this share of their spacing (density^(-1/3)). Two unrelated frames of
#: liquid water match at 0.6 of it, because with free choice some atom is always near.
MATCHED_SHARE: Final = 0.4
#: Pairs of atoms that are compared at once: some ten megabytes.
COMPONENTS: Final = 300_000
#: Frames whose waves are formed at once.
CHUNK: Final = 4096


def matched_displacements(
    stack: Stack,
    waves: Complex[np.ndarray, "frames elements waves"],
    pairs: Pairs,
    distance: float,
) -> tuple[Pairs, Float[np.ndarray, " pairs"]]:
    """The pairs closer than ``distance`` (Å) after an assignment of atoms, and how close."""
    a, b = pairs
    cell = 0.5 * (stack.cells[a] + stack.cells[b])
    volume = np.abs(np.linalg.det(cell)) * 0.5 ** np.count_nonzero(~stack.pbc)
    limit = np.minimum(distance, MATCHED_SHARE * (volume / len(stack.numbers)) ** (1 / 3))
    # the three longest waves carry the translation in their phases
    turn = np.sum(waves[a, :, :3] * waves[b, :, :3].conj(), axis=1)
    best = np.full(len(a), np.inf)
    for drift in (np.zeros((len(a), 3)), np.angle(turn) / (2 * np.pi)):
        for k in np.flatnonzero(_may_match(stack, pairs, cell, drift, limit)).tolist():
            found = _match(stack, int(a[k]), int(b[k]), cell[k], drift[k], float(limit[k]))
            best[k] = min(best[k], found)
    near = best < limit
    return (a[near], b[near]), best[near]


def similar_pairs(stack: Stack, waves: Complex[np.ndarray, "frames elements waves"]) -> Pairs:
    """Pairs whose waves have nearly the same heights: blind to order and translation."""
    heights = np.abs(waves).reshape(len(stack.cells), -1)
    n = len(heights)
    most, places = CANDIDATES, heights
    if n > ALL_PAIRS:  # a tree of many dimensions is no faster than all pairs
        most, places = FEW, principal(heights)
    _, found = cKDTree(places).query(places, k=np.arange(2, min(most + 1, n) + 1))
    # of a sample: the usual gap hardly changes
    rng = np.random.default_rng(0)
    i, j = rng.integers(n, size=(2, 4 * ALL_PAIRS))
    comparable = (i != j) & stack.alike(i, j)
    if not comparable.any():
        i, j = np.repeat(np.arange(n), found.shape[1]), found.ravel()
        comparable = stack.alike(i, j)
        if not comparable.any():
            return unique_pairs([(i[:0], j[:0])], n)
    usual = np.median(np.sum((heights[i] - heights[j])[comparable] ** 2, axis=1))
    a, b = np.repeat(np.arange(n), found.shape[1]), found.ravel()
    gap = np.sum((heights[a] - heights[b]) ** 2, axis=1)
    near = stack.alike(a, b) & (gap <= UNLIKE_SHARE * usual)
    return unique_pairs([(a[near], b[near])], n)


def density_waves(stack: Stack) -> Complex[np.ndarray, "frames elements waves"]:
    """sum_i exp(2 pi i n f_i) / sqrt(N) per element, for the 13 shortest n (and -n).

    In single precision: they only choose what is compared.
    """
    grid = [
        (x, y, z) for x in (0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)
    ]
    n = np.array(sorted(grid, key=lambda v: (sum(c * c for c in v), [-c for c in v])))
    found = []
    for start in range(0, len(stack.coordinates), CHUNK):
        phases = np.exp(2j * np.pi * (stack.coordinates[start : start + CHUNK] @ n.T))
        parts = [phases[:, stack.numbers == e].sum(axis=1) for e in np.unique(stack.numbers)]
        found.append(np.stack(parts, axis=1, dtype=np.complex64, casting="same_kind"))
    return np.concatenate(found) / np.float32(np.sqrt(len(stack.numbers)))


def _may_match(
    stack: Stack, pairs: Pairs, cell: np.ndarray, drift: np.ndarray, limit: np.ndarray
) -> Bool[np.ndarray, " pairs"]:
    """Whether giving every atom its nearest is cheap enough: no assignment is cheaper."""
    found = np.ones(len(limit), dtype=bool)
    atoms = len(stack.numbers)
    step = max(1, COMPONENTS // atoms**2)
    for start in range(0, len(limit), step):
        part = slice(start, start + step)
        first = stack.coordinates[pairs[0][part]]
        second = stack.coordinates[pairs[1][part]] + drift[part, None]
        metric = (cell[part] @ cell[part].transpose(0, 2, 1))[:, :, :, None, None]
        cheapest = np.zeros(len(first))
        for element in np.unique(stack.numbers):
            mine = stack.numbers == element
            gap = first[:, mine, None] - second[:, None, mine]
            gap -= np.rint(gap)
            x, y, z = np.moveaxis(gap, -1, 0)
            cost = (
                metric[:, 0, 0] * x * x
                + metric[:, 1, 1] * y * y
                + metric[:, 2, 2] * z * z
                + 2 * (metric[:, 0, 1] * x * y + metric[:, 0, 2] * x * z + metric[:, 1, 2] * y * z)
            )
            cheapest += cost.min(axis=2).sum(axis=1)
        found[part] = cheapest <= 2 * limit[part] ** 2 * atoms
    return found


def _match(
    stack: Stack, a: int, b: int, cell: np.ndarray, drift: np.ndarray, limit: float
) -> float:
    """Root-mean-square displacement (Å) after assigning atoms of one element to each other."""
    metric = cell @ cell.T
    for _ in range(2):  # the second time with the translation that the first assignment shows
        moved = stack.coordinates[b] + drift
        delta = np.empty_like(moved)
        for element in np.unique(stack.numbers):
            mine = stack.numbers == element
            gap = [
                p[:, None] - q
                for p, q in zip(stack.coordinates[a][mine].T, moved[mine].T, strict=True)
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
    strain = float(stack.strain(np.array([a]), np.array([b]))[0])
    return float(np.sqrt(np.mean(np.sum((delta @ cell) ** 2, axis=1)) + strain))
