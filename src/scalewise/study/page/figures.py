"""All figures of a report, from what results.json holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalewise.reporting.names import regime_name, shorten
from scalewise.reporting.report import Report
from scalewise.reporting.style import COLOURS, new_figure
from scalewise.study.page.curves import error_against_distance, loss_over_scale
from scalewise.study.page.gains import oracle_gains
from scalewise.study.page.names import Results, views
from scalewise.study.page.pools import pool_history


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw every figure that a study has data for."""
    results = report.results
    return {
        "oracle_gains": oracle_gains(results),
        "scale_histogram": scale_histogram(results),
        "error_against_distance": error_against_distance(results),
        "loss_over_scale": loss_over_scale(results),
        "pool_history": pool_history(results),
    }


# --------------------------------------------------------------------------- chosen scales


def scale_histogram(results: Results) -> Figure | None:
    """Draw how often each scale is chosen: by the oracle, and by the learned selector."""
    sections = results.get("scale_histograms") or {}
    shown = [v for v in views(results) if (sections.get(v) or {}).get("oracle")]
    if not shown:
        return None
    regimes = list(dict.fromkeys(r for v in shown for r in sections[v]["oracle"]))
    figure = new_figure(1.1 + 0.72 * len(regimes))
    axes = figure.subplots(len(regimes), len(shown), sharex=True, sharey="col", squeeze=False)
    for column, view in enumerate(shown):
        for line, regime in enumerate(regimes):
            _histogram(axes[line, column], sections[view], regime)
        axes[0, column].set_title(f"{view}: share of atoms (%)")
        axes[-1, column].set_xlabel("chosen scale s")
        axes[0, column].set_ylim(0, 1.5 * _largest_share(sections[view]))
    for line, regime in enumerate(regimes):
        axes[line, 0].set_ylabel(
            shorten(regime_name(regime), 16), rotation=0, ha="right", va="center", labelpad=8
        )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _histogram(ax: Axes, section: Mapping[str, Any], regime: str) -> None:
    if regime not in section["oracle"]:
        ax.set_axis_off()
        return
    edges = section["edges"]
    ax.set_xlim(-0.02, 1.02)
    counts = section["oracle"][regime]
    ax.stairs(_share(counts), edges, fill=True, color="#8DBBDD", label="continuous oracle (peeks)")
    selector = (section.get("selector") or {}).get(regime)
    if selector is not None:
        ax.stairs(_share(selector), edges, color=COLOURS[1], lw=1.5, label="learned selector")
    ax.locator_params(axis="y", nbins=3)
    ax.text(0.5, 0.93, f"n = {sum(counts)}", transform=ax.transAxes, size=8, ha="center", va="top")


def _largest_share(section: Mapping[str, Any]) -> float:
    kinds = (section["oracle"], section.get("selector") or {})
    return max([1.0, *(float(_share(counts).max()) for kind in kinds for counts in kind.values())])


def _share(counts: Sequence[int]) -> np.ndarray:
    return 100.0 * np.asarray(counts, dtype=float) / max(sum(counts), 1)
