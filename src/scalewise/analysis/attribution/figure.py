"""The figure of prove.json: learning curves of the scales, and the gain of each change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from scalewise.analysis.gains import draw_gains
from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, few_decades, legend_below, new_figure

Section = Mapping[str, Any]

#: A noise of the labels below this share of the lowest error is told, and not drawn: its line would
#: leave the curves no room.
LOWEST: Final = 0.5

SIZES: Final = ("quarter", "half", "whole")
NAMES: Final = {
    "cutoff": "longer cutoff",
    "long": "long range",
    "routing": "routing",
    "data": "twice the frames",
    "size": "twice the channels",
}


def draw_proof(results: Section) -> Figure:
    """Draw error against frames on the left, gains with their intervals on the right.

    Parameters
    ----------
    results
        prove.json.
    """
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    _curves(left, results)
    rows = [(NAMES[v["question"]], v["now"], v) for v in results["subsets"][0]["verdicts"]]
    draw_gains(right, rows, results["settings"]["min_gain"])
    legend_below(figure, [left])
    return figure


def _curves(ax: Axes, results: Section) -> None:
    whole = results["subsets"][0]
    frames = {n: [t["frames"] for t in results["trainings"] if t["name"] == n] for n in SIZES}
    x = [round(float(np.mean(of))) for of in frames.values()]
    scales, best = results["scales"], results["single"]
    cutoffs = sorted({s["cutoff"] for s in scales})
    for k, scale in enumerate(scales):
        short = _has_long(results) and not scale["long"]
        if short and scale["cutoff"] != cutoffs[-1]:
            continue  # one line without long range shows what it does; more would only hide it
        y = [whole["mae"][n][k] for n in SIZES]
        ax.plot(
            x,
            y,
            "o--" if short else "o-",
            color=colour(cutoffs.index(scale["cutoff"])),
            lw=2.6 if k == best else 1.4,
            ms=4,
            label=_name(scale) + ", best" * (k == best),
        )
    floor, low = whole["mae_floor"], min(whole["mae"][n][best] for n in SIZES)
    if floor is not None and floor > LOWEST * low:
        ax.axhline(floor, color=GREY, ls=":", label="noise of the labels")
    elif floor is not None:
        text = f"noise of the labels: {floor:.2g}, far below"
        ax.annotate(text, (0.03, 0.03), xycoords="axes fraction", fontsize=8.5, color=GREY)
        ax.set_ylim(bottom=0.8 * low)
    ax.set_xscale("log")
    ax.set_yscale("log")
    few_decades(ax.yaxis)
    ax.set_xlim(x[0] / 1.15, x[-1] * 1.15)
    ax.xaxis.set_major_locator(FixedLocator(x))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(v) for v in x])
    ax.set_xlabel("training frames")
    ax.set_ylabel("force MAE (meV/Å)")


def _has_long(results: Section) -> bool:
    return any(s["long"] for s in results["scales"])


def _name(scale: Section) -> str:
    return f"{scale['cutoff']:g} Å" + " + long" * scale["long"]


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of an attribution."""
    return {"prove": draw_proof(report.results)}
