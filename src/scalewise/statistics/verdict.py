"""Verdicts: one rule with three answers to whether something is needed.

The same rule answers whether a longer scale, another remedy or a selector is needed. It is *needed*
if its gain is statistically significant and large enough to pay. It is *not needed* only if a gain
that pays is excluded. Otherwise the answer is *cannot tell*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Answer(StrEnum):
    """Answer to whether something is needed."""

    NEEDED = "needed"
    NOT_NEEDED = "not needed"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """Whether something is needed: a longer scale, a remedy, a selector.

    Attributes
    ----------
    answer
        Answer of :func:`decide`; *cannot tell* if there are too few groups for an interval.
    gain, low, high
        Share of the error that is saved, and the ends of its 95 % interval; None if there is no
        interval. For the selectors of a study, ``high`` also bounds the gains of all other
        selectors, and of the two-replicate oracle if there is one.
    p
        One-sided p-value of no gain, adjusted for all questions asked together; or None.
    reason
        The answer in a sentence; only for the selectors of a study.
    question
        Name of the question; only for an attribution, which asks several.
    training
        Share of the variance that comes from the training and not from the test frames; only for
        an attribution.
    """

    answer: Answer
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""
    question: str = ""
    training: float | None = None

    def record(self) -> dict[str, Any]:
        """Answer, gain, low, high and p, as they are written to files."""
        return {
            "answer": self.answer,
            "gain": self.gain,
            "low": self.low,
            "high": self.high,
            "p": self.p,
        }


def decide(gain: float, high: float, p: float, *, min_gain: float, alpha: float) -> Answer:
    """Answer from a gain, its upper bound and the p-value of no gain.

    Parameters
    ----------
    gain, high
        Share of the error that is saved, and its upper bound.
    p
        One-sided p-value of no gain, adjusted for all questions asked together.
    min_gain, alpha
        Smallest gain that pays; largest probability of any wrong "needed".

    Returns
    -------
    Answer
        *needed*: ``p <= alpha`` and ``gain >= min_gain``. *not needed*: else, and
        ``high < min_gain``. *cannot tell*: anything else.

    Examples
    --------
    >>> str(decide(0.10, 0.15, 0.001, min_gain=0.02, alpha=0.05))
    'needed'
    >>> str(decide(0.01, 0.015, 0.001, min_gain=0.02, alpha=0.05))  # real, and does not pay
    'not needed'
    """
    if p <= alpha and gain >= min_gain:
        return Answer.NEEDED
    return Answer.NOT_NEEDED if high < min_gain else Answer.CANNOT_TELL
