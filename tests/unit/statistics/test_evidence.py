"""Nulls, intervals, corrections, verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.scales.blend import Residuals
from scalewise.scales.nulls import gaussian_null, permutation_null, unexplained, whole_frames_null
from scalewise.scales.oracle import ContinuousOracle, HardOracle, best_single
from scalewise.statistics import evidence
from scalewise.statistics.evidence import Answer, Interval
from scalewise.testing import planted


def hard_ratio(residuals: Residuals) -> float:
    return float(HardOracle().choose(residuals).loss.sum() / best_single(residuals)[1].sum())


def bands(residuals: Residuals, stratum: np.ndarray) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(0)
    return {
        name: evidence.band([hard_ratio(null(residuals, stratum, rng)) for _ in range(60)])
        for name, null in (("permutation", permutation_null), ("gaussian", gaussian_null))
    }


def test_oracle_gain_without_anything_to_route_lies_in_both_bands() -> None:
    p = planted(3000, seed=0, optima=(0.5,))
    ratio = hard_ratio(p.residuals)
    assert ratio < 0.985  # a gain of more than 1.5 % that is no gain
    for low, high in bands(p.residuals, p.geometry.stratum).values():
        assert low - 0.002 <= ratio <= high + 0.002


def test_oracle_gain_with_planted_regimes_leaves_both_bands() -> None:
    p = planted(3000, seed=0, optima=(0.0, 1.0), noise=0.5)
    ratio = hard_ratio(p.residuals)
    for low, _ in bands(p.residuals, p.geometry.stratum).values():
        assert ratio < low - 0.02


def test_permutation_null_keeps_the_difference_of_predictions_and_the_errors() -> None:
    p = planted(300, seed=1, optima=(0.2, 0.8))
    rng = np.random.default_rng(0)
    drawn = permutation_null(p.residuals, p.geometry.stratum, rng)
    before = p.residuals.values[1] - p.residuals.values[0]
    np.testing.assert_allclose(drawn.values[1] - drawn.values[0], before, atol=1e-12)
    for value in np.unique(p.geometry.stratum):
        m = p.geometry.stratum == value
        shift = (drawn.values - p.residuals.values)[0][m]  # new error minus old one
        base = unexplained(p.residuals)[m]
        np.testing.assert_allclose(
            np.sort((base + shift).ravel()), np.sort(base.ravel()), atol=1e-12
        )


def test_gaussian_null_has_the_variance_and_correlation_of_the_stratum() -> None:
    p = planted(40_000, seed=1, optima=(0.5,), noise=1.0, difference=0.5)
    stratum = np.zeros(40_000, dtype=int)
    drawn = gaussian_null(p.residuals, stratum, np.random.default_rng(0)).values
    real = p.residuals.values
    assert np.mean(drawn**2) == pytest.approx(np.mean(real**2), rel=0.02)
    assert np.mean(drawn[0] * drawn[1]) == pytest.approx(np.mean(real[0] * real[1]), rel=0.02)


def independent(sigma: tuple[float, ...], units: int = 4000, scale: float = 1.0) -> Residuals:
    """Branches of unlike quality and independent errors: nothing is routable."""
    rng = np.random.default_rng(3)
    values = np.array(sigma)[:, None, None] * rng.standard_normal((len(sigma), units, 3))
    values[-1] *= scale
    return Residuals.of_vectors(values, np.arange(units) // 20)


def continuous_ratio(residuals: Residuals) -> float:
    best = ContinuousOracle().choose(residuals).loss.sum()
    return float(best / best_single(residuals)[1].sum())


@pytest.mark.parametrize("sigma", [(0.2, 0.1), (0.2, 0.1, 0.3), (1.0, 1.2, 0.9, 1.1)])
def test_permutation_band_holds_the_gain_of_branches_of_unlike_quality(
    sigma: tuple[float, ...],
) -> None:
    residuals, rng = independent(sigma), np.random.default_rng(0)
    stratum = np.zeros(residuals.n_units, dtype=int)
    drawn = [continuous_ratio(permutation_null(residuals, stratum, rng)) for _ in range(40)]
    low, high = evidence.band(drawn)
    assert low - 0.01 <= continuous_ratio(residuals) <= high + 0.01


def test_errors_that_a_frame_shares_stay_together_under_its_null() -> None:
    """One error per frame, sixteen atoms: atoms swapped one by one would hide the luck."""
    rng = np.random.default_rng(1)
    frame = np.repeat(np.arange(300), 16)
    shared = np.repeat(rng.standard_normal((2, 300, 3)), 16, axis=1)
    residuals = Residuals.of_vectors(shared, frame // 10)
    real = hard_ratio(residuals.group(frame))
    whole, single = (
        evidence.band([hard_ratio(draw().group(frame)) for _ in range(40)])
        for draw in (
            lambda: whole_frames_null(residuals, frame, rng),
            lambda: permutation_null(residuals, np.zeros(4800, dtype=int), rng),
        )
    )
    assert whole[0] - 0.02 <= real <= whole[1] + 0.02
    assert real < single[0] - 0.02


def test_gaussian_null_keeps_negative_correlation() -> None:
    z = np.random.default_rng(0).standard_normal((1, 20_000, 3))
    noise = 0.3 * np.random.default_rng(1).standard_normal((2, 20_000, 3))
    residuals = Residuals.of_vectors(np.concatenate([z, -z]) + noise, np.arange(20_000) // 100)
    drawn = gaussian_null(residuals, np.zeros(20_000, dtype=int), np.random.default_rng(2)).values
    assert np.mean(drawn[0] * drawn[1]) == pytest.approx(-1.0, abs=0.03)


def test_interval_covers_the_truth_at_its_level() -> None:
    """400 series of ten correlated blocks: 95 % intervals may miss 5 % (3 standard errors: 8.3)."""
    rng = np.random.default_rng(0)
    missed = 0
    for trial in range(400):
        common = 1.0 + 0.3 * rng.standard_normal(10)
        losses = np.repeat(common, 20) + 0.1 * rng.standard_normal(200)
        found = evidence.mean_interval(
            losses, np.ones(200, dtype=int), np.arange(200) // 20, seed=trial, resamples=300
        )
        assert found is not None
        missed += not found.low <= 1.0 <= found.high
    assert missed / 400 < 0.083


def test_two_blocks_give_no_interval() -> None:
    losses = np.ones(10)
    assert evidence.ratio_interval(losses, losses, np.arange(10) // 5, seed=0) is None


def test_identical_losses_give_ratio_one_and_no_evidence_of_gain() -> None:
    losses = np.random.default_rng(0).uniform(1, 2, 50)
    found = evidence.ratio_interval(losses, losses, np.arange(50) // 5, seed=0)
    assert found == Interval(1.0, 1.0, 1.0, 1.0)


def answer(router: Interval | None, p: float, two: Interval | None = None) -> evidence.Verdict:
    return evidence.verdict(
        router, p, two, router_name="learned", fixed_scale=0.5, alpha=0.05, min_gain=0.01
    )


@pytest.mark.parametrize(
    ("router", "p", "two", "expected"),
    [
        (Interval(0.90, 0.88, 0.92), 0.001, None, Answer.NEEDED),
        (Interval(0.90, 0.88, 0.92), 0.20, None, Answer.CANNOT_TELL),
        (Interval(0.995, 0.993, 0.997), 0.001, None, Answer.NOT_NEEDED),
        (Interval(0.995, 0.985, 1.005), 0.001, None, Answer.CANNOT_TELL),
        (Interval(1.0, 0.999, 1.001), 1.0, None, Answer.NOT_NEEDED),
        (Interval(1.0, 0.97, 1.03), 1.0, None, Answer.CANNOT_TELL),
        (Interval(1.0, 0.999, 1.001), 1.0, Interval(0.95, 0.9, 1.0), Answer.CANNOT_TELL),
        (None, 1.0, None, Answer.CANNOT_TELL),
    ],
)
def test_verdict(router: Interval | None, p: float, two: Interval | None, expected: Answer) -> None:
    found = answer(router, p, two)
    assert found.answer is expected
    assert found.reason


def test_another_router_that_might_gain_forbids_not_needed() -> None:
    found = evidence.verdict(
        Interval(1.0, 1.0, 1.0),
        1.0,
        None,
        others=[Interval(0.99, 0.95, 1.03)],
        router_name="fixed",
        fixed_scale=0.5,
        alpha=0.05,
        min_gain=0.01,
    )
    assert found.answer is Answer.CANNOT_TELL


def test_correlation_of_equal_and_opposite_residuals() -> None:
    e = np.random.default_rng(0).standard_normal((60, 3))
    block = np.arange(60) // 6
    same = evidence.correlation_interval(e, e, block, seed=0)
    opposite = evidence.correlation_interval(e, -2 * e, block, seed=0)
    assert same is not None
    assert opposite is not None
    assert (same.estimate, opposite.estimate) == (pytest.approx(1), pytest.approx(-1))
