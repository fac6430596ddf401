"""All rows of the table of a study, in three blocks with a common filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from scalewise.reporting.markup import (
    TableLine,
    escape,
    estimate,
    head,
    number,
    percent,
    ratio,
    signed,
    significant,
    span,
    table,
    text,
    yes_or_no,
)
from scalewise.reporting.names import LossUnit, regime_name
from scalewise.study.page.names import (
    AVERAGE,
    ORACLES,
    SELECTORS,
    Results,
    Row,
    loss_unit,
    method_name,
    views,
)

BLOCKS: Final = {
    "branches": (
        "Branches",
        "Each branch alone, and the best of them, looked up on the test labels of the regime.",
    ),
    "label-free": (
        "Label-free: deployable",
        "The plain average of the branches, and selectors that choose the scale from geometry, "
        "fitted on tuning data: no test label is needed, so a model could use them. Gap "
        "closed is the share of the two-replicate oracle's gain that they reach, where that gain "
        "is above zero.",
    ),
    "oracles": (
        "Oracles: they peek at the labels",
        "Bounds, not models. They gain wherever branches differ, so only a ratio below the null "
        "band is evidence. The two-replicate oracle chooses on one replicate and is scored on the "
        "other; its rows, their error and n are those of the replicates.",
    ),
}
KEYS: Final = {"view": "View", "unit": "Unit of choice", "regime": "Regime"}


def block_of(method: str) -> str:
    """Tell branches, deployable selectors and oracles apart."""
    if method in SELECTORS or method == AVERAGE:
        return "label-free"
    return "oracles" if method in ORACLES else "branches"


def all_rows(results: Results) -> str:
    """Three blocks of rows under one filter."""
    rows: Sequence[Row] = results.get("rows") or ()
    if not rows:
        return ""
    unit = loss_unit(results)
    parts = [
        "<p>Ratios are to the best single branch of the same view, unit of choice and regime; "
        "in small print stand 95 % intervals over blocks of frames. A null band holds the ratios "
        "of the same oracle where there is nothing to route, of two nulls the stricter one; where "
        "branches differ twofold in mean square, of the permutation null alone.</p>",
        _filter(rows),
    ]
    for kind, (title, about) in BLOCKS.items():
        chosen = [row for row in rows if block_of(row["method"]) == kind]
        if chosen:
            lines = [_line(kind, row, unit) for row in chosen]
            listed = table(_columns(kind, unit), lines, title)
            extra = _about_branches(results) if kind == "branches" else ""
            parts.append(
                f'<div class="block {kind}"><h3>{escape(title)}</h3>'
                f"<p>{escape(about)}</p>{extra}{listed}</div>"
            )
    return "\n".join(parts)


def _filter(rows: Sequence[Row]) -> str:
    """Selects that a script makes work; it also shows them, so that none is there in vain."""
    read: dict[str, Callable[[Row], Any]] = {
        "view": lambda row: row["view"],
        "unit": lambda row: row["unit_of_choice"],
        "regime": lambda row: row["regime"],
    }
    start = {"unit": "ion", "regime": "all"}
    selects = []
    for key, label in KEYS.items():
        values = list(dict.fromkeys(str(read[key](row)) for row in rows))
        options = "".join(
            f'<option value="{escape(v)}"{" selected" if start.get(key) == v else ""}>'
            f"{escape(regime_name(v) if key == 'regime' else v)}</option>"
            for v in values
        )
        selects.append(
            f'<label>{label} <select name="{key}"><option value="">any</option>{options}'
            "</select></label>"
        )
    return (
        f'<form id="filter" hidden>{" ".join(selects)} '
        '<button type="button">Show every row</button> <output aria-live="polite"></output></form>'
    )


def _columns(kind: str, unit: LossUnit) -> list[str]:
    columns = ["Method and where"]
    columns += [f"#{unit.quantity} ({unit.main})", f"#{unit.quantity} ({unit.other})"]
    columns.append("#Ratio to best single")
    if kind == "oracles":
        columns += ["#Null band", "Outside null"]
    if kind == "label-free":
        columns.append("#Gap closed")
    return [*columns, "#n"]


def _line(kind: str, row: Row, unit: LossUnit) -> TableLine:
    def main(value: float) -> str:
        return significant(unit.to_main(value))

    def other(value: float) -> str:
        return significant(unit.to_other(value))

    peeks = row["uses_labels"] and kind != "oracles"
    cells = [
        head(
            method_name(row["method"]) + (" (peeks)" if peeks else ""),
            f"{row['view']}, per {row['unit_of_choice']}, {regime_name(row['regime'])}",
        ),
        estimate(row["mae"], row.get("mae_interval"), main),
        estimate(row["mae"], row.get("mae_interval"), other),
        estimate(row["ratio_to_best_single"], row.get("interval"), ratio),
    ]
    if kind == "oracles":
        cells.append(number(span(row.get("null_band"))))
        cells.append(text(yes_or_no(row.get("outside_null"))))
    if kind == "label-free":
        cells.append(estimate(row.get("gap_closed"), row.get("gap_interval"), percent))
    cells.append(number(str(row["n"])))
    data = {"view": row["view"], "unit": row["unit_of_choice"], "regime": row["regime"]}
    return TableLine(cells, data)


def _about_branches(results: Results) -> str:
    """What each branch is, in the words of the study."""
    parts = []
    for view in views(results):
        known = ((results.get("views") or {}).get(view) or {}).get("branches") or ()
        told = [_about(branch) for branch in known]
        if any(told):
            parts.append(f"<li>{escape(view)}: {escape('; '.join(told))}</li>")
    return f'<ul class="soft">{"".join(parts)}</ul>' if parts else ""


def _about(branch: Mapping[str, Any]) -> str:
    facts = [
        f"{k} {v}" for k, v in branch.items() if k != "name" and isinstance(v, str | int | float)
    ]
    charges = branch.get("charges") or {}
    if charges:
        facts.append("charges " + " ".join(f"{e} {signed(f'{q:.3f}')}" for e, q in charges.items()))
    return f"{branch['name']} ({', '.join(facts)})" if facts else str(branch["name"])
