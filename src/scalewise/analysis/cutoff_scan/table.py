"""The terminal's view of curve.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scalewise.analysis.evaluation.subsets import distinct
from scalewise.analysis.learning import sentence
from scalewise.core.wording import count

Section = Mapping[str, Any]


def print_curve(results: Section, console: Console) -> None:
    """Print errors of all atoms and of each element, then what each scale is worth and costs."""
    subsets = [s for s in distinct(results["subsets"]) if s["kind"] != "regime"]
    own = [k for k, scale in enumerate(results["scales"]) if scale["single"] is None]
    scored = count(results["choice"]["scored"], "frame")
    head = f"Forces of {scored} ({', '.join(results['choice']['roles'])}), MAE in meV/Å"
    console.print(f"\n{head}", style="bold", markup=False, highlight=False)
    errors = _table("scale", *(s["name"] for s in subsets))
    for k in own:
        found = [_short(s["scales"][k]["mae"]) for s in subsets]
        errors.add_row(_name(results["scales"][k]), *found)
    console.print(errors)
    console.print("\nWhat each scale is worth and costs", style="bold", highlight=False)
    worth = _table("scale", "error/longest", "95 %", "longer", "neighbors", "µs/atom")
    for k in own:
        worth.add_row(*_worth(k, results))
    console.print(worth)
    _print_singles(results, console)
    _print_end(results, subsets, console)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left", no_wrap=True)
    return table


def _name(scale: Section) -> str:
    return f"{scale['cutoff']:.2f} Å" + " + long" * scale["long"]


def _own_scale(scale: Section) -> str:
    """The one scale of a single model, as far as it is known."""
    if scale["cutoff"] is None:
        return "of its own scale,"
    return f"trained for one scale, {scale['cutoff']:g} Å"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _worth(k: int, results: Section) -> list[str]:
    scale, whole = results["scales"][k], results["subsets"][0]["scales"][k]
    return [
        _name(scale),
        "" if whole["ratio"] is None else f"{whole['ratio']:.3f}",
        _interval(whole["ratio_interval"]),
        "–" if k == results["reference"] else whole["longer"]["answer"],
        "–" if scale["neighbors"] is None else f"{scale['neighbors']:.0f}",
        f"{scale['cost']:.0f}",
    ]


def _print_end(results: Section, subsets: list[Section], console: Console) -> None:
    pays = 100 * results["settings"]["min_gain"]
    text = (
        f"longer: whether this potential needs its longest scale, to save {pays:g} % of the error; "
        f"intervals over {results['choice']['groups']}"
    )
    console.print(text, style="dim", markup=False, highlight=False)
    console.print("\nThis potential, as it is trained", style="bold", highlight=False)
    for subset in subsets:
        line = f"{subset['name']}: {_enough(results, subset, pays)}"
        console.print(line, markup=False, highlight=False)
    _print_system(results, subsets, console)
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _print_system(results: Section, subsets: list[Section], console: Console) -> None:
    """Print what is known of the system: what holds whatever else the network learns."""
    console.print("\nThe system", style="bold", highlight=False)
    console.print(sentence(results["learning"]), markup=False, highlight=False)
    for subset in subsets:
        if needs := system_needs(results, subset):
            console.print(f"{subset['name']}: {needs}", markup=False, highlight=False)
    text = (
        "More cannot be said from a ladder, because all of its scales share one set of weights. "
        "`scalewise fork MODEL DATA` continues the training for each scale separately."
    )
    console.print(text, style="dim", markup=False, highlight=False)


def system_needs(results: Section, subset: Section) -> str:
    """What the system is known to need for some of the atoms; empty where nothing is."""
    longest = results["scales"][results["reference"]]
    needed = [
        scale
        for scale, row in zip(results["scales"], subset["scales"], strict=True)
        if row.get("system", {}).get("answer") == "needed"
    ]
    short = [s["cutoff"] for s in needed if s["long"] == longest["long"]]
    parts = [f"more than {max(short):.3g} Å is needed"] if short else []
    if any(s["long"] != longest["long"] and s["cutoff"] == longest["cutoff"] for s in needed):
        parts.append("long range is needed")
    return ", and ".join(parts)


def _enough(results: Section, subset: Section, pays: float) -> str:
    """The shortest scale that is enough: with long range only where it is not without."""
    longest = results["scales"][results["reference"]]
    enough = subset["enough"]
    if enough is None or enough >= longest["cutoff"]:
        end = f"{longest['cutoff']:g} Å" + " + long" * longest["long"]
        return f"no shorter scale is known to do as well as the longest, {end}"
    line = f"from {enough:g} Å on, nothing longer saves {pays:g} %"
    if not longest["long"]:
        return f"{line} (up to {longest['cutoff']:g} Å)"
    without = sorted(
        (scale["cutoff"], row["longer"]["answer"])
        for scale, row in zip(results["scales"], subset["scales"], strict=True)
        if scale["single"] is None and not scale["long"]
    )
    if not without:
        return f"{line} (up to {longest['cutoff']:g} Å, with long range)"
    alone = None
    for cutoff, answer in reversed(without):
        if answer != "not needed":
            break
        alone = cutoff
    if alone is not None and alone <= enough:
        return f"{line} (up to {longest['cutoff']:g} Å), and long range does not either"
    if alone is not None:
        known = f"without it, from {alone:g} Å on"
    elif without[-1][1] == "needed":
        known = "long range is needed"
    else:
        known = "whether without it is not known"
    return f"{line} (up to {longest['cutoff']:g} Å, with long range; {known})"


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _print_singles(results: Section, console: Console) -> None:
    rows = results["subsets"][0]["scales"]
    for k, scale in enumerate(results["scales"]):
        if scale["single"] is None:
            continue
        long, mae = "with" if scale["long"] else "without", rows[k]["mae"]
        line = f"{scale['single']}: {_own_scale(scale)} {long} long range: {mae:.1f} meV/Å"
        if "over_single" in rows[k]:
            line += (
                f"; the ladder has {rows[k]['over_single']:.3f} "
                f"({_interval(rows[k]['over_single_interval'])}) times its error"
            )
        console.print(line, markup=False, highlight=False)
