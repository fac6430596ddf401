"""Rows and verdicts on planted data: fields, order, both units of choice, both answers."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.core.loading import load
from scalewise.scales.blend import Residuals
from scalewise.study.mechanisms import train_selectors
from scalewise.study.samples import Replicates, Samples
from scalewise.study.score import Scorer
from scalewise.study.settings import StudySettings
from scalewise.testing import planted

SETTINGS = load(
    StudySettings,
    None,
    ["selector.steps=80", "selector.hidden=8", "evidence.bootstrap=200", "evidence.draws=20"],
)
UNITS, FRAME = 1200, 10


def scorer(optima: tuple[float, ...], seed: int = 0, loss: str = "l1", **options) -> Scorer:
    p = planted(UNITS, seed=seed, optima=optima, **options)

    def with_loss(r: Residuals) -> Residuals:
        return Residuals(r.values, r.counts, r.block, r.anchors, loss)

    regimes = {
        "all": np.ones(UNITS, dtype=bool),
        "left": p.geometry.stratum == 0,
        "none": np.zeros(UNITS, dtype=bool),
    }
    whole = Samples(
        with_loss(p.residuals),
        p.geometry,
        regimes,
        np.arange(UNITS) // FRAME,
        np.full(UNITS, np.inf),
    )
    tuned = np.arange(UNITS) < UNITS // 2
    tune, test = whole.subset(tuned), whole.subset(~tuned)
    second = with_loss(p.replicate).subset(~tuned)
    pair = Replicates(test.residuals, second, test.geometry, test.regimes, test.frame)
    pools = {"ion": (0.0, 0.25, 0.5, 1.0), "frame": (0.0, 0.5, 1.0)}
    selectors = train_selectors(tune, SETTINGS)
    return Scorer("planted", test, pair, selectors, pools, ("short", "long"), SETTINGS)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_rows_are_complete_and_in_order(loss: str) -> None:
    rows = scorer((0.0, 1.0), loss=loss, difference=1.0, noise=0.4).rows()
    cells = {(r["unit_of_choice"], r["regime"]) for r in rows}
    assert cells == {(u, r) for u in ("ion", "frame") for r in ("all", "left")}
    for unit, regime in cells:
        table = {
            r["method"]: r for r in rows if (r["unit_of_choice"], r["regime"]) == (unit, regime)
        }
        order = ("best_single", "hard_oracle", "pool_oracle", "continuous_oracle")
        mae = [table[m]["mae"] for m in order]
        assert mae == sorted(mae, reverse=True)
        assert table["best_single"]["mae"] == min(table["short"]["mae"], table["long"]["mae"])
        for method in order[1:]:
            assert set(table[method]["null_bands"]) == {"permutation", "gaussian"}
            assert table[method]["uses_labels"]
        assert not table["fixed_selector"]["uses_labels"]
        assert table["short"]["n"] == (UNITS // 2 if unit == "ion" else UNITS // 2 // FRAME) or (
            regime == "left"
        )
        assert table["short"]["unit"] == ("eV/Å" if loss == "l1" else "(eV/Å)²")


def test_planted_regimes_leave_the_null_and_are_routed() -> None:
    found = scorer((0.0, 1.0), difference=1.0, noise=0.4)
    rows = {(r["unit_of_choice"], r["method"]): r for r in found.rows() if r["regime"] == "all"}
    assert rows["ion", "hard_oracle"]["outside_null"]
    assert rows["ion", "learned_selector"]["gap_closed"] > 0.9
    assert rows["ion", "fixed_selector"]["gap_closed"] < 0.5
    assert found.verdicts()["all"]["answer"] == "needed"


def test_gap_of_frames_counts_frames() -> None:
    """One optimum away from both anchors: the fixed scale closes what the frames' oracle gains."""
    found = scorer((0.5,), difference=2.0, noise=0.3)
    rows = {(r["unit_of_choice"], r["method"]): r for r in found.rows() if r["regime"] == "all"}
    assert rows["frame", "fixed_selector"]["gap_closed"] == pytest.approx(1.0, abs=0.1)
    assert found.verdicts()["all"]["answer"] != "needed"


def test_nothing_planted_is_not_needed_when_the_data_suffice() -> None:
    found = scorer((0.5,), difference=0.2)
    assert found.verdicts()["all"]["answer"] == "not needed"
    hard = next(r for r in found.rows() if r["method"] == "hard_oracle")
    assert hard["ratio_to_best_single"] < 1
    assert not hard["outside_null"]


def test_branches_of_unlike_quality_are_not_judged_by_the_gaussian_null() -> None:
    rows = scorer((1.0,), difference=5.0, noise=0.2).rows()
    hard = next(r for r in rows if r["method"] == "hard_oracle")
    assert not hard["exchangeable"]
    assert hard["null_band"] == hard["null_bands"]["permutation"]
