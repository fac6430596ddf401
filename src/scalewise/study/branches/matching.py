r"""Force matching by regularised least squares, whose strength is chosen on other blocks.

All elements have equal weight: each row is weighted by one over the number of atoms of its element
in the frame. Otherwise the 2 % of ions would hardly influence the fit beside 98 % of water.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scalewise.data.structure import Structure
from scalewise.study.branches.base import Branch, ForceBasis, JoinedBasis, SumBranch
from scalewise.study.branches.longrange import CoulombBasis, CoulombBranch, charge_direction
from scalewise.study.branches.pair import (
    ElementPairs,
    PairBranch,
    PowerBasis,
    SplineBasis,
    shortest_distances,
)
from scalewise.study.settings import BranchSettings

#: Enough components for a few hundred coefficients; more frames than that are thinned evenly.
MOST_COMPONENTS = 30_000


@dataclass(frozen=True, eq=False)
class NormalEquations:
    r"""Weighted sums :math:`X^T X`, :math:`X^T y` and :math:`y^T y` over frames."""

    gram: Float[np.ndarray, "functions functions"]
    moment: Float[np.ndarray, " functions"]
    square: float

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(
            self.gram + other.gram, self.moment + other.moment, self.square + other.square
        )

    def loss(self, coefficients: Float[np.ndarray, " functions"]) -> float:
        """Sum of weighted squared residuals."""
        c = coefficients
        return float(c @ self.gram @ c - 2.0 * self.moment @ c + self.square)

    def combined(self, columns: Float[np.ndarray, "functions fewer"]) -> NormalEquations:
        """Equations of linear combinations of the functions, one per column."""
        return NormalEquations(
            columns.T @ self.gram @ columns, columns.T @ self.moment, self.square
        )


def gather(basis: ForceBasis, frames: Sequence[Structure]) -> NormalEquations:
    """Sum the normal equations over frames."""
    total = NormalEquations(np.zeros((basis.size, basis.size)), np.zeros(basis.size), 0.0)
    for frame in frames:
        x = basis.forces(frame).reshape(-1, basis.size)
        _, inverse, counts = np.unique(frame.numbers, return_inverse=True, return_counts=True)
        weight = np.repeat(1.0 / counts[inverse], 3)
        y = frame.labelled_forces.reshape(-1)
        weighted = x * weight[:, None]
        total += NormalEquations(weighted.T @ x, weighted.T @ y, float(weight @ y**2))
    return total


def solve(
    train: NormalEquations, tune: NormalEquations, strengths: Sequence[float]
) -> tuple[Float[np.ndarray, " functions"], float]:
    r"""Ridge regression with the strength that leaves the smallest loss on the tuning blocks.

    The strength is relative to the mean square of a column, one scale for all of them: scaling each
    column by its own norm would let a function met once fit the noise of that one pair. Functions
    never met in training get zero.
    """
    diagonal = np.diag(train.gram)
    met = diagonal > 1e-14 * diagonal.max(initial=0.0)
    scale = float(diagonal[met].mean()) if met.any() else 1.0
    penalty = scale * np.eye(len(diagonal))
    unmet = np.diag(scale * ~met)
    best: tuple[float, Float[np.ndarray, " functions"], float] | None = None
    for strength in strengths:
        c = np.linalg.solve(train.gram + strength * penalty + unmet, train.moment)
        c = np.where(met, c, 0.0)
        loss = tune.loss(c)
        if best is None or loss < best[0]:
            best = (loss, c, strength)
    assert best is not None  # the settings hold at least one strength
    return best[1], best[2]


@dataclass(frozen=True, eq=False)
class FittedBranch:
    """A branch, its name and scale, and what its fit found."""

    name: str
    branch: Branch
    report: dict[str, object]


@dataclass(frozen=True, eq=False)
class FittedView:
    """The branches of one view from all training blocks, and from each half of them."""

    branches: tuple[FittedBranch, FittedBranch]
    halves: tuple[tuple[FittedBranch, FittedBranch], tuple[FittedBranch, FittedBranch]]


def fit_view(
    train: Sequence[Structure],
    tune: Sequence[Structure],
    settings: BranchSettings,
    signs: Mapping[str, int],
) -> FittedView:
    """Fit the short-scale and the long-range branch of one view.

    Each half takes one half of the training frames; models from independent data are what the
    two-replicate oracle needs where labels have no noise. ``signs`` fixes the free overall sign of
    the fitted charges.
    """
    frames, check = thin(train), thin(tune)
    elements = tuple(sorted({e for f in frames for e in f.symbols}))
    pairs = ElementPairs(elements)
    counts = np.array([np.mean([f.mask([e]).sum() for f in frames]) for e in elements])
    sign = np.array([signs.get(e, 0) for e in elements])
    short_start = shortest_distances(frames, pairs, settings.short_cutoff)
    long_start = shortest_distances(frames, pairs, settings.long_cutoff)
    splines = SplineBasis(pairs, short_start, settings.short_cutoff, settings.splines)
    powers = PowerBasis(pairs, long_start, settings.long_cutoff, settings.powers)
    joined = JoinedBasis(CoulombBasis(pairs), powers)
    half = len(frames) // 2
    short = [gather(splines, part) for part in (frames[:half], frames[half:], check)]
    long = [gather(joined, part) for part in (frames[:half], frames[half:], check)]

    def fit(which: Sequence[int]) -> tuple[FittedBranch, FittedBranch]:
        short_train = sum((short[k] for k in which[1:]), short[which[0]])
        long_train = sum((long[k] for k in which[1:]), long[which[0]])
        return (
            _fit_short(splines, short_train, short[2], settings),
            _fit_long(powers, counts, sign, (long_train, long[2]), settings),
        )

    return FittedView(fit((0, 1)), (fit((0,)), fit((1,))))


def _fit_short(
    basis: SplineBasis, train: NormalEquations, tune: NormalEquations, settings: BranchSettings
) -> FittedBranch:
    c, strength = solve(train, tune, settings.ridge)
    report: dict[str, object] = {"cutoff": basis.cutoff, "functions": basis.size, "ridge": strength}
    return FittedBranch("short", PairBranch(basis, c), report)


def _fit_long(
    powers: PowerBasis,
    counts: Float[np.ndarray, " elements"],
    sign: Int[np.ndarray, " elements"],
    equations: tuple[NormalEquations, NormalEquations],
    settings: BranchSettings,
) -> FittedBranch:
    train, tune = equations
    pairs, n = powers.pairs, len(powers.pairs.names)
    free, _ = solve(train, tune, settings.ridge)
    direction = dict(
        zip(pairs.elements, charge_direction(free[:n], pairs, counts, sign), strict=True)
    )
    products = np.array([direction[a] * direction[b] for a, b in pairs.combinations])
    columns = np.zeros((n + powers.size, 1 + powers.size))
    columns[:n, 0], columns[n:, 1:] = products, np.eye(powers.size)
    c, strength = solve(train.combined(columns), tune.combined(columns), settings.ridge)
    if c[0] < 0:  # unlike charges would repel: no charges serve better than any
        columns = columns[:, 1:]
        c, strength = solve(train.combined(columns), tune.combined(columns), settings.ridge)
        c = np.concatenate([[0.0], c])
    charges = {e: float(np.sqrt(c[0]) * q) + 0.0 for e, q in direction.items()}
    report: dict[str, object] = {
        "cutoff": "Ewald",
        "functions": powers.size + n,
        "ridge": strength,
        "charges": charges,
    }
    branch = SumBranch(CoulombBranch(charges), PairBranch(powers, c[1:]))
    return FittedBranch("long", branch, report)


def thin(frames: Sequence[Structure]) -> list[Structure]:
    """Keep evenly spaced frames, as many as the components allow."""
    total = sum(3 * len(f.numbers) for f in frames)
    stride = max(1, -(-total // MOST_COMPONENTS))
    return list(frames[::stride])
