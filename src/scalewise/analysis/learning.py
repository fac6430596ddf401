r"""How far a training has come, and what a gain will be at its end.

A network that is still learning says little of its system: what it has not learned yet hides what a
longer range is worth. The error :math:`e` of a training falls by
:math:`\Delta = \log e(2n/3) - \log e(n)` in the last third of its n steps, where the learning rate
goes to zero: what the frames still teach shows there, and where nothing falls, they teach nothing
more. A training without end keeps at least the share

.. math:: e_\infty \ge e\,\phi, \qquad \phi = e^{-10 \Delta}

The squared error of a scale s is what is out of its reach, :math:`a_s^2`, and what is not learned
yet, :math:`L_s^2`. The first belongs to the system, and the second is nearly the same for all
scales, :math:`|L_s^2 - L^2| \le 2 \delta L^2` with :math:`L^2 = e^2 - e_\infty^2` of the longest.
With the ratio :math:`\rho` of the longest scale's error to that of scale s, its gain is, where
training has brought :math:`e` down to :math:`f e`,

.. math:: g(f) = 1 - \frac{f}{\sqrt{f^2 + \rho^{-2} - 1 + d\,(1 - f^2)}}, \qquad
   \phi \le f \le 1, \quad |d| \le 2\delta

What is known of the gain at the end of training is the range of this over f, d and the interval of
:math:`\rho`. The constants were measured on ladders of silicon and acetylacetone of growing length
(``benchmarks/truth.py``; docs/findings.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from scalewise.statistics.verdict import Answer, Verdict

#: Share of the steps after which the last fall is counted.
LATE: Final = 2 / 3
#: Further falls of a training without end, over the last one.
LEFT: Final = 10.0
#: How the last fall changes with each doubling of the steps, in forecasts.
DECAY: Final = 0.6
#: Half the share by which what is not learned yet differs between scales.
UNEVEN: Final = 0.1
#: Factors by which the ratio of a rung's error to that of the longest may be off, too high and too
#: low: rungs share their weights and their steps, and the ends get fewest (docs/findings.md).
RUNG: Final = (1.45, 1.25)
#: Share of its error that a network keeps at least whose training is as good as at its end.
ENDED: Final = 0.8
#: Doublings of a training that are worth naming.
DOUBLINGS: Final = 8


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
    """

    steps: int
    fall: float
    seconds: float | None = None

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

    @property
    def least(self) -> float:
        """The share of its error that a training without end keeps at least."""
        return float(np.exp(-LEFT * self.fall))

    def after(self, doublings: int) -> Learning:
        """How it will be when the training is so many times twice as long."""
        seconds = None if self.seconds is None else self.seconds * 2**doublings
        return Learning(self.steps * 2**doublings, self.fall * DECAY**doublings, seconds)


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


def at_end(low: float, high: float, least: float) -> tuple[float, float]:
    """Ends of what a gain, now from ``low`` to ``high``, may be at the end of training.

    ``least`` is the share of its error that the longest scale keeps at least.

    Examples
    --------
    >>> [round(end, 2) for end in at_end(0.1, 0.2, 1.0)]  # the training is at its end
    [0.1, 0.2]
    >>> low, high = at_end(0.1, 0.2, 0.5)  # half of the error may still go
    >>> round(low, 2), round(high, 2)
    (0.1, 0.49)
    """
    share = np.linspace(least, 1.0, 64)
    ends = []
    for gain, sign in ((low, -1.0), (high, 1.0)):
        beyond = (1.0 - min(gain, 0.999)) ** -2 - 1.0 + 2.0 * sign * UNEVEN * (1.0 - share**2)
        left = np.maximum(share**2 + beyond, 0.25 * share**2)  # no longer scale doubles an error
        ends.append(1.0 - share / np.sqrt(left))
    return float(ends[0].min()), float(ends[1].max())


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
    assert now.gain is not None
    assert now.low is not None
    assert now.high is not None
    assert now.p is not None
    low, high = at_end(now.low, now.high, learning.least)
    surely, _ = at_end(now.gain, now.gain, learning.least)
    if now.p <= alpha and surely >= min_gain and low > 0.0:
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
    if longer is None:
        ended = replace(learning, fall=0.0)
        if _answer(now, ended, min_gain, alpha)[0] is Answer.CANNOT_TELL:
            return "the intervals are too wide: more test frames or seeds would settle it"
        return "the network is still learning"
    times = longer.steps // learning.steps
    return f"the network is still learning: a training {times} times as long would settle it"


def ended(learning: Learning | None) -> bool:
    """Whether the training is so far that errors may be extended to other numbers of frames."""
    return learning is not None and learning.least > ENDED


def describe(learning: Learning | None) -> dict[str, Any]:
    """The section of a document that says how far the training had come."""
    names = ("steps", "seconds", "fall", "least")
    return {n: None if learning is None else getattr(learning, n) for n in names}


def sentence(section: Mapping[str, Any]) -> str:
    """The section in words."""
    if section["fall"] is None:
        return "How far the training had come is not known."
    saved, left = 100 * (1 - np.exp(-section["fall"])), 100 * (1 - section["least"])
    if left < 1:
        return (
            f"The network has learned what these frames tell: in the last third of its "
            f"{section['steps']} steps its error did not fall."
        )
    return (
        f"The network is still learning: its error fell by {saved:.0f} % in the last third of its "
        f"{section['steps']} steps, and a training without end may take up to {left:.0f} % of what "
        "is left."
    )
