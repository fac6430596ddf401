"""The figure of curve.json: error against cutoff, with the cost on a second axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, legend_below, new_figure

#: Elements that get a panel; the rarest, whose environments differ most.
MOST_ELEMENTS: Final = 4
#: Errors above this many times the best one leave the picture: the short end would flatten it.
TALLEST: Final = 3.0

Section = Mapping[str, Any]


def draw_curve(results: Section) -> Figure:
    """Draw all atoms above, with the cost, and elements below.

    Parameters
    ----------
    results
        curve.json.
    """
    subsets = results["subsets"]
    elements = sorted((s for s in subsets if s["kind"] == "element"), key=lambda s: s["atoms"])
    elements = elements[:MOST_ELEMENTS]
    figure = new_figure(5.6)
    grid = figure.add_gridspec(2, len(elements), height_ratios=(1.5, 1.0))
    top = figure.add_subplot(grid[0, :])
    _errors(top, results["scales"], subsets[0])
    top.set_ylabel("force MAE (meV/Å)")
    top.set_title("all atoms", fontweight="bold", loc="left")
    cost = _cost(top, results)
    below = [figure.add_subplot(grid[1, k]) for k in range(len(elements))]
    for ax, element in zip(below, elements, strict=True):
        _errors(ax, results["scales"], element)
        ax.set_title(element["name"], fontweight="bold", loc="left")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    below[0].set_ylabel("force MAE (meV/Å)")
    for ax in (top, *below):
        ax.set_xlabel("cutoff (Å)")
    legend_below(figure, [top, cost])
    return figure


def _lines(scales: Sequence[Section]) -> dict[str, list[int]]:
    """Places of the ladder's own scales, by what the line is called."""
    kinds = sorted({s["long"] for s in scales if not s["single"]})
    names = {False: "without long range", True: "with long range"}
    if len(kinds) == 1:
        names = dict.fromkeys(kinds, "this potential")
    return {
        names[kind]: [k for k, s in enumerate(scales) if not s["single"] and s["long"] == kind]
        for kind in kinds
    }


def _errors(ax: Axes, scales: Sequence[Section], subset: Section) -> None:
    rows = subset["scales"]
    for c, (name, places) in enumerate(_lines(scales).items()):
        x = [scales[k]["cutoff"] for k in places]
        y = [rows[k]["mae"] for k in places]
        ends = np.array([rows[k]["mae_interval"] or [rows[k]["mae"]] * 2 for k in places])
        ax.fill_between(x, ends[:, 0], ends[:, 1], color=colour(c), alpha=0.2, lw=0)
        ax.plot(x, y, color=colour(c), marker="o", ms=3.5, label=name)
    singles = [k for k, s in enumerate(scales) if s["single"]]
    for long, marker in ((False, "s"), (True, "D")):
        places = [k for k in singles if scales[k]["long"] == long]
        if places:
            kind = "with" if long else "without"
            ax.plot(
                [scales[k]["cutoff"] for k in places],
                [rows[k]["mae"] for k in places],
                *(marker,),
                mfc="white",
                color="black",
                ms=4.5,
                label=f"trained for one scale, {kind} long range",
            )
    if subset["mae_floor"] is not None:
        ax.axhline(subset["mae_floor"], color=GREY, lw=1.2, ls=":", label="noise floor")
    shown = [r["mae"] for r in rows]
    ax.set_ylim(0.0, min(1.08 * max(shown), TALLEST * min(shown)) or None)


def _cost(ax: Axes, results: Section) -> Axes:
    """The wall time of each scale, on the right."""
    scales = results["scales"]
    right = ax.twinx()
    right.grid(visible=False)
    for (name, places), dashes in zip(_lines(scales).items(), ("--", "-."), strict=False):
        x = [scales[k]["cutoff"] for k in places]
        y = [scales[k]["cost"] for k in places]
        label = "cost" if name == "this potential" else f"cost {name}"
        right.plot(x, y, color=GREY, lw=1.1, ls=dashes, label=label)
    where = results["device"]
    if where == "cpu":
        where = f"CPU, {results['threads']} thread{'s' * (results['threads'] > 1)}"
    right.set_ylabel(f"cost (µs/atom, {where})")
    right.set_ylim(bottom=0.0)
    right.spines["right"].set_visible(True)
    return right


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a cutoff scan."""
    return {"curve": draw_curve(report.results)}
