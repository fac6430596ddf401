"""Slopes of courses with and without a memory."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.statistics.trend import slope_interval


def course(memory: float, rows: int, seed: int) -> np.ndarray:
    steps = np.random.default_rng(seed).standard_normal(rows)
    found = np.zeros(rows)
    for k in range(1, rows):
        found[k] = memory * found[k - 1] + steps[k]
    return found


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.92), (0.9, 0.92), (0.98, 0.9), (1.0, 0.83)])
@pytest.mark.parametrize("rows", [100, 400])
def test_a_slope_is_in_its_interval_whatever_the_memory(
    memory: float, least: float, rows: int
) -> None:
    time = np.linspace(0.0, 3.0, rows)
    held = []
    for seed in range(100):
        found = slope_interval(time, 2.0 * time + course(memory, rows, seed))
        assert found is not None
        held.append(found.low <= 2.0 <= found.high)
    assert np.mean(held) >= least


def test_without_a_memory_it_is_hardly_wider_than_that_of_least_squares() -> None:
    rows = 400
    time = np.linspace(0.0, 3.0, rows)
    widths = []
    for seed in range(20):
        found = slope_interval(time, course(0.0, rows, seed))
        assert found is not None
        widths.append(found.high - found.low)
    usual = 2 * 1.96 / np.sqrt(((time - time.mean()) ** 2).sum())
    assert usual < np.median(widths) < 1.5 * usual


def test_a_line_is_exact_and_few_rows_say_nothing() -> None:
    time = np.arange(30.0)
    found = slope_interval(time, 3.0 * time)
    assert found is not None
    assert found.estimate == pytest.approx(3.0)
    assert found.high - found.low < 1e-9
    assert slope_interval(time[:19], time[:19]) is None
