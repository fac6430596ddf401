"""Intervals over groups: exact where they must be, and of the right level elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.statistics.bootstrap import (
    Interval,
    Resampling,
    correlation_interval,
    group_sums,
    group_weights,
    mean_interval,
    ratio_interval,
    student,
)


def test_sums_are_those_of_the_groups_in_order_of_their_numbers() -> None:
    group = np.array([5, -1, 5, 2])
    assert group_sums(np.array([1.0, 2.0, 4.0, 8.0]), group).tolist() == [2.0, 8.0, 5.0]


@pytest.mark.parametrize("groups", [1, 3, 20])
def test_as_many_groups_are_drawn_as_there_are(groups: int) -> None:
    weights = group_weights(groups, seed=1, resamples=50)
    assert weights.shape == (50, groups)
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) == groups).all()
    assert (weights == group_weights(groups, seed=1, resamples=50)).all()


def test_each_group_is_drawn_once_on_average_with_the_variance_of_a_multinomial() -> None:
    weights = group_weights(10, seed=0, resamples=20_000)
    assert weights.mean(axis=0) == pytest.approx(np.ones(10), abs=0.03)
    covariance = np.cov(weights.T)
    assert np.diag(covariance) == pytest.approx(np.full(10, 0.9), abs=0.05)  # 1 - 1/B
    off = covariance[~np.eye(10, dtype=bool)]
    assert off == pytest.approx(np.full(90, -0.1), abs=0.05)  # -1/B


def test_the_interval_of_known_draws_is_that_of_the_tables() -> None:
    """Draws 0 and 2: standard deviation sqrt(2); three groups: sqrt(3/2), and t = 4.302653."""
    found = student(1.0, np.array([0.0, 2.0]), 3, no_gain=1.0)
    half = 4.302653 * np.sqrt(3.0)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), rel=1e-6)
    assert found.p == pytest.approx(0.5)
    narrow = student(1.0, np.array([0.0, 2.0]), 3, level=0.9)
    assert narrow.high - 1 == pytest.approx(2.919986 * np.sqrt(3.0), rel=1e-6)
    assert narrow.p == 1.0  # nothing was asked


@pytest.mark.parametrize(("estimate", "p"), [(0.9, 0.0), (1.0, 1.0), (1.1, 1.0)])
def test_draws_that_agree_leave_no_doubt(estimate: float, p: float) -> None:
    found = student(estimate, np.full(5, estimate), 4, no_gain=1.0)
    assert found == Interval(estimate, estimate, estimate, p)


def test_the_interval_of_a_constant_ratio_is_exact() -> None:
    reference = np.random.default_rng(0).integers(1, 100, 60).astype(float)
    found = ratio_interval(0.75 * reference, reference, np.arange(60) // 6, seed=0)
    assert found == Interval(0.75, 0.75, 0.75, 0.0)
    counts = np.random.default_rng(1).integers(1, 9, 60)
    mean = mean_interval(2.0 * counts, counts, np.arange(60) // 6, seed=0)
    assert mean == Interval(2.0, 2.0, 2.0, 1.0)


def test_the_error_of_a_mean_over_groups_of_one_is_its_standard_error() -> None:
    """The variance of a multinomial bootstrap is (B - 1) / B s^2 / B; the factor undoes it."""
    values = np.random.default_rng(0).standard_normal(12)
    ones, group = np.ones(12, dtype=int), np.arange(12)
    found = mean_interval(values, ones, group, seed=0, resamples=100_000)
    assert found is not None
    half = 2.200985 * values.std(ddof=1) / np.sqrt(12)
    assert found.high - found.estimate == pytest.approx(half, rel=0.01)


def test_a_reference_of_nothing_gives_no_interval() -> None:
    zero, group = np.zeros(12), np.arange(12) // 3
    assert ratio_interval(zero + 1.0, zero, group, seed=0) is None
    field = np.ones((12, 3))
    assert correlation_interval(field, 0 * field, group, seed=0) is None
    assert correlation_interval(field[:6], field[:6], group[:6], seed=0) is None


def test_a_resampling_gives_the_same_intervals() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1, 2, (2, 40))
    counts, group = rng.integers(1, 4, 40), np.arange(40) // 8
    own, options = Resampling(3, 100), {"seed": 3, "resamples": 100}
    assert own.ratio(first, second, group) == ratio_interval(first, second, group, **options)
    assert own.mean(first, counts, group) == mean_interval(first, counts, group, **options)
    fields = first[:, None], second[:, None]
    assert own.correlation(*fields, group) == correlation_interval(*fields, group, **options)


def test_interval_covers_the_truth_at_its_level() -> None:
    """400 series of ten correlated blocks: 95 % intervals may miss 5 % (3 standard errors: 8.3)."""
    rng = np.random.default_rng(0)
    missed = 0
    for trial in range(400):
        common = 1.0 + 0.3 * rng.standard_normal(10)
        losses = np.repeat(common, 20) + 0.1 * rng.standard_normal(200)
        found = mean_interval(
            losses, np.ones(200, dtype=int), np.arange(200) // 20, seed=trial, resamples=300
        )
        assert found is not None
        missed += not found.low <= 1.0 <= found.high
    assert missed / 400 < 0.083


def test_two_blocks_give_no_interval() -> None:
    losses = np.ones(10)
    assert ratio_interval(losses, losses, np.arange(10) // 5, seed=0) is None


def test_identical_losses_give_ratio_one_and_no_evidence_of_gain() -> None:
    losses = np.random.default_rng(0).uniform(1, 2, 50)
    found = ratio_interval(losses, losses, np.arange(50) // 5, seed=0)
    assert found == Interval(1.0, 1.0, 1.0, 1.0)


def test_correlation_of_equal_and_opposite_residuals() -> None:
    e = np.random.default_rng(0).standard_normal((60, 3))
    block = np.arange(60) // 6
    same = correlation_interval(e, e, block, seed=0)
    opposite = correlation_interval(e, -2 * e, block, seed=0)
    assert same is not None
    assert opposite is not None
    assert (same.estimate, opposite.estimate) == (pytest.approx(1), pytest.approx(-1))
