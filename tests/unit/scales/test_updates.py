"""Differentiable updates reach the optimum that is known otherwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import ContinuousOracle
from scalewise.scales.update import update_pool, update_scales
from scalewise.testing import planted


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_global_scale_equals_the_closed_form(loss: str) -> None:
    p = planted(2000, seed=1, optima=(0.3,)).residuals
    residuals = Residuals(p.values, p.counts, p.block, p.anchors, loss)
    exact = ContinuousOracle().choose(residuals.group(np.zeros(2000, dtype=int)))
    moved = update_scales(residuals)
    assert moved.scales[0] == pytest.approx(exact.scale[0], abs=1e-6)
    assert moved.loss == pytest.approx(exact.loss[0] / residuals.n_components, abs=1e-12)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_scale_per_regime_equals_the_closed_form(loss: str) -> None:
    p = planted(3000, seed=2, optima=(0.1, 0.45, 0.9), noise=0.2)
    residuals = Residuals(
        p.residuals.values,
        p.residuals.counts,
        p.residuals.block,
        p.residuals.anchors,
        loss,
    )
    exact = ContinuousOracle().choose(residuals.group(p.geometry.stratum)).scale
    moved = update_scales(residuals, p.geometry.stratum)
    np.testing.assert_allclose(moved.scales, exact, atol=1e-6)
    np.testing.assert_allclose(moved.scales, [0.1, 0.45, 0.9], atol=0.05)


@pytest.mark.parametrize("best", [0.0, 1.0])
def test_optimum_at_an_end_of_the_ladder(best: float) -> None:
    residuals = planted(500, seed=3, optima=(best,), noise=0.01).residuals
    assert update_scales(residuals).scales[0] == pytest.approx(best, abs=0.01)


def absolute_distance(optima: np.ndarray, weights: np.ndarray) -> Residuals:
    """Two branches whose blend has the loss w |s - optimum| for every unit."""
    first = -weights * optima
    values = np.stack([first, first + weights])[:, :, None]
    return Residuals.of_vectors(values, np.zeros(len(optima), dtype=int))


def exhaustive_pool(residuals: Residuals, optima: np.ndarray, size: int) -> float:
    """k-medians on a line: some optimal nodes are data points, so all subsets are tried."""
    table = residuals.pool_losses(optima.tolist())
    subsets = itertools.combinations(range(len(optima)), size)
    return min(float(table[list(s)].min(axis=0).sum()) for s in subsets)


@pytest.mark.parametrize("size", [2, 3])
def test_pool_nodes_equal_exhaustive_search(size: int) -> None:
    rng = np.random.default_rng(5)
    centres = np.array([0.08, 0.3, 0.85])[:size]
    optima = np.clip(np.repeat(centres, 6) + 0.02 * rng.standard_normal(6 * size), 0, 1)
    residuals = absolute_distance(optima, rng.uniform(0.5, 2.0, len(optima)))
    moved = update_pool(residuals, np.linspace(0, 1, size).tolist())
    best = exhaustive_pool(residuals, optima, size) / residuals.n_components
    assert moved.loss == pytest.approx(best, abs=1e-6)


def test_moving_never_makes_a_pool_worse() -> None:
    residuals = planted(500, seed=7, optima=(0.2, 0.9)).residuals
    start = (0.2, 0.9)
    before = residuals.mean(residuals.pool_losses(start).min(axis=0))
    assert update_pool(residuals, start).loss <= before
