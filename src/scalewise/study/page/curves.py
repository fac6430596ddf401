"""Two figures of curves: error against distance, and loss against one scale for everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalewise.reporting.names import LossUnit, regime_name, shorten
from scalewise.reporting.style import (
    GREY,
    MARKERS,
    colour,
    dash,
    legend_below,
    logarithmic,
    needs_log,
    new_figure,
    second_unit,
)
from scalewise.study.page.names import Results, branch_names, loss_unit, noise_floor, select, views


def error_against_distance(results: Results) -> Figure | None:
    """Draw the error of each branch against the distance to the nearest ion."""
    sections = results.get("views") or {}
    bins = {v: (sections[v].get("complementarity") or {}).get("distance") or () for v in sections}
    shown = [v for v in views(results) if bins.get(v)]
    if not shown:
        return None
    figure = new_figure(0.5 + 3.0 * len(shown))
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, view in zip(axes, shown, strict=True):
        _distance_panel(ax, bins[view], noise_floor(results, view), loss_unit(results))
        ax.set_title(f"view: {view}")
    axes[-1].set_xlabel("distance to the nearest ion (Å)")
    legend_below(figure, axes)
    return figure


def _distance_panel(
    ax: Axes, bins: Sequence[Mapping[str, Any]], floor: Mapping[str, Any] | None, unit: LossUnit
) -> None:
    names = list(bins[0]["branches"])
    middle = np.array([0.5 * (b["from"] + b["to"]) for b in bins])
    seen = [] if floor is None else [floor["mae"]]
    for k, name in enumerate(names):
        points = [b["branches"][name] for b in bins]
        y = np.array([unit.to_main(p["mae"]) for p in points])
        ends = np.array(
            [[unit.to_main(e) for e in p["interval"] or [p["mae"]] * 2] for p in points]
        )
        shift = 0.09 * (k - 0.5 * (len(names) - 1))
        ax.errorbar(
            middle + shift,
            y,
            np.maximum([y - ends[:, 0], ends[:, 1] - y], 0.0),
            color=colour(k),
            ls=dash(k),
            lw=1.0,
            elinewidth=1.6,
            marker=MARKERS[k % len(MARKERS)],
            ms=5.5,
            label=f" {shorten(name)}",  # a leading "_" would hide it
        )
        seen += [p["mae"] for p in points]
    if floor is not None:
        _floor_line(ax, floor, unit)
    if needs_log(seen):
        ax.set_yscale("log")
        logarithmic(ax.yaxis)
    _counts_below(ax, middle, [b["n"] for b in bins])
    ax.set_ylabel(f"{unit.quantity} ({unit.main})")
    second_unit(ax, unit)


def _floor_line(ax: Axes, floor: Mapping[str, Any], unit: LossUnit) -> None:
    ax.axhline(unit.to_main(floor["mae"]), color="black", ls="--", lw=1.2, label="noise floor")
    if floor.get("interval"):
        low, high = (unit.to_main(end) for end in floor["interval"])
        ax.axhspan(low, high, color="black", alpha=0.08, lw=0)


def _counts_below(ax: Axes, x: Sequence[float] | np.ndarray, counts: Sequence[int]) -> None:
    """Write the number of atoms of each bin on a strip of its own at the bottom."""
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        ax.set_ylim(low * (low / high) ** 0.12, high)
    else:
        ax.set_ylim(low - 0.12 * (high - low), high)
    placed = ax.get_xaxis_transform()
    for k, (middle, n) in enumerate(zip(x, counts, strict=True)):
        text = f"n = {n}" if k == 0 else str(n)
        ax.text(middle, 0.025, text, transform=placed, size=7.5, color=GREY, ha="center")


# --------------------------------------------------------------------------- loss over scale


def loss_over_scale(results: Results) -> Figure | None:
    """Draw the mean loss of each regime against the scale, relative to its best single branch."""
    sections = results.get("loss_curves") or {}
    shown = [v for v in views(results) if (sections.get(v) or {}).get("mae")]
    if not shown:
        return None
    figure = new_figure(0.5 + 2.9 * len(shown))
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, view in zip(axes, shown, strict=True):
        _curves(ax, sections[view], results, view)
        ends = [
            shorten(n, 12) for n in branch_names(results, view)[:: max(1, _last(results, view))]
        ]
        between = f" (0: {ends[0]}, 1: {ends[1]})" if len(ends) == 2 else ""
        ax.set_title(f"view: {view}{between}")
    axes[-1].set_xlabel("scale s")
    legend_below(figure, axes)
    return figure


def _last(results: Results, view: str) -> int:
    return len(branch_names(results, view)) - 1


def _curves(ax: Axes, section: Mapping[str, Any], results: Results, view: str) -> None:
    scale = np.asarray(section["scale"])
    rows = select(results, view)
    every: list[float] = []
    for k, (regime, losses) in enumerate(section["mae"].items()):
        single = rows.get(regime, {}).get("best_single")
        base = single["mae"] if single else min(losses[0], losses[-1])
        ratio = np.asarray(losses) / (base or 1.0)
        lowest = int(ratio.argmin())
        ax.plot(
            scale, ratio, color=colour(k), ls=dash(k), label=f" {shorten(regime_name(regime), 16)}"
        )
        ax.plot(
            scale[lowest], ratio[lowest], "o", ms=7, mec="white", mew=1, color=colour(k), zorder=5
        )
        every += ratio.tolist()
    ax.axhline(1.0, color=GREY, lw=1, zorder=1)
    if needs_log(every):
        ax.set_yscale("log")
        logarithmic(ax.yaxis)
    else:
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylabel("loss / best single branch")
    ax.plot([], [], "o", ms=7, mec="white", mew=1, color=GREY, label="minimum")
