"""All results found, as markdown tables and as figures of test error against time.

One figure has the time of training, the other that of a call of the trained models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from benchmarks.peers import data
from benchmarks.peers.registry import PEERS
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

STYLES = {"common": ("-", "o"), "own": ("--", "s")}


def read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """The results; an unfinished one does not name its peer yet, but its file does."""
    found = []
    for file in sorted(folder.glob(pattern)):
        peer = file.name.partition(".")[0]
        known = {"peer": peer, "label": PEERS[peer].label if peer in PEERS else peer}
        found.append(known | json.loads(file.read_text()))
    return found


def milliseconds(way: dict[str, Any], what: str) -> str:
    if "error" in way or "error" in way.get(what, {}):
        return "fails"
    return f"{way[what]['ms']:.0f}" if what in way else ""


def speed_table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| peer | parameters | way | energy and forces, ms | training step, ms | ready after, s |",
        "|---|---|---|---|---|---|",
    ]
    for found in results:
        for name, way in found["ways"].items():
            cells = [found["label"], f"{found['parameters']:,}", name]
            cells += [milliseconds(way, what) for what in ("inference", "training")]
            ready = way.get("ready_s", way.get("training", {}).get("first_call_s"))
            cells.append("" if ready is None else f"{ready:.0f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def train_table(results: list[dict[str, Any]]) -> str:
    elements = data.ELEMENTS if len(data.ELEMENTS) > 1 else ()
    far = ["ood"] if "ood" in data.SPLITS else []
    heads = ["peer", "recipe", "minutes", "steps", "test", *elements, *far, "energy"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for found in results:
        for mark, split in found["errors"].items():
            test = split["test"]
            cells = [found["label"], found["kind"], f"{found['seconds'][mark] / 60:.2f}"]
            cells += [str(found["steps"][mark]), f"{test['force_mae']:.1f}"]
            cells += [f"{test['force_mae_by_element'].get(e, 0.0):.1f}" for e in elements]
            cells += [f"{split[name]['force_mae']:.1f}" for name in far]
            cells.append(f"{test['energy_mae_per_atom']:.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def curves(results: list[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Minutes and test error by peer and recipe, in order of time."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for found in results:
        for mark, split in found["errors"].items():
            point = found["seconds"][mark] / 60, split["test"]["force_mae"]
            points.setdefault((found["peer"], found["kind"]), []).append(point)
    return {key: sorted(value) for key, value in points.items()}


def figure(results: list[dict[str, Any]], file: Path) -> None:
    fig, axes = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
    for (peer, recipe), points in curves(results).items():
        line, marker = STYLES[recipe]
        known = PEERS.get(peer)
        axes.plot(
            *zip(*points, strict=True),
            line,
            marker=marker,
            color=known.colour if known else "black",
            label=f"{known.label if known else peer}, {recipe} recipe",
        )
    axes.set(xscale="log", yscale="log", xlabel="training time, minutes on one thread")
    axes.set_ylabel("test force error, meV/Å (mean absolute component)")
    for axis, ticks in ((axes.xaxis, (1, 2, 5, 10, 30)), (axes.yaxis, (1, 2, 5))):
        axis.set_major_locator(
            FixedLocator(ticks) if axis is axes.xaxis else LogLocator(subs=ticks)
        )
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.2)
    fig.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    fig.savefig(file, dpi=160)
    plt.close(fig)


def raced(folder: Path) -> list[dict[str, Any]]:
    """The rows of one set's race, each with the test errors of the training it timed, if any."""
    race = json.loads((folder / "race.json").read_text())
    rows = []
    for row in race["rows"]:
        file = folder / f"{row['peer']}.train.own.{race['minutes']:g}min.json"
        found = json.loads(file.read_text()) if file.is_file() else None
        if found:
            (mark, split) = max(found["errors"].items(), key=lambda item: float(item[0]))
            row |= split["test"] | {"minutes": found["seconds"][mark] / 60}
        rows.append(row | {"set": race["set"], "atoms": race["atoms"]})
    return sorted(rows, key=lambda row: row["us_per_atom"][1])


RACE = {"force_mae": 1, "force_rmse": 1, "energy_mae_per_atom": 2, "minutes": 1}
"""Columns of the race that trained models have, and their digits."""


def race_table(rows: list[dict[str, Any]]) -> str:
    heads = ["peer", "way", "µs/atom", "quartiles", "force MAE", "force RMSE", "energy MAE"]
    lines = [f"| {' | '.join([*heads, 'minutes'])} |", "|" + "---|" * (len(heads) + 1)]
    for row in rows:
        low, middle, high = row["us_per_atom"]
        cells = [row["label"], row["what"].partition(", ")[2]]
        cells += [f"{middle:.1f}", f"{low:.1f} to {high:.1f}"]
        cells += [f"{row[key]:.{n}f}" if key in row else "" for key, n in RACE.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fastest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every peer its fastest way; rows come in order of time."""
    return list({row["peer"]: row for row in reversed(rows)}.values())


def race_figure(sets: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Error against the time of a call, with the minutes of training: lower left is best."""
    fig, panels = plt.subplots(
        1, len(sets), figsize=(4.6 * len(sets), 4.2), layout="constrained", squeeze=False
    )
    for axes, (name, rows) in zip(panels[0], sets.items(), strict=True):
        for row in fastest(rows):
            if "force_mae" not in row:
                continue
            known = PEERS[row["peer"]]
            low, middle, high = row["us_per_atom"]
            error = row["force_mae"]
            spread = [[middle - low], [high - middle]]
            axes.errorbar(middle, error, xerr=spread, fmt="o", color=known.colour, capsize=2)
            axes.annotate(
                f"{row['label']}\n{row['minutes']:.1f} min",
                (middle, error),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=known.colour,
            )
        axes.set(xscale="log", yscale="log", title=f"{name}, {rows[0]['atoms']} atoms")
        axes.set(xlabel="µs per atom of a call, one core", ylabel="test force MAE, meV/Å")
        axes.margins(x=0.3, y=0.2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.2)
    fig.savefig(file, dpi=160)
    plt.close(fig)


def write_race(results: Path, out: Path) -> str:
    """Write race.md and race.png of all sets that were raced; returns the table."""
    sets = {file.parent.name: raced(file.parent) for file in sorted(results.glob("*/race.json"))}
    if not sets:
        return ""
    unit = "errors on test frames in meV/Å and meV/atom, minutes of training"
    text = "\n\n".join(
        f"## Race, {name}, {rows[0]['atoms']} atoms: {unit}\n\n{race_table(rows)}"
        for name, rows in sets.items()
    )
    race_figure(sets, out / "race.png")
    (out / "race.md").write_text(text + "\n")
    return text


def write(results: Path, out: Path) -> str:
    """Write table.md and error_against_time.png; returns the table."""
    speeds, trained = read(results, "*.speed.json"), read(results, "*.train.*.json")
    parts = []
    if speeds:
        about = f"{speeds[0]['atoms']} atoms, {speeds[0]['edges']:,} directed edges at 5 Å"
        threads = sorted({s["threads"] for s in speeds})
        parts.append(f"## Speed: {about}, threads {threads}, medians\n\n{speed_table(speeds)}")
    if trained:
        unit = "mean absolute force errors in meV/Å, energy in meV/atom"
        parts.append(f"## Training: {unit}\n\n{train_table(trained)}")
        figure(trained, out / "error_against_time.png")
    text = "\n\n".join(parts) or "no results yet"
    (out / "table.md").write_text(text + "\n")
    return "\n\n".join(part for part in (text, write_race(results.parent, out)) if part)
