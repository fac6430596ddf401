"""The terminal's view of doctor.json: findings first, then the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scalewise.core.errors import printable

STYLES: Final = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
#: Columns of cutoffs that go beside each other on a terminal of 80 characters.
MOST_COLUMNS: Final = 11
#: Rows of a table of outliers.
MOST_ROWS: Final = 8

Section = Mapping[str, Any]
#: A table with its title, and what is printed below it.
Block = tuple[Table, str]


def print_diagnosis(diagnosis: Section, console: Console) -> None:
    """Print everything that fits on a screen or two, what matters most at the end."""
    blocks = [
        _overview(diagnosis),
        _energies(diagnosis),
        _noise(diagnosis["noise"]),
        _outliers(diagnosis["outliers"]),
        _split(diagnosis["split"]),
        _closest(diagnosis["closest"]),
        _neighbors(diagnosis["neighbors"]),
        _forecast(diagnosis["forecast"]),
    ]
    for block in blocks:
        if block is not None:
            table, caption = block
            # a table's own title and caption would be wrapped to the width of its columns
            console.print(f"\n{table.title}", style="bold", markup=False, highlight=False)
            table.title = None
            console.print(table)
            if caption:
                console.print(caption, style="dim", markup=False, highlight=False)
    _print_findings(diagnosis["findings"], console)


def _print_findings(findings: Sequence[Section], console: Console) -> None:
    if not findings:
        console.print("\nNothing to worry about was found.", style="bold green")
        return
    counts = ", ".join(
        f"{n} {kind}{'' if n == 1 else 's'}"
        for kind in STYLES
        if (n := sum(f["severity"] == kind for f in findings))
    )
    console.print(f"\nFindings: {counts}", style="bold", highlight=False)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for finding in findings:
        style = STYLES[finding["severity"]]
        text = Text(printable(_sentence(finding["found"])))
        text.append(printable(f"\n→ {finding['remedy']}"), style="dim")
        grid.add_row(Text(finding["severity"], style=style), text)
    console.print(grid)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _new_table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left", no_wrap=k == 0)
    return table


def _overview(diagnosis: Section) -> Block:
    data, made = diagnosis["data"], diagnosis["composition"]
    cells, twins = diagnosis["cells"], diagnosis["duplicates"]
    table = _new_table(data["file"], "", "")
    table.show_header = False
    table.columns[1].justify = "left"
    least, most = made["atoms_per_frame"]
    sizes = f"{least}" if least == most else f"{least} to {most}"
    elements = ", ".join(
        f"{e} {n}" for e, n in zip(made["elements"], made["atoms_of_element"], strict=True)
    )
    labels = ", ".join(
        f"{row['label']} {row['with']}" if row["with"] is not None else f"{row['label']} not read"
        for row in diagnosis["labels"]
    )
    charge = diagnosis["charges"]
    charges = ", ".join(f"{v} e in {n}" for v, n in charge["values_e"].items()) or "not given"
    kinds = {"TTT": "periodic", "FFF": "isolated"}
    kinds |= {k: f"slab ({k})" for k in ("TTF", "TFT", "FTT")}
    kinds |= {k: f"wire ({k})" for k in ("TFF", "FTF", "FFT")}
    periodicity = ", ".join(f"{kinds[k]} {n}" for k, n in cells["periodicity"].items())
    heights = cells["lowest_height_angstrom"]
    if heights:
        periodicity += f"; cells {_range(heights, '.4g')} Å high"
    density = cells["density_atoms_per_cubic_angstrom"]
    if density:
        periodicity += f", {_range(density, '.3g')} atoms/Å³"
    rows = {
        "frames": f"{made['frames']} with {made['atoms']} atoms, {sizes} each",
        "elements": elements,
        "compositions": f"{len(made['compositions'])}, rank {made['rank']} of "
        f"{len(made['elements'])}: {', '.join(made['formula_units'])}",
        "labels": labels,
        "charge": charges,
        "cells": periodicity,
        "near-duplicates": f"{twins['frames_with_twin']} frames have a twin; {twins['groups']} "
        f"groups, the largest of {twins['largest_group']}",
    }
    for name, text in rows.items():
        table.add_row(name, escape(text))
    return table, ""


def _range(ends: Sequence[float], spec: str) -> str:
    low, high = (format(end, spec) for end in ends)
    return low if low == high else f"{low} to {high}"


def _energies(diagnosis: Section) -> Block | None:
    fit = diagnosis["energies"]
    if fit is None:
        return None
    left_out = f", without {fit['left_out']} outliers" if fit["left_out"] else ""
    caption = f"residual {fit['residual_std_mev_per_atom']:.3g} meV/atom (std{left_out})"
    table = _new_table("Energy fitted on composition", "formula unit", "eV")
    for name, energy in fit["unit_energies"].items():
        table.add_row(name, f"{energy:.4f}")
    return table, caption


def _noise(noise: Section) -> Block | None:
    if not noise["units"]:
        return None
    title = "Label noise from net forces, meV/Å per component"
    table = _new_table(title, "", "σ", "95 %", "MAE floor")
    for row in noise["units"]:
        if row["atoms"] > 1:
            name, floor = f"sum over {row['unit']}", _figure(row["mae_floor_if_shared"])
            table.add_row(name, _figure(row["sigma_of_sum"]), _ends(row["interval"]), f"{floor}*")
    table.add_section()
    for row in noise["elements"]:
        sigma, floor = _figure(row["sigma"]), _figure(row["mae_floor"])
        table.add_row(row["element"], sigma, _ends(row["interval"]), floor)
    shared = any(row["atoms"] > 1 for row in noise["units"])
    return table, "* if the atoms of a unit share it evenly" if shared else ""


def _figure(value: float) -> str:
    """Two significant digits of small values, none after the point of larger ones."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _ends(ends: Sequence[float] | None) -> str:
    return f"{_figure(ends[0])} to {_figure(ends[1])}" if ends else "–"


