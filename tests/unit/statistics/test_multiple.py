"""Holm's correction, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.statistics.multiple import adjust_known, holm


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),  # 4, 3, 2 and 1 times, never falling
        ([0.04, 0.01], [0.04, 0.02]),  # in the order given
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(given: list[float], expected: list[float]) -> None:
    assert holm(given) == expected


def test_what_is_not_known_does_not_count() -> None:
    assert adjust_known([None, 0.01, None, 0.03]) == [None, 0.02, None, 0.03]
    assert adjust_known([None, None]) == [None, None]
    assert adjust_known([]) == []


def test_hardly_ever_is_any_of_five_true_hypotheses_rejected() -> None:
    drawn = np.random.default_rng(0).uniform(size=(4000, 5))
    wrong = np.mean([min(holm(p.tolist())) <= 0.05 for p in drawn])
    # 1 - (1 - 0.05 / 5)^5 = 4.9 %, with three standard errors of a binomial
    assert wrong == pytest.approx(0.049, abs=3 * np.sqrt(0.049 * 0.951 / 4000))
