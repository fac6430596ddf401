"""The terminal's view of simulation.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Section = Mapping[str, Any]


def print_simulation(results: Section, console: Console) -> None:
    """Print what was simulated, its means, and the first shells of neighbors."""
    settings = results["settings"]
    ensemble = settings["ensemble"]
    if ensemble == "nvt":
        ensemble += f" ({'langevin' if results['drift'] is None else 'csvr'})"
    console.print(
        f"\n{results['formula']}, {results['picoseconds']:g} ps of {ensemble} at "
        f"{settings['timestep']:g} fs",
        style="bold",
        highlight=False,
        markup=False,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, show_header=False)
    for name, cell in _means(results):
        table.add_row(name, cell)
    console.print(table)
    shells = [p for p in results["distances"]["pairs"] if p["coordination"] is not None]
    if shells:
        around = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        around.add_column("first shell", no_wrap=True)
        for heading in ("shortest (Å)", "peak (Å)", "ends (Å)", "neighbors of each"):
            around.add_column(heading, justify="right")
        for pair in shells:
            first, second = pair["pair"].split("-")
            of_first, of_second = pair["coordination"]
            neighbors = f"{first} {of_first:.2f}"
            neighbors += f", {second} {of_second:.2f}" * (first != second)
            around.add_row(
                pair["pair"],
                *(f"{pair[k]:.2f}" for k in ("shortest", "peak", "minimum")),
                neighbors,
            )
        console.print(around)
    if (ended := results["ended"]) is not None:
        console.print(
            f"broke after {ended['picoseconds']:g} ps: {ended['reason']}",
            style="red",
            markup=False,
            highlight=False,
        )
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _means(results: Section) -> list[tuple[str, str]]:
    """Names and cells of the means that there are."""
    found = []
    units = {"temperature": "K", "potential": "eV/atom", "pressure": "bar"}
    if results["settings"]["ensemble"] == "npt":
        units["volume"] = "Å³"
    for name, unit in units.items():
        if (mean := results[name]) is not None:
            digits = 8 if name == "potential" else 5
            text = f"{mean['mean']:.{digits}g}"
            if mean["interval"] is not None:
                text += f" ± {0.5 * (mean['interval'][1] - mean['interval'][0]):.2g}"
            found.append((name, f"{text} {unit}"))
    if results["density"] is not None:
        found.append(("density", f"{results['density']:.4g} g/cm³"))
    text, drift = "none is conserved", results["drift"]
    if drift is not None:
        text = f"{drift['mean']:.1e}"
        if drift["interval"] is not None:
            text += f" ± {0.5 * (drift['interval'][1] - drift['interval'][0]):.1e}"
        text += " eV/atom/ps"
    found.append(("drift of energy", text))
    found.append(("speed", f"{results['ns_per_day']:.3g} ns/day"))
    return found
