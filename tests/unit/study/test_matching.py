"""Force matching finds what was put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scalewise.study.branches.base import SumBranch
from scalewise.study.branches.longrange import CoulombBranch
from scalewise.study.branches.matching import fit_view, gather, solve
from scalewise.study.branches.pair import ElementPairs, PairBranch, PowerBasis, SplineBasis
from scalewise.study.settings import BranchSettings
from support import salt_frame

PAIRS = ElementPairs(("Cl", "Na"))
SIGNS = {"Na": 1, "Cl": -1}


def test_long_branch_recovers_charges_and_forces_of_its_own_kind() -> None:
    truth = SumBranch(
        CoulombBranch({"Cl": -0.8, "Na": 0.8}),
        PairBranch(PowerBasis(PAIRS, (2.2, 2.2, 2.2), 6.5, (6, 12)), 0.05 * np.ones(6)),
    )
    frames = [salt_frame(k, n=12) for k in range(12)]
    frames = [replace(f, forces=truth.predict(f).forces) for f in frames]
    settings = BranchSettings(short_cutoff=6.0, long_cutoff=6.5, ridge=(1e-14, 1e-10))
    short, long = fit_view(frames[:8], frames[8:], settings, SIGNS).branches
    assert long.report["charges"] == pytest.approx({"Cl": -0.8, "Na": 0.8}, rel=2e-3)
    for f in frames[8:]:
        size = np.abs(f.forces).mean()
        assert np.abs(long.branch.predict(f).forces - f.forces).mean() < 5e-3 * size
        assert np.abs(short.branch.predict(f).forces - f.forces).mean() > 2e-2 * size


def test_normal_equations_equal_a_direct_least_squares_solution() -> None:
    basis = SplineBasis(PAIRS, (2.2, 2.2, 2.2), 6.0, 5)
    frames = [salt_frame(k) for k in range(6)]
    equations = gather(basis, frames)
    found, _ = solve(equations, equations, (0.0,))
    rows = np.concatenate([basis.forces(f).reshape(-1, basis.size) for f in frames])
    labels = np.concatenate([f.forces.ravel() for f in frames])
    met = np.abs(rows).max(axis=0) > 0
    expected = np.linalg.lstsq(rows[:, met], labels, rcond=None)[0]
    np.testing.assert_allclose(found[met], expected, rtol=1e-6, atol=1e-9)
    assert (found[~met] == 0).all()


def test_loss_and_combined_functions_agree_with_the_residuals() -> None:
    basis = SplineBasis(PAIRS, (2.2, 2.2, 2.2), 6.0, 4)
    frames = [salt_frame(k) for k in range(3)]
    equations = gather(basis, frames)
    c = np.random.default_rng(0).standard_normal(basis.size)
    residual = np.concatenate([(basis.forces(f) @ c - f.forces).ravel() for f in frames])
    assert equations.loss(c) == pytest.approx((residual**2).sum() / 4)  # four atoms an element
    columns = np.random.default_rng(1).standard_normal((basis.size, 3))
    few = np.array([0.2, -1.0, 0.5])
    assert equations.combined(columns).loss(few) == pytest.approx(equations.loss(columns @ few))


def test_strength_is_chosen_on_the_tuning_data() -> None:
    """Pure noise is best predicted by nothing: the largest strength wins."""
    basis = SplineBasis(PAIRS, (2.2, 2.2, 2.2), 6.0, 12)
    train, tune = (gather(basis, [salt_frame(k) for k in part]) for part in (range(3), range(3, 9)))
    assert solve(train, tune, (1e-10, 1e-2, 1e4))[1] == 1e4
