"""Radial functions: their heights, their waves and their factors."""

from __future__ import annotations

import math

import pytest
import torch

from scalewise.models.density.radial import bessel


def test_waves_without_factors_are_the_spherical_bessel_functions() -> None:
    r = torch.tensor([0.3, 1.7, 4.1], dtype=torch.float64)
    found = bessel(r, 5.0, 3)
    for n in (1, 2, 3):
        expected = math.sqrt(0.4) * torch.sin(n * math.pi * r / 5.0) / r
        torch.testing.assert_close(found[:, n - 1], expected)


def test_at_a_smoothness_of_one_all_waves_have_one_height_at_the_origin() -> None:
    found = bessel(torch.tensor([1e-6], dtype=torch.float64), 5.0, 8, 1.0)[0]
    assert found.tolist() == pytest.approx([float(found[0])] * 8, rel=1e-6)


@pytest.mark.parametrize("smoothness", [0.5, 1.0, 2.0])
def test_factors_have_a_mean_square_of_one(smoothness: float) -> None:
    r = torch.tensor([1.3], dtype=torch.float64)
    factors = bessel(r, 5.0, 8, smoothness) / bessel(r, 5.0, 8)
    assert float((factors**2).mean()) == pytest.approx(1.0)
    ratios = (factors[0, 1:] / factors[0, :-1]).tolist()
    expected = [(n / (n + 1)) ** smoothness for n in range(1, 8)]
    assert ratios == pytest.approx(expected)
