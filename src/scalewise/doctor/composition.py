"""Compositions: which reference energies they can determine, and how well those fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb, gcd, lcm
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from jaxtyping import Float, Int

from scalewise.data.structure import Structure

#: Subsets of elements tried in the search for formula units; beyond, compositions stand in.
MOST_SUBSETS: Final = 20_000

Row = list[Fraction]


@dataclass(frozen=True)
class FormulaUnit:
    """A combination of elements that the compositions determine, such as H2O."""

    name: str
    counts: tuple[int, ...]

    @property
    def atoms(self) -> int:
        """Atoms of one unit."""
        return sum(self.counts)


@dataclass(frozen=True, eq=False)
class Composition:
    """Atoms of each element in each frame, and what they span.

    Attributes
    ----------
    elements
        Chemical symbols, by atomic number.
    counts
        Atoms [frames, elements].
    rank
        Dimension of the span of the compositions.
    units
        ``rank`` independent formula units that span it.
    """

    elements: tuple[str, ...]
    counts: Int[np.ndarray, "frames elements"]
    rank: int
    units: tuple[FormulaUnit, ...]

    @property
    def stoichiometric(self) -> Int[np.ndarray, "units elements"]:
        """Atoms of each element in each formula unit."""
        return np.array([u.counts for u in self.units], dtype=np.int64)


def compose(frames: Sequence[Structure]) -> Composition:
    """Count elements, find the rank of the compositions and formula units that span them."""
    present = np.unique(np.concatenate([f.numbers for f in frames]))
    counts = np.array([[np.count_nonzero(f.numbers == z) for z in present] for f in frames])
    elements = tuple(chemical_symbols[z] for z in present)
    kinds = np.unique(counts, axis=0)
    basis = _reduce([[Fraction(int(v)) for v in row] for row in kinds])
    rays = _rays(basis, len(elements)) or [tuple(map(int, row)) for row in kinds]
    units = _independent(rays, len(basis))
    named = tuple(FormulaUnit(_name(elements, u), u) for u in units)
    return Composition(elements, counts, len(basis), named)


def _reduce(rows: Sequence[Row]) -> list[Row]:
    """Reduced row echelon form without its empty rows, exact."""
    basis: list[tuple[int, Row]] = []
    for source in rows:
        row = list(source)
        for pivot, known in basis:
            row = [v - row[pivot] * k for v, k in zip(row, known, strict=True)]
        lead = next((k for k, v in enumerate(row) if v), None)
        if lead is None:
            continue
        row = [v / row[lead] for v in row]
        basis = [
            (p, [v - known[lead] * r for v, r in zip(known, row, strict=True)])
            for p, known in basis
        ]
        basis.append((lead, row))
    return [row for _, row in sorted(basis)]


def _rays(basis: Sequence[Row], n: int) -> list[tuple[int, ...]]:
    """Non-negative vectors of the row space with the fewest elements, in smallest integers.

    A vector of an r-dimensional space that vanishes on r - 1 independent coordinates is unique up
    to its length. The non-negative ones among these are the extreme rays of the cone of possible
    compositions, so they span it.
    """
    r = len(basis)
    if r == n:
        return [tuple(int(i == k) for i in range(n)) for k in range(n)]
    if comb(n, r - 1) > MOST_SUBSETS:
        return []
    found: set[tuple[int, ...]] = set()
    for absent in combinations(range(n), r - 1):
        weights = _annihilate([[row[k] for row in basis] for k in absent], r)
        if weights is None:
            continue
        vector = [sum(w * row[k] for w, row in zip(weights, basis, strict=True)) for k in range(n)]
        if all(v <= 0 for v in vector):
            vector = [-v for v in vector]
        if all(v >= 0 for v in vector):
            found.add(_smallest(vector))
    return sorted(found, key=lambda v: (sum(v), v))


def _annihilate(equations: Sequence[Row], r: int) -> Row | None:
    """The one vector of length r, up to its length, that all r - 1 equations send to zero."""
    reduced = _reduce(equations)
    if len(reduced) < r - 1:
        return None
    pivots = [next(k for k, v in enumerate(row) if v) for row in reduced]
    free = next(k for k in range(r) if k not in pivots)
    solution = [Fraction(0)] * r
    solution[free] = Fraction(1)
    for pivot, row in zip(pivots, reduced, strict=True):
        solution[pivot] = -row[free]
    return solution


def _smallest(vector: Sequence[Fraction | int]) -> tuple[int, ...]:
    scale = lcm(*(Fraction(v).denominator for v in vector))
    whole = [int(v * scale) for v in vector]
    shared = gcd(*whole) or 1
    return tuple(v // shared for v in whole)


def _independent(candidates: Sequence[tuple[int, ...]], rank: int) -> list[tuple[int, ...]]:
    """The first ``rank`` candidates of which none is a combination of earlier ones."""
    chosen: list[tuple[int, ...]] = []
    for candidate in candidates:
        smallest = _smallest(candidate)
        if np.linalg.matrix_rank(np.array([*chosen, smallest])) > len(chosen):
            chosen.append(smallest)
        if len(chosen) == rank:
            break
    return chosen


def _name(elements: Sequence[str], counts: Sequence[int]) -> str:
    plain = "".join(f"{e}{n}" for e, n in zip(elements, counts, strict=True) if n)
    return str(Formula(plain).format("metal"))


# ------------------------------------------------------------------------ energies of the units


@dataclass(frozen=True, eq=False)
class EnergyFit:
    """Least-squares fit of the energies on the compositions.

    Attributes
    ----------
    unit_energies
        Energy of each formula unit (eV) [units]: these are determined.
    element_energies
        Energy of each element (eV) [elements], the solution of smallest norm; only sums over
        formula units mean something unless the rank is full.
    residual
        Energy minus fit, per atom (eV/atom) [frames].
    score
        Robust z-score of the residual: distance to the median in units of 1.4826 times the median
        absolute deviation [frames].
    fitted
        Frames that the fit used [frames]; those beyond ``limit`` are left out and fitted again.
    """

    unit_energies: Float[np.ndarray, " units"]
    element_energies: Float[np.ndarray, " elements"]
    residual: Float[np.ndarray, " frames"]
    score: Float[np.ndarray, " frames"]
    fitted: np.ndarray


def fit_energies(composition: Composition, energies: np.ndarray, limit: float) -> EnergyFit:
    """Fit E = sum_e n_e E_e by least squares of minimum norm, without outliers.

    Parameters
    ----------
    composition
        Of the frames that have an energy.
    energies
        Total energies (eV) [frames].
    limit
        Robust z-score beyond which a frame is left out of the fit.
    """
    counts = composition.counts.astype(float)
    atoms = counts.sum(axis=1)
    used = np.ones(len(atoms), dtype=bool)
    for _ in range(10):  # ends when no frame changes sides; ten are never reached in practice
        # per atom, so that large frames do not outweigh small ones
        rows = counts[used] / atoms[used, None]
        solution = np.linalg.lstsq(rows, energies[used] / atoms[used], rcond=None)[0]
        residual = (energies - counts @ solution) / atoms
        score = robust_score(residual)
        if (used == (np.abs(score) <= limit)).all():
            break
        used = np.abs(score) <= limit
    return EnergyFit(composition.stoichiometric @ solution, solution, residual, score, used)


def robust_score(values: np.ndarray) -> Float[np.ndarray, " values"]:
    """(x - median) / (1.4826 MAD); the spread is at least 1e-12 of the values' size.

    Examples
    --------
    >>> robust_score(np.array([0.0, 1.0, 2.0, 3.0, 100.0])).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 66.1]
    """
    centre = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - centre))
    least = 1e-12 * max(1.0, float(np.abs(values).max()))
    return (values - centre) / max(float(spread), least)
