"""Is a longer scale needed? A verdict for every scale of the ladder, with error control.

At each scale, the question is whether the longest one is better by more than a gain that pays. Both
are rungs of one potential, trained together on the same frames, so that neither parameters nor data
favour one of them; what is compared is what the *potential* makes of its range. A range that no
network of this size, or no data of this amount, can use counts as not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scalewise.analysis.evaluation.score import Resampling
from scalewise.statistics.evidence import Answer, holm


@dataclass(frozen=True)
class RangeVerdict:
    """Whether a scale should be longer.

    Attributes
    ----------
    answer
        *needed*: the longest scale gains ``min_gain`` at least, and no gain at all is excluded.
        *not needed*: a gain of ``min_gain`` is excluded. *cannot tell*: anything else.
    gain, low, high
        Share of the error that the longest scale saves, and its interval; none below three groups.
    p
        One-sided probability of no gain, adjusted for the scales asked about.
    """

    answer: Answer
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def judge_range(
    absolute: Float[np.ndarray, "scales atoms"],
    longest: int,
    block: Int[np.ndarray, " atoms"],
    resampling: Resampling,
    *,
    min_gain: float,
    alpha: float,
) -> list[RangeVerdict]:
    """Compare every scale with the longest, atom by atom, over groups of frames.

    Parameters
    ----------
    absolute
        Absolute error of each atom's force at each scale.
    longest
        Which scale the others are compared with; it gets "not needed" itself.
    block
        Group of each atom.
    resampling, min_gain, alpha
        Of the intervals; the gain that pays; the probability of one wrong "needed" or more.
    """
    others = [k for k in range(len(absolute)) if k != longest]
    found = {k: resampling.ratio(absolute[longest], absolute[k], block) for k in others}
    known = {k: interval for k, interval in found.items() if interval is not None}
    adjusted = dict(zip(known, holm([i.p for i in known.values()]), strict=True))
    verdicts = [RangeVerdict(Answer.CANNOT_TELL) for _ in absolute]
    verdicts[longest] = RangeVerdict(Answer.NOT_NEEDED, 0.0, 0.0, 0.0, 1.0)
    for k, interval in known.items():
        gain, low, high = 1 - interval.estimate, 1 - interval.high, 1 - interval.low
        if adjusted[k] <= alpha and gain >= min_gain:
            answer = Answer.NEEDED
        else:
            answer = Answer.NOT_NEEDED if high < min_gain else Answer.CANNOT_TELL
        verdicts[k] = RangeVerdict(answer, gain, low, high, adjusted[k])
    return verdicts


def shortest_enough(cutoffs: Sequence[float], verdicts: Sequence[RangeVerdict]) -> float | None:
    """The shortest cutoff from which on no longer scale is needed; none if only the last is known.

    Examples
    --------
    >>> no, yes = RangeVerdict(Answer.NOT_NEEDED), RangeVerdict(Answer.NEEDED)
    >>> shortest_enough([3.0, 4.0, 5.0, 6.0], [no, yes, no, no])
    5.0
    """
    enough = None
    for cutoff, verdict in sorted(
        zip(cutoffs, verdicts, strict=True), key=lambda pair: pair[0], reverse=True
    ):
        if verdict.answer is not Answer.NOT_NEEDED:
            break
        enough = cutoff
    return enough
