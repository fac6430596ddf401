"""The terminal's view of locality.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Section = Mapping[str, Any]


def print_locality(results: Section, console: Console) -> None:
    """Print the bound of each element at each radius, and say it in words."""
    console.print("\nNo model that sees only so far is better", style="bold", highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("force MAE (meV/Å)", no_wrap=True)
    for radius in results["radii"]:
        table.add_column(f"{radius:g} Å", justify="right", no_wrap=True)
    for element in results["elements"]:
        cells = [_cell(row) for row in element["radii"]]
        table.add_row(element["name"], *cells)
    console.print(table)
    tagged = max(row["tagged"] for e in results["elements"] for row in e["radii"])
    text = (
        f"up to {tagged} tagged atoms of each element, ± half the 95 % interval. Forces of a "
        "network of L layers see at most 2 L cutoffs; with long range they see everything"
    )
    console.print(text, style="dim", markup=False, highlight=False)
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _cell(row: Section) -> str:
    ends = row["mae_interval"]
    shown = f"{row['mae']:.3g}" if row["mae"] < 1000 else f"{row['mae']:.0f}"
    return shown if ends is None else f"{shown} ± {0.5 * (ends[1] - ends[0]):.2g}"