def _outliers(outliers: Sequence[Section]) -> Block | None:
    if not outliers:
        return None
    more = len(outliers) - MOST_ROWS
    caption = "frames count from 0; z: robust standard deviations" + (
        f"; {more} more in doctor.json" * (more > 0)
    )
    table = _new_table("Outliers", "frame", "what", "value", "z")
    table.columns[1].justify = "left"
    for row in outliers[:MOST_ROWS]:
        table.add_row(
            str(row["frame"]),
            row["quantity"],
            f"{row['value']:.3g} {row['unit']}",
            f"{row['score']:.1f}",
        )
    return table, caption


def _split(split: Section) -> Block:
    pairs = split["leaking_pairs"]
    caption = f"near-duplicate pairs between roles: {pairs}"
    table = _new_table("Split", "role", "frames", "share", "groups")
    total = sum(row["frames"] for row in split["roles"])
    for row in split["roles"]:
        share = row["frames"] / total
        table.add_row(escape(row["role"]), str(row["frames"]), f"{share:.1%}", str(row["groups"]))
    return table, caption


def _closest(closest: Sequence[Section]) -> Block:
    elements = list(dict.fromkeys(row["second"] for row in closest))
    table = _new_table("Closest pairs, Å", "", *elements)
    for first in elements:
        found = {row["second"]: row["distance"] for row in closest if row["first"] == first}
        cells = [
            "" if e not in found else "–" if found[e] is None else f"{found[e]:.2f}"
            for e in elements
        ]
        table.add_row(first, *cells)
    return table, "–: none within 6 Å in any frame"


def _neighbors(section: Section) -> Block:
    every = section["cutoffs"]
    chosen = range(0, len(every), -(-len(every) // MOST_COLUMNS))
    table = _new_table(
        f"Neighbors within a cutoff (Å), {section['frames_looked_at']} frames",
        "",
        *[f"{every[c]:g}" for c in chosen],
    )
    for element, counts in section["elements"].items():
        table.add_section()
        for name, label in (("mean", element), ("percentile_99", "99 %"), ("max", "max")):
            values = [_short(counts[name][c], name == "mean") for c in chosen]
            style = "default" if name == "mean" else "dim"
            table.add_row(label, *values, style=style)
    if len(set(section["frames"])) > 1:
        table.add_section()
        table.add_row("frames", *[str(section["frames"][c]) for c in chosen])
    return table, "mean, 99th percentile and maximum over atoms"


def _short(value: float | None, decimals: bool) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if decimals and value < 100 else f"{value:.0f}"


def _forecast(section: Section) -> Block | None:
    rows = section["rows"]
    if not rows:
        return None
    table = _new_table(
        f"Training on {section['training_frames']} frames, {section['batch_size']} in a step",
        "cutoff (Å)",
        "s per epoch",
        f"min for {section['epochs']} epochs",
        "peak memory (MB)",
    )
    for row in rows[:: max(1, (len(rows) - 1) // 5)]:
        table.add_row(
            f"{row['cutoff']:g}",
            f"{row['seconds_per_epoch']:.3g}",
            f"{row['minutes']:.3g}",
            f"{row['peak_megabytes']:.0f}",
        )
    measured = section["measured"]
    if measured is None:
        return table, "medium network, on the processor that was measured once: yours differs"
    return table, (
        f"medium network on this machine, where a step of {measured['atoms']} atoms took "
        f"{1e3 * measured['seconds']:.3g} ms"
    )
