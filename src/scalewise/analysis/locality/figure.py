"""The figure of locality.json: the bound against the radius, and the errors of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, legend_below, new_figure

Section = Mapping[str, Any]


def draw_locality(results: Section) -> Figure:
    """Draw one panel for each element.

    Parameters
    ----------
    results
        locality.json.
    """
    elements = results["elements"]
    columns = min(len(elements), 4)
    rows = -(-len(elements) // columns)
    figure = new_figure(0.6 + 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for ax in panels.flat[len(elements) :]:
        ax.set_visible(False)
    radii = results["radii"]
    for ax, element in zip(panels.flat, elements, strict=False):
        y = [row["mae"] for row in element["radii"]]
        ends = np.array([row["mae_interval"] or [row["mae"]] * 2 for row in element["radii"]])
        ax.fill_between(radii, 0.0, y, color=GREY, alpha=0.18, lw=0, label="out of reach")
        ax.errorbar(
            radii,
            y,
            np.abs(ends.T - y),
            color="black",
            lw=1.4,
            marker="o",
            ms=3.5,
            capsize=2,
            label="bound",
        )
        model = (results["against"] or {"elements": {}})["elements"].get(element["name"])
        if model is not None:
            x = results["against"]["reach"]
            band = np.array(model["mae_interval"], dtype=float)
            if np.isfinite(band).all() and band.ndim == 2:
                ax.fill_between(x, *band.T, color=colour(0), alpha=0.2, lw=0)
            ax.plot(x, model["mae"], color=colour(0), marker="s", ms=3.5, label="model")
        ax.set_title(element["name"], fontweight="bold", loc="left")
        ax.set_ylim(bottom=0.0)
        ax.set_xlabel("reach (Å)")
    for ax in panels[:, 0]:
        ax.set_ylabel("force MAE (meV/Å)")
    legend_below(figure, [panels.flat[0]])
    return figure


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a bound on locality."""
    return {"locality": draw_locality(report.results)}
