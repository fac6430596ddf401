"""Oracles against brute force, and the order that must hold to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalewise.core.errors import InputError
from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import (
    ContinuousOracle,
    HardOracle,
    PoolOracle,
    TwoReplicateOracle,
    best_single,
    weighted_median,
)
from scalewise.testing import planted


def draw(seed: int, anchors: int = 2, units: int = 40, loss: str = "l1") -> Residuals:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((anchors, units, 3))
    return Residuals.of_vectors(values, np.arange(units) // 5, None, loss)


def brute_force(residuals: Residuals) -> np.ndarray:
    """Exact minimum by trying every kink (L1) or a fine grid polished by parabolas (L2)."""
    best = np.full(residuals.n_units, np.inf)
    for k in range(len(residuals.anchors) - 1):
        a, b = residuals.values[k], residuals.values[k + 1] - residuals.values[k]
        low, high = residuals.anchors[k], residuals.anchors[k + 1]
        if residuals.loss == "l1":
            points = np.clip(np.divide(-a, b, out=np.zeros_like(a), where=b != 0), 0, 1)
        else:
            points = np.clip(-(a * b).sum(1, keepdims=True) / (b * b).sum(1, keepdims=True), 0, 1)
        for t in (np.zeros(len(a)), np.ones(len(a)), *points.T):
            best = np.minimum(best, residuals.unit_losses(low + t * (high - low)))
    return best


@pytest.mark.parametrize("loss", ["l1", "l2"])
@pytest.mark.parametrize("anchors", [2, 3, 5])
@pytest.mark.parametrize("group", [1, 7])
def test_continuous_oracle_equals_brute_force(loss: str, anchors: int, group: int) -> None:
    residuals = draw(anchors, anchors, loss=loss).group(np.arange(40) // group)
    found = ContinuousOracle().choose(residuals)
    np.testing.assert_allclose(found.loss, brute_force(residuals), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    anchors=st.integers(2, 4),
    pool=st.lists(st.floats(0.01, 0.99), max_size=5),
    loss=st.sampled_from(["l1", "l2"]),
)
def test_single_hard_pool_continuous_never_increase(
    seed: int, anchors: int, pool: list[float], loss: str
) -> None:
    residuals = draw(seed, anchors, loss=loss)
    nodes = tuple(sorted({*residuals.anchors.tolist(), *pool}))
    single = best_single(residuals)[1].sum()
    hard = HardOracle().choose(residuals).loss
    pooled = PoolOracle(nodes).choose(residuals).loss
    continuous = ContinuousOracle(nodes).choose(residuals).loss
    assert single >= hard.sum()
    assert (hard >= pooled).all()
    assert (pooled >= continuous).all()


def test_blend_at_an_anchor_is_that_branch() -> None:
    residuals = draw(0, 4)
    for anchor, values in zip(residuals.anchors, residuals.values, strict=True):
        np.testing.assert_array_equal(residuals.at(float(anchor)), values)


def test_blend_between_anchors_is_linear() -> None:
    residuals = draw(0, 3)
    expected = 0.5 * residuals.values[1] + 0.5 * residuals.values[2]
    np.testing.assert_allclose(residuals.at(0.75), expected, atol=1e-15)


def test_weighted_median_of_known_points() -> None:
    points = np.array([[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]])
    weights = np.array([[1.0, 1.0, 1.0, 10.0], [0.0, 0.0, 0.0, 0.0]])
    assert weighted_median(points, weights).tolist() == [3.0, 5.0]


def test_grouping_keeps_the_total_and_the_counts() -> None:
    residuals = draw(3)
    key = np.random.default_rng(0).integers(5, size=40)
    grouped = residuals.group(key)
    assert grouped.n_units == 5
    assert grouped.counts.tolist() == (3 * np.bincount(key)).tolist()
    assert grouped.n_components == residuals.n_components
    for scale in (0.0, 0.3, 1.0):
        expected = np.bincount(key, weights=residuals.unit_losses(scale))
        np.testing.assert_allclose(grouped.unit_losses(scale), expected, rtol=1e-13)


def test_two_replicate_oracle_is_unbiased_where_nothing_is_routable() -> None:
    """Ordinary oracles gain 2 % here; choosing on other noise must not gain anything."""
    p = planted(20_000, seed=0, optima=(0.5,))
    hard = p.residuals.mean(HardOracle().choose(p.residuals).loss)
    single = p.residuals.mean(best_single(p.residuals)[1])
    assert hard < 0.98 * single
    fixed = p.residuals.mean(p.residuals.unit_losses(0.5))
    for oracle in (HardOracle(), ContinuousOracle()):
        two = TwoReplicateOracle(oracle).score(p.replicate, p.residuals)
        assert p.residuals.mean(two.loss) > 0.999 * fixed


def test_two_replicate_oracle_finds_what_is_routable() -> None:
    p = planted(20_000, seed=0, optima=(0.0, 1.0), noise=0.3, difference=1.0)
    two = TwoReplicateOracle(HardOracle()).score(p.replicate, p.residuals)
    best = p.residuals.mean(p.residuals.unit_losses(p.best))
    single = p.residuals.mean(best_single(p.residuals)[1])
    assert best < 0.5 * single
    assert p.residuals.mean(two.loss) < 1.04 * best


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([1.0, 0.0], "increase strictly"),
        ([0.0, 0.5], "increase strictly"),
        ([0.2, 1.0], "increase strictly"),
    ],
)
def test_anchors_out_of_order_are_refused(anchors: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Residuals.of_vectors(np.zeros((2, 3, 3)), np.zeros(3, dtype=int), np.array(anchors))


def test_nan_and_emptiness_are_refused() -> None:
    values = np.zeros((2, 3, 3))
    values[1, 2, 0] = np.nan
    with pytest.raises(InputError, match="unit 2: not a finite number"):
        Residuals.of_vectors(values, np.zeros(3, dtype=int))
    with pytest.raises(InputError, match="no units"):
        Residuals.of_vectors(np.zeros((2, 0, 3)), np.zeros(0, dtype=int))


def test_scales_outside_the_ladder_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        draw(0).at(1.2)
