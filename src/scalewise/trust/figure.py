"""The figure of trust.json: how long each simulation was stable."""

from __future__ import annotations

from matplotlib.figure import Figure

from scalewise.reporting.report import Report
from scalewise.reporting.style import colour, legend_below, new_figure


def draw_survival(report: Report) -> Figure:
    """Draw the length of every simulation, and mark those that broke."""
    simulations = report.results["simulations"]
    kelvins = sorted({s["asked"] for s in simulations})
    figure = new_figure(1.0 + 0.18 * len(simulations))
    ax = figure.subplots()
    for place, simulation in enumerate(simulations):
        k = kelvins.index(simulation["asked"])
        first = not any(s["asked"] == simulation["asked"] for s in simulations[:place])
        ax.barh(
            place,
            simulation["picoseconds"],
            color=colour(k),
            height=0.7,
            label=f"{simulation['asked']:.0f} K" if first else None,
        )
        if not simulation["survived"]:
            ax.plot(simulation["picoseconds"], place, "x", color="black", ms=6, clip_on=False)
    ax.set_yticks(range(len(simulations)), [s["name"] for s in simulations])
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set_xlabel("time (ps); a cross where the simulation broke")
    legend_below(figure, [ax])
    return figure


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figure of a trust card."""
    return {"survival": draw_survival(report)}
