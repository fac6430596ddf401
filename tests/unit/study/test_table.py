"""The terminal's table: the paper's column where it belongs, and nothing left to improve."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from report_samples import study
from scalewise.analysis.cutoff_scan import table as curve_table
from scalewise.study.page.table import best_label_free, print_results
from scalewise.study.run import PAPER


def printed(results: dict[str, Any]) -> str:
    out = io.StringIO()
    print_results(results, Console(file=out, width=100))
    return out.getvalue()


def test_oracles_stand_apart_and_the_paper_beside_the_ions_view() -> None:
    text = printed({**study(), "paper": PAPER})
    order = [text.index(word) for word in ("branches", "label-free", "oracles (see labels)")]
    assert order == sorted(order)
    assert "0.9575" in text
    assert "Is routing needed?" in text


def test_branches_without_any_error_give_a_dash() -> None:
    results = study()
    for row in results["rows"]:
        row["mae"] = 0.0
    assert all(ratio is None for _, _, ratio in best_label_free(results))
    assert "–" in printed(results)


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    results = study()
    for row in results["rows"]:
        if row["method"] == "short":
            row["method"] = "[/x]"
    assert "[/x]" in printed(results)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        (("not needed", "not needed"), "and long range does not either"),
        (("needed", "needed"), "with long range; long range is needed"),
        (("needed", "not needed"), "with long range; without it, from 5 Å on"),
        (("needed", "cannot tell"), "with long range; whether without it is not known"),
        (("cannot tell", "cannot tell"), "with long range; whether without it is not known"),
        (("not needed", "needed"), "with long range; long range is needed"),
    ],
)
def test_a_curve_says_whether_its_long_range_is_part_of_the_answer(
    without: tuple[str, str], words: str
) -> None:
    scales = [
        {"single": None, "cutoff": c, "long": long} for long in (False, True) for c in (3.0, 5.0)
    ]
    answers = [*without, "not needed", "not needed"]
    subset = {"enough": 3.0, "scales": [{"longer": {"answer": a}} for a in answers]}
    results = {"scales": scales, "reference": 3}
    line = curve_table._enough(results, subset, 1.0)
    assert line.startswith("from 3 Å on, nothing longer saves 1 %")
    assert words in line
    nothing = curve_table._enough(results, {**subset, "enough": None}, 1.0)
    assert nothing == "no shorter scale is known to do as well as the longest, 5 Å + long"
