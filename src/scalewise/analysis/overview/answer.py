"""The verdict of a project in one sentence, and the recommended next step."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from scalewise.analysis.attribution.table import as_forks, remedy
from scalewise.analysis.cutoff_scan.table import system_needs
from scalewise.analysis.evaluation.subsets import distinct
from scalewise.analysis.forks.table import answer_of
from scalewise.analysis.learning import sentence
from scalewise.analysis.overview.collect import Run
from scalewise.core.wording import count
from scalewise.reporting.report import Report

#: Kinds of documents with errors on labelled frames; others are of the frames that they start from.
SCORED = ("forks", "prove", "curve", "refine", "evaluation")
#: Of what saves most by a proof.
SHOWN = 3
#: What ``limit`` of a proof asks for.
REMEDIES = {
    "cutoff": "a longer cutoff",
    "long": "long range",
    "routing": "a scale of its own for each kind of atom",
    "data": "more frames",
    "size": "a larger network",
}


def reports_of(runs: Sequence[Run], kind: str) -> list[Report]:
    """All documents of a kind, in the order of the runs."""
    return [report for run in runs for report in run.reports if report.kind == kind]


def carrying(runs: Sequence[Run]) -> Report | None:
    """The document that answers best: forks before a proof before a curve, the last of each."""
    for kind in ("forks", "prove", "curve", "study", "locality", "evaluation", "doctor"):
        if found := reports_of(runs, kind):
            return found[-1]
    return None


def origin(runs: Sequence[Run]) -> list[str]:
    """Sentences: which run and which data the answer is from, and what else was joined."""
    report = carrying(runs)
    if report is None:
        return []
    name = next(run.name for run in runs if any(r is report for r in run.reports))
    found = [f"This answer is from {name}, on {_data_of(report)}."]
    alike = reports_of(runs, report.kind)
    if len(alike) > 1:
        found.append(f"It is the last of {len(alike)} runs of this kind on this page.")
    known = [r for run in runs for r in run.reports if r.kind in SCORED]
    hashes = {h for r in known if (h := r.provenance.get("data", {}).get("sha256"))}
    if len(hashes) > 1:
        found.append("Runs on this page are of different data: their errors do not compare.")
    return found


def _data_of(report: Report) -> str:
    data = report.provenance.get("data", {})
    frames = data.get("frames")
    what = str(data.get("file", "data that it does not name"))
    return f"{what} ({count(frames, 'frame')})" if isinstance(frames, int) else what


def verdict(runs: Sequence[Run]) -> list[str]:
    """Sentences: the first is the answer, others what it leaves open or where it differs."""
    report = carrying(runs)
    found: list[str] = []
    if report is not None and report.kind == "forks":
        found += _of_forks(report.results)
    elif report is not None and report.kind == "prove":
        found += _of_forks(as_forks(report.results))
    elif report is not None and report.kind == "curve":
        found += _of_curve(report.results)
    for each in reports_of(runs, "prove")[-1:]:
        found += _of_proof(each.results)
    return found or ["Nothing was asked yet about the range that the system needs."]


def _of_forks(results: Mapping[str, Any]) -> list[str]:
    pays = 100 * results["settings"]["min_gain"]
    whole, *rest = [s for s in distinct(results["subsets"]) if s["kind"] != "regime"]
    found = [f"{_first(answer_of(results, whole, pays))}."]
    differ = [s for s in rest if answer_of(results, s, pays) != answer_of(results, whole, pays)]
    found += [f"{s['name']}: {answer_of(results, s, pays)}." for s in differ]
    return [*found, sentence(results["learning"])]


def _of_curve(results: Mapping[str, Any]) -> list[str]:
    subsets = [s for s in distinct(results["subsets"]) if s["kind"] != "regime"]
    unknown = "what range the system needs is not known from a ladder alone"
    whole, *rest = [system_needs(results, s) or unknown for s in subsets]
    names = [s["name"] for s in subsets[1:]]
    differ = [f"{name}: {need}." for name, need in zip(names, rest, strict=True) if need != whole]
    return [f"{_first(whole)}.", *differ, sentence(results["learning"])]


def _of_proof(results: Mapping[str, Any]) -> list[str]:
    limit = results["subsets"][0]["limit"]
    return [] if limit is None else [f"Of what was tried, {REMEDIES[limit]} saves most."]


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def next_steps(runs: Sequence[Run]) -> list[str]:
    """What to do next, most useful first."""
    steps: list[str] = []
    kinds = {report.kind for run in runs for report in run.reports}
    if "doctor" not in kinds:
        steps.append("Look at the data: scalewise doctor DATA.")
    for report in reports_of(runs, "doctor")[-1:]:
        steps += [
            f"{f['found']} {f['remedy']}"
            for f in report.results["findings"]
            if f["severity"] == "error"
        ]
    ladders = [run for run in runs if run.info is not None and _has_ladder(run.info)]
    if not kinds & {"curve", "forks", "prove"}:
        steps.append(
            f"Ask its ladder: scalewise curve {shlex.quote(str(ladders[-1].path))} DATA."
            if ladders
            else "Train for a ladder of scales: scalewise train DATA --ladder 3,6.5,long."
        )
    if "curve" in kinds and not kinds & {"forks", "prove"}:
        steps.append("Train each scale further, alone: scalewise fork MODEL DATA.")
    for report in reports_of(runs, "forks")[-1:]:
        steps += _after_forks(report.results)
    for report in reports_of(runs, "prove")[-1:]:
        rows = report.results["subsets"][0]["order"]
        for row in [r for r in rows if r["low"] > 0][:SHOWN]:
            low, high = 100 * row["low"], 100 * row["high"]
            what = _first(remedy(report.results, row["remedy"]))
            steps.append(f"{what}: it saves {low:.0f} to {high:.0f} % at this budget.")
    return steps


def _has_ladder(info: Mapping[str, Any]) -> bool:
    settings = info.get("settings")
    network = settings.get("network") if isinstance(settings, Mapping) else None
    return isinstance(network, Mapping) and bool(network.get("ladder"))


def _after_forks(results: Mapping[str, Any]) -> list[str]:
    whole = results["subsets"][0]
    reasons = [s["system"]["reason"] for s in whole["scales"] if s["system"]["reason"]]
    learning = [r for r in reasons if "still learning" in r]
    steps = []
    if learning:
        named = [r for r in learning if "would settle" in r]
        steps.append(f"Train longer{'' if named else ' and ask again'}: {(named or learning)[0]}.")
    elif results["learning"]["least"] is None:
        steps.append("Train the ladder again: this one does not know how its error fell.")
    elif wide := [r for r in reasons if "too near" not in r]:
        steps.append(f"Score more frames: {wide[0]}.")
    elif reasons:
        steps.append(f"Train scales alone, with network.cutoff=...: {reasons[0]}.")
    enough, longest = whole["enough"], results["scales"][whole["reference"]]["cutoff"]
    if enough is not None and enough < longest:
        steps.append(
            f"Train for {enough:g} Å alone: scalewise train DATA network.cutoff={enough:g}."
        )
    return steps
