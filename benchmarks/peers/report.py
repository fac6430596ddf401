"""All results found, as a markdown table and as a figure of test error against training time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
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
    elements = ("H", "O", "Na", "Cl")
    heads = ["peer", "recipe", "minutes", "steps", "test", *elements, "ood", "energy"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for found in results:
        for mark, split in found["errors"].items():
            test, ood = split["test"], split["ood"]
            cells = [found["label"], found["kind"], f"{found['seconds'][mark] / 60:.2f}"]
            cells += [str(found["steps"][mark]), f"{test['force_mae']:.1f}"]
            cells += [f"{test['force_mae_by_element'].get(e, 0.0):.1f}" for e in elements]
            cells += [f"{ood['force_mae']:.1f}", f"{test['energy_mae_per_atom']:.2f}"]
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
    return text
