r"""Verdicts for the system from a measured gain, and longer trainings that would decide open ones.

A longer training is recommended if it would decide a question that is open today. Its outcome is
simulated: the slope :math:`\sigma` of the learning curve changes by a factor :data:`DECAY` with
each doubling of the steps, and the remaining fall :math:`\lambda` by the square of this factor. At
least four of five simulated outcomes must be decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from scalewise.analysis.end_of_training import (
    OF_ONE_LADDER,
    WORST,
    Compared,
    LogRatio,
    at_end,
    gains_at_end,
    of_rungs,
    out_of_reach,
    unlearned,
)
from scalewise.analysis.learning import Learning, normal_draws
from scalewise.statistics.verdict import Answer, Verdict

#: Factor by which slope and last fall change with each doubling of the steps: its median, and the
#: standard deviation of its logarithm.
DECAY: Final = (0.9, 0.2)
#: Standard deviation of x below zero, before a longer training is named: a longer scale that is
#: worse today has more to learn, rather than less in its reach.
HARM: Final = 0.1
#: Share of its error that a network keeps at least which has learned its frames.
LEARNED: Final = 0.8
#: Doublings of a training that are worth naming.
DOUBLINGS: Final = 8
#: Share of what may come of a longer training that has to be decided before it is named.
SETTLES: Final = 0.8
#: Futures of a longer training, and draws in each of them.
FUTURES: Final = 100
DRAWS_EACH: Final = 512


@dataclass(frozen=True)
class Asked:
    """The question that is asked of a gain.

    Attributes
    ----------
    min_gain, alpha
        Smallest gain that pays; largest probability of any wrong "needed".
    compared
        Kind of the errors that are compared, as potentials of one scale each differ from scales of
        a ladder.
    long_range
        Whether the gain is that of long range.
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
        draws, today = normal_draws(seed=1), LogRatio.of(now)
        left, behind, apart = unlearned(
            learning.slope, learning.fall or 0.0, draws, self.compared, self.long_range
        )
        x = out_of_reach(today.drawn(draws[2]), np.exp(-2.0 * (left + behind)), apart)
        chosen = _likely(x)
        draws, left, behind, apart, x = (
            value[..., chosen] for value in (draws, left, behind, apart, x)
        )
        median, spread = DECAY
        less = median**doublings * np.exp(np.sqrt(doublings) * spread * draws[3])
        stays = np.exp(-2.0 * (less**2 * left + behind))
        beyond = x * stays + less * apart * (1.0 - stays)
        middle = -0.5 * np.log1p(np.maximum(beyond, WORST))

        each = normal_draws(DRAWS_EACH)
        slope = None if learning.slope is None else (max(learning.slope, 0.0) * less)[:, None]
        gains = gains_at_end(
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


def settled_after(now: Verdict, learning: Learning, asked: Asked, part: float = 1.0) -> int | None:
    """How many times as long a training settles it in four cases of five: a power of two.

    None: not even 256 times. ``part`` is of today's interval, which more test frames or seeds make
    narrower.
    """
    for doublings in range(1, DOUBLINGS + 1):
        if asked.decided_after(now, learning, doublings, part) >= SETTLES:
            return int(2**doublings)
    return None


def _reason(now: Verdict, learning: Learning, asked: Asked) -> str:
    for part, more in ((1.0, ""), (0.5, ", with four times the test frames or seeds,")):
        times = settled_after(now, learning, asked, part)
        if times is not None:
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
        f"the saving is too near to {100 * asked.min_gain:g} %: separate trainings of each scale, "
        "until they converge, would settle it"
    )


def _likely(x: np.ndarray) -> np.ndarray:
    """Choose futures: a longer scale that has less in its reach is the less likely the less."""
    weight = np.cumsum(np.exp(-0.5 * (np.minimum(x, 0.0) / HARM) ** 2) + 1e-12)
    return np.searchsorted(weight / weight[-1], (np.arange(FUTURES) + 0.5) / FUTURES)


def _narrowed(now: Verdict, part: float) -> Verdict:
    """The same gain, with a part of its interval on either side."""
    assert now.gain is not None
    assert now.low is not None
    assert now.high is not None
    low, high = (now.gain + part * (end - now.gain) for end in (now.low, now.high))
    return replace(now, low=low, high=high, p=now.p if part else float(now.gain <= 0.0))
