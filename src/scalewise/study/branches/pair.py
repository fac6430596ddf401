r"""Pair functions of every pair of elements: B-splines, or smoothly cut inverse powers.

Both are twice continuously differentiable, at the cutoff too. Pairs inside a molecule are excluded,
as in every classical force field.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import BSpline

from scalewise.core.errors import InputError
from scalewise.data import neighbors
from scalewise.data.neighbors import Pairs
from scalewise.data.structure import Structure
from scalewise.study.branches.base import Branch, BranchPrediction, ForceBasis

#: The switch of the inverse powers begins at this share of the cutoff.
SWITCH_FROM = 0.85
#: Inverse powers are flat this far (Å) below the shortest training distance.
FADE = 0.4


@dataclass(frozen=True, eq=False)
class ElementPairs:
    """Numbers the unordered pairs of elements.

    Examples
    --------
    >>> ElementPairs(("Cl", "Na")).names
    ['Cl-Cl', 'Cl-Na', 'Na-Na']
    """

    elements: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the pairs, in order."""
        return [f"{a}-{b}" for a, b in self.combinations]

    @property
    def combinations(self) -> list[tuple[str, str]]:
        """The pairs, in order."""
        return list(itertools.combinations_with_replacement(self.elements, 2))

    def element_index(self, frame: Structure) -> Int[np.ndarray, " atoms"]:
        """Position of every atom's element among the known ones.

        Raises
        ------
        InputError
            The frame holds an element that the branch was not made for.
        """
        index = np.full(len(frame.numbers), -1)
        for k, element in enumerate(self.elements):
            index[frame.mask([element])] = k
        if (index < 0).any():
            atom = int(np.flatnonzero(index < 0)[0])
            raise InputError(
                frame.where,
                f"atom {atom} is {frame.symbols[atom]}",
                f"This branch knows {', '.join(self.elements)}; fit it on frames that have it.",
            )
        return index

    def of(self, frame: Structure, pairs: Pairs) -> Int[np.ndarray, " pairs"]:
        """Number of the element pair of every pair of atoms."""
        n = len(self.elements)
        index = self.element_index(frame)
        low = np.minimum(index[pairs.i], index[pairs.j])
        high = np.maximum(index[pairs.i], index[pairs.j])
        return low * n - low * (low - 1) // 2 + high - low


class PairBasis(ForceBasis):
    """Shared by all radial functions: sums over pairs, and the chain rule."""

    pairs: ElementPairs
    cutoff: float

    @property
    @abstractmethod
    def radial_size(self) -> int:
        """Functions per pair of elements."""

    @abstractmethod
    def radial(
        self, distance: Float[np.ndarray, " pairs"], kind: int
    ) -> tuple[Float[np.ndarray, "pairs radial"], Float[np.ndarray, "pairs radial"]]:
        """Values (eV) and derivatives (eV/Å) of the functions of one pair of elements."""

    @property
    def size(self) -> int:
        """Number of functions."""
        return len(self.pairs.names) * self.radial_size

    def energies(self, frame: Structure) -> Float[np.ndarray, "atoms functions"]:
        """Share each pair's energy equally between its atoms."""
        result = np.zeros((len(frame.numbers), self.size))
        for kind, pairs in self.by_kind(frame):
            value, _ = self.radial(pairs.distance, kind)
            columns = slice(kind * self.radial_size, (kind + 1) * self.radial_size)
            for atoms in (pairs.i, pairs.j):
                result[:, columns] += 0.5 * _sum_to(atoms, value, len(result))
        return result

    def forces(self, frame: Structure) -> Float[np.ndarray, "atoms 3 functions"]:
        r"""Force :math:`\phi'(r)\, \hat r` on i and its opposite on j, for every function."""
        result = np.zeros((len(frame.numbers), 3, self.size))
        for kind, pairs in self.by_kind(frame):
            _, slope = self.radial(pairs.distance, kind)
            columns = slice(kind * self.radial_size, (kind + 1) * self.radial_size)
            for axis in range(3):
                push = slope * (pairs.vector[:, axis] / pairs.distance)[:, None]
                result[:, axis, columns] += _sum_to(pairs.i, push, len(result))
                result[:, axis, columns] -= _sum_to(pairs.j, push, len(result))
        return result

    def by_kind(self, frame: Structure) -> Iterable[tuple[int, Pairs]]:
        """Pairs of atoms within the cutoff, sorted by their pair of elements."""
        pairs = between_molecules(frame, self.cutoff)
        kind = self.pairs.of(frame, pairs)
        return ((int(k), pairs.select(kind == k)) for k in np.unique(kind))


@dataclass(frozen=True, eq=False)
class SplineBasis(PairBasis):
    """Cubic B-splines from the shortest distance met in training to the cutoff.

    The last three splines of the uniform knots are left out, so value, slope and curvature vanish
    at the cutoff. Below the shortest training distance the functions fade out within three knots:
    a closer pair in other data meets a small force, not an extrapolated polynomial.
    """

    pairs: ElementPairs
    start: tuple[float, ...]
    cutoff: float
    count: int

    @property
    def radial_size(self) -> int:
        """Functions per pair of elements."""
        return self.count

    def radial(
        self, distance: Float[np.ndarray, " pairs"], kind: int
    ) -> tuple[Float[np.ndarray, "pairs radial"], Float[np.ndarray, "pairs radial"]]:
        """Values and derivatives of the splines."""
        start = self.start[kind]
        step = (self.cutoff - start) / self.count
        lowest = start - 3 * step
        knots = start + step * np.arange(-6, self.count + 4)
        # the three splines below those in use only carry the others down to where they end
        spline = BSpline(knots, np.eye(self.count + 6)[:, 3 : self.count + 3], 3)
        inside = np.maximum(distance, lowest)
        value, slope = spline(inside), spline.derivative()(inside)
        return value, slope


