"""The terminal's view of results.json: the paper beside ours, oracles apart from models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scalewise.core.quantities import to_kj_per_mol_nm, to_mev_per_angstrom
from scalewise.study.page.names import PAPER_VIEW, paper_ratios

BLOCKS = (
    ("branches", None),
    (
        "label-free",
        ("average", "fixed_selector", "regime_selector", "learned_selector"),
    ),
    (
        "oracles (see labels)",
        ("hard_oracle", "pool_oracle", "continuous_oracle", "two_replicate_oracle"),
    ),
)
SHOWN = ("all", "close_contact")
ANSWERS = {"needed": "bold green", "not needed": "bold cyan", "cannot tell": "bold yellow"}


def print_results(results: dict[str, Any], console: Console) -> None:
    """Print one table per view, then the verdicts."""
    for view in results["views"]:
        for regime in SHOWN:
            rows = [
                r
                for r in results["rows"]
                if (r["view"], r["unit_of_choice"], r["regime"]) == (view, "ion", regime)
            ]
            if rows:
                console.print(_table(results, view, regime, rows))
    console.print(_side_by_side(results))
    console.print(_verdicts(results))


def _table(results: dict[str, Any], view: str, regime: str, rows: list[dict[str, Any]]) -> Table:
    floor = results["noise_floor"].get(view, {}).get(regime)
    caption = f"noise floor {to_kj_per_mol_nm(floor['mae']):.4g} kJ/mol/nm" if floor else None
    table = _new_table(f"{view} view, {escape(regime)} (n = {rows[0]['n']})", caption)
    table.add_column("method", no_wrap=True)
    columns = ["kJ/mol/nm", "meV/Å", "ratio ± 95 %", "null band"]
    if view == PAPER_VIEW:
        columns.append("paper")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for title, methods in BLOCKS:
        chosen = [r for r in rows if _belongs(r["method"], methods)]
        if chosen:
            table.add_section()
            table.add_row(f"[italic]{title}[/italic]")
            for row in chosen:
                table.add_row(*_cells(results, row)[: len(table.columns)])
    return table


def _new_table(title: str, caption: str | None = None) -> Table:
    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )


def _belongs(method: str, methods: Iterable[str] | None) -> bool:
    named = {m for _, block in BLOCKS for m in block or ()}
    return method not in named if methods is None else method in methods


def _cells(results: dict[str, Any], row: dict[str, Any]) -> list[str]:
    paper = paper_ratios(results).get((row["regime"], row["method"]))
    linear = row["unit"] == "eV/Å"
    return [
        f" {escape(row['method'])}",
        f"{to_kj_per_mol_nm(row['mae']):.4g}" if linear else "",
        f"{to_mev_per_angstrom(row['mae']):.4g}" if linear else f"{row['mae']:.4g} {row['unit']}",
        _ratio(row),
        _band(row["null_band"]) + (" *" if row.get("outside_null") else ""),
        f"{paper:.4f}" if paper else "",
    ]


def _ratio(row: dict[str, Any]) -> str:
    ratio, ends = row["ratio_to_best_single"], row["interval"]
    if ends is None or ends[0] == ends[1]:
        return _short(ratio)
    return f"{_short(ratio)} ± {_short(ratio - ends[0])}"


def _band(ends: list[float] | None) -> str:
    return "" if ends is None else f"{_short(ends[0])}–{_short(ends[1])}"


def _short(value: float) -> str:
    """Four decimals for ratios near one, no decimals for large ones."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.0f}"


def _side_by_side(results: dict[str, Any]) -> Table:
    """Best label-free row of every view over the best single branch of the first view."""
    table = _new_table(
        "Best label-free row (on test data) over the first view's best single branch",
        "±: 95 % by block bootstrap; *: outside the null band; the paper's is an oracle's.",
    )
    table.add_column("view")
    table.add_column("row")
    table.add_column("ratio", justify="right")
    for view, method, ratio in best_label_free(results):
        table.add_row(view, escape(method), "–" if ratio is None else f"{ratio:.3g}")
    if PAPER_VIEW in results["views"]:
        paper = results["paper"]["continuous_oracle"] / results["paper"]["baseline"]
        table.add_row("paper", "continuous oracle (peeks)", f"{paper:.3f}", style="dim")
    return table


def best_label_free(results: dict[str, Any]) -> list[tuple[str, str, float | None]]:
    """View, method, and ratio of its smallest label-free loss to the first view's best single.

    The smallest is found on the test data; the ratio is None where that branch is exact.
    """
    rows = [r for r in results["rows"] if (r["unit_of_choice"], r["regime"]) == ("ion", "all")]
    first = next(iter(results["views"]))
    single = next(r["mae"] for r in rows if r["view"] == first and r["method"] == "best_single")
    found = []
    for view in results["views"]:
        free = [r for r in rows if r["view"] == view and not r["uses_labels"]]
        best = min(free, key=lambda r: r["mae"])
        found.append((view, best["method"], best["mae"] / single if single > 0 else None))
    return found


def _verdicts(results: dict[str, Any]) -> Table:
    table = _new_table("Is routing needed?")
    for column in ("view", "regime", "n", "answer", "because"):
        table.add_column(column)
    for view, regimes in results["verdict"].items():
        table.add_section()
        for regime, v in regimes.items():
            style = ANSWERS[v["answer"]]
            table.add_row(
                view,
                escape(regime),
                str(v["n"]),
                f"[{style}]{v['answer']}[/{style}]",
                escape(v["reason"]),
            )
    return table
