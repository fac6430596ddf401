r"""Confidence intervals for grouped data: whole groups are resampled, with Student's quantile.

Values of one group (consecutive frames, near duplicates, one trajectory) depend on each other, so
that only groups count as independent. In each resampling, group b is counted :math:`w_b` times,
where :math:`(w_1, \ldots, w_B)` is multinomial with equal probabilities and :math:`\sum_b w_b = B`.
Each gives one value :math:`\theta^*` of the quantity. With the standard deviation :math:`\sigma^*`
of these values,

.. math:: \hat\theta \pm t_{B-1}\,\sigma^* \sqrt{B / (B - 1)}

is the confidence interval (:func:`student`). Percentiles of the values would be too narrow for the
ten or so groups that a short trajectory gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

#: Groups below which no interval is given: no error can be known then.
FEWEST_GROUPS = 3


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; ``p`` is the one-sided probability of no gain at all."""

    estimate: float
    low: float
    high: float
    p: float = 1.0


def group_sums(
    values: Float[np.ndarray, " units"], group: Int[np.ndarray, " units"]
) -> Float[np.ndarray, " groups"]:
    """Sum values over each group, in sorted order of the groups' numbers.

    Examples
    --------
    >>> group_sums(np.array([1.0, 2.0, 4.0]), np.array([7, 3, 7])).tolist()
    [2.0, 5.0]
    """
    _, inverse = np.unique(group, return_inverse=True)
    return np.bincount(inverse, weights=values)


def group_weights(
    groups: int, seed: int, resamples: int
) -> Float[np.ndarray, "{resamples} {groups}"]:
    """How often each group is drawn in each resampling: multinomial, ``groups`` draws in all.

    Every bootstrap of the package draws here, so that the same seed draws the same groups
    everywhere.
    """
    return np.array(list(iterate_weights(groups, seed, resamples)))


def iterate_weights(
    groups: int, seed: int, resamples: int
) -> Iterator[Float[np.ndarray, " groups"]]:
    """The rows of :func:`group_weights` one after the other, for more groups than fit together."""
    rng = np.random.default_rng(seed)
    share = np.full(groups, 1.0 / groups)
    for _ in range(resamples):
        yield rng.multinomial(groups, share).astype(float)


def student(
    estimate: float,
    draws: Float[np.ndarray, " draws"],
    groups: int,
    *,
    level: float = 0.95,
    no_gain: float | None = None,
) -> Interval:
    r"""Interval of an estimate from its bootstrap draws, symmetric about the estimate.

    .. math:: \hat\theta \pm t\bigl(\tfrac{1 + \text{level}}{2}; B - 1\bigr)\, \sigma, \qquad
       \sigma = \sigma^* \sqrt{B / (B - 1)}

    Parameters
    ----------
    estimate, draws
        Of the quantity: from all groups once, and from each resampling.
    groups
        Number B of groups, two at least.
    level
        Probability that the interval holds the truth.
    no_gain
        Value from which on nothing is gained; smaller is better. ``p`` is Student's probability
        that the truth is there or above; without a value, ``p`` is 1.
    """
    error = float(draws.std(ddof=1)) * float(np.sqrt(groups / (groups - 1)))
    half = float(stats.t.ppf(0.5 + level / 2, groups - 1)) * error
    if no_gain is None:
        p = 1.0
    elif error == 0.0:
        p = 0.0 if estimate < no_gain else 1.0
    else:
        p = float(stats.t.cdf((estimate - no_gain) / error, groups - 1))
    return Interval(estimate, estimate - half, estimate + half, p)


def ratio_interval(
    values: Float[np.ndarray, " units"],
    reference: Float[np.ndarray, " units"],
    group: Int[np.ndarray, " units"],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    r"""Interval of :math:`\sum_k v_k / \sum_k r_k`; ``p`` tests "ratio >= 1".

    Returns None below three groups, and where the reference sums to zero. Draws whose reference is
    not positive are left out.
    """
    return _ratio(group_sums(values, group), group_sums(reference, group), seed, resamples, level)


def mean_interval(
    values: Float[np.ndarray, " units"],
    counts: Int[np.ndarray, " units"],
    group: Int[np.ndarray, " units"],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    r"""Interval of :math:`\sum_k v_k / \sum_k n_k`, the mean per component of units of n each.

    Returns None where :func:`ratio_interval` does.
    """
    counted = group_sums(counts.astype(float), group)
    return _ratio(group_sums(values, group), counted, seed, resamples, level)


def _ratio(
    top: Float[np.ndarray, " groups"],
    bottom: Float[np.ndarray, " groups"],
    seed: int,
    resamples: int,
    level: float,
) -> Interval | None:
    groups, total = len(top), float(bottom.sum())
    if groups < FEWEST_GROUPS or total == 0:
        return None
    weights = group_weights(groups, seed, resamples)
    below = weights @ bottom
    draws = (weights @ top)[below > 0] / below[below > 0]
    return student(float(top.sum() / total), draws, groups, level=level, no_gain=1.0)


def correlation_interval(
    first: Float[np.ndarray, "units components"],
    second: Float[np.ndarray, "units components"],
    group: Int[np.ndarray, " units"],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    r"""Interval of :math:`\sum x y / \sqrt{\sum x^2 \sum y^2}`, the uncentred correlation.

    Sums are over units and components; the interval is cut at -1 and 1, and its ``p`` is 1. Returns
    None below three groups, and where either field is zero everywhere.
    """
    sums = np.stack(
        [
            group_sums((x * y).sum(axis=-1), group)
            for x, y in ((first, second), (first, first), (second, second))
        ]
    )
    groups = sums.shape[1]
    if groups < FEWEST_GROUPS or sums[1].sum() == 0 or sums[2].sum() == 0:
        return None
    weights = group_weights(groups, seed, resamples)
    cross, one, two = weights @ sums.T[:, 0], weights @ sums.T[:, 1], weights @ sums.T[:, 2]
    estimate = float(sums[0].sum() / np.sqrt(sums[1].sum() * sums[2].sum()))
    found = student(estimate, cross / np.sqrt(one * two), groups, level=level)
    return Interval(estimate, max(-1.0, found.low), min(1.0, found.high))


@dataclass(frozen=True)
class Resampling:
    """Of the bootstrap: its seed and number of resamplings. The intervals are those of 95 %."""

    seed: int
    resamples: int

    def mean(
        self,
        values: Float[np.ndarray, " units"],
        counts: Int[np.ndarray, " units"],
        group: Int[np.ndarray, " units"],
    ) -> Interval | None:
        """Interval of a sum of values over a sum of counts; None below three groups."""
        return mean_interval(values, counts, group, seed=self.seed, resamples=self.resamples)

    def ratio(
        self,
        values: Float[np.ndarray, " units"],
        others: Float[np.ndarray, " units"],
        group: Int[np.ndarray, " units"],
    ) -> Interval | None:
        """Interval of the ratio of two sums; None below three groups."""
        return ratio_interval(values, others, group, seed=self.seed, resamples=self.resamples)

    def correlation(
        self,
        first: Float[np.ndarray, "units components"],
        second: Float[np.ndarray, "units components"],
        group: Int[np.ndarray, " units"],
    ) -> Interval | None:
        """Interval of the uncentred correlation of two fields; None below three groups."""
        return correlation_interval(first, second, group, seed=self.seed, resamples=self.resamples)
