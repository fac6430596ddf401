"""Seconds of the doctor on random compositions of 85 elements, and of the search for twins.

    python benchmarks/doctor.py [--frames 10000] [--largest 100000] [--moved 0.06]

Structures of 10 to 20 atoms of two to five elements each, with noisy labels; then frames of one
composition with 16 atoms, of which every tenth is a moved copy of an earlier one. Prints seconds,
and for the second how many planted pairs share no group, the peak memory of the process, and the
slope of log time over log size.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from scalewise import diagnose_data
from scalewise.data.duplicates import find_duplicates
from scalewise.data.structure import Labels, Structure

ELEMENTS = 85
GRID = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)


def mixed(frames: int, seed: int = 0) -> list[Structure]:
    """Structures of random compositions, with noise of 20 meV/Å in every force."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(-5.0, 2.0, ELEMENTS + 1)
    found = []
    for k in range(frames):
        atoms, edge = int(rng.integers(10, 21)), 2.7 * rng.uniform(0.95, 1.05)
        kinds = rng.choice(np.arange(1, ELEMENTS + 1), rng.integers(2, 6), replace=False)
        numbers = rng.choice(kinds, atoms)
        forces = rng.standard_normal((atoms, 3))
        forces += 0.02 * rng.standard_normal((atoms, 3)) - forces.mean(axis=0)
        energy = float(reference[numbers].sum() + 0.05 * atoms * rng.standard_normal())
        positions = rng.permutation(GRID)[:atoms] * edge + 0.2 * rng.standard_normal((atoms, 3))
        found.append(
            Structure(
                numbers,
                positions,
                3 * edge * np.eye(3),
                np.ones(3, dtype=bool),
                index=k,
                labels=Labels(forces, energy),
            )
        )
    return found


def alike(
    frames: int, atoms: int = 16, seed: int = 0, moved: float = 0.06
) -> tuple[list[Structure], list[tuple[int, int]]]:
    """Structures of one composition, every tenth an earlier one that is moved, and these pairs.

    ``moved`` is the standard deviation of a component, Å.
    """
    rng = np.random.default_rng(seed)
    numbers = np.repeat([8, 22], [atoms // 2, atoms - atoms // 2])
    cell, pbc = 7.5 * np.eye(3), np.ones(3, dtype=bool)
    found: list[Structure] = []
    pairs = []
    for k in range(frames):
        if k % 10 == 9:
            pairs.append((int(rng.integers(k)), k))
            places = found[pairs[-1][0]].positions + moved * rng.standard_normal((atoms, 3))
        else:
            places = rng.permutation(GRID)[:atoms] * 2.5 + 0.4 * rng.standard_normal((atoms, 3))
        found.append(Structure(numbers, places, cell, pbc, index=k))
    return found, pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--moved", type=float, default=0.06)
    given = parser.parse_args()
    structures = mixed(given.frames)
    start = time.perf_counter()
    diagnose_data(structures)
    print(
        f"doctor, {given.frames} frames of {ELEMENTS} elements: {time.perf_counter() - start:.1f} s"
    )
    sizes, seconds = [given.largest // 10, given.largest], []
    for size in sizes:
        structures, pairs = alike(size, moved=given.moved)
        start = time.perf_counter()
        twins = find_duplicates(structures, 0.3)
        seconds.append(time.perf_counter() - start)
        missed = sum(twins.group[a] != twins.group[b] for a, b in pairs)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"twins, {size} frames of 16 atoms: {seconds[-1]:.1f} s, {len(twins.first)} pairs, "
            f"{missed} of {len(pairs)} planted ones missed, at most {memory:.2f} GB"
        )
    slope = np.log(seconds[1] / seconds[0]) / np.log(sizes[1] / sizes[0])
    print(f"time grows as frames^{slope:.2f}")


if __name__ == "__main__":
    main()
