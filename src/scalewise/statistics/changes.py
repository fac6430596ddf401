r"""The gain of a change, with an interval over test frames and trainings.

Every question compares two errors, before and after a change: a longer cutoff, long range, twice
the frames, twice the channels, scales that differ between atoms. With the errors
:math:`e_{cr}(s)` of set-up c and replica r at scale s,

.. math:: t = \frac{1}{R} \sum_r \bigl(\log e^\mathrm{after}_r - \log e^\mathrm{before}_r\bigr),
   \qquad \text{gain} = 1 - e^t

The variance of t has two parts. The part of the test frames is found by resampling whole groups,
for all replicas together. The part of the training is the variance of the same quantity between
replicas, pooled over the set-ups (for forks, over the scales that are compared with the longest),
divided by R. Student's quantile is taken at the degrees of freedom of Welch and Satterthwaite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from scalewise.statistics.bootstrap import FEWEST_GROUPS, group_weights
from scalewise.statistics.multiple import adjust_known
from scalewise.statistics.verdict import Answer, Verdict, decide


@dataclass(frozen=True, eq=False)
class Change:
    """Errors before and after a step, group by group of the test frames.

    Attributes
    ----------
    before, after
        Sum of absolute errors of each replica [replicas, groups].
    spread
        Variances of the same log ratio between replicas, one of each set-up, with the degrees of
        freedom of each.
    """

    before: Float[np.ndarray, "replicas groups"]
    after: Float[np.ndarray, "replicas groups"]
    spread: Sequence[tuple[float, int]]


def log_ratio(change: Change, weight: np.ndarray) -> np.ndarray:
    """The mean log ratio with groups counted by a weight [..., groups]."""
    after, before = (weight @ v.T for v in (change.after, change.before))
    return np.asarray(np.log(after / before).mean(axis=-1))


def between(values: Float[np.ndarray, " replicas"]) -> tuple[float, int]:
    """Variance between replicas, and its degrees of freedom."""
    return float(np.var(values, ddof=1)), len(values) - 1


def judge(
    changes: Mapping[str, Change], *, min_gain: float, alpha: float, seed: int, resamples: int
) -> list[Verdict]:
    """Answer all questions, with one error rate for them together (Holm).

    Parameters
    ----------
    changes
        By question.
    min_gain, alpha
        The gain that pays; the probability of one wrong "needed" or more.
    seed, resamples
        Of the bootstrap.
    """
    found = [_estimate(name, change, seed, resamples) for name, change in changes.items()]
    adjusted = adjust_known([v.p for v in found])
    return [_answered(v, p, min_gain, alpha) for v, p in zip(found, adjusted, strict=True)]


def _estimate(name: str, change: Change, seed: int, resamples: int) -> Verdict:
    replicas, groups = change.after.shape
    if groups < FEWEST_GROUPS or not (change.before.sum() > 0 and change.after.sum() > 0):
        return Verdict(Answer.CANNOT_TELL, question=name)
    estimate = float(log_ratio(change, np.ones(groups)))
    with np.errstate(divide="ignore", invalid="ignore"):
        sample = log_ratio(change, group_weights(groups, seed, resamples))
    sampling = float(np.var(sample[np.isfinite(sample)], ddof=1)) * groups / (groups - 1)
    freedom = sum(df for _, df in change.spread)
    training = sum(v * df for v, df in change.spread) / freedom / replicas
    total = sampling + training
    if total == 0.0:
        quantile, p, share = 0.0, float(estimate >= 0), 0.0
    else:
        df = total**2 / (sampling**2 / (groups - 1) + training**2 / freedom)
        quantile = float(stats.t.ppf(0.975, df)) * np.sqrt(total)
        p, share = float(stats.t.cdf(estimate / np.sqrt(total), df)), training / total
    gain, low, high = (
        1.0 - float(np.exp(t)) for t in (estimate, estimate + quantile, estimate - quantile)
    )
    return Verdict(Answer.CANNOT_TELL, gain, low, high, p, question=name, training=share)


def _answered(found: Verdict, p: float | None, min_gain: float, alpha: float) -> Verdict:
    if p is None or found.gain is None or found.high is None:
        return found
    answer = decide(found.gain, found.high, p, min_gain=min_gain, alpha=alpha)
    return replace(found, answer=answer, p=p)
