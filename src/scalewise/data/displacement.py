"""Displacement between two frames, without motions that leave the energy unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Bool, Float, Int

from scalewise.data import columns
from scalewise.data.structure import Structure, complete_all

#: Cells whose lattice vectors differ by more than this share, 1.2 % in volume, are other structures
#: whatever their atoms do: a step of an equation of state, or of an elastic strain, is 0.5 % and
#: more, and thermal motion in a cell of some hundred atoms changes it by less from frame to frame.
CELL_TOLERANCE: Final = 0.004
#: Frames whose positions are read at once.
READ: Final = 4096
#: Larger than any atomic number: sorts what is not compared to the end.
OTHERS: Final = 1000
#: Components compared at once: bounds the memory to some ten megabytes.
CHUNK: Final = 500_000


def compared_atoms(frame: Structure, elements: Iterable[str] | None) -> Bool[np.ndarray, " atoms"]:
    """Atoms of these elements; by default all but hydrogen, or all where the others have no shape.

    One atom is everywhere the same, and two are when they may be turned.
    """
    if elements is not None:
        return np.isin(frame.numbers, [atomic_numbers[e] for e in elements])
    heavy: np.ndarray = frame.numbers != 1
    return heavy if heavy.sum() > (1 if frame.pbc.any() else 2) else np.ones_like(heavy)


@dataclass(frozen=True, eq=False)
class Stack:
    """The compared atoms of frames of one composition: one array per property.

    ``coordinates`` are fractional where frames are periodic, else Å; ``cells`` Å.
    """

    numbers: Int[np.ndarray, " atoms"]
    coordinates: Float[np.ndarray, "frames atoms 3"]
    cells: Float[np.ndarray, "frames 3 3"]
    pbc: Bool[np.ndarray, " 3"]

    @property
    def periodic(self) -> bool:
        """Whether images are compared."""
        return bool(self.pbc.any())

    @classmethod
    def of(
        cls, frames: Sequence[Structure], elements: Iterable[str] | None, sort: bool = False
    ) -> Stack:
        """Stack frames whose atoms are in the same order, or sort them by element."""
        pbc = frames[0].pbc
        first = frames[0].numbers[compared_atoms(frames[0], elements)]
        places = np.empty((len(frames), len(first), 3))
        for start in range(0, len(frames), READ):
            part = frames[start : start + READ]
            numbers = columns.numbers(part).reshape(len(part), -1)
            # of one composition: what is compared of one frame has the elements of all others' part
            last = np.where(np.isin(numbers, first), numbers if sort else 0, OTHERS)
            chosen = np.argsort(last, axis=1, kind="stable")[:, : len(first)]
            whole = columns.positions(part).reshape(*numbers.shape, 3)
            places[start : start + READ] = np.take_along_axis(whole, chosen[:, :, None], axis=1)
        cells = complete_all(columns.cells(frames), columns.periodicity(frames))
        if pbc.any():  # along open axes no two atoms are apart by half of the cell
            extents = np.linalg.norm(np.ptp(places, axis=1), axis=1)
            cells[:, ~pbc] *= 1.0 + 2.0 * float(extents.max())
        if pbc.any():
            np.matmul(places, np.linalg.inv(cells), out=places)
        return cls(np.sort(first) if sort else first, places, cells, pbc)

    @property
    def strain_features(self) -> Float[np.ndarray, "frames components"]:
        """Periodic lattice vectors, scaled to what they add to the displacement (Å)."""
        return self.cells[:, self.pbc].reshape(len(self.cells), -1) / np.sqrt(12)

    def strain(self, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " pairs"]:
        """Mean square of what a change of the lattice vectors moves atoms by, Å²."""
        change = self.strain_features[a] - self.strain_features[b]
        found: np.ndarray = np.sum(change**2, axis=-1)
        return found

    def alike(self, a: np.ndarray, b: np.ndarray) -> Bool[np.ndarray, " pairs"]:
        """Whether the cells of two frames are nearly the same."""
        lattice = self.strain_features
        change = np.linalg.norm(lattice[a] - lattice[b], axis=1)
        near: np.ndarray = change <= CELL_TOLERANCE * np.linalg.norm(lattice[a], axis=1)
        return near


def displacements(stack: Stack, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " pairs"]:
    """Root-mean-square displacement (Å) of pairs of frames; infinite where cells differ."""
    found = np.full(len(a), np.inf)
    step = max(1, CHUNK // (3 * len(stack.numbers)))
    measure = _moved if stack.periodic else _superposed
    for start in range(0, len(a), step):
        first, second = a[start : start + step], b[start : start + step]
        kept = np.flatnonzero(stack.alike(first, second)) if stack.periodic else slice(None)
        found[start : start + step][kept] = measure(stack, first[kept], second[kept])
    return found


def _moved(stack: Stack, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " pairs"]:
    """Under the minimum image, without a common translation, and with the strain."""
    delta = stack.coordinates[a] - stack.coordinates[b]
    drift = np.angle(np.exp(2j * np.pi * delta).mean(axis=1)) / (2 * np.pi)
    delta -= drift[:, None]
    delta -= np.rint(delta)
    delta -= delta.mean(axis=1, keepdims=True)
    moved = delta @ (0.5 * (stack.cells[a] + stack.cells[b]))
    square = np.einsum("pnk,pnk->p", moved, moved) / moved.shape[1]
    found: np.ndarray = np.sqrt(square + stack.strain(a, b))
    return found


def _superposed(stack: Stack, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " pairs"]:
    """After the best rotation or mirror image (Kabsch).

    d^2 = (|A|^2 + |B|^2 - 2 sum of the singular values of A^T B) / N.
    """
    first = stack.coordinates[a] - stack.coordinates[a].mean(axis=1, keepdims=True)
    second = stack.coordinates[b] - stack.coordinates[b].mean(axis=1, keepdims=True)
    overlap = np.linalg.svd(first.transpose(0, 2, 1) @ second, compute_uv=False).sum(axis=1)
    square = np.sum(first**2, axis=(1, 2)) + np.sum(second**2, axis=(1, 2)) - 2 * overlap
    found: np.ndarray = np.sqrt(np.maximum(square, 0.0) / first.shape[1])
    return found
