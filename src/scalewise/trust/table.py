"""The terminal's view of trust.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Section = Mapping[str, Any]


def print_trust(results: Section, console: Console) -> None:
    """Print who survived, what ended the others, distances, cost, and bounds on forces."""
    settings = results["settings"]
    console.print(f"\n{results['model']}", style="bold", highlight=False, markup=False)
    for row in results["survival"]:
        console.print(
            f"{row['survived']} of {row['simulations']} simulations of "
            f"{settings['picoseconds']:g} ps at {row['temperature']:.0f} K survived: at least "
            f"{row['at_least']:.0%} of such simulations would (95 %)",
            highlight=False,
            markup=False,
        )
    ended = [s for s in results["simulations"] if not s["survived"]]
    for simulation in ended:
        console.print(
            f"  {simulation['name']} broke after {simulation['picoseconds']:g} ps: "
            f"{simulation['reason']}",
            style="red",
            highlight=False,
            markup=False,
        )
    drifts = [s["drift"] for s in results["simulations"] if s["drift"] is not None]
    if drifts:
        worst = max(drifts, key=abs)
        console.print(f"largest drift {worst:.1e} eV/atom/ps", highlight=False)
    cost = results["cost"]
    console.print(
        f"measured {cost['ns_per_day']:.3g} ns/day with {cost['atoms']} atoms on this machine; "
        f"from the time of one force evaluation, {cost['forecast']:.3g} ns/day were expected",
        highlight=False,
    )
    console.print(_distances(results["distances"], results["frames_looked_at"]))
    _print_bounds(results["uncertainty"], console)
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _distances(pairs: list[Section], frames: int) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("shortest distance (Å)", f"of {frames} frames", "simulated"):
        table.add_column(name, justify="left" if "distance" in name else "right")
    for pair in pairs:
        data = "" if pair["data"] is None else f"{pair['data']:.2f}"
        table.add_row(pair["pair"], data, f"{pair['simulated']:.2f}")
    return table


def _print_bounds(found: Section, console: Console) -> None:
    if found["reason"] is not None:
        console.print(f"No bounds on forces: {found['reason']}", highlight=False, markup=False)
        return
    console.print(
        f"Bounds on forces, {found['factor']:.3g} (disagreement of scales + {found['floor']:.3g} "
        f"meV/Å), made with {found['made_with']}:",
        highlight=False,
        markup=False,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("role")
    headings = (f"held (asked {found['level']:.0%})", "95 %", "bound", "error (meV/Å)", "rank r")
    for name in headings:
        table.add_column(name, justify="right")
    for role in found["roles"]:
        ends = role["interval"]
        table.add_row(
            role["role"],
            f"{role['held']:.1%}",
            "" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}",
            f"{role['bound']:.3g}",
            f"{role['error']:.3g}",
            "" if role["correlation"] is None else f"{role['correlation']:.2f}",
        )
    console.print(table)
