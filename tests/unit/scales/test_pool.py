"""Refinement: the paper's rule, and the held-out one that may end with a single scale."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.scales.pool import (
    DyadicRefiner,
    Guided,
    HeldOutRefiner,
    PreferenceGuide,
    ReplicateGuide,
    Result,
    grow_and_move,
    refine_dyadic,
    refine_held_out,
    smallest_moved_pool,
)
from scalewise.testing import Planted, planted


def halves(p: Planted, preferred: np.ndarray | None = None) -> tuple[Guided, Guided]:
    even = p.residuals.block % 2 == 0
    parts = []
    for mask in (even, ~even):
        guide = (
            ReplicateGuide(p.replicate.subset(mask))
            if preferred is None
            else PreferenceGuide(preferred[mask])
        )
        parts.append(Guided(p.residuals.subset(mask), guide))
    return parts[0], parts[1]


def test_dyadic_pool_recovers_the_continuous_gain_with_at_most_nine_scales() -> None:
    residuals = planted(3000, seed=0, optima=(0.5,)).residuals
    state = refine_dyadic(residuals, DyadicRefiner(recovery=0.98))
    assert state.result is Result.RECOVERED
    assert state.history[-1].recovered is not None
    assert state.history[-1].recovered >= 0.98
    assert len(state.scales) <= 9
    assert (state.scales[0], state.scales[-1]) == (0.0, 1.0)
    assert all(float(s * 2**8).is_integer() for s in state.scales)
    sizes = [len(line.scales) for line in state.history]
    assert sizes == list(range(2, len(state.scales) + 1))
    losses = [line.loss for line in state.history]
    assert losses == sorted(losses, reverse=True)


def test_moving_nodes_needs_fewer_scales_than_halving() -> None:
    residuals = planted(300, seed=0, optima=(0.3,), difference=1.0, noise=0.1).residuals
    halved = refine_dyadic(residuals, DyadicRefiner(recovery=0.98))
    moved, share = smallest_moved_pool(residuals, 0.98, 9)
    assert share is not None
    assert share >= 0.98
    assert len(moved.scales) < len(halved.scales)


def test_dyadic_refiner_stops_at_the_largest_pool() -> None:
    residuals = planted(500, seed=0, optima=(0.37,), noise=0.01).residuals
    state = refine_dyadic(residuals, DyadicRefiner(recovery=1.0, max_scales=4))
    assert state.result is Result.FULL
    assert len(state.scales) == 4


def test_dyadic_refiner_without_any_gain_says_so() -> None:
    p = planted(50, seed=0, optima=(0.0,), noise=0.0).residuals
    state = refine_dyadic(p, DyadicRefiner())
    assert state.result is Result.NOTHING_GAINS
    assert state.scales == (0.0, 1.0)


@pytest.mark.parametrize("best", [0.0, 0.4, 1.0])
def test_held_out_refinement_collapses_where_nothing_is_routable(best: float) -> None:
    p = planted(4000, seed=3, optima=(best,))
    preferred = np.random.default_rng(0).uniform(size=4000)  # a selector that knows nothing
    state = refine_held_out(*halves(p, preferred), HeldOutRefiner())
    assert len(state.scales) == 1
    assert state.scales[0] == pytest.approx(best, abs=0.06)
    assert state.result is Result.NOTHING_GAINS


def test_held_out_refinement_with_replicates_collapses_too() -> None:
    state = refine_held_out(*halves(planted(4000, seed=4, optima=(0.4,))), HeldOutRefiner())
    assert len(state.scales) == 1


def test_refined_pool_beats_uniform_and_random_pools_on_uneven_optima() -> None:
    """Held-out loss on fresh units, chosen from each pool by the other replicate."""
    optima = (0.03, 0.12, 0.2, 0.95)
    options = {"optima": optima, "noise": 0.15, "difference": 1.0}
    state = refine_held_out(*halves(planted(6000, seed=5, **options)), HeldOutRefiner())
    fresh = planted(6000, seed=6, **options)
    test = Guided(fresh.residuals, ReplicateGuide(fresh.replicate))
    size = len(state.scales)
    assert size >= 3
    refined = test.mean(state.scales)
    uniform = test.mean(tuple(np.linspace(0, 1, size)))
    rng = np.random.default_rng(0)
    random = [test.mean(tuple(np.sort(rng.uniform(0, 1, size)))) for _ in range(20)]
    assert refined < 0.95 * uniform
    assert refined < min(random)


def test_history_ends_at_the_pool_and_starts_at_the_anchors() -> None:
    p = planted(2000, seed=8, optima=(0.1, 0.9), noise=0.2)
    state = refine_held_out(*halves(p), HeldOutRefiner())
    assert state.history[0].scales == (0.0, 1.0)
    assert state.history[-1].scales == state.scales


def test_moved_nodes_find_optima_that_crowd() -> None:
    p = planted(1000, seed=9, optima=(0.9990, 0.9996), noise=1e-5)
    residuals = p.residuals
    best = residuals.mean(residuals.unit_losses(p.best))
    assert grow_and_move(residuals, (0.9,)).loss == pytest.approx(best, rel=0.02)
