r"""How far a training has come, and what a gain will be at its end.

A network that is still learning says little of its system: what it has not learned yet hides what a
longer range is worth. Two things say how far it is. A shorter training like it: the error fell by
:math:`\sigma = \log(e_\mathrm{short} / e) / \log_2(n / n_\mathrm{short})` with each doubling of the
steps, and on ladders of growing length it went on to fall by

.. math:: \lambda = \log(e / e_\infty) \approx 5 \sigma^2

within a factor of four (95 %). Where there is no shorter one, the last third of its own steps,
where the learning rate goes to zero: :math:`\Delta = \log e(2n/3) - \log e(n)`, and
:math:`\lambda \approx 4 \Delta` within a factor of four (95 %).

The squared error of a scale s is what is out of its reach, :math:`a_s^2`, and what is not learned
yet, :math:`L_s^2`. The first belongs to the system and stays, the second goes, and is nearly the
same for all scales. With the ratio :math:`\rho` of the longest scale's error to that of scale s,
now, and :math:`f = e^{-\lambda}`, its gain at the end is

.. math:: g = 1 - (1 + x)^{-1/2}, \qquad x = \frac{K (\rho^{-2} - 1) + U (1 - f^2)}{f^2} + B

where U is by how much the two unlearned parts differ, over the longest scale's; K and B are by how
much potentials of one scale each, trained to their end, differ from scales that went on from shared
weights: these make short scales better than they are alone. All of them are drawn from the
distributions that they had on such ladders, beside the interval of :math:`\rho`; what is known of
the gain at the end is the distribution of g (``benchmarks/truth.py``; docs/findings.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from scalewise.statistics.verdict import Answer, Verdict

#: Share of the steps after which the last fall is counted.
LATE: Final = 2 / 3
#: Median of what is left over the square of a slope, and over the last fall, and the spreads of
#: their logarithms.
FROM_SLOPE: Final = (5.0, 0.7)
FROM_FALL: Final = (4.0, 0.7)
#: Luck of a slope.
SLOPE_LUCK: Final = 0.01
#: How slope and last fall change with each doubling of the steps, in forecasts.
DECAY: Final = 0.7
#: Of log K, mean and spread; spread of U over the slope, and of B.
SHARED: Final = (0.45, 0.5)
UNEVEN: Final = 0.2
BASE: Final = 0.025
#: A longer scale that doubles an error has not been seen.
WORST: Final = -0.75
#: Factors by which the ratio of a rung's error to that of the longest may be off, too high and too
#: low: rungs share their weights and their steps, and the ends get fewest (docs/findings.md).
RUNG: Final = (1.45, 1.25)
#: Doublings of a training that are worth naming.
DOUBLINGS: Final = 8
#: Of each distribution.
DRAWS: Final = 4096


@cache
def _draws() -> Float[np.ndarray, "6 draws"]:
    """Standard normal numbers, the same ones each time."""
    return np.random.default_rng(0).standard_normal((6, DRAWS))


@dataclass(frozen=True)
class Learning:
    """How the error of a potential fell.

    Attributes
    ----------
    steps
        Of the training.
    fall
        Logarithm of the ratio of the errors at two thirds of the steps and at the end, 0 at least.
    seconds
        That it took; none: not known.
    slope
        By how much the logarithm of the error falls with a doubling of the steps, from a shorter
        training; none: there is none.
    """

    steps: int
    fall: float
    seconds: float | None = None
    slope: float | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Learning | None:
        """From what a potential knows of its training; none where it knows too little."""
        history = history_of(info)
        steps, errors = (np.array(history.get(k, [])) for k in ("step", "forces_mae"))
        known = len(steps) == len(errors) > 3 and bool((np.diff(steps) > 0).all())
        if not known or steps[0] > LATE * steps[-1]:
            return None
        late = float(np.interp(np.log(LATE * steps[-1]), np.log(steps), np.log(errors)))
        late = min(late, float(np.log(errors[steps <= LATE * steps[-1]].min())))
        seconds = history["seconds"][-1] if "seconds" in history else None
        fall = max(0.0, late - float(np.log(errors.min())))
        return cls(int(steps[-1]), fall, seconds)

    def after_shorter(self, steps: int, before: float, after: float) -> Learning:
        """With what the errors of a shorter training, and of this one, say of it."""
        if not (before > 0 and after > 0 and steps < self.steps):
            return self
        return replace(self, slope=float(np.log(before / after) / np.log2(self.steps / steps)))

    def left(self) -> Float[np.ndarray, " draws"]:
        r"""By how much the logarithm of the error may still fall, :math:`\lambda`."""
        luck, factor = _draws()[:2]
        if self.slope is None:
            median, spread = FROM_FALL
            return np.asarray(median * self.fall * np.exp(spread * factor))
        median, spread = FROM_SLOPE
        slope = np.maximum(self.slope + SLOPE_LUCK * luck, 0.0)
        return np.asarray(median * slope**2 * np.exp(spread * factor))

    @property
    def least(self) -> float:
        """The share of its error that a training without end keeps at least (97.5 %)."""
        return float(np.exp(-np.quantile(self.left(), 0.975)))

    def after(self, doublings: int) -> Learning:
        """How it will be when the training is so many times twice as long."""
        times, less = 2**doublings, DECAY**doublings
        seconds = None if self.seconds is None else self.seconds * times
        slope = None if self.slope is None else self.slope * less
        return Learning(self.steps * times, self.fall * less, seconds, slope)


def history_of(info: Mapping[str, Any]) -> dict[str, list[float]]:
    """Validations that a potential knows, by column; what is no list of positive numbers is left.

    Nothing in a potential's folder is trusted: it may be a stranger's.
    """
    history = info.get("history")
    columns = history.items() if isinstance(history, Mapping) else ()
    found = {
        str(name): [float(v) for v in values]
        for name, values in columns
        if isinstance(values, list)
        and all(type(v) in (int, float) and 0 < v < 1e15 for v in values)
    }
    steps = len(found.get("step", ()))
    return {name: values for name, values in found.items() if len(values) == steps > 0}


def at_end(now: Verdict, learning: Learning) -> Float[np.ndarray, " draws"]:
    """What a gain that was measured, with its interval, may be at the end of training.

    Examples
    --------
    >>> now = Verdict(Answer.NEEDED, 0.1, 0.09, 0.11)
    >>> for slope in (0.0, 0.4):  # a training that is at its end, one that is not
    ...     gains = at_end(now, Learning(1000, 0.0, slope=slope))
    ...     print([round(float(q), 2) for q in np.quantile(gains, [0.025, 0.975])])
    [0.06, 0.29]
    [0.13, 0.93]
    """
    assert now.gain is not None
    assert now.low is not None
    assert now.high is not None
    ratio, shared, uneven, base = _draws()[2:]
    middle, ends = np.log1p(-now.gain), np.log1p(-np.array([now.low, min(now.high, 0.999)]))
    log_ratio = middle + ratio * (ends[0] - ends[1]) / 3.92
    left = learning.left()
    share = np.exp(-2.0 * left)
    beyond = np.expm1(-2.0 * log_ratio)
    mean, spread = SHARED
    grown = np.where(beyond > 0, np.exp(mean + spread * shared), 1.0)
    apart = UNEVEN * np.sqrt(np.median(left) / FROM_SLOPE[0]) * uneven
    x = (grown * beyond + apart * (1.0 - share)) / share + BASE * base
    return np.asarray(1.0 - 1.0 / np.sqrt(1.0 + np.maximum(x, WORST)))


def of_rungs(now: Verdict) -> Verdict:
    """A gain between rungs of a ladder as one between potentials of one scale each.

    Its interval holds what rungs may be off by; where that leaves no gain for certain, ``p`` is 1.
    """
    if now.low is None or now.high is None:
        return now
    high, low = RUNG
    ends = 1.0 - (1.0 - now.low) * high, 1.0 - (1.0 - now.high) / low
    return replace(now, low=ends[0], high=ends[1], p=now.p if ends[0] > 0.0 else 1.0)


def decide_for_system(
    now: Verdict, learning: Learning | None, *, min_gain: float, alpha: float
) -> Verdict:
    """What a gain that was measured says of the system: the answer holds at the end of training.

    Parameters
    ----------
    now
        The gain at this budget, with its interval and its adjusted p-value.
    learning
        How far the training has come; none: not known.
    min_gain, alpha
        The gain that pays; the probability of one wrong "needed" or more.

    Returns
    -------
    Verdict
        Its ``reason`` says why it cannot tell.
    """
    if now.gain is None or now.low is None or now.high is None or now.p is None:
        return replace(now, answer=Answer.CANNOT_TELL, reason="too few groups of frames")
    if learning is None:
        return replace(
            now, answer=Answer.CANNOT_TELL, reason="how far the training has come is not known"
        )
    answer, low, high = _answer(now, learning, min_gain, alpha)
    reason = ""
    if answer is Answer.CANNOT_TELL:
        reason = _reason(now, learning, min_gain, alpha)
    return replace(now, answer=answer, low=low, high=high, reason=reason)


def _answer(
    now: Verdict, learning: Learning, min_gain: float, alpha: float
) -> tuple[Answer, float, float]:
    assert now.p is not None
    gains = at_end(now, learning)
    low, surely, high = (float(q) for q in np.quantile(gains, [0.025, 0.05, 0.975]))
    if now.p <= alpha and surely >= min_gain:
        return Answer.NEEDED, low, high
    return Answer.NOT_NEEDED if high < min_gain else Answer.CANNOT_TELL, low, high


def settled_after(
    now: Verdict, learning: Learning, *, min_gain: float, alpha: float
) -> Learning | None:
    """The training that would settle it, if the gain stays what it is; none: no training would."""
    for doublings in range(1, DOUBLINGS + 1):
        longer = learning.after(doublings)
        if _answer(now, longer, min_gain, alpha)[0] is not Answer.CANNOT_TELL:
            return longer
    return None


def _reason(now: Verdict, learning: Learning, min_gain: float, alpha: float) -> str:
    longer = settled_after(now, learning, min_gain=min_gain, alpha=alpha)
    if longer is not None:
        times = longer.steps // learning.steps
        return f"the network is still learning: a training {times} times as long would settle it"
    ended = replace(learning, fall=0.0, slope=0.0)
    if _answer(now, ended, min_gain, alpha)[0] is not Answer.CANNOT_TELL:
        return "the network is still learning"
    exact = replace(now, low=now.gain, high=now.gain, p=0.0 if (now.gain or 0.0) > 0 else 1.0)
    if _answer(exact, ended, min_gain, alpha)[0] is not Answer.CANNOT_TELL:
        return "the intervals are too wide: more test frames or seeds would settle it"
    return (
        f"too near to the {100 * min_gain:g} % that pay: potentials of one scale each, trained to "
        "their end, would settle it"
    )


def describe(learning: Learning | None, *, slope: bool = False) -> dict[str, Any]:
    """The section of a document that says how far the training had come; ``slope``: with that."""
    names = ("steps", "seconds", "fall", *(["slope"] if slope else []), "least")
    return {n: None if learning is None else getattr(learning, n) for n in names}


def sentence(section: Mapping[str, Any]) -> str:
    """The section in words."""
    if section["fall"] is None:
        return "How far the training had come is not known."
    left, slope = 100 * (1 - section["least"]), section.get("slope")
    if slope is None:
        fall, how = section["fall"], "in the last third of its {steps} steps its error fell by"
    else:
        fall, how = max(slope, 0.0), "a doubling of its steps, to {steps}, lowered its error by"
    how = f"{how.format(steps=section['steps'])} {100 * (1 - np.exp(-fall)):.2g} %"
    if left < 1:
        return f"The network has learned what these frames tell: {how}."
    return (
        f"The network is still learning: {how}, and a training without end may take up to "
        f"{left:.0f} % of what is left."
    )
