"""The energy of the composition: a sum of one energy per element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from scalewise.data.references import is_isolated_atom, reference_energies
from scalewise.data.structure import Structure

#: Singular values below this share of the largest do not count as determined.
RANK_TOLERANCE = 1e-8
#: A composition farther than this (atoms) from the span of those fitted is a new one.
SPAN_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class CompositionModel:
    r"""Energies per element, :math:`E_0 = \sum_z n_z e_z`, least squares of minimum norm.

    An element of which the data have an isolated atom gets exactly the energy of this atom; the
    energies of the other elements are fitted to the remaining energies. Data of fixed formula units
    determine fewer numbers than there are elements. The minimum norm then gives energies that are
    correct for every composition made of these units, and only for such compositions.

    Attributes
    ----------
    elements
        Atomic numbers [elements].
    energies
        Energy of an atom of each element, eV [elements].
    span
        Orthonormal rows that span the fitted compositions [rank, elements].
    """

    elements: tuple[int, ...]
    energies: Float[np.ndarray, " elements"]
    span: Float[np.ndarray, "rank elements"]

    @classmethod
    def fit(cls, frames: Sequence[Structure], elements: Sequence[int]) -> CompositionModel:
        """Fit the energies of elements to all frames with a total energy.

        Energies of isolated atoms (:func:`~scalewise.data.references.is_isolated_atom`) are not
        fitted; they fix the energies of their elements. Without labelled energies, all energies of
        elements are zero, and no total energy is determined.
        """
        nothing = np.zeros(len(elements))
        labelled = [f for f in frames if f.labels.energy is not None]
        if not labelled:
            return cls(tuple(elements), nothing, np.zeros((0, len(elements))))
        counts = count_all([f.numbers for f in labelled], elements).astype(float)
        _, size, rows = np.linalg.svd(counts, full_matrices=False)
        rank = int((size > RANK_TOLERANCE * size[0]).sum())
        reference = reference_energies(labelled)
        known = np.array([z in reference for z in elements])
        energies = np.array([reference.get(z, 0.0) for z in elements])
        kept = np.array([not is_isolated_atom(f) for f in labelled])
        if kept.any() and not known.all():
            targets = np.array([f.labels.energy for f in labelled], dtype=float)
            left = targets - counts @ energies
            energies[~known] = np.linalg.lstsq(
                counts[kept][:, ~known], left[kept], rcond=RANK_TOLERANCE
            )[0]
        return cls(tuple(elements), energies, rows[:rank])

    def energy(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """Energy of a composition, eV."""
        return float(count(numbers, self.elements) @ self.energies)

    def energies_of(self, numbers: Int[np.ndarray, " atoms"]) -> Float[np.ndarray, " atoms"]:
        """Energy of each atom, eV [atoms]; NaN if the model has no energy of its element."""
        table = np.full(len(chemical_symbols), np.nan)
        table[list(self.elements)] = self.energies
        found: np.ndarray = table[numbers]
        return found

    def spans(self, numbers: Int[np.ndarray, " atoms"]) -> bool:
        """Whether the fitted compositions determine the energy of this one."""
        counts = count(numbers, self.elements).astype(float)
        return bool(np.linalg.norm(counts - counts @ self.span.T @ self.span) < SPAN_TOLERANCE)

    def describe(self) -> dict[str, float]:
        """Energies by chemical symbol, eV."""
        symbols = [chemical_symbols[z] for z in self.elements]
        return dict(zip(symbols, self.energies.tolist(), strict=True))


def count(numbers: Int[np.ndarray, " atoms"], elements: Sequence[int]) -> Int[np.ndarray, " e"]:
    """Number of atoms of each element [elements]."""
    return count_all([numbers], elements)[0]


def count_all(
    numbers: Sequence[Int[np.ndarray, " _"]], elements: Sequence[int]
) -> Int[np.ndarray, "structures e"]:
    """Number of atoms of each element in each structure; other elements are not counted.

    Examples
    --------
    >>> count_all([np.array([8, 1, 1]), np.array([18])], (1, 8)).tolist()
    [[2, 1], [0, 0]]
    """
    column = np.full(len(chemical_symbols), len(elements))
    column[list(elements)] = np.arange(len(elements))
    owner = np.repeat(np.arange(len(numbers)), [len(n) for n in numbers])
    wide = len(elements) + 1  # the last one is for all others
    every = np.concatenate([np.zeros(0, dtype=np.int64), *numbers])
    found = np.bincount(owner * wide + column[every], minlength=len(numbers) * wide)
    return found.reshape(len(numbers), wide)[:, :-1]
