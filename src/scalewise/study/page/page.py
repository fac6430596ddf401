"""The report as one self-contained page: no network, no scripts from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from scalewise.core.files import write_text
from scalewise.reporting.experiments import DOCUMENTS
from scalewise.reporting.markup import (
    TableLine,
    escape,
    head,
    number,
    percent,
    table,
    text,
)
from scalewise.reporting.page import TYPES, page, picture
from scalewise.reporting.report import Report
from scalewise.study.page.captions import CAPTIONS
from scalewise.study.page.comparison import comparison
from scalewise.study.page.names import Results, views
from scalewise.study.page.rows import all_rows
from scalewise.study.page.summary import answer, verdict_table

TITLE: Final = "Which length scale do these forces need?"


def attach_page(report: Report) -> Report:
    """Let the page be written beside the document."""
    return replace(report, attachments={**report.attachments, "page": report})


def save_below(report: Report, folder: Path) -> Path:
    """Write ``report.html`` with the figures that are in the folder."""
    write_page(report.results, sorted((folder / "figures").glob("*.svg")), folder / "report.html")
    return folder / "report.html"


def write_page(results: Results, figures: Sequence[Path], path: Path) -> None:
    """Write the report of a study to ``path``, with the figures embedded.

    Parameters
    ----------
    results
        Of the report.
    figures
        Their files; of two formats the SVG is taken.
    path
        Where the page goes; it is whole or, should writing fail, as it was before.
    """
    parts: dict[str, tuple[str, str]] = {
        "verdict": ("Verdict by regime", verdict_table(results)),
        "paper": ("Next to the paper", comparison(results)),
        "rows": ("All rows", all_rows(results)),
        "figures": ("Figures", _figures(figures)),
        "pools": ("Scale pools", _pools(results)),
        "checks": ("Checks of the generated data", _checks(results)),
        "provenance": ("Provenance", _provenance(results)),
    }
    script = resources.files("scalewise.study.page").joinpath("page.js").read_text("utf-8")
    write_text(path, page(TITLE, answer(results), parts, script=script))


# --------------------------------------------------------------------------- figures


def _figures(paths: Sequence[Path]) -> str:
    """Each figure once, in the order given, as a data address: nothing in it can clash or load."""
    chosen: dict[str, Path] = {}
    for path in paths:
        if path.suffix in TYPES and (path.stem not in chosen or path.suffix == ".svg"):
            chosen[path.stem] = path
    return "\n".join(_figure(stem, path) for stem, path in chosen.items())


def _figure(stem: str, path: Path) -> str:
    title, alternative, caption = CAPTIONS.get(stem, (stem, stem, ""))
    return picture(
        path.read_bytes(),
        path.suffix,
        stem=stem,
        title=title,
        alternative=alternative,
        caption=caption,
    )


# --------------------------------------------------------------------------- pools


def _pools(results: Results) -> str:
    pools = (results.get("pool") or {}).get("by_view") or {}
    held = (results.get("pool_held_out") or {}).get("by_view") or {}
    lines: list[TableLine] = []
    for view in views(results):
        for unit, pool in (pools.get(view) or {}).items():
            lines.append(_pool(view, unit, "the paper's rule", pool))
            if pool.get("moved"):
                lines.append(_pool(view, unit, "nodes moved freely", pool["moved"]))
        if held.get(view):
            lines.append(_pool(view, "ion", "held-out", held[view]))
    if not lines:
        return ""
    columns = ("View", "Unit", "Rule", "#Size", "Scales", "#Recovered, tuning data")
    return (
        "<p>A pool is the set of scales to choose from. <em>Recovered</em> is the share of the "
        "continuous oracle's gain that choosing from the pool keeps; it peeks at labels, so even "
        "a high share says nothing about what a model could gain. The held-out rule has no such "
        "share: it keeps a scale only if blocks it was not proposed on ask for it.</p>"
        + table((*columns, "#Recovered, test data", "Why it stopped"), lines, "Scale pools")
    )


def _pool(view: str, unit: str, rule: str, pool: Mapping[str, Any]) -> TableLine:
    scales = pool.get("scales") or ()
    history: Sequence[Mapping[str, Any]] = pool.get("history") or ({},)
    return TableLine(
        (
            head(view),
            text(unit),
            text(rule, "word"),
            number(str(len(scales))),
            text(", ".join(f"{s:.6g}" for s in scales), "scales"),
            number(percent(history[-1].get("recovered"), 2)),
            number(percent(pool.get("recovered_on_test"), 2)),
            text(pool.get("result", ""), "prose"),
        )
    )


# --------------------------------------------------------------------------- checks, provenance


def _checks(results: Results) -> str:
    checks = results.get("checks") or ()
    lines = [
        TableLine(
            (
                head(check["quantity"]),
                text("ok" if check["ok"] else "failed", "" if check["ok"] else "failed"),
                text(check["sentence"], "prose"),
            )
        )
        for check in checks
    ]
    return table(("Quantity", "Result", "What was found"), lines, "Checks") if lines else ""


def _provenance(results: Results) -> str:
    known = results.get("provenance") or {}
    if not known:
        return ""
    plain = {k: v for k, v in known.items() if not isinstance(v, Mapping)}
    plain["schema of results.json"] = DOCUMENTS["study"].schema
    versions = [
        TableLine((head(name.replace("_", " ")), text(value))) for name, value in plain.items()
    ]
    parts = [table(("What", "Value"), versions, "Versions")]
    if known.get("settings"):
        settings = json.dumps(known["settings"], indent=2, ensure_ascii=False)
        parts.append(f"<details><summary>Settings</summary><pre>{escape(settings)}</pre></details>")
    if known.get("sources"):
        hashes = [
            TableLine((head(name), text(digest, "name")))
            for name, digest in known["sources"].items()
        ]
        count = f"{len(hashes)} source file{'s' if len(hashes) != 1 else ''}"
        listed = table(("File", "SHA-256"), hashes, "Source files")
        parts.append(f"<details><summary>{count} and their hashes</summary>{listed}</details>")
    return "\n".join(parts)
