r"""Estimate the gain of a longer scale at the end of training from the gain measured today.

The squared error of a scale s has two parts: the part :math:`a_s^2` due to interactions beyond its
range, and the part :math:`L_s^2` that is not learned yet. The first is a property of the system and
remains; the second vanishes with training and is nearly the same for all scales. With the present
ratio :math:`\rho` of the error of the longest scale to that of scale s, the remaining fall
:math:`\lambda` of the logarithm of the error, and :math:`f = e^{-\lambda}`, the gain of the longest
scale at the end of training is

.. math:: g = 1 - (1 + x)^{-1/2}, \qquad x = K\, \frac{\rho^{-2} - 1 - U (1 - f^2)}{f^2} + B

U is the difference of the parts :math:`L_s^2` of the two scales, relative to that of the longest
scale. It is larger while the error still falls fast. The shorter scale is behind more often than
the longer one, most of all a scale without long range. K (1 if the quotient is not positive) and B
describe how potentials that are trained to the end for one scale each differ from forks, which
start from shared weights: forks of short scales are better than such potentials. A ladder may be
behind a potential of its longest scale alone; this is included in :math:`\lambda`. Gains from more
frames or channels have K = 1 and B = 0, and no such lag. Rungs of a ladder have a wider interval of
:math:`\rho` instead of K and B. All these numbers are drawn from distributions that were measured
on such ladders, and :math:`\rho` from its interval; the resulting distribution of g is the estimate
(``benchmarks/truth.py``; docs/findings.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float

from scalewise.analysis.learning import FROM_SLOPE, Learning, normal_draws, remaining_fall
from scalewise.statistics.verdict import Verdict

#: Factor on the spread of U where no slope was measured.
UNKNOWN: Final = 2.0
#: Mean and standard deviation of log K.
SHARED: Final = (0.45, 0.5)
#: Standard deviation of U over the slope, below zero and above; and where the other scale has no
#: long range, which networks that were trained with it most of the time unlearn slowly.
UNEVEN: Final = (0.2, 0.8)
UNEVEN_LONG_RANGE: Final = (0.2, 1.5)
#: Standard deviation of B.
BASE: Final = 0.025
#: Scale of a half-normal distribution: how much higher the log error of a ladder's longest scale is
#: than that of a potential of this scale alone, after as many steps.
BEHIND: Final = 0.3
#: Lowest x: a longer scale at most doubles the error.
WORST: Final = -0.75
#: Factors by which the ratio of a rung's error to that of the longest may be off, too high and too
#: low: rungs share their weights and their steps, and the ends get fewest (docs/findings.md).
RUNG: Final = (1.45, 1.25)

#: Which errors a gain compares: of forks of a ladder, of rungs of one, of one rung and a rung for
#: each kind of atom, or of two set-ups.
Compared = Literal["forks", "rungs", "routes", "set-ups"]
#: Which of them are of one ladder, and why a gain that is certain today is not enough.
OF_ONE_LADDER: Final[Mapping[str, str]] = {
    "rungs": "scales of one ladder are no potentials of their own: scalewise fork is surer",
    "routes": "scales of one ladder are too unlike potentials of their own to tell",
}


def at_end(
    now: Verdict,
    learning: Learning,
    compared: Compared = "forks",
    *,
    long_range: bool = False,
) -> Float[np.ndarray, " draws"]:
    """Draw the gain at the end of training, given the measured one with its 95 % interval.

    The formula is that of the module. ``learning`` gives the remaining fall of the error;
    ``long_range`` says that it is a gain of long range.

    Examples
    --------
    >>> from scalewise.statistics.verdict import Answer
    >>> now = Verdict(Answer.NEEDED, 0.1, 0.09, 0.11)
    >>> for slope in (0.0, 0.4):  # a training that is at its end, one that is not
    ...     gains = at_end(now, Learning(1000, 0.0, slope=slope))
    ...     print([round(float(q), 2) for q in np.quantile(gains, [0.025, 0.975])])
    [0.08, 0.43]
    [-1.0, 0.93]
    """
    draws = normal_draws()
    ratio = LogRatio.of(now).drawn(draws[2])
    return gains_at_end(ratio, learning.slope, learning.fall or 0.0, draws, compared, long_range)


@dataclass(frozen=True)
class LogRatio:
    """Logarithm of the ratio of the longest scale's error to that of another, and its 95 %."""

    middle: float
    above: float
    below: float

    @classmethod
    def of(cls, now: Verdict) -> LogRatio:
        """From the measured gain and its interval."""
        assert now.gain is not None
        assert now.low is not None
        assert now.high is not None
        middle, most, least = np.log1p(-np.minimum([now.gain, now.low, now.high], 0.999)).tolist()
        return cls(middle, most - middle, middle - least)

    def drawn(self, normal: np.ndarray, part: float = 1.0) -> np.ndarray:
        """Of standard normal numbers; ``part``: of the interval."""
        return self.middle + part / 1.96 * normal * np.where(normal > 0, self.above, self.below)


def unlearned(
    slope: Any, fall: Any, draws: np.ndarray, compared: Compared, long_range: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Draw what training takes away, by how much a ladder is behind, and U.

    The first two add up to :math:`\lambda`.
    """
    left = remaining_fall(slope, fall, draws)
    behind = (0.0 if compared == "set-ups" else BEHIND) * np.abs(draws[6])
    pace = np.sqrt(np.median(left, axis=-1, keepdims=True) / FROM_SLOPE[0])
    less, more = UNEVEN_LONG_RANGE if long_range else UNEVEN
    apart = (1.0 if slope is not None else UNKNOWN) * pace * np.where(draws[4] < 0, less, more)
    return left, behind, apart * draws[4]


def gains_at_end(
    log_ratio: np.ndarray,
    slope: Any,
    fall: Any,
    draws: np.ndarray,
    compared: Compared,
    long_range: bool,
) -> np.ndarray:
    """Draw gains at the end of training; slope and fall may have a row for each."""
    left, behind, apart = unlearned(slope, fall, draws, compared, long_range)
    x = out_of_reach(log_ratio, np.exp(-2.0 * (left + behind)), apart)
    if compared == "forks":
        mean, spread = SHARED
        x = np.where(x > 0, np.exp(mean + spread * draws[3]), 1.0) * x + BASE * draws[5]
    return np.asarray(1.0 - 1.0 / np.sqrt(1.0 + np.maximum(x, WORST)))


def out_of_reach(log_ratio: np.ndarray, stays: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """What is out of the other scale's reach, over what stays of the longest's squared error."""
    return np.asarray((np.expm1(-2.0 * log_ratio) - apart * (1.0 - stays)) / stays)


def of_rungs(now: Verdict) -> Verdict:
    """A gain between rungs of a ladder as one between potentials of one scale each.

    Its interval holds what rungs may be off by; where that leaves no gain for certain, ``p`` is 1.
    """
    if now.low is None or now.high is None:
        return now
    high, low = RUNG
    ends = 1.0 - (1.0 - now.low) * high, 1.0 - (1.0 - now.high) / low
    return replace(now, low=ends[0], high=ends[1], p=now.p if ends[0] > 0.0 else 1.0)
