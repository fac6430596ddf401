r"""Evidence: intervals that respect time correlation, nulls, and a verdict with error control.

The verdict rests on one comparison only: a router chosen and trained on tuning data against the
best fixed scale from the same data, both scored on test blocks neither has seen. Oracles explain;
they never decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


class Answer(StrEnum):
    """Whether routing is needed."""

    NEEDED = "needed"
    NOT_NEEDED = "not needed"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; ``p`` is the one-sided probability of no gain at all."""

    estimate: float
    low: float
    high: float
    p: float = 1.0


def block_sums(
    losses: Float[np.ndarray, " units"], block: Int[np.ndarray, " units"]
) -> Float[np.ndarray, " blocks"]:
    """Sum losses over bootstrap blocks (in sorted order of their numbers)."""
    _, inverse = np.unique(block, return_inverse=True)
    return np.bincount(inverse, weights=losses)


def ratio_interval(
    losses: Float[np.ndarray, " units"],
    reference: Float[np.ndarray, " units"],
    block: Int[np.ndarray, " units"],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    r"""Interval of :math:`\sum L / \sum L_\mathrm{ref}` by resampling whole blocks.

    The bootstrap standard error :math:`\sigma^*` is enlarged by :math:`\sqrt{B / (B - 1)}` and used
    with Student's quantile at :math:`B - 1` degrees of freedom, because plain percentiles are too
    narrow for the ten or so blocks that a short trajectory gives. ``p`` tests "ratio >= 1".

    Returns None when there are fewer than three blocks: no error can be known then.
    """
    top, bottom = block_sums(losses, block), block_sums(reference, block)
    return _bootstrap(top, bottom, seed, resamples, level)


def mean_interval(
    losses: Float[np.ndarray, " units"],
    counts: Int[np.ndarray, " units"],
    block: Int[np.ndarray, " units"],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    """Interval of the mean loss per component; as :func:`ratio_interval`."""
    bottom = block_sums(counts.astype(float), block)
    return _bootstrap(block_sums(losses, block), bottom, seed, resamples, level)


def _bootstrap(
    top: Float[np.ndarray, " blocks"],
    bottom: Float[np.ndarray, " blocks"],
    seed: int,
    resamples: int,
    level: float,
) -> Interval | None:
    n = len(top)
    total = float(bottom.sum())
    if n < 3 or total == 0:
        return None
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(float)
    below = weights @ bottom
    drawn = (weights @ top)[below > 0] / below[below > 0]
    estimate = float(top.sum() / total)
    error = float(drawn.std(ddof=1)) * float(np.sqrt(n / (n - 1)))
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * error
    if error == 0.0:
        p = 0.0 if estimate < 1 else 1.0
    else:
        p = float(stats.t.cdf((estimate - 1.0) / error, n - 1))
    return Interval(estimate, estimate - half, estimate + half, p)


def correlation_interval(
    first: Float[np.ndarray, "units components"],
    second: Float[np.ndarray, "units components"],
    block: Int[np.ndarray, " units"],
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    """Uncentred correlation of two residual fields, with its block-bootstrap interval."""
    sums = np.stack(
        [
            block_sums((x * y).sum(axis=-1), block)
            for x, y in ((first, second), (first, first), (second, second))
        ]
    )
    n = sums.shape[1]
    if n < 3 or sums[1].sum() == 0 or sums[2].sum() == 0:
        return None
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(float)
    cross, one, two = weights @ sums.T[:, 0], weights @ sums.T[:, 1], weights @ sums.T[:, 2]
    drawn = cross / np.sqrt(one * two)
    estimate = float(sums[0].sum() / np.sqrt(sums[1].sum() * sums[2].sum()))
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(drawn.std(ddof=1))
    half *= float(np.sqrt(n / (n - 1)))
    return Interval(estimate, max(-1.0, estimate - half), min(1.0, estimate + half))


def band(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Central band of null draws."""
    tail = 0.5 - level / 2
    low, high = np.quantile(np.asarray(values), [tail, 1.0 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values: any false rejection has probability <= alpha.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return [round(float(p), 12) for p in adjusted]


@dataclass(frozen=True)
class Verdict:
    """Is routing needed, and why."""

    answer: Answer
    reason: str


def verdict(
    router: Interval | None,
    adjusted_p: float,
    two_replicate: Interval | None,
    *,
    others: Sequence[Interval] = (),
    router_name: str,
    fixed_scale: float,
    alpha: float,
    min_gain: float,
) -> Verdict:
    """Answer for one view and regime.

    Parameters
    ----------
    router
        Loss of the preferred router over the loss of the best fixed scale, on test blocks.
    adjusted_p
        Its p-value after Holm's correction over the regimes of the view.
    two_replicate
        Loss of the two-replicate oracle over the best fixed scale, where replicates exist.
    others
        The same ratio for every other router tried: what any of them could gain must be excluded
        before the answer is "not needed".
    router_name, fixed_scale
        For the sentence.
    alpha, min_gain
        Error probability per view, and the gain below which routing is not worth its cost.

    Returns
    -------
    Verdict
        *needed*: the router gains at least ``min_gain`` and no gain at all is excluded at
        ``alpha``. *not needed*: gains of ``min_gain`` are excluded for every router and, where
        known, for the two-replicate oracle. *cannot tell*: anything else.
    """
    if router is None:
        return Verdict(
            Answer.CANNOT_TELL,
            "fewer than three independent blocks to test on, or no error left to gain on",
        )
    gain, pays = 1.0 - router.estimate, f"{100 * min_gain:g}%"
    most = max(1.0 - i.low for i in (router, *others))
    bound = most if two_replicate is None else max(most, 1.0 - two_replicate.low)
    if adjusted_p <= alpha and gain >= min_gain:
        return Verdict(
            Answer.NEEDED,
            f"the {router_name} router beats the best fixed scale by {gain:.1%} on unseen blocks "
            f"(adjusted p {'< 0.001' if adjusted_p < 1e-3 else f'= {adjusted_p:.2g}'})",
        )
    if bound < min_gain:
        source = "no router" if two_replicate is None else "no router and no two-replicate oracle"
        return Verdict(
            Answer.NOT_NEEDED,
            f"one scale suffices (s = {fixed_scale:.2f}): {source} tried gains {pays}, the upper "
            f"bound is {_percent(bound)}",
        )
    known = f"the {router_name} router gains {_percent(gain)}, routers at most {_percent(most)}"
    if two_replicate is not None:
        known += f", the two-replicate oracle at most {_percent(1.0 - two_replicate.low)}"
    if adjusted_p <= alpha:
        known += f"; real, but below the {pays} that would pay"
    return Verdict(Answer.CANNOT_TELL, f"{known}: too wide to exclude or to prove {pays}")


def _percent(gain: float) -> str:
    return "nothing" if gain <= 0 else "less than 0.1%" if gain < 1e-3 else f"{gain:.1%}"
