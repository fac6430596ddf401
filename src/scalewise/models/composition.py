"""The energy that composition alone explains: one number per element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from scalewise.data.structure import Frame

#: Singular values below this share of the largest do not count as determined.
RANK_TOLERANCE = 1e-8
#: A composition farther than this (atoms) from the span of those fitted is a new one.
SPAN_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class CompositionModel:
    r"""Energies per element, :math:`E_0 = \sum_z n_z e_z`, least squares of minimum norm.

    Data of fixed formula units determine fewer numbers than elements; the minimum norm then gives
    energies that are right for every composition made of those units, and only for them.

    Attributes
    ----------
    elements
        Atomic numbers.
    energies
        eV per atom of each element.
    span
        Orthonormal rows that span the fitted compositions [rank, elements].
    """

    elements: tuple[int, ...]
    energies: Float[np.ndarray, " elements"]
    span: Float[np.ndarray, "rank elements"]

    @classmethod
    def fit(cls, frames: Sequence[Frame], elements: Sequence[int]) -> CompositionModel:
        """Fit the frames that have an energy; without any, all are zero and none is determined."""
        labelled = [f for f in frames if f.energy is not None]
        if not labelled:
            nothing = np.zeros(len(elements))
            return cls(tuple(elements), nothing, np.zeros((0, len(elements))))
        counts = np.array([count(f.numbers, elements) for f in labelled], dtype=float)
        targets = np.array([f.energy for f in labelled], dtype=float)
        _, size, rows = np.linalg.svd(counts, full_matrices=False)
        rank = int((size > RANK_TOLERANCE * size[0]).sum())
        energies = np.linalg.lstsq(counts, targets, rcond=RANK_TOLERANCE)[0]
        return cls(tuple(elements), energies, rows[:rank])

    def energy(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """Energy of a composition, eV."""
        return float(count(numbers, self.elements) @ self.energies)

    def spans(self, numbers: Int[np.ndarray, " atoms"]) -> bool:
        """Whether the fitted compositions determine the energy of this one."""
        counts = count(numbers, self.elements).astype(float)
        return bool(np.linalg.norm(counts - counts @ self.span.T @ self.span) < SPAN_TOLERANCE)

    def describe(self) -> dict[str, float]:
        """Energies by chemical symbol, eV."""
        symbols = [chemical_symbols[z] for z in self.elements]
        return dict(zip(symbols, self.energies.tolist(), strict=True))


def count(numbers: Int[np.ndarray, " atoms"], elements: Sequence[int]) -> Int[np.ndarray, " e"]:
    """Atoms of each element."""
    return np.array([(numbers == z).sum() for z in elements])
