"""The terminal's view of forks.json."""

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


def print_forks(results: Section, console: Console) -> None:
    """Print errors and answers of all atoms, then what each element and regime needs."""
    training, whole = results["training"], results["subsets"][0]
    console.print("\nWhat range the system needs", style="bold", highlight=False)
    text = (
        f"Force MAE in meV/Å on {count(results['choice']['scored'], 'frame')} "
        f"({', '.join(results['choice']['roles'])}); alone: after {training['fork_steps']} "
        f"further steps at this scale only, mean of {training['seeds']} seeds"
    )
    console.print(text, style="dim", markup=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    columns = ("scale", "ladder", "alone", "saves", "95 %", "at the end", "needed?")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left", no_wrap=True)
    for k, scale in enumerate(results["scales"]):
        table.add_row(*_row(scale, whole["scales"][k], last=k == whole["reference"]))
    console.print(table)
    console.print(sentence(results["learning"]), markup=False, highlight=False)
    pays = 100 * results["settings"]["min_gain"]
    for subset in distinct(results["subsets"]):
        console.print(
            f"{subset['name']}: {answer_of(results, subset, pays)}", markup=False, highlight=False
        )
    text = (
        "saves: share of the error that the longest scale saves at this budget; at the end: the "
        "same when the training has converged (95 %); needed?: whether the system needs the "
        f"longest scale, for a saving of {pays:g} %; intervals include the test frames "
        f"({results['choice']['groups']}) and the variation between seeds"
    )
    console.print(text, style="dim", markup=False, highlight=False)
    for warning in results["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def name_of(scale: Section) -> str:
    """Such as ``4.50 Å + long``."""
    return f"{scale['cutoff']:.2f} Å" + " + long" * scale["long"]


def _row(scale: Section, row: Section, *, last: bool) -> list[str]:
    errors = [name_of(scale), f"{row['ladder']:.3g}", f"{row['mae']:.3g}"]
    if last:
        return [*errors, "–", "–", "–", "–"]
    now, system = row["now"], row["system"]
    gain = "" if now["gain"] is None else f"{100 * now['gain']:.1f} %"
    return [*errors, gain, _percent(now), _percent(system), system["answer"]]


def _percent(verdict: Section) -> str:
    if verdict["low"] is None:
        return ""
    return f"{100 * verdict['low']:.0f} to {100 * verdict['high']:.0f}"


def answer_of(results: Section, subset: Section, pays: float) -> str:
    """What is known of the range that some of the atoms need, in a clause or two."""
    scales, rows, longest = results["scales"], subset["scales"], subset["reference"]
    alike = [
        k for k, s in enumerate(scales) if s["long"] == scales[longest]["long"] and k != longest
    ]
    parts = []
    if subset["enough"] is not None and subset["enough"] < scales[longest]["cutoff"]:
        parts.append(f"from {subset['enough']:g} Å on, no longer cutoff saves {pays:g} %")
    if needed := [k for k in alike if rows[k]["system"]["answer"] == "needed"]:
        parts.append(f"more than {max(scales[k]['cutoff'] for k in needed):g} Å is needed")
    unknown = [k for k in alike if rows[k]["system"]["answer"] == "cannot tell"]
    if unknown and subset["enough"] == scales[longest]["cutoff"]:
        k = unknown[-1]
        reason = rows[k]["system"]["reason"]
        parts.append(f"whether {scales[k]['cutoff']:g} Å is enough is not known ({reason})")
    for k in (k for k, s in enumerate(scales) if s["long"] != scales[longest]["long"]):
        system = rows[k]["system"]
        parts.append(
            {
                "needed": "long range is needed",
                "not needed": "long range is not needed",
            }.get(
                system["answer"],
                f"whether long range is needed is not known ({system['reason']})",
            )
        )
    return "; ".join(parts) or "nothing is known"
