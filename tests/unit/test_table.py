"""The terminal's table: the paper's column where it belongs, and nothing left to improve."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from report_samples import study
from scalewise.report.table import best_label_free, print_results
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
