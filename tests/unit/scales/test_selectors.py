"""Selectors find what is planted, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.scales.oracle import ContinuousOracle, TwoReplicateOracle, best_single
from scalewise.scales.selectors import (
    RegimeSelector,
    SelectorInputs,
    SelectorTrainer,
    fit_fixed,
    fit_regimes,
    make_folds,
)
from scalewise.testing import Planted, planted

TRAINER = SelectorTrainer(24, 200, 0.01, 1e-3, 4)


def halves(p: Planted) -> tuple[np.ndarray, np.ndarray]:
    tune = np.arange(p.residuals.n_units) < p.residuals.n_units // 2
    return tune, ~tune


def test_learned_selector_closes_the_gap_of_planted_regimes() -> None:
    p = planted(3000, seed=0, optima=(0.0, 1.0), noise=0.5, difference=1.0)
    tune, test = halves(p)
    selector, _ = TRAINER.fit(p.residuals.subset(tune), p.geometry.subset(tune))
    scored, other = p.residuals.subset(test), p.replicate.subset(test)
    routed = scored.unit_losses(selector.scales(p.geometry.subset(test))).sum()
    two = TwoReplicateOracle(ContinuousOracle()).score(other, scored).loss.sum()
    single = best_single(scored)[1].sum()
    assert single > two
    closed = (single - routed) / (single - two)
    assert closed >= 0.9


def test_learned_selector_gains_nothing_where_nothing_is_planted() -> None:
    p = planted(3000, seed=1, optima=(0.4,))
    tune, test = halves(p)
    selector, _ = TRAINER.fit(p.residuals.subset(tune), p.geometry.subset(tune))
    scored = p.residuals.subset(test)
    routed = scored.unit_losses(selector.scales(p.geometry.subset(test)))
    fixed = scored.unit_losses(fit_fixed(p.residuals.subset(tune)).scale)
    assert routed.sum() > 0.998 * fixed.sum()


def test_regime_selector_is_the_exact_optimum_of_every_stratum() -> None:
    p = planted(2000, seed=2, optima=(0.1, 0.8))
    selector = fit_regimes(p.residuals, p.geometry)
    exact = ContinuousOracle().choose(p.residuals.group(p.geometry.stratum)).scale
    assert [s for _, s in selector.by_stratum] == exact.tolist()


def test_regime_selector_takes_the_fixed_scale_for_strange_strata() -> None:
    selector = RegimeSelector(((0, 0.2),), 0.7)
    geometry = SelectorInputs(np.zeros((2, 1)), np.array([0, 5]))
    assert selector.scales(geometry).tolist() == [0.2, 0.7]


def test_fixed_selector_beats_every_scale_of_a_fine_grid() -> None:
    residuals = planted(500, seed=3, optima=(0.3,)).residuals
    best = residuals.unit_losses(fit_fixed(residuals).scale).sum()
    assert all(best <= residuals.unit_losses(s).sum() for s in np.linspace(0, 1, 501).tolist())


def test_training_twice_gives_the_same_selector() -> None:
    p = planted(400, seed=4, optima=(0.2, 0.9))
    first, second = (TRAINER.fit(p.residuals, p.geometry)[0].scales(p.geometry) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_folds_keep_blocks_whole() -> None:
    block = np.repeat(np.arange(10), 7)
    folds = make_folds(block, 4)
    assert set(folds) == {0, 1, 2, 3}
    assert all(len(set(folds[block == b])) == 1 for b in range(10))


def test_one_block_cannot_be_split_into_folds() -> None:
    with pytest.raises(InputError, match="one block"):
        make_folds(np.zeros(5, dtype=int), 4)