@dataclass(frozen=True, eq=False)
class PowerBasis(PairBasis):
    r"""Slowly decaying :math:`(r_0 / r)^n f(r)`, with :math:`r_0` the shortest distance met.

    :math:`f` falls from 1 at 0.85 of the cutoff to 0 at the cutoff as the quintic
    :math:`1 - 10 x^3 + 15 x^4 - 6 x^5`, whose first two derivatives vanish at both ends.

    Fitted powers cancel each other where there were data and run away where there were none: a
    single closer pair was off by 8 eV/Å. So below :math:`r_0` the distance itself levels off, with
    two continuous derivatives, and the force fades out within 0.4 Å.
    """

    pairs: ElementPairs
    start: tuple[float, ...]
    cutoff: float
    powers: tuple[int, ...]

    @property
    def radial_size(self) -> int:
        """Functions per pair of elements."""
        return len(self.powers)

    def radial(
        self, distance: Float[np.ndarray, " pairs"], kind: int
    ) -> tuple[Float[np.ndarray, "pairs radial"], Float[np.ndarray, "pairs radial"]]:
        """Values and derivatives of the switched powers."""
        width = (1.0 - SWITCH_FROM) * self.cutoff
        x = np.clip((distance - SWITCH_FROM * self.cutoff) / width, 0.0, 1.0)
        switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
        switch_slope = -30.0 * x**2 * (1.0 - x) ** 2 / width
        start, n = self.start[kind], np.asarray(self.powers)
        u = np.clip((start - distance) / FADE, 0.0, 1.0)
        levelled = np.maximum(distance, start) - FADE * (u - u**3 + 0.5 * u**4)
        level_slope = 1.0 - u**2 * (3.0 - 2.0 * u)
        power = (start / levelled[:, None]) ** n
        power_slope = -n * power * (level_slope / levelled)[:, None]
        value = power * switch[:, None]
        return value, power_slope * switch[:, None] + power * switch_slope[:, None]


@dataclass(frozen=True, eq=False)
class PairBranch(Branch):
    """Pair functions with fitted coefficients [functions]; sums each pair once."""

    basis: PairBasis
    coefficients: Float[np.ndarray, " functions"]

    def predict(self, frame: Structure) -> BranchPrediction:
        """Return energies, shared equally within pairs, and forces."""
        n, m = len(frame.numbers), self.basis.radial_size
        energies, forces = np.zeros(n), np.zeros((n, 3))
        for kind, pairs in self.basis.by_kind(frame):
            value, slope = self.basis.radial(pairs.distance, kind)
            c = self.coefficients[kind * m : (kind + 1) * m]
            push = ((slope @ c) / pairs.distance)[:, None] * pairs.vector
            for atoms, sign in ((pairs.i, 1.0), (pairs.j, -1.0)):
                energies += np.bincount(atoms, weights=0.5 * (value @ c), minlength=n)
                forces += sign * _sum_to(atoms, push, n)
        return BranchPrediction(energies, forces)


def between_molecules(frame: Structure, cutoff: float) -> Pairs:
    """Pairs within the cutoff whose atoms are not of one molecule.

    Raises
    ------
    InputError
        Two atoms at the same place.
    """
    pairs = neighbors.build(frame, cutoff)
    if len(pairs.distance) and pairs.distance.min() < 1e-6:
        k = int(pairs.distance.argmin())
        raise InputError(
            frame.where, f"atoms {pairs.i[k]} and {pairs.j[k]} overlap", "Remove the frame."
        )
    inside = (frame.molecule[pairs.i] == frame.molecule[pairs.j]) & (pairs.i != pairs.j)
    return pairs.select(~inside)


def shortest_distances(
    frames: Sequence[Structure], pairs: ElementPairs, cutoff: float
) -> tuple[float, ...]:
    """Shortest distance of each pair of elements over the frames; half the cutoff if never met."""
    shortest = np.full(len(pairs.names), np.inf)
    for frame in frames:
        found = between_molecules(frame, cutoff)
        np.minimum.at(shortest, pairs.of(frame, found), found.distance)
    shortest[~np.isfinite(shortest)] = 0.5 * cutoff
    return tuple(np.minimum(shortest, 0.8 * cutoff).tolist())


def _sum_to(
    atoms: Int[np.ndarray, " pairs"], values: Float[np.ndarray, "pairs radial"], n: int
) -> Float[np.ndarray, "atoms radial"]:
    """Sum rows that go to the same atom."""
    m = values.shape[1]
    slot = (atoms[:, None] * m + np.arange(m)).ravel()
    return np.bincount(slot, weights=values.ravel(), minlength=n * m).reshape(n, m)
