"""Figures of simulation.json: temperature and conserved energy, distances, cutoffs over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from scalewise.reporting.report import Report
from scalewise.reporting.style import GREY, colour, dash, legend_below, new_figure

Section = Mapping[str, Any]
#: Pairs of elements that are drawn, at most.
PAIRS: Final = 15
#: Where axes of g and of neighbors end.
TALLEST: Final = 6.0
NEIGHBORS: Final = 15.0


def draw_course(results: Section) -> Figure:
    """Draw temperature, and the change of the conserved energy, against time."""
    series = results["series"]
    time = np.array(series["time"], dtype=float)
    conserved = np.array(series["conserved"], dtype=float)
    known = np.isfinite(conserved).any()
    figure = new_figure(4.6 if known else 2.6)
    panels = figure.subplots(2 if known else 1, 1, squeeze=False, sharex=True)[:, 0]
    panels[0].plot(time, np.array(series["temperature"], dtype=float), color=colour(0), lw=1.0)
    if results["settings"]["ensemble"] != "nve":
        asked = results["settings"]["temperature"]
        panels[0].axhline(asked, color=GREY, lw=0.8, ls="--", label="asked for")
        panels[0].legend(loc="best")
    panels[0].set_ylabel("temperature (K)")
    if known:
        change = 1e3 * (conserved - conserved[0]) / results["atoms"]
        panels[1].plot(time, change, color=colour(1), lw=1.0)
        panels[1].set_ylabel("conserved energy,\nchange (meV/atom)")
    panels[-1].set_xlabel("time (ps)")
    return figure


def draw_distances(results: Section) -> Figure | None:
    """Draw g(r) of each pair of elements, and how many neighbors are within r."""
    pairs = results["distances"]["pairs"]
    r = np.array(results["distances"]["r"])
    shown = [p for p in pairs if p["within"][-1] > 0][:PAIRS]
    if not shown:
        return None
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = new_figure(0.6 + 2.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for ax in panels.flat[len(shown) :]:
        ax.set_visible(False)
    for k, (ax, pair) in enumerate(zip(panels.flat, shown, strict=False)):
        ax.set_title(pair["pair"], fontweight="bold", loc="left")
        within = np.array(pair["within"])
        if pair["g"] is None:
            ax.plot(r, within, color=colour(0), label="neighbors within r")
        else:
            g = np.array(pair["g"])
            ax.plot(r, g, color=colour(0), label="g(r)")
            ax.set_ylim(0.0, min(max(1.1 * float(g.max()), 1.5), TALLEST))
            count = ax.twinx()
            count.grid(False)
            count.plot(
                r, within, color=GREY, ls=dash(1), lw=1.0, label="neighbors within r (right)"
            )
            count.set_ylim(0.0, NEIGHBORS)
            count.tick_params(colors=GREY, labelright=k % columns == columns - 1)
        if k // columns == rows - 1 or k + columns >= len(shown):
            ax.set_xlabel("r (Å)")
            ax.tick_params(labelbottom=True)
    legend_below(figure, [ax for ax in figure.axes if ax.get_visible()])
    return figure


def draw_cutoffs(results: Section) -> Figure | None:
    """Draw the mean cutoff of each element against time; none without an adaptive cutoff."""
    cutoffs = results["cutoffs"]
    if cutoffs is None:
        return None
    figure = new_figure(2.8)
    ax = figure.subplots()
    for k, (element, mean) in enumerate(cutoffs.items()):
        time = results["series"]["time"]
        ax.plot(time, mean, color=colour(k), ls=dash(k), lw=1.2, label=element)
    ax.set_xlabel("time (ps)")
    ax.set_ylabel("mean cutoff (Å)")
    legend_below(figure, [ax])
    return figure


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figures of a simulation."""
    results = report.results
    return {
        "course": draw_course(results),
        "distances": draw_distances(results),
        "cutoffs": draw_cutoffs(results),
    }
