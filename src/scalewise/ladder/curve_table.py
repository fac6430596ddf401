"""The terminal's view of curve.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Section = Mapping[str, Any]


def print_curve(results: Section, console: Console) -> None:
    """Print, scale by scale, errors of all atoms and of each element, and the cost."""
    subsets = [s for s in results["subsets"] if s["kind"] != "regime"]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for k, name in enumerate(["cutoff", "long", *(s["name"] for s in subsets)]):
        table.add_column(name, justify="right" if k != 1 else "left", no_wrap=True)
    for name in ("/longest", "95 %", "longer", "neighbours", "µs/atom"):
        table.add_column(name, justify="right", no_wrap=True)
    for k, scale in enumerate(results["scales"]):
        if scale["single"] is None:
            table.add_row(*_row(k, scale, results, subsets))
    count = results["choice"]["scored"]
    head = f"Forces of {count} frames ({', '.join(results['choice']['roles'])}), MAE in meV/Å"
    console.print(f"\n{head}", style="bold", markup=False, highlight=False)
    console.print(table)
    _print_singles(results, console)
    pays = 100 * results["data"]["settings"]["min_gain"]
    text = (
        f"/longest: over the longest scale; longer: whether it is needed, to save {pays:g} % of "
        f"the error; intervals over {results['choice']['groups']}"
    )
    console.print(text, style="dim", markup=False, highlight=False)
    for subset in subsets:
        enough = subset["enough"]
        long = " with long range" * results["scales"][results["reference"]]["long"]
        line = "only the longest scale is known to be enough"
        if enough is not None and enough < results["scales"][results["reference"]]["cutoff"]:
            line = f"beyond {enough:g} Å{long}, nothing longer is needed"
        console.print(f"{subset['name']}: {line}", markup=False, highlight=False)
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _row(k: int, scale: Section, results: Section, subsets: list[Section]) -> list[str]:
    whole = results["subsets"][0]["scales"][k]
    errors = [f"{s['scales'][k]['mae']:.1f}" for s in subsets]
    ratio = "" if whole["ratio"] is None else f"{whole['ratio']:.3f}"
    return [
        f"{scale['cutoff']:.2f} Å",
        "yes" if scale["long"] else "no",
        *errors,
        ratio,
        _interval(whole["ratio_interval"]),
        whole["longer"]["answer"],
        f"{scale['neighbours']:.0f}",
        f"{scale['cost']:.0f}",
    ]


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f} {ends[1]:.3f}"


def _print_singles(results: Section, console: Console) -> None:
    rows = results["subsets"][0]["scales"]
    for k, scale in enumerate(results["scales"]):
        if scale["single"] is None:
            continue
        line = (
            f"{scale['single']}: trained for {scale['cutoff']:g} Å "
            f"{'with' if scale['long'] else 'without'} long range alone, {rows[k]['mae']:.1f} meV/Å"
        )
        if "over_single" in rows[k]:
            line += (
                f"; the ladder has {rows[k]['over_single']:.3f} "
                f"({_interval(rows[k]['over_single_interval'])}) times its error"
            )
        console.print(line, markup=False, highlight=False)
