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
    if results["thermostat"] is not None:
        ensemble += f" ({results['thermostat']})"
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
        if results[name] is not None:
            digits = 8 if name == "potential" else 5
            found.append((name, f"{_with_interval(results[name], f'.{digits}g')} {unit}"))
    if results["density"] is not None:
        found.append(("density", f"{results['density']:.4g} g/cm³"))
    text, drift = "not known", results["drift"]
    if results["thermostat"] == "langevin":
        text = "none is conserved"
    if drift is not None:
        text = f"{_with_interval(drift, '.1e', '.1e')} eV/atom/ps"
    found.append(("drift of energy", text))
    found.append(("speed", f"{results['ns_per_day']:.3g} ns/day"))
    return found


def _with_interval(value: Section, form: str, width: str = ".2g") -> str:
    """A mean and, where it is known, half the width of its interval."""
    ends = value["interval"]
    return f"{value['mean']:{form}}" + (f" ± {0.5 * (ends[1] - ends[0]):{width}}" if ends else "")
