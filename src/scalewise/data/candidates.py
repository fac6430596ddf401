"""Candidate pairs of near-duplicate frames, in time that grows little faster than their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from scalewise.data.displacement import Stack

#: Frames of one composition that are all compared with each other, at most.
ALL_PAIRS: Final = 256
#: Beyond: the nearest frames of each frame, in so many principal components, found from a sample.
NEAREST: Final = 12
COMPONENTS: Final = 8
SAMPLE: Final = 1000
#: Of the search for the nearest: what is nearer than 1 / (1 + SLACK) of the farthest one found is
#: found for certain. In eight dimensions an exact search takes n^1.7, and five times as long among
#: 50,000; of 5000 frames there that are moved by 0.21 Å, one is missed (benchmarks/doctor.py).
SLACK: Final = 1.0
#: Distances within a molecule, or vectors to atoms further on in the list, that describe an atom.
LINKS: Final = 4
#: Atoms that describe a frame, at most.
ATOMS: Final = 64
#: Frames that are described at once.
CHUNK: Final = 4096

Pairs = tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]


def every_pair(n: int) -> Pairs:
    """All pairs a < b of n frames."""
    a, b = np.triu_indices(n, k=1)
    return a.astype(np.int64), b.astype(np.int64)


def near_pairs(
    places: Float[np.ndarray, "frames components"],
    distance: float,
    kind: Int[np.ndarray, " frames"],
) -> Pairs:
    """Pairs of frames that may be closer than ``distance`` (Å), by their places.

    They are each frame's nearest ones of every kind, its neighbors along every axis (so that copies
    chain up, however many), and the next in line; see :func:`project`.
    """
    n = len(places)
    found = [(np.arange(n - 1), np.arange(1, n)), *_in_line(places, distance)]
    names = np.unique(kind)
    most = max(2, NEAREST // len(names))
    for name in names:
        found.append(nearest_pairs(places, np.flatnonzero(kind == name), most, distance))
    return unique_pairs(found, n)


def unique_pairs(found: list[Pairs], n: int) -> Pairs:
    """Each pair once, as a < b, in order."""
    a, b = (np.concatenate(part) for part in zip(*found, strict=True))
    key = np.unique(np.minimum(a, b) * n + np.maximum(a, b))
    a, b = key // n, key % n
    return a[a != b], b[a != b]


def nearest_pairs(
    places: Float[np.ndarray, "frames components"],
    among: Int[np.ndarray, " members"],
    most: int,
    radius: float,
) -> Pairs:
    """Each frame with its nearest ones among some, itself left out, within a radius."""
    tree = cKDTree(places[among])
    k = min(most + 1, len(among))
    parts = []
    for start in range(0, len(places), CHUNK):
        _, found = tree.query(
            places[start : start + CHUNK],
            k=np.arange(1, k + 1),
            eps=SLACK,
            distance_upper_bound=radius,
        )
        a, column = np.nonzero(found < len(among))
        b = among[found[a, column]]
        parts.append((a[b != a + start] + start, b[b != a + start]))
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _in_line(places: np.ndarray, distance: float) -> Iterator[Pairs]:
    for axis in places.T:
        order = np.argsort(axis, kind="stable")
        near = np.diff(axis[order]) < distance
        yield order[:-1][near], order[1:][near]


def project(stack: Stack) -> Float[np.ndarray, "frames components"]:
    """Places of the frames in a space where they are no farther apart than their atoms moved (Å).

    Principal components of :func:`_describe`: the directions along which the frames differ most.
    """
    n = len(stack.cells)
    centre, axes = _axes(_describe(stack, _sample(n)))
    parts = [
        (_describe(stack, np.arange(k, min(k + CHUNK, n))) - centre) @ axes.T
        for k in range(0, n, CHUNK)
    ]
    return np.concatenate(parts)


def principal(
    features: Float[np.ndarray, "frames features"],
) -> Float[np.ndarray, "frames components"]:
    """The features along the directions in which they differ most."""
    centre, axes = _axes(features[_sample(len(features))])
    return (features - centre) @ axes.T


def _sample(n: int) -> Int[np.ndarray, " sample"]:
    return np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)


def _axes(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = features.mean(axis=0)
    _, _, axes = np.linalg.svd(features - centre, full_matrices=False)
    return centre, axes[:COMPONENTS]


def _describe(stack: Stack, rows: np.ndarray) -> Float[np.ndarray, "rows features"]:
    r"""Features that change by no more than the displacement (Å).

    Periodic: :math:`e^{2 \pi i (f_i - f_j)}` of fractional coordinates of atoms that follow each
    other in the list, which no translation changes, and the lattice vectors. Isolated: distances
    of an atom to the next few in the list, which no rotation changes.
    """
    chosen = np.linspace(0, len(stack.numbers) - 1, min(len(stack.numbers), ATOMS)).astype(int)
    atoms = len(stack.numbers)
    if not stack.periodic:
        places = stack.coordinates[rows][:, chosen]
        links = range(1, min(LINKS, len(chosen) - 1) + 1)
        apart = [np.linalg.norm(places - np.roll(places, k, axis=1), axis=2) for k in links]
        scale = 2 * np.sqrt(max(len(links), 1) * atoms)
        return np.concatenate(apart, axis=1) / scale if apart else np.zeros((len(rows), 1))
    fractions = stack.coordinates[rows][:, chosen]
    angle = 2 * np.pi * (fractions - np.roll(fractions, 1, axis=1)).reshape(len(rows), -1)
    # the shortest direction of any cell: what a fraction moves an atom by, at least
    shortest = float(np.linalg.svd(stack.cells[:: max(1, len(stack.cells) // SAMPLE)])[1].min())
    scale = shortest / (2 * np.pi) / (2 * np.sqrt(atoms))
    return np.concatenate(
        [scale * np.cos(angle), scale * np.sin(angle), stack.strain_features[rows]], axis=1
    )
