"""Geometry: cells, closest distances, and the number of neighbors within a cutoff."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from scalewise.core.progress import SILENT, Progress
from scalewise.core.wording import count, list_frames
from scalewise.data import columns
from scalewise.data.neighbors import build
from scalewise.data.structure import Structure, complete_all, heights
from scalewise.data.units import SHORTEST_DISTANCE
from scalewise.doctor.findings import Finding

#: Distance (Å) up to which closest pairs are looked for.
REACH: Final = 6.0
#: Overlapping pairs of elements that are named one by one, closest first.
NAMED: Final = 5
#: Cutoff (Å) that most potentials use at least: lower cells are worth a word.
USUAL_CUTOFF: Final = 5.0


def describe_cells(frames: Sequence[Structure]) -> tuple[dict[str, Any], list[Finding]]:
    """Periodicity, heights and densities."""
    pbc, cells = columns.periodicity(frames), columns.cells(frames)
    kinds = Counter("".join("T" if p else "F" for p in axes) for axes in pbc.tolist())
    across = np.where(pbc, heights(complete_all(cells, pbc)), np.inf).min(axis=1)
    full = pbc.all(axis=1)
    density = columns.sizes(frames)[full] / np.abs(np.linalg.det(cells[full]))
    section = {
        "periodicity": dict(kinds),
        "lowest_height_angstrom": _range(across[np.isfinite(across)]),
        "density_atoms_per_cubic_angstrom": _range(density),
    }
    findings = []
    if len(kinds) > 1:
        mixed = ", ".join(f"pbc={kind} ({number})" for kind, number in kinds.items())
        findings.append(
            Finding(
                "note",
                "cells",
                f"frames of different periodicity are mixed: {mixed}",
                "Make sure their energies share one zero and one level of theory.",
            )
        )
    low = np.flatnonzero(across < USUAL_CUTOFF)
    if len(low):
        findings.append(
            Finding(
                "note",
                "cells",
                f"the cell is lower than {USUAL_CUTOFF:g} Å in {list_frames(low.tolist())} "
                f"(lowest: {across.min():.3g} Å): atoms see their own images",
                "Training and prediction list images. Only the branches of scalewise study need "
                "cells higher than their cutoffs.",
            )
        )
    return section, findings


def _range(values: np.ndarray) -> list[float] | None:
    return [float(values.min()), float(values.max())] if len(values) else None


# ---------------------------------------------------------------------------- closest distances


@dataclass(frozen=True)
class ClosestPair:
    """Closest distance (Å) of two elements over all frames, and the frame that has it."""

    first: str
    second: str
    distance: float | None
    frame: int | None


def find_closest(
    frames: Sequence[Structure], elements: Sequence[str], progress: Progress = SILENT
) -> list[ClosestPair]:
    """Closest distance of every pair of elements within 6 Å, images included."""
    index = _index_of(elements)
    n = len(elements)
    shortest = np.full(n * n, np.inf)
    where = np.full(n * n, -1)
    kinds = [a * n + b for a, b in combinations_with_replacement(range(n), 2)]
    for k, frame in enumerate(progress.track(frames, "Looking for close atoms")):
        # what is farther apart than every closest pair so far changes nothing
        reach = min(REACH, max(float(shortest[kinds].max()), SHORTEST_DISTANCE))
        pairs = build(frame, reach, images=True)
        i, j = index[frame.numbers[pairs.i]], index[frame.numbers[pairs.j]]
        low, high = np.minimum(i, j), np.maximum(i, j)
        here = np.full(n * n, np.inf)
        np.minimum.at(here, low * n + high, pairs.distance)
        closer = here < shortest
        shortest[closer], where[closer] = here[closer], k
    found = []
    for a, b in combinations_with_replacement(range(n), 2):
        k = a * n + b
        known = where[k] >= 0
        distance, frame_number = (float(shortest[k]), int(where[k])) if known else (None, None)
        found.append(ClosestPair(elements[a], elements[b], distance, frame_number))
    return found


def judge_closest(closest: Sequence[ClosestPair]) -> list[Finding]:
    """Name atoms that overlap."""
    overlap = [c for c in closest if c.distance is not None and c.distance < SHORTEST_DISTANCE]
    overlap.sort(key=lambda c: c.distance or 0.0)
    return [
        Finding(
            "error",
            "closest",
            f"{c.first} and {c.second} are {c.distance:.3g} Å apart in frame {c.frame}"
            + (f", and {count(len(overlap) - NAMED, 'other pair')} of elements overlap somewhere")
            * (k == NAMED - 1 and len(overlap) > NAMED),
            "Atoms overlap: check units, wrapping and repeated atoms; remove the frame.",
        )
        for k, c in enumerate(overlap[:NAMED])
    ]


def _index_of(elements: Sequence[str]) -> Int[np.ndarray, " numbers"]:
    """Position of each atomic number in ``elements``."""
    index = np.zeros(len(chemical_symbols), dtype=np.int64)
    for k, symbol in enumerate(elements):
        index[chemical_symbols.index(symbol)] = k
    return index


# ----------------------------------------------------------------------------------- neighbors


@dataclass(frozen=True, eq=False)
class NeighborCounts:
    """Neighbors within each cutoff.

    Attributes
    ----------
    cutoffs
        Å [cutoffs].
    frames
        How many of the looked-at frames have a cell high enough [cutoffs].
    looked_at
        Frame numbers.
    mean, high, most
        Mean, 99th percentile and maximum over the atoms of an element [elements, cutoffs]; NaN
        where no frame goes with the cutoff.
    pairs, most_pairs
        Mean and largest number of atom-neighbor pairs of a frame [cutoffs].
    """

    cutoffs: Float[np.ndarray, " cutoffs"]
    frames: Int[np.ndarray, " cutoffs"]
    looked_at: Int[np.ndarray, " looked_at"]
    mean: Float[np.ndarray, "elements cutoffs"]
    high: Float[np.ndarray, "elements cutoffs"]
    most: Float[np.ndarray, "elements cutoffs"]
    pairs: Float[np.ndarray, " cutoffs"]
    most_pairs: Float[np.ndarray, " cutoffs"]


def count_neighbors(
    frames: Sequence[Structure],
    elements: Sequence[str],
    cutoffs: Sequence[float],
    most_frames: int,
    seed: int = 0,
) -> NeighborCounts:
    """Count neighbors within each cutoff, in a random subsample where there are many frames.

    Images count.
    """
    looked_at = np.sort(np.random.default_rng(seed).permutation(len(frames))[:most_frames])
    edges = np.asarray(sorted(cutoffs), dtype=float)
    counts, kinds, total = [], [], []
    for k in looked_at:
        here = _count(frames[k], edges)
        counts.append(here)
        kinds.append(_index_of(elements)[frames[k].numbers])
        total.append(here.sum(axis=0))
    every = np.concatenate(counts) if counts else np.zeros((0, len(edges)))
    kind = np.concatenate(kinds) if kinds else np.zeros(0, dtype=np.int64)
    pairs = np.array(total).reshape(-1, len(edges))
    shape = (len(elements), len(edges))
    mean, high, most = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for e in range(len(elements)):
        for c in range(len(edges)):
            column = every[kind == e, c]
            column = column[np.isfinite(column)]
            if len(column):
                mean[e, c], most[e, c] = column.mean(), column.max()
                high[e, c] = np.percentile(column, 99)
    fits = np.isfinite(pairs)
    seen = fits.any(axis=0)
    average, largest = np.full(len(edges), np.nan), np.full(len(edges), np.nan)
    if seen.any():
        average[seen] = np.nanmean(pairs[:, seen], axis=0)
        largest[seen] = np.nanmax(pairs[:, seen], axis=0)
    return NeighborCounts(edges, fits.sum(axis=0), looked_at, mean, high, most, average, largest)


def _count(frame: Structure, edges: np.ndarray) -> Float[np.ndarray, "atoms cutoffs"]:
    """Neighbors of each atom within each cutoff, its own images and those of others included."""
    pairs = build(frame, float(edges.max()), images=True)
    shell = np.minimum(np.searchsorted(edges, pairs.distance), len(edges) - 1)
    flat = np.concatenate([pairs.i * len(edges) + shell, pairs.j * len(edges) + shell])
    shells = np.bincount(flat, minlength=len(frame.numbers) * len(edges))
    return shells.reshape(-1, len(edges)).cumsum(axis=1).astype(float)
