"""Verdicts on whether a potential needs its longest scale, one for every scale of its ladder.

At each scale, the question is whether the error of the longest scale is lower by a gain that pays.
Both are scales of one potential with one set of weights, trained on the same frames. Their errors
depend on how often each scale was drawn in training, and on how far the training has come. The
verdict therefore holds for this *potential*; :mod:`scalewise.analysis.learning` says what follows
for the system.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from scalewise.statistics.bootstrap import Resampling
from scalewise.statistics.multiple import adjust_known
from scalewise.statistics.verdict import Answer, Verdict, decide


def judge_range(
    absolute: Float[np.ndarray, "scales atoms"],
    longest: int,
    block: Int[np.ndarray, " atoms"],
    resampling: Resampling,
    *,
    min_gain: float,
    alpha: float,
) -> list[Verdict]:
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

    Returns
    -------
    list of Verdict
        Of each scale, by :func:`scalewise.statistics.verdict.decide`; p-values are adjusted for the
        scales asked about (Holm). Below three groups the answer is "cannot tell".
    """
    found = [
        None if k == longest else resampling.ratio(absolute[longest], errors, block)
        for k, errors in enumerate(absolute)
    ]
    adjusted = adjust_known([None if i is None else i.p for i in found])
    verdicts = []
    for interval, p in zip(found, adjusted, strict=True):
        if interval is None or p is None:
            verdicts.append(Verdict(Answer.CANNOT_TELL))
            continue
        gain, low, high = 1 - interval.estimate, 1 - interval.high, 1 - interval.low
        answer = decide(gain, high, p, min_gain=min_gain, alpha=alpha)
        verdicts.append(Verdict(answer, gain, low, high, p))
    verdicts[longest] = Verdict(Answer.NOT_NEEDED, 0.0, 0.0, 0.0, 1.0)
    return verdicts


def shortest_enough(cutoffs: Sequence[float], verdicts: Sequence[Verdict]) -> float | None:
    """The shortest cutoff from which on no longer scale is needed; none if only the last is known.

    Examples
    --------
    >>> no, yes = Verdict(Answer.NOT_NEEDED), Verdict(Answer.NEEDED)
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
