r"""How far a training has come, and what a gain will be at its end.

A network that is still learning says little of its system: what it has not learned yet hides what a
longer range is worth. Two things say how far it is. A shorter training like it: the error fell by
:math:`\sigma = \log(e_\mathrm{short} / e) / \log_2(n / n_\mathrm{short})` with each doubling of the
steps, and on ladders of growing length it went on to fall by

.. math:: \lambda = \log(e / e_\infty) \approx 5 \sigma^2

within a factor of four (95 %). Where there is no shorter one, the last third of its own steps,
where the learning rate goes to zero: :math:`\Delta = \log e(2n/3) - \log e(n)`, and
:math:`\lambda \approx 4 \Delta` within a factor of seven.

The squared error of a scale s is what is out of its reach, :math:`a_s^2`, and what is not learned
yet, :math:`L_s^2`. The first belongs to the system and stays, the second goes, and is nearly the
same for all scales. With the ratio :math:`\rho` of the longest scale's error to that of scale s,
now, and :math:`f = e^{-\lambda}`, its gain at the end is

.. math:: g = 1 - (1 + x)^{-1/2}, \qquad x = K\, \frac{\rho^{-2} - 1 - U (1 - f^2)}{f^2} + B

where U is by how much the two unlearned parts differ, over the longest scale's: the faster the
error still falls the more, and short scales are behind more often than long ones, scales without
long range most of all. K (where
what it multiplies is positive, else 1) and B are by how much potentials of one scale each, trained
to their end, differ from forks that went on from shared weights: these make short scales better
than they are alone. A ladder may be behind a potential of its longest scale: that is in
:math:`\lambda`, too. For gains of more frames or channels there is none of this; rungs of a ladder
have a wider interval of :math:`\rho` in the place of K and B. All of them are drawn from the
distributions that they had on such ladders, beside the interval of :math:`\rho`; what is known of
the gain at the end is the distribution of g (``benchmarks/truth.py``; docs/findings.md).

A longer training is named where it would settle a question that today's leaves open: the slope
falls by a factor :data:`DECAY` with each doubling of the steps, :math:`\lambda` as its square, and
four of five of such futures must be decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from scalewise.statistics.verdict import Answer, Verdict

#: Share of the steps after which the last fall is counted.
LATE: Final = 2 / 3
#: The remaining fall of the log error: its median over the squared slope, and over the last fall,
#: each with the standard deviation of its logarithm.
FROM_SLOPE: Final = (5.0, 0.7)
FROM_FALL: Final = (4.0, 1.0)
#: Factor on the spread of U where no slope was measured.
UNKNOWN: Final = 2.0
#: Standard deviation of a slope between seeds of the two trainings.
SLOPE_LUCK: Final = 0.02
#: The remaining fall is at least this share of the last one: a slope may be small because both
#: trainings are still on the plateau at their start.
LEAST_OF_FALL: Final = 0.5
#: Largest remaining fall of the log error, so that its exponential is a number.
MOST: Final = 20.0
#: Factor by which slope and last fall change with each doubling of the steps: its median, and the
#: standard deviation of its logarithm.
DECAY: Final = (0.9, 0.2)
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
#: Standard deviation of x below zero, before a longer training is named: a longer scale that is
#: worse today has more to learn, rather than less in its reach.
HARM: Final = 0.1
#: Lowest x: a longer scale at most doubles the error.
WORST: Final = -0.75
#: Factors by which the ratio of a rung's error to that of the longest may be off, too high and too
#: low: rungs share their weights and their steps, and the ends get fewest (docs/findings.md).
RUNG: Final = (1.45, 1.25)
#: Share of its error that a network keeps at least which has learned its frames.
LEARNED: Final = 0.8
#: Per cent from which on no number is said.
NEARLY_ALL: Final = 95.0
#: Doublings of a training that are worth naming.
DOUBLINGS: Final = 8
#: Share of what may come of a longer training that has to be decided before it is named.
SETTLES: Final = 0.8
#: Of each distribution; and of what may come of a longer training, each with fewer of the former.
DRAWS: Final = 4096
FUTURES: Final = 100
DRAWS_EACH: Final = 512


@cache
def _draws(number: int = DRAWS, seed: int = 0) -> Float[np.ndarray, "7 draws"]:
    """Standard normal numbers, the same ones each time."""
    return np.random.default_rng(seed).standard_normal((7, number))


#: Which errors a gain compares: of forks of a ladder, of rungs of one, of one rung and a rung for
#: each kind of atom, or of two set-ups.
Compared = Literal["forks", "rungs", "routes", "set-ups"]
#: Which of them are of one ladder, and why a gain that is certain today is not enough.
OF_ONE_LADDER: Final[Mapping[str, str]] = {
    "rungs": "scales of one ladder are no potentials of their own: scalewise fork is surer",
    "routes": "scales of one ladder are too unlike potentials of their own to tell",
}


@dataclass(frozen=True)
class Learning:
    """How the error of a potential fell.

    Attributes
    ----------
    steps
        Of the training.
    fall
        Logarithm of the ratio of the errors at two thirds of the steps and at the end, 0 at least;
        none: not known.
    seconds
        That it took; none: not known.
    slope
        By how much the logarithm of the error fell with a doubling of the steps, from a shorter
        training to this one; none: there is none.
    """

    steps: int
    fall: float | None
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
        """Add the slope from a shorter training's error, ``before``, to this one's, ``after``.

        Where there is a slope of all atoms already, and these are some of them, the larger counts:
        atoms whose error hardly moved may be at their beginning, while others are still learned.
        """
        if not (before > 0 and after > 0 and steps < self.steps):
            return self
        slope = float(np.log(before / after) / np.log2(self.steps / steps))
        return replace(self, slope=slope if self.slope is None else max(slope, self.slope))

    @property
    def known(self) -> bool:
        """Whether anything says how far the training has come."""
        return self.fall is not None or self.slope is not None

    def left(self) -> Float[np.ndarray, " draws"]:
        r"""By how much the logarithm of the error may still fall, :math:`\lambda`."""
        return _left(self.slope, self.fall or 0.0, _draws())

    @property
    def least(self) -> float | None:
        """The share of its error that a training without end keeps at least (97.5 %)."""
        return float(np.exp(-np.quantile(self.left(), 0.975))) if self.known else None

    def after(self, doublings: int) -> Learning:
        """How it will be when the training is so many times twice as long, in the median."""
        times, less = 2**doublings, DECAY[0] ** doublings
        seconds, slope, fall = (
            None if value is None else value * by
            for value, by in ((self.seconds, times), (self.slope, less), (self.fall, less))
        )
        return Learning(self.steps * times, fall, seconds, slope)


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
    >>> now = Verdict(Answer.NEEDED, 0.1, 0.09, 0.11)
    >>> for slope in (0.0, 0.4):  # a training that is at its end, one that is not
    ...     gains = at_end(now, Learning(1000, 0.0, slope=slope))
    ...     print([round(float(q), 2) for q in np.quantile(gains, [0.025, 0.975])])
    [0.08, 0.43]
    [-1.0, 0.93]
    """
    draws = _draws()
    ratio = _Ratio.of(now).drawn(draws[2])
    return _gains(ratio, learning.slope, learning.fall or 0.0, draws, compared, long_range)


