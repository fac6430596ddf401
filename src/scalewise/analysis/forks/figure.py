"""The figure of forks.json: errors of ladder and forks, and the gain of the longest scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalewise.analysis.forks.table import name_of
from scalewise.analysis.gains import draw_gains
from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, legend_below, new_figure

Section = Mapping[str, Any]


def draw_forks(results: Section) -> Figure:
    """Draw errors of all atoms on the left, what the longest scale saves on the right.

    Parameters
    ----------
    results
        forks.json.
    """
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    _errors(left, results)
    whole = results["subsets"][0]
    rows = [
        (name_of(scale), row["now"], row["system"])
        for k, (scale, row) in enumerate(zip(results["scales"], whole["scales"], strict=True))
        if k != whole["reference"]
    ]
    draw_gains(right, rows, results["settings"]["min_gain"])
    legend_below(figure, [left, right])
    return figure


def _errors(ax: Axes, results: Section) -> None:
    scales, rows = results["scales"], results["subsets"][0]["scales"]
    longest = results["subsets"][0]["reference"]
    same = [k for k, s in enumerate(scales) if s["long"] == scales[longest]["long"]]
    x = [scales[k]["cutoff"] for k in same]
    ax.plot(x, [rows[k]["ladder"] for k in same], "o--", color=GREY, ms=4, label="ladder")
    ax.plot(x, [rows[k]["mae"] for k in same], color=colour(0), label="each scale alone")
    for k in range(len(scales)):
        each = rows[k]["each"]
        mark = "o" if k in same else "D"
        label = "without long range, alone" if k not in same else None
        fill = colour(0) if k in same else "white"
        ax.plot(
            [scales[k]["cutoff"]] * len(each),
            each,
            mark,
            color=colour(0),
            mfc=fill,
            ms=4.5,
            label=label,
        )
    ax.margins(y=0.1)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("cutoff (Å)")
    ax.set_ylabel("force MAE (meV/Å)")


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a comparison of forks."""
    return {"forks": draw_forks(report.results)}
