"""Compositions of the frames: which reference energies they determine, and how well these fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, gcd, lcm
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from jaxtyping import Float, Int
from scipy.linalg import qr
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from scalewise.data import columns
from scalewise.data.structure import Structure

#: Row operations in the search for formula units, of 20 us each; beyond, compositions
#: stand in.
MOST_WORK: Final = 400_000
#: Least share of the largest pivot that an independent composition has: dependent ones have 1e-15.
INDEPENDENT: Final = 1e-9

#: Whole numbers of any size.
IntegerRow = np.ndarray


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
    counts, present = _count(frames)
    elements = tuple(chemical_symbols[z] for z in present)
    known = _spanning(np.unique(counts, axis=0))
    basis = _reduce(known)
    units = [unit for part in _parts(basis) for unit in _units_of(part, known)]
    units.sort(key=lambda u: (sum(u), -np.flatnonzero(u)[0] if sum(u) > 1 else 0))
    named = tuple(FormulaUnit(formula(elements, u), u) for u in units)
    return Composition(elements, counts, len(basis), named)


def _count(
    frames: Sequence[Structure],
) -> tuple[Int[np.ndarray, "frames elements"], Int[np.ndarray, " elements"]]:
    """Atoms of each element in each frame, and the atomic numbers of the elements."""
    numbers = columns.numbers(frames)
    present = np.flatnonzero(np.bincount(numbers))
    place = columns.owners(frames) * len(present)
    place += np.searchsorted(present, numbers)
    counts = np.bincount(place, minlength=len(frames) * len(present))
    return counts.reshape(len(frames), len(present)), present


def _spanning(kinds: Int[np.ndarray, "kinds elements"]) -> list[IntegerRow]:
    """As many of the compositions as their rank, and independent."""
    # a dopant among thousands of atoms counts as much as its host
    scaled = kinds / np.maximum(kinds.max(axis=0), 1)
    _, upper, order = qr(scaled.T, mode="economic", pivoting=True)
    size = np.abs(np.diagonal(upper))
    chosen = order[: len(size)][size > INDEPENDENT * size.max(initial=0.0)]
    return [row.astype(object) for row in kinds[np.sort(chosen)]]


def _reduce(rows: Iterable[IntegerRow]) -> list[IntegerRow]:
    """Reduced row echelon form without its empty rows, exact: each row in smallest integers."""
    basis: list[tuple[int, IntegerRow]] = []
    for source in rows:
        row = source
        for pivot, known in basis:
            row = _without(row, pivot, known)
        lead = next((k for k, v in enumerate(row) if v), None)
        if lead is None:
            continue
        basis = [(p, _without(known, lead, row)) for p, known in basis]
        basis.append((lead, _smallest(row)))
    return [row for _, row in sorted(basis, key=lambda one: one[0])]


def _without(row: IntegerRow, pivot: int, known: IntegerRow) -> IntegerRow:
    """The row less the multiple of a known one that clears the pivot."""
    if not row[pivot]:
        return row
    return _smallest(row * known[pivot] - known * row[pivot])


def _parts(basis: Sequence[IntegerRow]) -> list[list[IntegerRow]]:
    """Rows that share elements, together: the space is the direct sum of these parts."""
    if not basis:
        return []
    linked = np.array([[bool(v) for v in row] for row in basis], dtype=np.int64)
    _, part = connected_components(csr_array(linked @ linked.T), directed=False)
    return [[basis[k] for k in np.flatnonzero(part == p).tolist()] for p in np.unique(part)]


def _units_of(part: list[IntegerRow], known: list[IntegerRow]) -> list[tuple[int, ...]]:
    """Independent formula units that span one part, as many as its rows."""
    columns = np.flatnonzero([any(of) for of in zip(*part, strict=True)])
    local = [row[columns] for row in part]
    # what compositions have of a part lies in it, because the parts have no element in common
    rays = _rays(local, len(columns)) or [_smallest(row[columns]) for row in known]
    units = []
    for found in _independent(rays, len(part)):
        unit = np.zeros(len(part[0]), dtype=object)
        unit[columns] = found
        units.append(tuple(int(v) for v in unit))
    return units


def _rays(basis: Sequence[IntegerRow], n: int) -> list[IntegerRow]:
    """Non-negative vectors of the row space with the fewest elements, in smallest integers.

    A vector of an r-dimensional space that vanishes on r - 1 independent coordinates is unique up
    to its length. The non-negative ones among these are the extreme rays of the cone of possible
    compositions, so they span it.
    """
    r = len(basis)
    if r == n:
        return list(np.eye(n, dtype=np.int64).astype(object))
    if comb(n, r - 1) * r**2 > MOST_WORK:
        return []
    found: dict[tuple[int, ...], IntegerRow] = {}
    columns = np.array(basis)
    for absent in combinations(range(n), r - 1):
        weights = _annihilate([columns[:, k] for k in absent], r)
        if weights is None:
            continue
        vector = _smallest(weights @ columns)
        if all(v <= 0 for v in vector):
            vector = -vector
        if all(v >= 0 for v in vector):
            found[tuple(vector)] = vector
    return [found[v] for v in sorted(found, key=lambda v: (sum(v), v))]


def _annihilate(equations: Sequence[IntegerRow], r: int) -> IntegerRow | None:
    """The one vector of length r, up to its length, that all r - 1 equations send to zero."""
    reduced = _reduce(equations)
    if len(reduced) < r - 1:
        return None
    pivots = [next(k for k, v in enumerate(row) if v) for row in reduced]
    free = next(k for k in range(r) if k not in pivots)
    scale = lcm(*(row[pivot] for pivot, row in zip(pivots, reduced, strict=True)))
    solution = np.zeros(r, dtype=object)
    solution[free] = scale
    for pivot, row in zip(pivots, reduced, strict=True):
        solution[pivot] = -row[free] * scale // row[pivot]
    return solution


def _smallest(row: IntegerRow) -> IntegerRow:
    return row // (gcd(*row) or 1)


def _independent(candidates: Sequence[IntegerRow], rank: int) -> list[IntegerRow]:
    """The first ``rank`` candidates of which none is a combination of earlier ones."""
    chosen: list[IntegerRow] = []
    for candidate in candidates:
        if len(_reduce([*chosen, candidate])) > len(chosen):
            chosen.append(candidate)
        if len(chosen) == rank:
            break
    return chosen


def formula(elements: Sequence[str], counts: Sequence[int]) -> str:
    """Chemical formula, metals first.

    Examples
    --------
    >>> formula(("H", "O", "Na", "Cl"), (0, 0, 1, 1))
    'NaCl'
    """
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