@dataclass(frozen=True)
class _Ratio:
    """Logarithm of the ratio of the longest scale's error to that of another, and its 95 %."""

    middle: float
    above: float
    below: float

    @classmethod
    def of(cls, now: Verdict) -> _Ratio:
        assert now.gain is not None
        assert now.low is not None
        assert now.high is not None
        middle, most, least = np.log1p(-np.minimum([now.gain, now.low, now.high], 0.999)).tolist()
        return cls(middle, most - middle, middle - least)

    def drawn(self, normal: np.ndarray, part: float = 1.0) -> np.ndarray:
        """Of standard normal numbers; ``part``: of the interval."""
        return self.middle + part / 1.96 * normal * np.where(normal > 0, self.above, self.below)


def _left(slope: Any, fall: Any, draws: np.ndarray) -> np.ndarray:
    """The remaining fall of the logarithm of the error; slope and fall may have a row for each."""
    luck, factor = draws[:2]
    if slope is None:
        median, spread = FROM_FALL
        return np.asarray(np.minimum(median * fall * np.exp(spread * factor), MOST))
    median, spread = FROM_SLOPE
    slope = np.maximum(slope + SLOPE_LUCK * luck, 0.0)
    middle = np.maximum(median * slope**2, LEAST_OF_FALL * fall)
    return np.asarray(np.minimum(middle * np.exp(spread * factor), MOST))


