"""Figures of evaluation.json: parity and residuals, and error against distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalewise.reporting.report import Report
from scalewise.reporting.style import (
    GREY,
    MARKERS,
    colour,
    dash,
    legend_below,
    logarithmic,
    new_figure,
)

#: Elements and partners that get a panel; the rarest, whose environments differ most.
MOST_ELEMENTS: Final = 5
MOST_PARTNERS: Final = 4
#: From light to the first colour of the palette to almost black: more is darker, print or screen.
DENSITY: Final = LinearSegmentedColormap.from_list("density", ["#cfe3f1", "#0072B2", "#00182b"])

Section = Mapping[str, Any]


def draw_parity(results: Section) -> Figure | None:
    """Draw, for each element, predicted against labelled components, and their residuals.

    None without labelled forces.

    Parameters
    ----------
    results
        evaluation.json; ``parity`` counts the frames of all roles, ``residuals`` each role.
    """
    order = _by_rarity(results["roles"])[:MOST_ELEMENTS]
    parity = [p for p in results["parity"] if p["element"] in order]
    if not parity:
        return None
    residuals = {r["element"]: r for r in results["residuals"]}
    sigma = {row["element"]: row["sigma"] for row in results["noise"]}
    figure = new_figure(1.1 + 2.0 * len(parity))
    grid = figure.subplots(len(parity), 2, squeeze=False, width_ratios=(1.0, 1.9))
    most = max((max(e["count"], default=1) for e in parity), default=1)
    for (left, right), section in zip(grid, parity, strict=True):
        name = section["element"]
        mesh = _parity(left, section, most)
        left.set_title(name, fontweight="bold", loc="left")
        _residuals(right, residuals[name], sigma.get(name), results["roles"])
    grid[-1, 0].set_xlabel("labelled (eV/Å)")
    grid[-1, 1].set_xlabel("predicted minus labelled (meV/Å)")
    bar = figure.colorbar(mesh, ax=grid[:, 0].tolist(), location="bottom", pad=0.02, aspect=24)
    logarithmic(bar.ax.xaxis)
    bar.set_label("components")
    bar.outline.set_visible(False)
    legend_below(figure, [grid[0, 1]])
    return figure


def _shown(role: Section) -> Section:
    """What figures show of a role: broken frames would hide the others."""
    return role["unbroken"] or role


def _label(role: Section) -> str:
    left_out = role["frames"] - _shown(role)["frames"]
    return role["role"] + f" without {left_out} broken" * bool(left_out)


def _parity(ax: Axes, section: Section, most: int) -> Any:
    edge, bins = section["edge"], section["bins"]
    counts = np.zeros((bins, bins))
    counts[section["predicted"], section["labelled"]] = section["count"]
    edges = np.linspace(-edge, edge, bins + 1)
    ax.plot([-edge, edge], [-edge, edge], color=GREY, lw=0.7, zorder=1)
    mesh = ax.pcolormesh(
        edges,
        edges,
        np.ma.masked_equal(counts, 0),
        cmap=DENSITY,
        norm=LogNorm(1, max(most, 2)),
        rasterized=True,
        zorder=2,
    )
    ax.set_aspect("equal")
    ax.set_ylabel("predicted (eV/Å)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=edge > 2, symmetric=True))
    return mesh


def _residuals(ax: Axes, section: Section, sigma: float | None, roles: Sequence[Section]) -> None:
    """Share of the components in each bin, by role, and that of Gaussian noise of the labels."""
    edge = 1e3 * section["edge"]
    edges = np.linspace(-edge, edge, section["bins"] + 1)
    lowest, highest = 100.0, 1.0
    for k, role in enumerate(roles):
        counts = np.array(section["counts"][role["role"]])
        components = section["components"][role["role"]]
        if not components:
            continue
        share = 100.0 * counts / components
        lowest, highest = min(lowest, 100.0 / components), max(highest, share.max())
        ax.stairs(share, edges, color=colour(k), lw=1.3, label=_label(role))
        _note_error(ax, section["element"], role, k)
    if sigma:
        x = np.linspace(-edge, edge, 601)
        scale = 100.0 * (edges[1] - edges[0]) / (sigma * np.sqrt(2 * np.pi))
        noise = scale * np.exp(-0.5 * (x / sigma) ** 2)
        ax.plot(x, noise, color=GREY, lw=1.2, ls=":", label="Gaussian noise of the labels")
    ax.set_yscale("log")
    logarithmic(ax.yaxis)
    ax.set_ylim(0.7 * lowest, 2.0 * highest)
    ax.set_xlim(-edge, edge)
    ax.set_ylabel("components (%)")


def _note_error(ax: Axes, element: str, role: Section, k: int) -> None:
    for row in _shown(role)["forces"]["elements"]:
        if row["name"] == element:
            ax.annotate(
                f"MAE {row['mae']:.3g}",
                (0.985, 0.97 - 0.11 * k),
                xycoords="axes fraction",
                ha="right",
                va="top",
                size=8.5,
                color=colour(k),
            )


def draw_distances(results: Section) -> Figure | None:
    """Draw MAE against the distance to the nearest atom of each other element, with intervals.

    Rows are elements, columns whose distance it is; None without two elements.
    """
    roles = results["roles"]
    found: list[Section] = [p for r in roles for p in _shown(r)["distances"] if p["bins"]]
    pairs = {(p["element"], p["nearest"]) for p in found}
    if not pairs:
        return None
    rarity = _by_rarity(roles)
    rows = [e for e in rarity if any(p[0] == e for p in pairs)][:MOST_ELEMENTS]
    partners = {e: [o for o in rarity if (e, o) in pairs][:MOST_PARTNERS] for e in rows}
    columns = max(len(p) for p in partners.values())
    figure = new_figure(0.7 + 1.75 * len(rows), width=max(4.0, 0.7 + 2.1 * columns))
    grid = figure.subplots(len(rows), columns, squeeze=False, sharey="row")
    for axes, element in zip(grid, rows, strict=True):
        for ax in axes[len(partners[element]) :]:
            ax.set_visible(False)
        for ax, other in zip(axes, partners[element], strict=False):
            _distance(ax, roles, element, other)
        axes[0].set_ylim(0.0, _top([p for p in found if p["element"] == element]))
        axes[0].set_ylabel("MAE (meV/Å)")
    for ax in grid[-1]:
        ax.set_xlabel("distance (Å)")
    legend_below(figure, grid[0, :1])
    return figure


def _top(pairs: Sequence[Section]) -> float:
    """End of the axis: errors fit, and intervals unless one dwarfs all errors."""
    rows = [row for p in pairs for row in p["bins"]]
    highest = max(row["mae"] for row in rows)
    ends = [row["mae_interval"][1] for row in rows if row["mae_interval"]]
    floor = max((p["mae_floor"] or 0.0 for p in pairs), default=0.0)
    return max(min(1.05 * max(ends, default=0.0), 1.6 * highest), 1.1 * highest, 1.1 * floor, 1e-9)


def _by_rarity(roles: Sequence[Section]) -> list[str]:
    atoms: dict[str, int] = {}
    for role in roles:
        for row in role["forces"]["elements"]:
            atoms[row["name"]] = atoms.get(row["name"], 0) + row["atoms"]
    return sorted(atoms, key=lambda e: (atoms[e], e))


def _distance(ax: Axes, roles: Sequence[Section], element: str, other: str) -> None:
    shown = [
        (k, _label(role), p)
        for k, role in enumerate(roles)
        for p in _shown(role)["distances"]
        if (p["element"], p["nearest"]) == (element, other) and p["bins"]
    ]
    for k, name, pair in shown:
        x = [row["median"] for row in pair["bins"]]
        y = [row["mae"] for row in pair["bins"]]
        ends = [row["mae_interval"] or [row["mae"]] * 2 for row in pair["bins"]]
        low, high = np.array(ends).T
        ax.fill_between(x, low, high, color=colour(k), alpha=0.2, lw=0)
        ax.plot(
            x, y, color=colour(k), ls=dash(k), marker=MARKERS[k % 7], ms=3.2, lw=1.2, label=name
        )
    floor = shown[0][2]["mae_floor"]
    if floor is not None:
        ax.axhline(floor, color=GREY, lw=1.2, ls=":", label="noise floor")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(f"{element}, nearest {other}", fontweight="bold", loc="left", fontsize=9)


def figures_of(report: Report) -> dict[str, Figure | None]:
    """Draw the figures of an evaluation."""
    results = report.results
    return {"parity": draw_parity(results), "distance": draw_distances(results)}
