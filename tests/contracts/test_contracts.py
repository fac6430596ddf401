"""Every branch, router and oracle through the one shared suite."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.data.structure import Structure
from scalewise.scales.oracle import ContinuousOracle, HardOracle, Oracle, PoolOracle
from scalewise.scales.selectors import (
    FixedSelector,
    RegimeSelector,
    Selector,
    SelectorTrainer,
    fit_fixed,
    fit_regimes,
)
from scalewise.study.branches.base import Branch, SumBranch
from scalewise.study.branches.learned import LearnedBranch
from scalewise.study.branches.longrange import CoulombBranch
from scalewise.study.branches.matching import fit_view
from scalewise.study.branches.pair import ElementPairs, PairBranch, PowerBasis, SplineBasis
from scalewise.study.settings import BranchSettings
from scalewise.testing import check_branch, check_oracle, check_selector, planted
from support import salt_frame, untrained

PAIRS = ElementPairs(("Cl", "Na"))
START = (2.4, 2.3, 2.5)
RNG = np.random.default_rng(0)
SPLINES = PairBranch(SplineBasis(PAIRS, START, 6.0, 8), RNG.standard_normal(24))
POWERS = PairBranch(PowerBasis(PAIRS, START, 6.5, (3, 6, 12)), RNG.standard_normal(9))
COULOMB = CoulombBranch({"Cl": -0.7, "Na": 0.7})
FRAMES = [salt_frame(seed, index=seed) for seed in range(6)]
FITTED = fit_view(FRAMES[:4], FRAMES[4:], BranchSettings(long_cutoff=7.0), {"Na": 1, "Cl": -1})


@pytest.mark.parametrize(
    ("branch", "tolerance"),
    [
        pytest.param(SPLINES, 1e-6, id="splines"),
        pytest.param(POWERS, 1e-6, id="powers"),
        # the mesh is fixed in space: translation and rotation hold to its interpolation error
        pytest.param(COULOMB, 3e-4, id="coulomb"),
        pytest.param(SumBranch(COULOMB, SPLINES), 3e-4, id="sum"),
        pytest.param(LearnedBranch(untrained()), 1e-6, id="learned"),
        pytest.param(FITTED.branches[0].branch, 1e-6, id="fitted short"),
        pytest.param(FITTED.branches[1].branch, 3e-4, id="fitted long"),
    ],
)
def test_branch(branch: Branch, tolerance: float, salt: Structure) -> None:
    check_branch(branch, salt, tolerance=tolerance)


PLANTED = planted(600, seed=0, optima=(0.1, 0.9))
LEARNED = SelectorTrainer(8, 40, 0.01, 0.0, 2).fit(PLANTED.residuals, PLANTED.geometry)[0]


@pytest.mark.parametrize(
    "router",
    [
        FixedSelector(0.3),
        fit_fixed(PLANTED.residuals),
        RegimeSelector(((0, 0.0), (1, 1.0)), 0.5),
        fit_regimes(PLANTED.residuals, PLANTED.geometry),
        LEARNED,
        LEARNED.with_full_share(),
    ],
    ids=lambda r: type(r).__name__,
)
def test_router(router: Selector) -> None:
    check_selector(router, PLANTED.geometry)


@pytest.mark.parametrize(
    "oracle",
    [HardOracle(), PoolOracle((0.0, 0.3, 1.0)), ContinuousOracle(), ContinuousOracle((0.3,))],
    ids=repr,
)
@pytest.mark.parametrize("group", [1, 6])
def test_oracle(oracle: Oracle, group: int) -> None:
    check_oracle(oracle, PLANTED.residuals.group(np.arange(600) // group))


def test_the_suite_finds_a_branch_that_is_not_conservative(salt: Structure) -> None:
    class Pushing(Branch):
        def predict(self, frame: Structure):
            right = SPLINES.predict(frame)
            return type(right)(right.energies, 1.01 * right.forces)

    with pytest.raises(AssertionError, match="gradient"):
        check_branch(Pushing(), salt)


def test_the_suite_finds_a_router_that_looks_at_other_units() -> None:
    class Comparing(Selector):
        def scales(self, geometry):
            x = geometry.features[:, 0]
            return np.clip(0.5 + 0.1 * (x - x.mean()), 0, 1)

    with pytest.raises(AssertionError, match="other units"):
        check_selector(Comparing(), PLANTED.geometry)