def _unlearned(
    slope: Any, fall: Any, draws: np.ndarray, compared: Compared, long_range: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Draw what training takes away, by how much a ladder is behind, and U.

    The first two add up to :math:`\lambda`.
    """
    left = _left(slope, fall, draws)
    behind = (0.0 if compared == "set-ups" else BEHIND) * np.abs(draws[6])
    pace = np.sqrt(np.median(left, axis=-1, keepdims=True) / FROM_SLOPE[0])
    less, more = UNEVEN_LONG_RANGE if long_range else UNEVEN
    apart = (1.0 if slope is not None else UNKNOWN) * pace * np.where(draws[4] < 0, less, more)
    return left, behind, apart * draws[4]


def _gains(
    log_ratio: np.ndarray,
    slope: Any,
    fall: Any,
    draws: np.ndarray,
    compared: Compared,
    long_range: bool,
) -> np.ndarray:
    """Draw gains at the end of training; slope and fall may have a row for each."""
    left, behind, apart = _unlearned(slope, fall, draws, compared, long_range)
    x = _out_of_reach(log_ratio, np.exp(-2.0 * (left + behind)), apart)
    if compared == "forks":
        mean, spread = SHARED
        x = np.where(x > 0, np.exp(mean + spread * draws[3]), 1.0) * x + BASE * draws[5]
    return np.asarray(1.0 - 1.0 / np.sqrt(1.0 + np.maximum(x, WORST)))


def _likely(x: np.ndarray) -> np.ndarray:
    """Choose futures: a longer scale that has less in its reach is the less likely the less."""
    weight = np.cumsum(np.exp(-0.5 * (np.minimum(x, 0.0) / HARM) ** 2) + 1e-12)
    return np.searchsorted(weight / weight[-1], (np.arange(FUTURES) + 0.5) / FUTURES)


def _out_of_reach(log_ratio: np.ndarray, stays: np.ndarray, apart: np.ndarray) -> np.ndarray:
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


@dataclass(frozen=True)
class Asked:
    """What is asked of a gain.

    Attributes
    ----------
    min_gain, alpha
        The gain that pays; the probability of one wrong "needed" or more.
    compared
        Which errors it compares: potentials of one scale each differ from scales of a ladder.
    long_range
        Whether it is a gain of long range.
    """

    min_gain: float
    alpha: float
    compared: Compared = "forks"
    long_range: bool = False

    def answer(self, now: Verdict, learning: Learning) -> Verdict:
        """The answer at the end of training, with the gain there and its interval."""
        measured = self.measured(now)
        assert measured.p is not None
        gains = at_end(measured, learning, self.compared, long_range=self.long_range)
        needed, not_needed = self.rule(gains, measured.p <= self.alpha)
        answer = Answer.NEEDED if needed else Answer.CANNOT_TELL
        low, middle, high = np.quantile(gains, [0.025, 0.5, 0.975]).tolist()
        return replace(
            now,
            answer=Answer.NOT_NEEDED if not_needed else answer,
            gain=middle,
            low=low,
            high=high,
            p=measured.p,
            reason="",
        )

    def measured(self, now: Verdict) -> Verdict:
        """A gain today, with what rungs of a ladder may be off by in its interval."""
        return of_rungs(now) if self.compared in OF_ONE_LADDER else now

    def rule(
        self, gains: Float[np.ndarray, "... draws"], certain: bool | Bool[np.ndarray, " ..."]
    ) -> tuple[Bool[np.ndarray, " ..."], Bool[np.ndarray, " ..."]]:
        """Whether gains at the end say "needed", where today's are ``certain``, and "not needed".

        They do where 95 % of them pay, and where 97.5 % do not.
        """
        surely, high = np.quantile(gains, [0.05, 0.975], axis=-1)
        return certain & (surely >= self.min_gain), high < self.min_gain

    def decided(self, now: Verdict, learning: Learning) -> bool:
        """Whether it can tell."""
        return self.answer(now, learning).answer is not Answer.CANNOT_TELL

    def decided_after(
        self, now: Verdict, learning: Learning, doublings: int, part: float = 1.0
    ) -> float:
        r"""The probability that a training so many times twice as long can tell.

        What is out of reach and what is not learned is drawn from what is known today. A longer
        training learns a part of the latter: the slope falls as in :data:`DECAY`, and the remaining
        fall as its square. Each of these futures is judged as a training is today, with ``part`` of
        today's interval.
        """
        now = self.measured(now)
        assert now.p is not None
        draws, today = _draws(seed=1), _Ratio.of(now)
        left, behind, apart = _unlearned(
            learning.slope, learning.fall or 0.0, draws, self.compared, self.long_range
        )
        x = _out_of_reach(today.drawn(draws[2]), np.exp(-2.0 * (left + behind)), apart)
        chosen = _likely(x)
        draws, left, behind, apart, x = (
            value[..., chosen] for value in (draws, left, behind, apart, x)
        )
        median, spread = DECAY
        less = median**doublings * np.exp(np.sqrt(doublings) * spread * draws[3])
        stays = np.exp(-2.0 * (less**2 * left + behind))
        beyond = x * stays + less * apart * (1.0 - stays)
        middle = -0.5 * np.log1p(np.maximum(beyond, WORST))

        each = _draws(DRAWS_EACH)
        slope = None if learning.slope is None else (max(learning.slope, 0.0) * less)[:, None]
        gains = _gains(
            middle[:, None] + replace(today, middle=0.0).drawn(each[2], part),
            slope,
            ((learning.fall or 0.0) * less)[:, None],
            each,
            self.compared,
            self.long_range,
        )
        z = 1.96 * np.minimum(-np.array([today.middle, *middle]) / max(today.above, 1e-6), 3.0)
        tail = norm.sf(z / [1.0, *np.full(FUTURES, part)])
        certain = now.p * tail[1:] / tail[0] <= self.alpha
        if self.compared in OF_ONE_LADDER:
            certain = middle + part * today.above < 0.0
        needed, not_needed = self.rule(gains, certain)
        return float(np.mean(needed | not_needed))


def decide_for_system(now: Verdict, learning: Learning | None, asked: Asked) -> Verdict:
    """What a gain that was measured says of the system: the answer holds at the end of training.

    Parameters
    ----------
    now
        The gain at this budget, with its interval and its adjusted p-value.
    learning
        How far the training has come; none: not known.
    asked
        What pays, with what certainty, and what is compared.

    Returns
    -------
    Verdict
        Its gain is the median of what it may be at the end, its ``reason`` says why it cannot tell.
    """
    if now.gain is None or now.low is None or now.high is None or now.p is None:
        return replace(now, answer=Answer.CANNOT_TELL, reason="too few groups of frames")
    if learning is None or not learning.known:
        return replace(
            now, answer=Answer.CANNOT_TELL, reason="how far the training has come is not known"
        )
    found = asked.answer(now, learning)
    if found.answer is Answer.CANNOT_TELL:
        found = replace(found, reason=_reason(now, learning, asked))
    return found


def settled_after(
    now: Verdict, learning: Learning, asked: Asked, part: float = 1.0
) -> Learning | None:
    """The shortest training that settles it in four cases of five; none: none up to 256 times.

    ``part`` is of today's interval, which more test frames or seeds make narrower.
    """
    for doublings in range(1, DOUBLINGS + 1):
        if asked.decided_after(now, learning, doublings, part) >= SETTLES:
            return learning.after(doublings)
    return None


def _reason(now: Verdict, learning: Learning, asked: Asked) -> str:
    for part, more in ((1.0, ""), (0.5, ", with four times the test frames or seeds,")):
        longer = settled_after(now, learning, asked, part)
        if longer is not None:
            times = longer.steps // learning.steps
            return (
                f"the network is still learning: a training {times} times as long{more} would "
                "settle it"
            )
    ended = replace(learning, fall=0.0, slope=0.0)
    of_one = OF_ONE_LADDER.get(asked.compared)
    if of_one is not None and replace(asked, compared="forks").decided(now, ended):
        return of_one
    if (learning.least or 0.0) < LEARNED:
        return (
            "the network is still learning: no training up to "
            f"{2**DOUBLINGS} times as long is sure to settle it"
        )
    if of_one is not None or asked.decided(_narrowed(now, 0.0), ended):
        return "the intervals are too wide: more test frames or seeds would settle it"
    return (
        f"too near to the {100 * asked.min_gain:g} % that pay: potentials of one scale each, "
        "trained to their end, would settle it"
    )


def _narrowed(now: Verdict, part: float) -> Verdict:
    """The same gain, with a part of its interval on either side."""
    assert now.gain is not None
    assert now.low is not None
    assert now.high is not None
    low, high = (now.gain + part * (end - now.gain) for end in (now.low, now.high))
    return replace(now, low=low, high=high, p=now.p if part else float(now.gain <= 0.0))


def describe(learning: Learning | None, *, slope: bool = False) -> dict[str, Any]:
    """The section of a document that says how far the training had come; ``slope``: with that."""
    names = ("steps", "seconds", "fall", *(["slope"] if slope else []), "least")
    return {n: None if learning is None else getattr(learning, n) for n in names}


def sentence(section: Mapping[str, Any]) -> str:
    """The section in words."""
    if section["least"] is None:
        return "How far the training had come is not known."
    left, slope = 100 * (1 - section["least"]), section.get("slope")
    if slope is None:
        fall, how = section["fall"], "in the last third of its {steps} steps its error fell by"
    else:
        fall, how = max(slope, 0.0), "doubling its steps, up to {steps}, lowered its error by"
    how = f"{how.format(steps=section['steps'])} {100 * (1 - np.exp(-fall)):.2g} %"
    if left < 1:
        return f"The network has learned what these frames tell: {how}."
    most = "nearly all" if left > NEARLY_ALL else f"up to {left:.0f} %"
    return (
        f"The network is still learning: {how}, and a training without end may take {most} of what "
        "is left."
    )
