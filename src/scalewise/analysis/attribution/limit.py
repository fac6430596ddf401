"""Which of the remedies that are needed limits the error."""

from __future__ import annotations

from collections.abc import Sequence

from scalewise.statistics.verdict import Answer, Verdict


def limit(verdicts: Sequence[Verdict]) -> str | None:
    """What limits the error now: the needed remedy that saves most, if it is known which.

    None where nothing is needed, or where the runner-up among all questions may save more.
    """
    needed = [v for v in verdicts if v.answer is Answer.NEEDED]
    if not needed:
        return None
    best = max(needed, key=lambda v: v.gain or 0.0)
    others = [v for v in verdicts if v is not best]
    unknown = any(v.gain is None for v in others)
    beaten = all(
        (v.gain or 0.0) < (best.low or 0.0) and (v.high or 0.0) < (best.gain or 0.0) for v in others
    )
    return best.question if beaten and not unknown else None
