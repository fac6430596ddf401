"""The terminal's view of prove.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scalewise.analysis.attribution.figure import NAMES
from scalewise.analysis.cutoff_scan.range import shortest_enough
from scalewise.analysis.evaluation.subsets import distinct
from scalewise.analysis.forks.table import answer_of
from scalewise.analysis.learning import sentence
from scalewise.core.wording import duration
from scalewise.statistics.verdict import Answer, Verdict

Section = Mapping[str, Any]


def print_proof(results: Section, console: Console) -> None:
    """Print the verdicts for all atoms, what limits them, and each element's answers."""
    whole = results["subsets"][0]
    best = results["scales"][results["single"]]
    floor = whole["mae_floor"]
    beside = "" if floor is None else f"; the noise of the labels alone is about {floor:.3g} meV/Å"
    console.print("\nWhat would help", style="bold")
    error = whole["mae"]["whole"][results["single"]]
    long = " with long range" * best["long"]
    line = f"Best single scale: {best['cutoff']:g} Å{long}, {error:.3g} meV/Å{beside}"
    console.print(line, markup=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for k, column in enumerate(("remedy", "answer", "saved", "95 %", "at the end")):
        table.add_column(column, justify="right" if k > 1 else "left", no_wrap=k > 0)
    for verdict in whole["verdicts"]:
        gain = verdict["now"]["gain"]
        table.add_row(
            results["questions"][verdict["question"]],
            verdict["answer"],
            "" if gain is None else f"{100 * gain:.1f} %",
            _percent(verdict["now"]),
            _percent(verdict),
        )
    console.print(table)
    console.print(sentence(results["learning"]), markup=False, highlight=False)
    _print_range(results, console)
    _print_end(results, console)


def remedy(results: Section, name: str) -> str:
    """What is done, in words, with its size."""
    if name == "frames":
        return f"twice the frames, {results['subsets'][0]['forecasts']['frames']['to']:g}"
    if name == "steps":
        seconds = results["learning"]["seconds"]
        more = "" if seconds is None else f", {duration(seconds)} more for each training"
        return f"twice the steps{more}"
    return str(results["questions"][name])


def _percent(verdict: Section) -> str:
    if verdict["low"] is None:
        return ""
    return f"{100 * verdict['low']:.1f} to {100 * verdict['high']:.1f}"


def as_forks(results: Section) -> dict[str, Any]:
    """Verdicts of prove.json on cutoffs and long range, in the layout of forks.json."""
    scales = results["scales"]
    asked = [k for k, mae in enumerate(results["subsets"][0]["mae_alone"]) if mae is not None]
    (longest,) = {*range(len(scales))} - {r["scale"] for r in results["subsets"][0]["range"]}
    ending = {"answer": "not needed", "reason": ""}
    subsets = []
    for at, subset in enumerate(results["subsets"]):
        rows = {row["scale"]: row for row in subset["range"]} | {longest: ending}
        alike = [k for k in asked if scales[k]["long"] == scales[longest]["long"]]
        enough = shortest_enough(
            [scales[k]["cutoff"] for k in alike],
            [Verdict(Answer(rows[k]["answer"])) for k in alike],
        )
        subsets.append(
            {
                "kind": "element" if at else "all",
                "name": subset["name"],
                "atoms": subset["atoms"],
                "scales": [{"system": rows[k]} for k in asked],
                "reference": asked.index(longest),
                "enough": enough,
            }
        )
    return {
        "scales": [scales[k] for k in asked],
        "subsets": subsets,
        "learning": results["learning"],
        "settings": results["settings"],
    }


def _print_range(results: Section, console: Console) -> None:
    """Print what range is needed by all atoms, and by each element."""
    found, pays = as_forks(results), 100 * results["settings"]["min_gain"]
    console.print("What range the system needs:", highlight=False)
    for subset in distinct(found["subsets"]):
        text = f"  {subset['name']}: {answer_of(found, subset, pays)}"
        console.print(text, markup=False, highlight=False)


def _print_end(results: Section, console: Console) -> None:
    whole = results["subsets"][0]
    asked = results["questions"]
    if whole["limit"] is not None:
        text = f"Of these steps, {asked[whole['limit']].split(',')[0]} saved most."
    elif any(v["answer"] == "needed" for v in whole["verdicts"]):
        text = "What is needed is known, but not what would save most: see the intervals."
    else:
        text = "None of these steps is known to be needed."
    console.print(text, markup=False, highlight=False)
    if whole["order"]:
        console.print("What saves most, at this budget (90 %):", highlight=False)
    for row in whole["order"]:
        low, high = (100 * row[end] for end in ("low", "high"))
        line = f"  {remedy(results, row['remedy'])}: {low:.0f} to {high:.0f} %"
        console.print(line, markup=False, highlight=False)
    for subset in (s for s in results["subsets"][1:] if s["atoms"] < whole["atoms"]):
        needed = [NAMES[v["question"]] for v in subset["verdicts"] if v["answer"] == "needed"]
        found = f"needed: {', '.join(needed)}" if needed else "none is known to be needed"
        line = f"{subset['name']}: {found}"
        console.print(line, markup=False, highlight=False)
    settings = results["settings"]
    text = (
        f"saved: share of the force error ({results['choice']['role']}, "
        f"{results['choice']['scored']} frames in {results['choice']['groups']} groups); needed: "
        f"saved {100 * settings['min_gain']:g} % or more, and some saving is certain, also when "
        "the training has converged; cutoffs and long range are compared after further training of "
        "each scale alone; intervals include the test frames and the variation between seeds"
    )
    console.print(text, style="dim", markup=False, highlight=False)
