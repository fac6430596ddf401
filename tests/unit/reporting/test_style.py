"""Axes of figures."""

from __future__ import annotations

import pytest

from scalewise.reporting.style import few_decades, new_figure


@pytest.mark.parametrize("ends", [(89.0, 108.0), (0.31, 0.36), (20.0, 90.0), (2.0, 300.0)])
def test_a_logarithmic_axis_has_two_ticks_at_least(ends: tuple[float, float]) -> None:
    axes = new_figure(3.0).subplots()
    axes.plot([1, 2], ends)
    axes.set_yscale("log")
    few_decades(axes.yaxis)
    low, high = axes.get_ylim()
    ticks = axes.get_yticks()
    assert 2 <= len(ticks) <= 20
    assert all(low <= tick <= high for tick in ticks)
