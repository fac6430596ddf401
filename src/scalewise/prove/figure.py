"""The figure of prove.json: learning curves of the scales, and what each step has saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from scalewise.report.style import GREY, colour, legend_below, logarithmic, new_figure

Section = Mapping[str, Any]

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
    _gains(right, results)
    legend_below(figure, [left])
    return figure


def _curves(ax: Axes, results: Section) -> None:
    whole = results["subsets"][0]
    frames = {n: [t["frames"] for t in results["trainings"] if t["name"] == n] for n in SIZES}
    x = [round(float(np.mean(of))) for of in frames.values()]
    kept = [k for k, s in enumerate(results["scales"]) if s["long"] or not _has_long(results)]
    for c, k in enumerate(kept):
        y = [whole["mae"][n][k] for n in SIZES]
        width = 2.6 if k == results["single"] else 1.4
        ax.plot(x, y, "o-", color=colour(c), lw=width, label=_name(results["scales"][k]))
    if whole["mae_floor"] is not None:
        ax.axhline(whole["mae_floor"], color=GREY, ls=":", label="noise of the labels")
    ax.set_xscale("log")
    ax.set_yscale("log")
    logarithmic(ax.yaxis)
    low, high = ax.get_ylim()
    ticks = [v * 10.0**d for d in range(-3, 5) for v in (1, 1.5, 2, 3, 5, 7)]
    ax.yaxis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    ax.xaxis.set_major_locator(FixedLocator(x))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(v) for v in x])
    ax.set_xlabel("training frames")
    ax.set_ylabel("force MAE (meV/Å)")


def _gains(ax: Axes, results: Section) -> None:
    verdicts = [v for v in results["subsets"][0]["verdicts"] if v["gain"] is not None][::-1]
    shades = {"needed": colour(1), "not needed": colour(0), "cannot tell": GREY}
    for y, verdict in enumerate(verdicts):
        ends = np.clip(100 * np.array([verdict["low"], verdict["high"]]), -100.0, 100.0)
        shade = shades[verdict["answer"]]
        ax.plot(ends, [y, y], color=shade, lw=3, solid_capstyle="round")
        ax.plot(100 * verdict["gain"], y, "o", color=shade, ms=6)
        ax.annotate(
            verdict["answer"],
            (ends.mean(), y),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=shade,
        )
    pays = 100 * results["data"]["settings"]["min_gain"]
    ax.axvline(0.0, color="black", lw=0.8)
    ax.axvline(pays, color="black", lw=0.8, ls=":")
    ax.set_yticks(range(len(verdicts)), [NAMES[v["question"]] for v in verdicts])
    ax.set_ylim(-0.6, len(verdicts) - 0.3)
    ax.set_xlabel(f"share of the error it saved (%); dotted: {pays:g} %")


def _has_long(results: Section) -> bool:
    return any(s["long"] for s in results["scales"])


def _name(scale: Section) -> str:
    return f"{scale['cutoff']:g} Å" + " + long" * scale["long"]
