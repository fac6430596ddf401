"""Neighbors against cutoff, one panel per element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalewise.doctor.sections import most_common
from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, legend_below, new_figure

#: Panels beside each other.
COLUMNS = 2
#: Elements that are drawn, those with most atoms.
MOST_ELEMENTS = 12


def draw_neighbors(section: Mapping[str, Any], shown: Sequence[str]) -> Figure:
    """Draw mean, 99th percentile and maximum of the neighbors of each element.

    Parameters
    ----------
    section
        ``neighbors`` of doctor.json.
    shown
        Elements that get a panel.
    """
    cutoffs = np.array(section["cutoffs"], dtype=float)
    elements = {e: section["elements"][e] for e in shown}
    columns = min(COLUMNS, len(elements))
    rows = ceil(len(elements) / columns)
    figure = new_figure(0.9 + 2.3 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = grid.ravel()
    for k, (ax, (element, counts)) in enumerate(zip(panels, elements.items(), strict=False)):
        _panel(ax, cutoffs, counts, k)
        ax.set_title(element, fontweight="bold", loc="left")
    for ax in panels[len(elements) :]:
        ax.set_visible(False)
    for column in range(columns):  # the lowest visible panel of each column has the labels
        last = [ax for ax in grid[:, column] if ax.get_visible()][-1]
        last.set_xlabel("cutoff (Å)")
        last.tick_params(labelbottom=True)
    for row in grid:
        row[0].set_ylabel("neighbors")
    panels[0].set_ylim(bottom=0)
    legend_below(figure, panels[:1])
    return figure


def _panel(ax: Axes, cutoffs: np.ndarray, counts: Mapping[str, Any], k: int) -> None:
    mean, high, most = (
        np.array(counts[name], dtype=float) for name in ("mean", "percentile_99", "max")
    )
    ax.fill_between(
        cutoffs, mean, high, color=colour(k), alpha=0.22, lw=0, label="to 99 % of atoms"
    )
    ax.plot(cutoffs, most, color=GREY, lw=1.0, ls=":", label="most of any atom")
    ax.plot(cutoffs, mean, color=colour(k), marker="o", ms=3.5, label="mean")
    for c in range(len(cutoffs) - 1, 0, -max(1, len(cutoffs) // 5)):
        if np.isfinite(mean[c]):
            ax.annotate(
                f"{mean[c]:.0f}",
                (cutoffs[c], mean[c]),
                xytext=(5, -9),
                textcoords="offset points",
                size=7.5,
                color=GREY,
            )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a diagnosis; none where no frame is in Å, or all are slabs."""
    section = report.body["neighbors"]
    shown = most_common(report.body["composition"], MOST_ELEMENTS)
    return {"neighbors": draw_neighbors(section, shown) if any(section["frames"]) else None}
