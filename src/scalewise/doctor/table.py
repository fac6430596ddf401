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
from scalewise.core.wording import count
from scalewise.doctor.energies import FEWEST
from scalewise.doctor.sections import most_common

STYLES: Final = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
#: Columns of cutoffs that go beside each other on a terminal of 80 characters.
MOST_COLUMNS: Final = 11
#: Rows of a table of outliers.
MOST_ROWS: Final = 8

#: Elements of a table, those with most atoms; doctor.json has all.
MOST_ELEMENTS: Final = 10

Section = Mapping[str, Any]
#: A table with its title, and what is printed below it.
Block = tuple[Table, str]


def print_diagnosis(diagnosis: Section, console: Console) -> None:
    """Print everything that fits on a screen or two, what matters most at the end."""
    shown = most_common(diagnosis["composition"], MOST_ELEMENTS)
    blocks = [
        _overview(diagnosis),
        _energies(diagnosis),
        _offsets(diagnosis["energies"]),
        _noise(diagnosis["noise"], shown),
        _hidden(diagnosis["noise"], shown),
        _outliers(diagnosis["outliers"]),
        _split(diagnosis["split"]),
        _closest(diagnosis["closest"], shown),
        _neighbors(diagnosis["neighbors"], shown),
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


def _listed(words: Sequence[str]) -> str:
    """A few words, and how many more there are."""
    more = len(words) - MOST_ELEMENTS
    return ", ".join(words[:MOST_ELEMENTS]) + (f" and {more} more" if more > 0 else "")


def _of_more(total: int, shown: int) -> str:
    """What a caption says of the rows that are not shown."""
    return f"; {total - shown} more in doctor.json" if total > shown else ""


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
    numbers = dict(zip(made["elements"], made["atoms_of_element"], strict=True))
    elements = _listed([f"{e} {n}" for e, n in sorted(numbers.items(), key=lambda one: -one[1])])
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
        "compositions": f"{made['distinct']}, rank {made['rank']} of "
        f"{len(made['elements'])}: {_listed(made['formula_units'])}",
        "labels": labels,
        "charge": charges,
        "cells": periodicity,
        "near-duplicates": f"{count(twins['frames_with_twin'], 'frame')} with a twin; "
        f"{count(twins['groups'], 'group')}, the largest of {twins['largest_group']}",
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
    energies = fit["unit_energies"]
    for name, energy in list(energies.items())[:MOST_ELEMENTS]:
        table.add_row(name, f"{energy:.4f}")
    return table, caption + _of_more(len(energies), MOST_ELEMENTS)


def _offsets(fit: Section | None) -> Block | None:
    """Compositions beside the fit, where several have frames enough for a scatter."""
    rows = [] if fit is None else [r for r in fit["compositions"] if r["frames"] >= FEWEST]
    if len(rows) < 2:
        return None
    table = _new_table("Energy beside the fit, meV/atom", "composition", "frames", "mean", "std")
    for row in rows[:MOST_ROWS]:
        spread = f"{row['scatter_mev_per_atom']:.2f}"
        table.add_row(
            row["formula"], str(row["frames"]), f"{row['offset_mev_per_atom']:+.2f}", spread
        )
    return table, _of_more(len(rows), MOST_ROWS).removeprefix("; ")


def _noise(noise: Section, shown: Sequence[str]) -> Block | None:
    if not noise["units"]:
        return None
    title = "Label noise from net forces, meV/Å per component"
    table = _new_table(title, "", "σ", "95 %", "MAE floor")
    units = [row for row in noise["units"] if row["atoms"] > 1]
    for row in units[:MOST_ELEMENTS]:
        name, floor = f"sum over {row['unit']}", _figure(row["mae_floor_if_shared"])
        table.add_row(name, _figure(row["sigma_of_sum"]), _ends(row["interval"]), f"{floor}*")
    table.add_section()
    for row in (r for r in noise["elements"] if r["element"] in shown):
        told = row["interval"] is None or row["interval"][0] > 0
        sigma, floor = _figure(row["sigma"]), _figure(row["mae_floor"]) if told else "–"
        table.add_row(row["element"], sigma, _ends(row["interval"]), floor)
    shared = "* if the atoms of a unit share it evenly" if units else ""
    more = _of_more(len(noise["elements"]) + len(units), table.row_count)
    return table, shared + more if shared else more.removeprefix("; ")


def _hidden(noise: Section, shown: Sequence[str]) -> Block | None:
    """What waves of the grid, near-duplicates and digits say of the noise."""
    rows = [row for row in noise["hidden"] if row["element"] in shown]
    if not any(row["at_least"] for row in rows):
        return None
    columns = ("", "at least", "grid", "95 %", "Å", "pairs", "95 %")
    table = _new_table("Label noise that no model learns, meV/Å", *columns)
    for row in rows:
        grid, pairs, spacing = row["grid"], row["pairs"], row["grid_spacing_angstrom"]
        table.add_row(
            row["element"],
            _figure(row["at_least"]) if row["at_least"] else "cannot tell",
            _figure(grid["sigma"]) if grid else "–",
            _ends(grid and grid["interval"]),
            f"{spacing:.3f}" if spacing else "–",
            _figure(pairs["sigma"]) if pairs else "–",
            _ends(pairs and pairs["interval"]),
        )
    return table, "grid: a wave of that length (Å); pairs: what is left between near-duplicates"


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
    table = _new_table("Split", "role", "frames", "share", "groups", "twin in train")
    total = sum(row["frames"] for row in split["roles"])
    for row in split["roles"]:
        twins = "" if row["twin_in_train"] is None else str(row["twin_in_train"])
        cells = (str(row["frames"]), f"{row['frames'] / total:.1%}", str(row["groups"]), twins)
        table.add_row(escape(row["role"]), *cells)
    return table, "twin in train: frames with a near-duplicate among those to train on"


def _closest(closest: Sequence[Section], elements: Sequence[str]) -> Block:
    table = _new_table("Closest pairs, Å", "", *elements)
    for first in elements:
        found = {row["second"]: row["distance"] for row in closest if row["first"] == first}
        cells = [
            "" if e not in found else "–" if found[e] is None else f"{found[e]:.2f}"
            for e in elements
        ]
        table.add_row(first, *cells)
    beyond = any(
        row["distance"] is None
        for row in closest
        if row["first"] in elements and row["second"] in elements
    )
    legend = "–: none within 6 Å in any frame" if beyond else ""
    more = _of_more(len(closest), len(elements) * (len(elements) + 1) // 2)
    return table, legend + more if legend else more.removeprefix("; ")


def _neighbors(section: Section, shown: Sequence[str]) -> Block:
    every = section["cutoffs"]
    chosen = range(0, len(every), -(-len(every) // MOST_COLUMNS))
    table = _new_table(
        f"Neighbors within a cutoff (Å), {section['frames_looked_at']} frames",
        "",
        *[f"{every[c]:g}" for c in chosen],
    )
    for element in shown:
        counts = section["elements"][element]
        table.add_section()
        for name, label in (("mean", element), ("percentile_99", "99 %"), ("max", "max")):
            values = [_short(counts[name][c], name == "mean") for c in chosen]
            style = "default" if name == "mean" else "dim"
            table.add_row(label, *values, style=style)
    if len(set(section["frames"])) > 1:
        table.add_section()
        table.add_row("frames", *[str(section["frames"][c]) for c in chosen])
    more = _of_more(len(section["elements"]), len(shown))
    return table, "mean, 99th percentile and maximum over atoms" + more


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
    default, step = section["default_cutoff"], max(1, (len(rows) - 1) // 5)
    for k, row in enumerate(rows):
        if k % step and row["cutoff"] != default:
            continue
        table.add_row(
            f"{row['cutoff']:g}" + " (default)" * (row["cutoff"] == default),
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
