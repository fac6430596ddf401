"""The terminal's view of distillation.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Section = Mapping[str, Any]


def print_distillation(results: Section, console: Console) -> None:
    """Print what the inner potential leaves, and which time steps were tried."""
    errors, stiff, chosen = results["errors"], results["stiffness"], results["chosen"]
    for text, style in (
        (f"\n{results['model']}, {results['formula']}", "bold"),
        (
            f"error of inner forces {errors['mae']:.3g} meV/Å, of {errors['rms']:.3g} on frames "
            f"and displaced ones; stiffness left {stiff['left']:.2g} of {stiff['whole']:.3g} "
            "eV/Å²/u",
            "",
        ),
        (f"stiffest vibration {stiff['period']:.3g} fs", ""),
    ):
        console.print(text, style=style, markup=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("step (fs)", "inner", "meV/atom/ps", "95 %", "ns/day", "gain", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for probe in results["probes"]:
        drift = probe["drift"] or {"mean": None, "interval": None}
        ends = drift["interval"]
        table.add_row(
            f"{probe['timestep']:.3g}",
            f"{probe['inner_steps']} x {probe['inner_timestep']:.2g}",
            "" if drift["mean"] is None else f"{1e3 * drift['mean']:.2f}",
            "" if ends is None else f"{1e3 * ends[0]:.2f} to {1e3 * ends[1]:.2f}",
            f"{probe['ns_per_day']:.3g}",
            f"{probe['gain']:.2f}",
            "" if probe["kept"] else probe["reason"] or "drifts too far",
        )
    console.print(table)
    if chosen["timestep"] > chosen["inner_timestep"]:
        console.print(
            f"scalewise md MODEL STRUCTURE inner=OUT makes steps of {chosen['timestep']:.3g} fs, "
            f"{chosen['gain']:.2f} times as fast as steps of {chosen['inner_timestep']:.2g} fs",
            markup=False,
            highlight=False,
        )
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
