"""The terminal's view of evaluation.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scalewise.core.wording import count
from scalewise.reporting.names import regime_name, shorten

#: Pairs of elements whose distances are printed; the figure has more.
MOST_PAIRS: Final = 2
#: Marks errors that the noise of the labels explains.
AT_FLOOR: Final = "≈"
#: RMSE over its floor below which noise is two thirds of the mean squared error and more.
MOSTLY: Final = 1.22

Section = Mapping[str, Any]


def print_evaluation(results: Section, console: Console) -> None:
    """Print, for every role, errors of forces, energies and stress, and by distance."""
    for role in results["roles"]:
        name, others = role["role"], role["unbroken"]
        if others is None:
            _print_role(name, role, console)
            continue
        table, _ = _forces({**role["forces"], "regimes": []})
        _print(console, f"Forces of {_head(name, role)}, meV/Å per component", table)
        if role["energy"] or role["stress"]:
            _print(console, f"{_kinds(role)} of {name}", _energies(role))
        left_out = role["frames"] - others["frames"]
        _print_role(f"{name} without {left_out} broken", others, console)
    _print_end(results, console)


def _print_role(name: str, role: Section, console: Console) -> None:
    every, marked = role["forces"]["all"], False
    if every is None:
        console.print(f"\n{_head(name, role)}: no labelled forces", markup=False, highlight=False)
    else:
        forces, marked = _forces(role["forces"])
        _print(console, f"Forces of {_head(name, role)}, meV/Å per component", forces)
    if every is not None and every["rmse_floor"] is not None:
        text = "floor: of a perfect model, from the noise of the labels (net forces)"
        console.print(
            text
            + f"\n{AT_FLOOR} two thirds of the squared error, or more, are that noise" * marked,
            style="dim",
        )
    if role["energy"] or role["stress"]:
        _print(console, f"{_kinds(role)} of {name}", _energies(role))
    if role["kinds"]:
        _print(console, f"Kinds of frames of {name}, MAE", _by_kind(role["kinds"]))
    shown = [p for p in role["distances"] if p["bins"]][:MOST_PAIRS]
    if shown:
        title = f"Forces of {name} by distance to the nearest atom of another element, MAE in meV/Å"
        _print(console, title, _distances(shown))


def _kinds(role: Section) -> str:
    kinds = [
        kind for kind, found in (("energies", role["energy"]), ("stress", role["stress"])) if found
    ]
    return " and ".join(kinds).capitalize()


def _head(name: str, role: Section) -> str:
    broken = f" ({role['broken']} broken)" if role.get("broken") else ""
    return f"{name}: {count(role['frames'], 'frame')}{broken}, {count(role['atoms'], 'atom')}"


def _print(console: Console, title: str, table: Table) -> None:
    # a table's own title would be wrapped to the width of its columns
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    console.print(table)


def _print_end(results: Section, console: Console) -> None:
    timing, model = results["timing"], results["model"]
    threads = f"{timing['threads']} thread{'s' * (timing['threads'] > 1)}"
    where = f"{timing['device']}, {threads}" if timing["device"] == "cpu" else timing["device"]
    used = model["cutoff_used"]
    cutoff = "" if used is None else f", cutoff {used:g} Å"
    console.print(
        f"\n{timing['microseconds_per_atom']:.3g} µs per atom ({where}, "
        f"{timing['median_atoms']:.0f} atoms{cutoff}); intervals are 95 %, over "
        f"{results['choice']['groups']}",
        style="dim",
        markup=False,
        highlight=False,
    )
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _new_table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left", no_wrap=True)
    return table


def _forces(forces: Section) -> tuple[Table, bool]:
    table = _new_table("", "atoms", "MAE", "95 %", "floor", "RMSE", "floor", "R²")
    marked = False
    for rows in ([forces["all"]], forces["elements"], forces["regimes"]):
        for row in rows:
            at_floor = is_at_floor(row)
            marked |= at_floor
            table.add_row(
                escape(shorten(regime_name(row["name"]), 14)),
                str(row["atoms"]),
                _figure(row["mae"]),
                _ends(row["mae_interval"]),
                _figure(row["mae_floor"]),
                _figure(row["rmse"]),
                f"{AT_FLOOR} " * at_floor + _figure(row["rmse_floor"]),
                explained(row["explained"]),
            )
        table.add_section()
    return table, marked


def is_at_floor(row: Section) -> bool:
    """Whether noise is most of the mean squared error, whatever its shape, even if it is least."""
    ends = row["rmse_floor_interval"]
    return ends is not None and row["rmse"] <= MOSTLY * ends[0]


def explained(value: float | None) -> str:
    """The share of the variance, with as many digits as tell it from one.

    Examples
    --------
    >>> explained(0.99926), explained(0.51), explained(None)
    ('0.9993', '0.510', '–')
    """
    if value is None:
        return "–"
    if value < 0:
        return f"{value:.1f}" if value > -99 else "< -99"
    return f"{value:.4f}" if value > 0.99 else f"{value:.3f}"


def _energies(role: Section) -> Table:
    table = _new_table("", "frames", "MAE", "95 %", "RMSE", "95 %", "offset")
    energy, stress = role["energy"], role["stress"]
    if energy:
        frames, offset = str(energy["frames"]), f"{energy['offset']:+.2f}"
        table.add_row("energy, meV/atom", frames, *_both(energy["total"]), offset)
        if energy["frames"] > 1:  # of one frame, the offset is all
            table.add_row("without the offset", frames, *_both(energy["without_offset"]), "")
    if stress:
        table.add_row("stress, meV/Å³", str(stress["frames"]), *_both(stress), "")
    return table


def _by_kind(kinds: Sequence[Section]) -> Table:
    table = _new_table(
        "", "frames", "forces, meV/Å", "energy, meV/atom", "offset", "stress, meV/Å³"
    )
    for kind in kinds:
        forces, energy, stress = kind["forces"], kind["energy"], kind["stress"]
        table.add_row(
            escape(shorten(kind["name"], 24)),
            str(kind["frames"]),
            _figure(forces and forces["mae"]),
            _figure(energy and energy["total"]["mae"]),
            f"{energy['offset']:+.2f}" if energy else "–",
            _figure(stress and stress["mae"]),
        )
    return table


def _both(row: Section) -> list[str]:
    return [
        _figure(row["mae"]),
        _ends(row["mae_interval"]),
        _figure(row["rmse"]),
        _ends(row["rmse_interval"]),
    ]


def _distances(pairs: Sequence[Section]) -> Table:
    table = _new_table("", "Å", "atoms", "MAE", "95 %", "floor")
    for pair in pairs:
        for k, row in enumerate(pair["bins"]):
            table.add_row(
                "" if k else f"{pair['element']} to {pair['nearest']}",
                f"{row['from']:.2f} to {row['to']:.2f}",
                str(row["atoms"]),
                _figure(row["mae"]),
                _ends(row["mae_interval"]),
                _figure(pair["mae_floor"]),
            )
        table.add_section()
    return table


def _figure(value: float | None) -> str:
    """Three significant digits, and none after the point of large values."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ends(ends: Sequence[float] | None) -> str:
    return f"{_figure(ends[0])} to {_figure(ends[1])}" if ends else "–"
