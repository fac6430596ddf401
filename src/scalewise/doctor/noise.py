"""Label noise from net forces: forces of a translation-invariant energy sum to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Bool, Float, Int
from scipy.optimize import nnls

from scalewise.data import columns
from scalewise.data.structure import Structure
from scalewise.doctor.composition import Composition
from scalewise.statistics.bootstrap import iterate_weights

#: Net forces below this, times the root of the number of atoms (eV/Å), are rounding of the file.
ROUNDING: Final = 2e-5
#: Squared net forces count at most this many times their expectation: a Gaussian exceeds it once
#: in 40 000 frames, so what does is an outlier, and one must not set the scale for all.
MOST: Final = 8.0
#: Mean absolute value of a Gaussian over its standard deviation, sqrt(2/pi).
MEAN_ABSOLUTE: Final = 0.7978845608
#: Passes of the weighted fit, and of a resampling, which starts from the fit of all frames.
ITERATIONS: Final = 8
RESTARTED: Final = 2
#: Share of the largest eigenvalue of the normal equations below which one is rounding.
DETERMINED: Final = 1e-13
#: Groups below which no interval is given.
FEWEST_GROUPS: Final = 5


@dataclass(frozen=True)
class UnitNoise:
    """Noise of one formula unit.

    Attributes
    ----------
    name, atoms
        The unit and how many atoms it has.
    total
        Standard deviation of a component of the unit's summed noise (eV/Å), sqrt(sum n_e s_e^2).
    interval
        95 % bootstrap interval of ``total``, or None.
    """

    name: str
    atoms: int
    total: float
    interval: tuple[float, float] | None

    @property
    def per_atom(self) -> float:
        """Standard deviation per atom, had all atoms of the unit the same (eV/Å)."""
        return self.total / float(np.sqrt(self.atoms))

    @property
    def floor(self) -> float:
        """Mean absolute error per component of a perfect model, if the noise is Gaussian (eV/Å)."""
        return MEAN_ABSOLUTE * self.per_atom


@dataclass(frozen=True)
class ElementNoise:
    """Noise of one element.

    Attributes
    ----------
    name
        Chemical symbol.
    sigma, interval
        Standard deviation per component (eV/Å) from variance and covariance together, and its
        95 % bootstrap interval, or None.
    at_most
        Largest standard deviation (eV/Å) that the variance of the net forces alone allows.
    """

    name: str
    sigma: float
    interval: tuple[float, float] | None
    at_most: float

    @property
    def floor(self) -> float:
        """Mean absolute error per component of a perfect model, if the noise is Gaussian (eV/Å)."""
        return MEAN_ABSOLUTE * self.sigma

    @property
    def certain(self) -> float:
        """The lower end of the standard deviation's 95 % interval, eV/Å."""
        return self.interval[0] if self.interval else 0.0


@dataclass(frozen=True, eq=False)
class NetForceNoise:
    """What net forces say about the noise of labels.

    Attributes
    ----------
    units, elements
        Noise of each formula unit and of each element.
    informative
        Whether a frame's net force was left in its labels [frames].
    median
        Median size of the largest component of a frame's net force (eV/Å).
    """

    units: tuple[UnitNoise, ...]
    elements: tuple[ElementNoise, ...]
    informative: Bool[np.ndarray, " frames"]
    median: float


def estimate_noise(
    frames: Sequence[Structure],
    composition: Composition,
    group: Int[np.ndarray, " frames"],
    seed: int = 0,
    resamples: int = 200,
) -> NetForceNoise:
    """Estimate the noise of labels from the frames' net forces, in two ways.

    True forces sum to zero, so the net force N of a frame is the sum of its labels' errors. If
    these are independent, with standard deviation s_e on every component of every atom of element
    e, and independent of the true forces ::

        <N_x^2> = sum_e n_e s_e^2        variance, with n_e atoms of e in the frame
        <N_x F_ix> = s_e^2               covariance with the label F_i of an atom of e

    The first is fitted by non-negative least squares over frames with weights 1/<N_x^2>, iterated.
    Where compositions are rank deficient (H and O of water come 2:1) it determines
    sum_e u_e s_e^2 for the formula units u of their span only. The second tells elements of fixed
    ratio apart but is less precise, since the true forces average out slowly; so the noise of an
    element is fitted to both, each weighted by its bootstrap error, again with s_e^2 >= 0.
    The bootstrap resamples whole groups of near-duplicate frames.

    Parameters
    ----------
    frames, composition
        Frames with labelled forces, perhaps none, and their composition.
    group
        Group of every frame; frames of one group are resampled together.
    seed, resamples
        Of the bootstrap.

    Notes
    -----
    Errors that neighbors share, or that cancel between them, are seen too large or too small.
    """
    if not frames:
        return NetForceNoise((), (), np.zeros(0, dtype=bool), 0.0)
    forces = columns.forces(frames)
    owner = columns.owners(frames)
    net = np.stack([np.bincount(owner, forces[:, k], len(frames)) for k in range(3)], axis=1)
    atoms = composition.counts.sum(axis=1)
    informative = np.abs(net).max(axis=1) > ROUNDING * np.sqrt(atoms)
    median = float(np.median(np.abs(net).max(axis=1)))
    if not informative.any():
        return NetForceNoise((), (), informative, median)
    sums = _Sums(
        composition.counts[informative].astype(float),
        np.mean(net[informative] ** 2, axis=1),
        _covariances(columns.numbers(frames), forces, owner, composition.elements, net)[
            informative
        ],
    )
    variance, own = sums.estimate(np.ones(len(sums.square)))
    draws = _bootstrap(sums, variance, group[informative], seed, resamples)
    units = composition.stoichiometric
    total = units @ variance
    of_units = of_elements = None
    if draws is not None:
        of_units = draws[0] @ units.T
        combine = _Combination.of(units, of_units, draws[1])
        own = combine.solve(total, own)
        of_elements = np.array(
            [combine.solve(t, o) for t, o in zip(of_units, draws[1], strict=True)]
        )
    return NetForceNoise(
        tuple(
            UnitNoise(u.name, u.atoms, _root(total[k]), _interval(of_units, k))
            for k, u in enumerate(composition.units)
        ),
        tuple(
            ElementNoise(
                name,
                _root(own[k]),
                _interval(of_elements, k),
                _root(min(t / u[k] for t, u in zip(total, units, strict=True) if u[k])),
            )
            for k, name in enumerate(composition.elements)
        ),
        informative,
        median,
    )


