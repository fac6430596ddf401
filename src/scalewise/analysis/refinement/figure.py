"""The figure of refine.json: the frontier of error against cost, and the scales on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalewise.analysis.refinement.scales_figure import draw_scales
from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, MARKERS, colour, legend_below, new_figure

Section = Mapping[str, Any]


def draw_refined(results: Section) -> Figure:
    """Draw error against neighbors on the left, the cutoff of each group on the right.

    Parameters
    ----------
    results
        refine.json.
    """
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    frontier, uniform = results["frontier"], results["uniform"]
    cost = [100 * f["neighbors"] for f in frontier]
    left.plot(
        [100 * u["neighbors"] for u in uniform],
        [100 * (u["error"] - 1) for u in uniform],
        color=GREY,
        ls="--",
        marker=".",
        label="one cutoff for all atoms",
    )
    error = [100 * (f["error"] - 1) for f in frontier]
    left.plot(cost, error, "o", color=colour(0), label="refined pools")
    if results["chosen"] is not None:
        k = results["chosen"]
        left.plot(cost[k], error[k], "o", ms=11, mfc="none", color=colour(1), label="chosen")
        right.axvline(cost[k], color=colour(1), lw=1.0)
    left.axhline(0.0, color="black", lw=0.8)
    ends = np.array([*error, 0.0])
    room = 0.2 * max(np.ptp(ends), 2.0)
    left.set_ylim(ends.min() - room, ends.max() + 2 * room)
    left.set_ylabel("error over the longest scale's (%)")
    for g, name in enumerate(results["groups"]):
        lengths = [_length(f, g) for f in frontier]
        right.plot(
            cost, lengths, color=colour(g), marker=MARKERS[g % len(MARKERS)], ms=4, label=name
        )
    right.set_ylabel("cutoff (Å)")
    for ax in (left, right):
        ax.set_xlabel("neighbors (% of the longest scale's)")
    legend_below(figure, [left, right])
    return figure


def _length(pool: Section, group: int) -> float:
    of = {g: s for s, groups in zip(pool["scales"], pool["members"], strict=True) for g in groups}
    return float(of[group])


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figures of a refinement; the scales of a structure need the potential."""
    found: dict[str, Figure | None] = {"refine": draw_refined(report.results)}
    if "potential" in report.attachments:  # of a report that was read, the figure stays as it is
        found["scales"] = None
    if "scales" in report.attachments:
        potential, structure = report.attachments["scales"]
        found["scales"] = draw_scales(structure, potential.predict(structure).cutoffs)
    return found
