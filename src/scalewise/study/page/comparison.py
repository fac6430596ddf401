"""The numbers of the paper (arXiv 2606.09480) beside ours, and the gain of more information."""

from __future__ import annotations

from scalewise.reporting.markup import (
    DASH,
    Cell,
    TableLine,
    escape,
    estimate,
    head,
    number,
    ratio,
    significant,
    span,
    table,
    text,
    yes_or_no,
)
from scalewise.reporting.names import regime_name
from scalewise.study.page.names import (
    METHODS,
    PAPER_VIEW,
    Results,
    Row,
    loss_unit,
    method_name,
    paper_ratios,
    select,
    views,
)


def comparison(results: Results) -> str:
    """The paper's ratios beside those of every view, each with its null band."""
    paper, ratios = results.get("paper") or {}, paper_ratios(results)
    if not ratios or PAPER_VIEW not in views(results):
        return ""
    tables = {view: select(results, view) for view in views(results)}
    columns = ["Ratio to the baseline", f"#{paper.get('reference', 'the paper')}"]
    for view in tables:
        columns += [f"#{view}", f"#{view}: null band"]
    lines = []
    for (regime, oracle), theirs in ratios.items():
        cells = [head(f"{METHODS[oracle]}, {regime_name(regime)}"), number(ratio(theirs))]
        for rows in tables.values():
            cells += _ours(rows.get(regime, {}).get(oracle))
        lines.append(TableLine(cells))
    return (
        "<p>The paper divides an oracle's error by that of its baseline; here the baseline is the "
        "best single branch of the regime. Its system, models and null are not ours: the columns "
        "answer the same question, not the same case. Its unit is "
        f"{escape(paper.get('unit', 'not known'))}; ratios do not depend on it.</p>"
        + table(columns, lines, "Comparison with the paper")
        + _across_views(results, tables)
    )


def _ours(row: Row | None) -> list[Cell]:
    if row is None:
        return [number(DASH), number(DASH)]
    band = escape(span(row.get("null_band")))
    outside = f"outside: {yes_or_no(row.get('outside_null'))}"
    return [
        estimate(row["ratio_to_best_single"], row["interval"], ratio),
        Cell(f"{band}<br><small>{escape(outside)}</small>", "number"),
    ]


def _across_views(results: Results, tables: dict[str, dict[str, dict[str, Row]]]) -> str:
    """Best label-free row of each view over the best single branch that sees ions alone."""
    single = tables.get(PAPER_VIEW, {}).get("all", {}).get("best_single")
    if single is None or not single["mae"]:
        return ""
    unit = loss_unit(results)
    lines = []
    for view, rows in tables.items():
        free = [row for row in rows.get("all", {}).values() if not row["uses_labels"]]
        if free:
            best = min(free, key=lambda row: row["mae"])
            cells = (
                head(view),
                text(method_name(best["method"]), "name"),
                number(significant(unit.to_main(best["mae"]))),
                number(ratio(best["mae"] / single["mae"])),
            )
            lines.append(TableLine(cells))
    columns = ("View", "Best label-free row", f"#{unit.quantity} ({unit.main})", "#Over ions' best")
    return (
        "<h3>What more information buys</h3><p>The best row without labels of each view, all "
        "regimes together, as the test data rank them, over the best single branch of the view "
        "that sees ions alone.</p>" + table(columns, lines, "Best label-free rows")
        if lines
        else ""
    )