def _root(variance: float) -> float:
    """Standard deviation; a variance estimated below zero counts as none."""
    return float(np.sqrt(max(float(variance), 0.0)))


def _interval(draws: np.ndarray | None, k: int) -> tuple[float, float] | None:
    if draws is None:
        return None
    low, high = np.percentile(draws[:, k], [2.5, 97.5])
    return _root(low), _root(high)


def _covariances(
    numbers: np.ndarray,
    forces: np.ndarray,
    owner: np.ndarray,
    elements: Sequence[str],
    net: np.ndarray,
) -> Float[np.ndarray, "frames elements"]:
    """Mean over components of the net force times the summed labels of each element."""
    mean = sum(forces[:, k] * net[owner, k] for k in range(3)) / 3
    place = owner * len(elements)
    place += np.searchsorted(np.array([atomic_numbers[e] for e in elements]), numbers)
    found = np.bincount(place, mean, minlength=len(net) * len(elements))
    return found.reshape(len(net), len(elements))


@dataclass(frozen=True, eq=False)
class _Combination:
    """Variances per element that suit both estimates within their errors."""

    rows: Float[np.ndarray, "equations elements"]
    error: Float[np.ndarray, " equations"]

    @classmethod
    def of(cls, units: np.ndarray, totals: np.ndarray, own: np.ndarray) -> _Combination:
        """Take the errors from the bootstrap of both."""
        error = np.concatenate([totals.std(axis=0), own.std(axis=0)])
        rows = np.vstack([units, np.eye(units.shape[1])])
        return cls(rows, np.maximum(error, 1e-6 * error.max() + 1e-300))

    def solve(self, total: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Variance per element from that of the units and of the elements (eV²/Å²)."""
        right = np.concatenate([total, own]) / self.error
        return nnls(self.rows / self.error[:, None], right)[0]


@dataclass(frozen=True, eq=False)
class _Sums:
    """What both estimates need of each frame."""

    counts: Float[np.ndarray, "frames elements"]
    square: Float[np.ndarray, " frames"]
    covariance: Float[np.ndarray, "frames elements"]

    def estimate(
        self, weight: np.ndarray, start: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Variance per element (eV²/Å²), from the variance and from the covariance."""
        variance = _fit(self.counts, self.square, weight, start)
        expected = np.maximum(self.counts @ variance, 1e-6 * self.square.mean())
        share = weight / expected * (self.square < MOST * expected)
        own = share @ self.covariance / np.maximum(share @ self.counts, 1e-300)
        return variance, own


def _fit(
    counts: np.ndarray, square: np.ndarray, weight: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Variance per element (eV²/Å²): weighted, non-negative, with clipped outliers."""
    atoms = counts.sum(axis=1)
    least = 1e-6 * square.mean()
    if start is None:
        # 0.79: median over mean of a chi-squared with three degrees of freedom
        expected = atoms * np.median(square / atoms) / 0.79
    else:
        expected = np.maximum(counts @ start, least)
    variance = np.zeros(counts.shape[1])
    for _ in range(ITERATIONS if start is None else RESTARTED):
        # the spread of a squared Gaussian grows with its mean
        scale = np.sqrt(weight) / np.maximum(expected, 1e-300)
        clipped = np.minimum(square, MOST * expected)
        unit = 1.0 / max(float(clipped.mean()), 1e-300)
        variance = _non_negative(counts * scale[:, None], clipped * scale * unit) / unit
        expected = np.maximum(counts @ variance, least)
    return variance


def _non_negative(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Non-negative least squares from the normal equations: their size is that of the elements."""
    size, vectors = np.linalg.eigh(matrix.T @ matrix)
    kept = size > DETERMINED * max(float(size.max()), 1e-300)
    root = np.sqrt(size[kept])
    vectors = vectors[:, kept]
    reduced = (vectors.T @ (matrix.T @ right)) / root
    found: np.ndarray = nnls(root[:, None] * vectors.T, reduced)[0]
    return found


def _bootstrap(
    sums: _Sums, variance: np.ndarray, group: np.ndarray, seed: int, resamples: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Both estimates for each resampling of the groups [resamples, elements]."""
    _, index = np.unique(group, return_inverse=True)
    n = int(index.max()) + 1
    if n < FEWEST_GROUPS:
        return None
    # how often a frame was drawn is its weight
    found = [sums.estimate(w[index], variance) for w in iterate_weights(n, seed, resamples)]
    return np.array([f[0] for f in found]), np.array([f[1] for f in found])
