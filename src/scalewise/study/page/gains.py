"""The figure of gains over the best single branch: oracles, nulls, selectors, and the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scalewise.reporting.names import regime_name, shorten
from scalewise.reporting.style import COLOURS, new_figure
from scalewise.study.page.names import (
    METHODS,
    PAPER_VIEW,
    PEEKING,
    SELECTORS,
    TWO_REPLICATE,
    Results,
    Row,
    paper_ratios,
    select,
    views,
)

GROUPS: Final = (tuple(PEEKING), tuple(SELECTORS), (TWO_REPLICATE,))
LOOKS: Final = {
    "hard_oracle": ("o", COLOURS[0]),
    "pool_oracle": ("s", COLOURS[0]),
    "continuous_oracle": ("D", COLOURS[0]),
    "fixed_selector": ("^", COLOURS[2]),
    "regime_selector": ("v", COLOURS[2]),
    "learned_selector": (">", COLOURS[2]),
    TWO_REPLICATE: ("P", COLOURS[3]),
}
NULLS: Final = {"permutation": "#b5b5b5", "gaussian": "#dcd3bd"}
PAPER: Final = COLOURS[1]
GAP: Final = 0.5


def oracle_gains(results: Results) -> Figure | None:
    """Draw gains over the best single branch, one panel per view, one stripe per regime."""
    tables = {view: select(results, view) for view in views(results)}
    tables = {view: rows for view, rows in tables.items() if _gains(rows)}
    if not tables:
        return None
    regimes = list(dict.fromkeys(r for rows in tables.values() for r in rows))
    places, centres, bounds = _places(tables, regimes)
    figure = new_figure(1.5 + 0.135 * bounds[-1], width=7.6)
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for ax, (view, rows) in zip(axes, tables.items(), strict=True):
        paper = paper_ratios(results) if view == PAPER_VIEW else {}
        _panel(ax, rows, places, {key: 100 * (1 - ratio) for key, ratio in paper.items()})
        for bound in bounds[1:]:
            ax.axhline(bound, color="#999999", lw=0.6)
        ax.set_title(f"view: {view}")
        ax.set_xlabel("gain over the best single branch (%)")
    axes[0].set_yticks(centres, [shorten(regime_name(r), 16) for r in regimes])
    axes[0].set_ylim(bounds[-1], bounds[0])
    for ax in axes:
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
    figure.legend(handles=_legend(tables, results), loc="outside lower center", ncols=3)
    return figure


def _gains(rows: Mapping[str, Mapping[str, Row]]) -> list[float]:
    return [
        100 * (1 - row["ratio_to_best_single"])
        for by_method in rows.values()
        for method, row in by_method.items()
        if method in LOOKS
    ]


def _places(
    tables: Mapping[str, Mapping[str, Mapping[str, Row]]], regimes: list[str]
) -> tuple[dict[tuple[str, str], float], list[float], list[float]]:
    """Height of every mark, centre of every regime, and the lines between regimes."""
    places: dict[tuple[str, str], float] = {}
    centres, bounds, y = [], [0.0], 0.0
    for regime in regimes:
        present = {m for rows in tables.values() for m in rows.get(regime, {})}
        y += GAP
        for group in GROUPS:
            for method in (m for m in group if m in present):
                places[regime, method] = y + 0.5
                y += 1.0
            y += GAP
        centres.append(0.5 * (bounds[-1] + y))
        bounds.append(y)
    return places, centres, bounds


def _panel(
    ax: Axes,
    rows: Mapping[str, Mapping[str, Row]],
    places: Mapping[tuple[str, str], float],
    paper: Mapping[tuple[str, str], float],
) -> None:
    low, high = _limits(rows, paper)
    ax.set_xlim(low, high)
    ax.axvline(0, color="black", lw=0.8)
    for regime, by_method in rows.items():
        for method, (marker, shade) in LOOKS.items():
            if method not in by_method:
                continue
            y, row = places[regime, method], by_method[method]
            for (left, right), null, offset in _bands(row):
                ax.fill_betweenx(
                    [y + offset, y + offset + 0.45], left, right, color=NULLS[null], lw=1, zorder=2
                )
            _mark(ax, y, row, marker, shade)
    for (regime, method), gain in paper.items():
        if (regime, method) in places and regime in rows:
            _star(ax, places[regime, method], gain)


def _bands(row: Row) -> Iterator[tuple[tuple[float, float], str, float]]:
    """Both null bands as gains, with the half of the line that each fills."""
    bands = row.get("null_bands") or {}
    for null, offset in zip(NULLS, (-0.45, 0.0), strict=True):
        if null in bands:
            low, high = bands[null]
            yield (100 * (1 - high), 100 * (1 - low)), null, offset


def _mark(ax: Axes, y: float, row: Row, marker: str, shade: str) -> None:
    gain = 100 * (1 - row["ratio_to_best_single"])
    if row["interval"]:
        ends = [100 * (1 - end) for end in row["interval"]]
        ax.plot(ends, [y, y], color=shade, lw=1.3, zorder=3)
    if _outside(ax, y, gain, f"{gain:.0f} %", shade):
        return
    ax.plot(gain, y, marker, color=shade, ms=4.6, mec="white", mew=0.4, zorder=4)


def _star(ax: Axes, y: float, gain: float) -> None:
    if not _outside(ax, y, gain, f"paper {gain:.1f} %", PAPER):
        ax.plot(gain, y, "*", color=PAPER, ms=9, mec="white", mew=0.5, zorder=5)


def _outside(ax: Axes, y: float, gain: float, text: str, shade: str) -> bool:
    """Write the value at the edge, with an arrow, if it lies beyond the axis."""
    low, high = ax.get_xlim()
    if low <= gain <= high:
        return False
    right = gain > high
    ax.text(
        high if right else low,
        y,
        f"{text} →" if right else f"← {text}".replace("-", "−"),
        ha="right" if right else "left",
        va="center",
        size=7.5,
        color=shade,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        zorder=6,
    )
    return True


def _limits(
    rows: Mapping[str, Mapping[str, Row]], paper: Mapping[tuple[str, str], float]
) -> tuple[float, float]:
    """Range of all that is drawn, but for losses of more than 1.5 times the largest gain."""
    drawn = [row for by in rows.values() for m, row in by.items() if m in LOOKS]
    ends = [100 * (1 - e) for row in drawn for e in row["interval"] or ()]
    bands = [end for row in drawn for band, _, _ in _bands(row) for end in band]
    high = max([*_gains(rows), *ends, *bands, 0.1])
    high = max([high, *(g for g in paper.values() if g < 2 * high)])
    low = min([0.0, *(x for x in (*_gains(rows), *ends, *bands) if x > -1.5 * high)])
    room = 0.07 * (high - low)
    return low - room, high + room


def _legend(
    tables: Mapping[str, Mapping[str, Mapping[str, Row]]], results: Results
) -> list[Line2D | Patch]:
    """Handles in three columns: what peeks, what could be deployed, what nothing looks like."""
    present = {m for rows in tables.values() for by in rows.values() for m in by}
    marks = {
        method: Line2D([], [], marker=marker, color=shade, ms=5, lw=1.3, label=METHODS[method])
        for method, (marker, shade) in LOOKS.items()
        if method in present
    }
    two = marks.pop(TWO_REPLICATE, None)
    handles: list[Line2D | Patch] = [marks.pop(m) for m in PEEKING if m in marks]
    if PAPER_VIEW in tables and paper_ratios(results):
        name = str(results["paper"].get("reference", "the paper"))
        handles.append(Line2D([], [], ls="", marker="*", color=PAPER, ms=9, label=name))
    handles += [*marks.values(), *([two] if two else [])]
    names = {"permutation": "permutation null", "gaussian": "Gaussian null"}
    return handles + [Patch(color=NULLS[null], label=name) for null, name in names.items()]
