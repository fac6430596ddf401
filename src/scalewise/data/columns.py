"""Columns: one quantity of many structures as one array; of shards, only this array is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from scalewise.data.shards import ShardedStructures
from scalewise.data.structure import Structure


def sizes(frames: Sequence[Structure]) -> Int[np.ndarray, " frames"]:
    """Atoms of each structure."""
    if isinstance(frames, ShardedStructures):
        return frames.sizes()
    return np.array([len(f.numbers) for f in frames], dtype=np.int64)


def owners(frames: Sequence[Structure]) -> Int[np.ndarray, " atoms"]:
    """Of each atom, the number of its structure."""
    of = sizes(frames)
    return np.repeat(np.arange(len(of)), of)


def numbers(frames: Sequence[Structure]) -> Int[np.ndarray, " atoms"]:
    """Atomic numbers, one structure after the other.

    Examples
    --------
    >>> water = Structure(np.array([8, 1, 1]), np.eye(3), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    >>> numbers([water, water]).tolist()
    [8, 1, 1, 8, 1, 1]
    """
    if isinstance(frames, ShardedStructures):
        return frames.column("numbers").astype(np.int64)
    return np.concatenate([f.numbers for f in frames]) if frames else np.zeros(0, dtype=np.int64)


def positions(frames: Sequence[Structure]) -> Float[np.ndarray, "atoms 3"]:
    """Positions, Å, one structure after the other."""
    if isinstance(frames, ShardedStructures):
        return frames.column("positions")
    return np.concatenate([np.zeros((0, 3)), *(f.positions for f in frames)])


def forces(frames: Sequence[Structure]) -> Float[np.ndarray, "atoms 3"]:
    """Labelled forces, eV/Å, one structure after the other: NaN where a structure has none."""
    if isinstance(frames, ShardedStructures):
        return frames.column("forces")
    parts = (
        np.full((len(f.numbers), 3), np.nan) if f.labels.forces is None else f.labels.forces
        for f in frames
    )
    return np.concatenate([np.zeros((0, 3)), *parts])


def energies(frames: Sequence[Structure]) -> Float[np.ndarray, " frames"]:
    """Labelled energies, eV: NaN where a structure has none."""
    if isinstance(frames, ShardedStructures):
        return frames.column("energies")
    return np.array(
        [np.nan if f.labels.energy is None else f.labels.energy for f in frames], dtype=float
    )


def stresses(frames: Sequence[Structure]) -> Float[np.ndarray, "frames 3 3"]:
    """Labelled stresses, eV/Å³: NaN where a structure has none."""
    if isinstance(frames, ShardedStructures):
        return frames.column("stresses")
    none = np.full((3, 3), np.nan)
    found = [none if f.labels.stress is None else f.labels.stress for f in frames]
    return np.array(found, dtype=float).reshape(-1, 3, 3)


def cells(frames: Sequence[Structure]) -> Float[np.ndarray, "frames 3 3"]:
    """Lattice vectors in rows, Å."""
    if isinstance(frames, ShardedStructures):
        return frames.column("cells")
    return np.array([f.cell for f in frames], dtype=float).reshape(-1, 3, 3)


def periodicity(frames: Sequence[Structure]) -> Bool[np.ndarray, "frames 3"]:
    """Along which lattice vectors structures are periodic."""
    if isinstance(frames, ShardedStructures):
        return frames.column("pbc")
    return np.array([f.pbc for f in frames], dtype=bool).reshape(-1, 3)


def labelled(
    frames: Sequence[Structure], name: Literal["forces", "energy", "stress"]
) -> Bool[np.ndarray, " frames"]:
    """Whether each structure has a label."""
    if isinstance(frames, ShardedStructures):
        return frames.labelled(name)
    return np.array([getattr(f.labels, name) is not None for f in frames], dtype=bool)
