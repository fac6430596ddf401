"""The figure of the scale pools, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalewise.reporting.names import shorten
from scalewise.reporting.style import COLOURS, GREY, new_figure
from scalewise.study.page.names import Results, views

History = Sequence[Mapping[str, Any]]


def histories(results: Results, view: str) -> tuple[History, History]:
    """Rounds of the paper's refinement and of the held-out one, unit of choice atom; or nothing."""
    dyadic = ((results.get("pool") or {}).get("by_view") or {}).get(view) or {}
    held = ((results.get("pool_held_out") or {}).get("by_view") or {}).get(view) or {}
    return (dyadic.get("ion") or {}).get("history") or (), held.get("history") or ()


def pool_history(results: Results) -> Figure | None:
    """Draw the scales of both pools after every round, with what the round achieved."""
    found = {view: histories(results, view) for view in views(results)}
    found = {view: both for view, both in found.items() if any(both)}
    if not found:
        return None
    rounds = [max(len(h) for h in both) for both in found.values()]
    figure = new_figure(0.5 + sum(0.95 + 0.27 * n for n in rounds), width=7.6)
    axes = figure.subplots(
        len(found), 2, squeeze=False, gridspec_kw={"height_ratios": [2 + n for n in rounds]}
    )
    for line, (view, both) in enumerate(found.items()):
        titles = (f"{view}: the paper's rule", f"{view}: held-out refinement")
        notes = (_recovered, _change)
        heads = ("gain\nrecovered", "loss over\nround 0")
        for ax, history, title, note, head in zip(
            axes[line], both, titles, notes, heads, strict=True
        ):
            _rounds(ax, history, [note(entry, history[0]) for entry in history], rounds[line])
            ax.set_title(title, loc="left")
            ax.text(1.05, 1.03, head, transform=ax.transAxes, size=8, color=GREY, va="bottom")
            if not history:
                ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("scale s")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=2)
    return figure


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], ls="", marker="o", color=COLOURS[0], ms=6.5, label="kept"),
        Line2D(
            [], [], ls="", marker="D", color=COLOURS[1], ms=6.5, label="new or moved in this round"
        ),
    ]


def _rounds(ax: Axes, history: History, notes: Sequence[str], most: int) -> None:
    """One row of dots per round, what is new in another colour and shape."""
    before: set[float] = set(history[0]["scales"]) if history else set()
    for y, (entry, note) in enumerate(zip(history, notes, strict=True)):
        scales = entry["scales"]
        ax.plot([0, 1], [y, y], color="#dddddd", lw=1, zorder=1)
        kept = [s for s in scales if s in before]
        new = [s for s in scales if s not in before]
        ax.plot(kept, [y] * len(kept), "o", color=COLOURS[0], ms=6.5, mec="white", mew=0.6)
        ax.plot(new, [y] * len(new), "D", color=COLOURS[1], ms=6.5, mec="white", mew=0.6)
        ax.text(1.05, y, note, transform=ax.get_yaxis_transform(), size=8.5, va="center")
        before = set(scales)
    ax.set_yticks(range(len(history)), [shorten(entry["action"]) for entry in history], size=8.5)
    ax.set_ylim(most - 0.5, -0.6)
    ax.set_xlim(-0.04, 1.04)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _recovered(entry: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    del first
    share = entry.get("recovered")
    return "–" if share is None else f"{100 * share:.2f} %"


def _change(entry: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    if entry is first or not first.get("loss"):
        return "–"
    return f"{100 * (entry['loss'] / first['loss'] - 1):+.2f} %".replace("-", "−")
