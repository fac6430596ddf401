"""Figures and page of a report: complete, deterministic, self-contained, and never crashing."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from report_samples import REGIMES, report, study
from scalewise.study.page.figures import figures_of
from scalewise.study.page.names import select
from scalewise.study.page.page import attach_page, write_page

STEMS = {
    "oracle_gains",
    "scale_histogram",
    "error_against_distance",
    "loss_over_scale",
    "pool_history",
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw(study(), tmp_path_factory.mktemp("figures"))


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Save the report of these results; the files of its figures."""
    paths = report(results).save(folder)
    figures = sorted((folder / "figures").iterdir())
    assert sorted(p for p in paths if p.parent.name == "figures") == figures
    return figures


def write(results: dict[str, Any], folder: Path, figures: list[Path] | None = None) -> str:
    path = folder / "report.html"
    write_page(results, figures or [], path)
    return path.read_text(encoding="utf-8")


def without(results: dict[str, Any], *pieces: str) -> dict[str, Any]:
    for view in results["views"].values():
        if "distance" in pieces:
            view["complementarity"]["distance"] = []
        if "correlation" in pieces:
            view["complementarity"]["correlation"]["all"] = {"estimate": None, "interval": None}
    if "floor" in pieces:
        results["noise_floor"] = {view: {} for view in results["views"]}
    if "replicates" in pieces:
        results["rows"] = [r for r in results["rows"] if r["method"] != "two_replicate_oracle"]
    if "intervals" in pieces:
        for r in results["rows"]:
            r["interval"] = r["mae_interval"] = None
    for piece in set(pieces) & set(results):
        results[piece] = type(results[piece])()
    return results


# --------------------------------------------------------------------------- figures


def test_every_figure_is_written_in_both_formats_and_the_same_twice(
    figures: list[Path], tmp_path: Path
) -> None:
    again = draw(copy.deepcopy(study()), tmp_path)
    assert {p.name for p in figures} == {f"{s}.{e}" for s in STEMS for e in ("png", "svg")}
    for one, other in zip(figures, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert "<dc:date>" not in (tmp_path / "figures/oracle_gains.svg").read_text()


def test_figures_of_a_bare_audit_with_odd_names(tmp_path: Path) -> None:
    """Three branches, one view, no floor, replicates or intervals; names that look like markup."""
    bare = study(("predictions",), ("_$x^2$", "模型", "a_very_long_name_of_a_model_v2.extxyz"))
    drawn = draw(without(bare, "floor", "replicates", "intervals", "paper"), tmp_path)
    assert {p.stem for p in drawn} == STEMS


def test_figures_without_data_are_left_out_and_old_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/error_against_distance.svg").write_text("of an earlier run")
    bare = without(study(("predictions",)), "distance", "pool", "pool_held_out", "loss_curves")
    drawn = draw(bare, tmp_path)
    assert {p.stem for p in drawn} == {"scale_histogram", "oracle_gains"}
    assert not (tmp_path / "figures/error_against_distance.svg").exists()
    found = figures_of(report(without(bare, "rows")))
    assert set(found) == STEMS
    assert [name for name, figure in found.items() if figure is not None] == ["scale_histogram"]


# --------------------------------------------------------------------------- page


def test_page_holds_verdicts_checks_pools_figures_and_every_row(
    figures: list[Path], tmp_path: Path
) -> None:
    results = study()
    page = write(results, tmp_path, figures)
    assert "choosing a scale per atom is needed" in page
    assert "Other regimes differ: cannot tell in close contact." in page
    assert "1.2 g/cm3, too dense." in page
    assert "moved enough" in page
    assert "0.5000" in page  # the paper's ratio in close contact: 150 / 300
    assert page.count("<tr data-view=") == len(results["rows"])
    assert page.count("<img alt=") == len(STEMS)
    assert page == write(study(), tmp_path, figures)


def test_a_report_with_its_page_writes_both(tmp_path: Path) -> None:
    attached = attach_page(report(study()))
    paths = {str(p.relative_to(tmp_path)) for p in attached.save(tmp_path)}
    assert {"results.json", "results.txt", "report.html"} < paths
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<img alt=") == len(STEMS)
    assert "schema of results.json</th><td>2<" in page
    assert "settings digest</th><td>abc<" in page


def test_page_separates_oracles_from_what_could_be_deployed(tmp_path: Path) -> None:
    page = write(study(), tmp_path)
    blocks = [b.split("</table>")[0] for b in re.split(r'<div class="block ', page)[1:]]
    assert [b.split('"')[0] for b in blocks] == ["branches", "label-free", "oracles"]
    assert "hard oracle" not in blocks[0] + blocks[1]
    assert "learned selector" not in blocks[0] + blocks[2]
    assert "250.0" in blocks[0]
    assert "241.2" in blocks[0]  # the same in kJ/mol/nm


def test_page_loads_nothing(figures: list[Path], tmp_path: Path) -> None:
    page = re.sub(r"data:image/[^\"]*", "data:", write(study(), tmp_path, figures))
    assert not re.search(r"https?:", page)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "@import" not in page
    assert "url(" not in page


def test_vector_figures_load_nothing(figures: list[Path]) -> None:
    for path in (p for p in figures if p.suffix == ".svg"):
        assert not re.search(r"(href|src)=\"(?!#)", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>'])
def test_names_of_users_are_escaped(tmp_path: Path, name: str) -> None:
    page = write(study(("predictions",), (name, "b")), tmp_path)
    assert page.count("<script>") == 1  # our own
    assert "<img src=x" not in page
    assert "<b>here</b>" not in page


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
        "provenance",
        "rows",
    ],
)
def test_missing_pieces_are_left_out(tmp_path: Path, piece: str) -> None:
    results = without(study(("predictions",), ("a", "b", "c")), piece)
    page = write(results, tmp_path)
    assert page.count("<tr data-view=") == len(results["rows"])
    assert f'<section id="{piece}">' not in page


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
