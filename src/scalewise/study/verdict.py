"""The verdict of a study on whether routing is needed in one regime, with its reason.

The verdict rests on one comparison: a selector that was chosen and trained on tuning data against
the best fixed scale of the same data, both scored on test blocks that neither has seen. Oracles
help to explain the result. They cannot make the answer *needed*; a two-replicate oracle that may
gain more can prevent *not needed*.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalewise.statistics.bootstrap import Interval
from scalewise.statistics.verdict import Answer, Verdict, decide


def judge_routing(
    selector: Interval | None,
    adjusted_p: float,
    two_replicate: Interval | None,
    *,
    others: Sequence[Interval] = (),
    selector_name: str,
    fixed_scale: float,
    alpha: float,
    min_gain: float,
) -> Verdict:
    """Answer for one view and regime.

    Parameters
    ----------
    selector
        Loss of the preferred selector over the loss of the best fixed scale, on test blocks.
    adjusted_p
        Its p-value after Holm's correction over the regimes of the view.
    two_replicate
        Loss of the two-replicate oracle over the best fixed scale, where replicates exist.
    others
        The same ratio for every other selector tried: what any of them could gain must be excluded
        before the answer is "not needed".
    selector_name, fixed_scale
        For the sentence.
    alpha, min_gain
        Error probability per view, and the gain below which routing is not worth its cost.

    Returns
    -------
    Verdict
        Answer, by :func:`scalewise.statistics.verdict.decide`, and reason. ``gain`` and ``low`` are
        the preferred selector's; ``high`` is the most that any selector or, where known, the
        two-replicate oracle may gain. Without an interval of the selector, *cannot tell*.
    """
    if selector is None:
        return Verdict(
            Answer.CANNOT_TELL,
            reason="fewer than three independent blocks to test on, or no error left to gain on",
        )
    gain = 1.0 - selector.estimate
    most = max(1.0 - i.low for i in (selector, *others))
    bound = most if two_replicate is None else max(most, 1.0 - two_replicate.low)
    answer = decide(gain, bound, adjusted_p, min_gain=min_gain, alpha=alpha)
    pays = f"{100 * min_gain:g}%"
    if answer is Answer.NEEDED:
        reason = (
            f"the {selector_name} selector beats the best fixed scale by {gain:.1%} on unseen "
            f"blocks (adjusted p {'< 0.001' if adjusted_p < 1e-3 else f'= {adjusted_p:.2g}'})"
        )
    elif answer is Answer.NOT_NEEDED:
        source = (
            "no selector" if two_replicate is None else "no selector and no two-replicate oracle"
        )
        reason = (
            f"one scale suffices (s = {fixed_scale:.2f}): {source} tried gains {pays}, the upper "
            f"bound is {_percent(bound)}"
        )
    else:
        known = (
            f"the {selector_name} selector gains {_percent(gain)}, "
            f"selectors at most {_percent(most)}"
        )
        if two_replicate is not None:
            known += f", the two-replicate oracle at most {_percent(1.0 - two_replicate.low)}"
        if adjusted_p <= alpha:
            known += f"; real, but below the {pays} that would pay"
        reason = f"{known}: too wide to exclude or to prove {pays}"
    return Verdict(answer, gain, 1.0 - selector.high, bound, adjusted_p, reason)


def _percent(gain: float) -> str:
    return "nothing" if gain <= 0 else "less than 0.1%" if gain < 1e-3 else f"{gain:.1%}"
