"""The figure of distillation.json: drift and speed for each time step that was tried."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scalewise.reporting.report import Report
from scalewise.reporting.style import colour, new_figure


def draw_steps(report: Report) -> Figure:
    """Draw the drift of every time step with its interval, and below it the speed."""
    results = report.results
    probes = [p for p in results["probes"] if p["drift"] is not None]
    figure = new_figure(4.2)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = np.array([p["timestep"] for p in probes])
    drifts = 1e3 * np.array([p["drift"]["mean"] for p in probes])
    ends = 1e3 * np.array([p["drift"]["interval"] or 2 * [p["drift"]["mean"]] for p in probes])
    limit = 1e3 * results["settings"]["drift"]
    above.axhspan(-limit, limit, color="0.9", lw=0)
    spread = np.abs(ends.reshape(-1, 2) - drifts[:, None]).T
    above.errorbar(steps, drifts, yerr=spread, fmt="o", color=colour(0), capsize=3)
    above.set_ylabel("drift (meV/atom/ps)")
    below.plot(steps, [p["ns_per_day"] for p in probes], "o-", color=colour(1))
    below.set_ylim(bottom=0.0)
    below.set_ylabel("ns/day")
    below.set_xlabel("time step (fs); grey: drifts that are asked for")
    return figure


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a distillation."""
    return {"steps": draw_steps(report)}
