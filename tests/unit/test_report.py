"""Figures and page of a report: complete, deterministic, self-contained, and never crashing."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from scalewise.report.figures import draw_all
from scalewise.report.names import select
from scalewise.report.page import write_page

STEMS = {
    "oracle_gains",
    "scale_histogram",
    "error_against_distance",
    "loss_over_scale",
    "pool_history",
}
REGIMES = ("all", "close_contact")
ROUTERS = ("fixed_router", "regime_router", "learned_router")
ORACLES = ("hard_oracle", "pool_oracle", "continuous_oracle")


def row(view: str, unit: str, regime: str, method: str, ratio: float) -> dict[str, Any]:
    found = {
        "view": view,
        "unit_of_choice": unit,
        "method": method,
        "uses_labels": method in (*ORACLES, "two_replicate_oracle", "best_single"),
        "regime": regime,
        "mae": 0.25 * ratio,
        "unit": "eV/Å",
        "mae_interval": [0.24 * ratio, 0.26 * ratio],
        "ratio_to_best_single": ratio,
        "interval": [ratio - 0.01, ratio + 0.01],
        "null_band": None,
        "n": 1000 + len(method),
    }
    if method in ORACLES:
        bands = {"permutation": [0.96, 0.97], "gaussian": [0.95, 0.98]}
        found |= {"null_band": [0.95, 0.98], "null_bands": bands, "outside_null": ratio < 0.95}
    if method in ROUTERS:
        found |= {"gap_closed": 0.4, "gap_interval": [0.1, 0.7]}
    return found


def section(branches: tuple[str, ...]) -> dict[str, Any]:
    error = {name: {"mae": 0.25, "interval": [0.2, 0.3]} for name in branches}
    return {
        "branches": [{"name": name, "cutoff": 6.0} for name in branches],
        "regimes": dict.fromkeys(REGIMES, 1000),
        "atoms": {"tune": 500, "test": 1000},
        "complementarity": {
            "correlation": {"all": {"estimate": 0.9, "interval": [0.8, 1.0], "n": 1000}},
            "distance": [
                {"from": 2.0, "to": 3.0, "n": 40, "branches": error},
                {"from": 3.0, "to": 5.0, "n": 60, "branches": error},
            ],
        },
        "routers": {"chosen": "learned", "fixed_scale": 0.5, "learned_share": 1.0},
    }


def pool() -> dict[str, Any]:
    history = [
        {"round": 0, "action": "anchors", "scales": [0.0, 1.0], "loss": 0.25, "recovered": 0.9},
        {
            "round": 1,
            "action": "insert 0.5",
            "scales": [0.0, 0.5, 1.0],
            "loss": 0.24,
            "recovered": None,
        },
    ]
    moved = {"scales": [0.0, 0.4, 1.0], "result": "moved enough", "history": history}
    return {
        "scales": [0.0, 0.5, 1.0],
        "result": "recovered enough",
        "history": history,
        "moved": moved,
        "recovered_on_test": 0.98,
    }


def study(
    views: tuple[str, ...] = ("ions", "explicit"), branches: tuple[str, ...] = ("short", "long")
) -> dict[str, Any]:
    """Build a small study in which every kind of thing occurs once."""
    ratios = {name: 1.0 + 30.0 * k for k, name in enumerate(branches)}
    ratios |= {"best_single": 1.0, "average": 0.99}
    ratios |= dict.fromkeys(ROUTERS, 0.98) | dict.fromkeys(ORACLES, 0.94)
    ratios["two_replicate_oracle"] = 1.6
    counts = [5, 0, 5]
    edges = [0.0, 0.3, 0.7, 1.0]
    histogram = {k: dict.fromkeys(REGIMES, counts) for k in ("oracle", "router")} | {"edges": edges}
    curve = {"scale": [0.0, 0.5, 1.0], "mae": {"all": [0.25, 0.24, 8.0], "Cl": [0.3, 0.2, 0.1]}}
    floor = {"mae": 0.2, "interval": [0.19, 0.21], "n": 10, "source": "8 solvent replicates"}
    verdict = {
        "answer": "needed",
        "reason": "routing gains 5%",
        "router": "learned",
        "ratio_to_fixed": 0.95,
        "interval": [0.94, 0.96],
        "p": 0.001,
        "n": 1000,
    }
    other = {**verdict, "answer": "cannot tell", "interval": None, "ratio_to_fixed": None}
    return {
        "schema": 1,
        "provenance": {
            "scalewise": "0.1.0",
            "settings": {"seed": 0, "data": "<b>here</b>"},
            "settings_digest": "abc",
            "sources": {"replica-00.extxyz": "0" * 64},
        },
        "paper": {
            "reference": "arXiv 2606.09480",
            "unit": "kJ/mol/nm",
            "baseline": 400.0,
            "hard_oracle": 380.0,
            "pool_oracle": 379.0,
            "continuous_oracle": 378.0,
            "close_contact_baseline": 300.0,
            "close_contact_continuous_oracle": 150.0,
        },
        "checks": [{"ok": False, "quantity": "density", "sentence": "1.2 g/cm3, too dense."}],
        "views": {view: section(branches) for view in views},
        "noise_floor": {view: {"all": floor} for view in views},
        "pool": {"by_view": {view: {"ion": pool(), "frame": pool()} for view in views}},
        "pool_held_out": {"by_view": {view: pool() for view in views}},
        "verdict": {view: {"all": verdict, "close_contact": other} for view in views},
        "loss_curves": dict.fromkeys(views, curve),
        "scale_histograms": dict.fromkeys(views, histogram),
        "rows": [
            row(view, unit, regime, method, ratio)
            for view in views
            for unit in ("ion", "frame")
            for regime in REGIMES
            for method, ratio in ratios.items()
        ],
    }


def write(results: dict[str, Any], folder: Path) -> str:
    path = folder / "report.html"
    write_page(results, draw_all(results, folder / "figures"), path)
    return path.read_text(encoding="utf-8")


def test_every_figure_is_written_in_both_formats_and_the_same_twice(tmp_path: Path) -> None:
    results = study()
    first = draw_all(results, tmp_path / "a")
    again = draw_all(copy.deepcopy(results), tmp_path / "b")
    assert {p.name for p in first} == {f"{s}.{e}" for s in STEMS for e in ("png", "svg")}
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    svg = (tmp_path / "a" / "oracle_gains.svg").read_text()
    assert "<dc:date>" not in svg


def test_page_is_the_same_twice(tmp_path: Path) -> None:
    assert write(study(), tmp_path / "a") == write(study(), tmp_path / "b")


def test_page_holds_verdicts_checks_pools_and_every_row(tmp_path: Path) -> None:
    results = study()
    page = write(results, tmp_path)
    assert "choosing a scale per atom is needed" in page
    assert "Other regimes differ: cannot tell in close contact." in page
    assert "1.2 g/cm3, too dense." in page
    assert "moved enough" in page
    assert "0.5000" in page  # the paper's ratio in close contact: 150 / 300
    assert page.count("<tr data-view=") == len(results["rows"])
    for stem in STEMS:
        assert f'id="figure-{stem}"' in page


def test_page_separates_oracles_from_what_could_be_deployed(tmp_path: Path) -> None:
    page = write(study(), tmp_path)
    blocks = re.split(r'<div class="block ', page)[1:]
    assert [b.split('"')[0] for b in blocks] == ["branches", "label-free", "oracles"]
    assert "hard oracle" not in blocks[0] + blocks[1]
    assert "learned router" not in blocks[0] + blocks[2].split("</table>")[0]
    assert "250.0" in blocks[0]
    assert "241.2" in blocks[0]  # the same in kJ/mol/nm


def test_page_loads_nothing(tmp_path: Path) -> None:
    page = write(study(), tmp_path)
    assert not re.search(r"https?:|//[a-z]", re.sub(r"^// .*$", "", page, flags=re.M))
    assert not re.search(r'(src|href)="(?!data:|#)', page)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "_$x^2$"])
def test_names_of_users_are_escaped(tmp_path: Path, name: str) -> None:
    page = write(study(("predictions",), (name, "模型")), tmp_path)
    assert page.count("<script>") == 1  # our own
    assert "<img src=x" not in page
    assert "<b>here</b>" not in page


def without(results: dict[str, Any], piece: str) -> dict[str, Any]:
    for view in results["views"].values():
        if piece == "distance":
            view["complementarity"]["distance"] = []
        if piece == "correlation":
            view["complementarity"]["correlation"]["all"] = {"estimate": None, "interval": None}
    if piece == "floor":
        results["noise_floor"] = {view: {} for view in results["views"]}
    if piece == "replicates":
        results["rows"] = [r for r in results["rows"] if r["method"] != "two_replicate_oracle"]
    if piece == "intervals":
        for r in results["rows"]:
            r["interval"] = r["mae_interval"] = None
    if piece in ("paper", "pool", "pool_held_out", "checks", "verdict", "loss_curves", "rows"):
        results[piece] = type(results[piece])()
    return results


@pytest.mark.parametrize(
    "piece",
    [
        "distance",
        "correlation",
        "floor",
        "replicates",
        "intervals",
        "paper",
        "pool",
        "pool_held_out",
        "checks",
        "verdict",
        "loss_curves",
        "rows",
    ],
)
def test_missing_pieces_are_left_out(tmp_path: Path, piece: str) -> None:
    results = without(study(("predictions",), ("a", "b", "c")), piece)
    page = write(results, tmp_path)
    assert page.count("<tr data-view=") == len(results["rows"])
    gone = {"distance": "error_against_distance", "loss_curves": "loss_over_scale"}
    if piece in gone:
        assert gone[piece] not in page


def test_a_figure_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    assert (tmp_path / "error_against_distance.svg") in draw_all(study(), tmp_path)
    draw_all(without(study(), "distance"), tmp_path)
    assert not (tmp_path / "error_against_distance.svg").exists()


def test_squared_losses_get_squared_units(tmp_path: Path) -> None:
    results = study()
    for r in results["rows"]:
        r["unit"] = "(eV/Å)²"
    page = write(results, tmp_path)
    assert "MSE ((meV/Å)²)" in page
    assert "250000" in page


def test_rows_are_selected_by_view_and_unit() -> None:
    rows = select(study(), "explicit", "frame")
    assert set(rows) == set(REGIMES)
    assert rows["all"]["short"]["view"] == "explicit"
