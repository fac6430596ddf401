"""Nulls: what an oracle gains where there is nothing to route."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.scales.blend import Residuals
from scalewise.scales.nulls import (
    band,
    gaussian_null,
    permutation_null,
    unexplained,
    whole_frames_null,
)
from scalewise.scales.oracle import ContinuousOracle, HardOracle, best_single
from scalewise.testing import planted


def test_a_band_leaves_out_as_many_draws_below_as_above() -> None:
    assert band(np.arange(101.0).tolist(), level=0.9) == pytest.approx((5.0, 95.0))
    assert band([2.0, 2.0, 2.0]) == (2.0, 2.0)


def hard_ratio(residuals: Residuals) -> float:
    return float(HardOracle().choose(residuals).loss.sum() / best_single(residuals)[1].sum())


def bands(residuals: Residuals, stratum: np.ndarray) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(0)
    return {
        name: band([hard_ratio(null(residuals, stratum, rng)) for _ in range(60)])
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
    low, high = band(drawn)
    assert low - 0.01 <= continuous_ratio(residuals) <= high + 0.01


def test_errors_that_a_frame_shares_stay_together_under_its_null() -> None:
    """One error per frame, sixteen atoms: atoms swapped one by one would hide the luck."""
    rng = np.random.default_rng(1)
    frame = np.repeat(np.arange(300), 16)
    shared = np.repeat(rng.standard_normal((2, 300, 3)), 16, axis=1)
    residuals = Residuals.of_vectors(shared, frame // 10)
    real = hard_ratio(residuals.group(frame))
    whole, single = (
        band([hard_ratio(draw().group(frame)) for _ in range(40)])
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
