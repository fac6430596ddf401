"""The terminal's view of refine.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scalewise.core.wording import count

Section = Mapping[str, Any]


def print_refined(results: Section, console: Console) -> None:
    """Print the pool, what it costs and what it loses, on frames that nothing was decided on."""
    console.print("\nScales", style="bold")
    pool = results["pool"]
    for scale, members in zip(pool["scales"], pool["members"], strict=True):
        names = ", ".join(results["groups"][g] for g in members)
        console.print(f"{scale:.2f} Å: {names}", markup=False, highlight=False)
    roles = ", ".join(results["choice"]["roles"])
    head = f"\nForces of {count(results['choice']['scored'], 'frame')} ({roles}), MAE in meV/Å"
    console.print(head, style="bold", markup=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for k, column in enumerate(("", "longest", "single", "pool", "pool/longest", "95 %")):
        table.add_column(column, justify="right" if k else "left", no_wrap=True)
    for subset in results["subsets"]:
        long, one, own = subset["scored"]
        ends = own["ratio_interval"]
        table.add_row(
            subset["name"],
            *(f"{row['mae']:.3g}" for row in (long, one, own)),
            "" if own["ratio"] is None else f"{own['ratio']:.3f}",
            "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}",
        )
    for name, key in (("neighbors", "neighbors"), ("µs/atom", "microseconds")):
        table.add_row(name, *(f"{row[key]:.0f}" for row in results["scored"]))
    console.print(table)
    one = len(pool["scales"]) == 1 and results["settings"]["most"] > 1
    if one and results["chosen"] is not None:
        console.print("One scale for all: no pool of several was shown to be cheaper.")
    longest = [v for v in results["model"]["ladder"] if v != "long"][-1]
    itself = pool["scales"] == [results["single"]]
    best = "the pool itself" if itself else f"the best found at price {results['price']:.3g}"
    text = (
        f"longest: {longest:g} Å for all; single: {results['single']:.2f} Å for all, {best}; "
        f"intervals over {results['choice']['groups']}"
    )
    console.print(text, style="dim", markup=False, highlight=False)
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
