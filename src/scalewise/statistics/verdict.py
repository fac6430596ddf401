"""Is it needed? One rule of three answers, and what is said with it.

The same rule answers whether a longer scale, one more remedy or a selector is needed: a gain counts
when it is real *and* pays, and it is denied only where one that pays is excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Answer(StrEnum):
    """Whether it is needed."""

    NEEDED = "needed"
    NOT_NEEDED = "not needed"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """Whether something is needed: a longer scale, a remedy, a selector.

    Attributes
    ----------
    answer
        By :func:`decide`; *cannot tell* where too few groups leave no interval.
    gain, low, high
        Share of the error that it saves, and the 95 % interval; None where there is none. Of
        selectors, ``high`` bounds whatever else was tried, too.
    p
        One-sided probability of no gain at all, adjusted for what was asked together; or None.
    reason
        The answer in a sentence, of the study's selectors only.
    question
        Which of several remedies, in a proof of what limits a potential only.
    training
        Share of the variance that comes from training and not from the test frames, there only.
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
    """Answer from a gain, its upper bound and the probability of no gain.

    Parameters
    ----------
    gain, high
        Share of the error that is saved, and the most that it may be.
    p
        One-sided probability of no gain at all, adjusted for what was asked together.
    min_gain, alpha
        The gain that pays; the probability of one wrong "needed" or more.

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
