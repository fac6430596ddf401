"""The figure of forks.json: the ladder, each scale alone, and what the longest is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalewise.analysis.forks.table import name_of
from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, legend_below, new_figure

Section = Mapping[str, Any]

SHADES: Final = {"needed": colour(1), "not needed": colour(0), "cannot tell": GREY}


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
    _gains(right, results)
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


def _gains(ax: Axes, results: Section) -> None:
    """What the longest scale saves: now thick, at the end of training thin."""
    rows, longest = results["subsets"][0]["scales"], results["subsets"][0]["reference"]
    listed = [k for k in range(len(rows)) if k != longest and rows[k]["now"]["gain"] is not None]
    for y, k in enumerate(listed[::-1]):
        now, system = rows[k]["now"], rows[k]["system"]
        shade = SHADES[system["answer"]]
        ends = 100 * np.clip([system["low"], system["high"]], -1.0, 1.0)
        ax.plot(ends, [y, y], color=shade, lw=1.2)
        ends = 100 * np.clip([now["low"], now["high"]], -1.0, 1.0)
        ax.plot(ends, [y, y], color=shade, lw=4, solid_capstyle="round")
        ax.plot(100 * now["gain"], y, "o", color=shade, mec="white", ms=7)
        ax.annotate(
            system["answer"],
            (100 * now["gain"], y),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=shade,
        )
    pays = 100 * results["settings"]["min_gain"]
    ax.axvline(0.0, color="black", lw=0.8)
    ax.axvline(pays, color="black", lw=0.8, ls=":")
    ax.set_yticks(range(len(listed)), [name_of(results["scales"][k]) for k in listed[::-1]])
    ax.set_ylim(-0.6, len(listed) - 0.3)
    ax.set_xlabel(f"saved by the longest (%)\ndotted: {pays:g} % pays; thin: at the end")


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a comparison of forks."""
    return {"forks": draw_forks(report.results)}
