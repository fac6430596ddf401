"""The questions, the changes that answer them, and the section of prove.json for one subset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from scalewise.analysis.attribution.error_table import Scored
from scalewise.analysis.attribution.forecasts import ShorterTrainings, forecasts, ordered
from scalewise.analysis.attribution.limit import limit
from scalewise.analysis.attribution.settings import SHARES, AttributionSettings
from scalewise.analysis.end_of_training import Compared
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.learning import Learning
from scalewise.analysis.learning import describe as describe_learning
from scalewise.analysis.settling import Asked, decide_for_system
from scalewise.statistics.changes import Change, judge
from scalewise.statistics.verdict import Verdict

#: What the answer to each question compares.
COMPARED: Final[Mapping[str, Compared]] = {
    "cutoff": "forks",
    "long": "forks",
    "routing": "routes",
    "data": "set-ups",
    "size": "set-ups",
}


class ScalePlaces(dict[str, int]):
    """Which scales the questions are about."""

    def __init__(self, *, at: int, longest: int, without: int | None, best: int) -> None:
        super().__init__(at=at, longest=longest, best=best)
        if without is not None:
            self["without"] = without


def changes(test: Scored, valid: Scored, places: Mapping[str, int]) -> dict[str, Change]:
    """The step of each question, on the frames that are scored; ``valid`` chooses for routing."""
    best = places["best"]
    found = {"cutoff": test.alone(places["at"], places["longest"])}
    if "without" in places:
        found["long"] = test.alone(places["without"], places["longest"])
    found["routing"] = test.routed(valid)
    found["data"] = test.across(("half", best), ("whole", best))
    found["size"] = test.across(("narrow", best), ("whole", best))
    return found


def questions(settings: AttributionSettings, counts: Mapping[str, int]) -> dict[str, str]:
    """Each question in words, by its name; ``counts``: training frames of each set-up."""
    network = settings.network
    found = {"cutoff": f"a longer cutoff, {network.cutoff:g} instead of {settings.cutoff:g} Å"}
    if network.long_range_optional:
        found["long"] = f"long range, at {network.cutoff:g} Å"
    return found | {
        "routing": "a scale for each kind of atom instead of the best single one",
        "data": f"twice the frames, {counts['whole']} instead of {counts['half']}",
        "size": f"twice the channels, {network.channels} instead of {network.channels // 2}",
    }


def describe(
    name: str,
    test: Scored,
    valid: Scored,
    numbers: np.ndarray,
    places: Mapping[str, int],
    floor: NoiseFloor,
    learning: Learning | None,
    shorter: ShorterTrainings,
    counts: Mapping[str, int],
    settings: AttributionSettings,
) -> dict[str, Any]:
    """Answer every question for some of the atoms.

    Parameters
    ----------
    name, numbers
        Of these atoms, and the atomic number of each.
    test, valid
        Errors of these atoms, and of all atoms of the validation frames.
    places
        Which scales the questions are about.
    floor, learning, settings
        Noise of the labels; how far the trainings came; what pays, and with what certainty.
    shorter, counts
        Errors of these atoms after fewer steps; training frames of each set-up.
    """
    learning = shorter.learning(learning, test, places["longest"])
    noise = floor.beside(numbers)
    kinds = set(np.unique(test.kind).tolist())
    choose = valid.only(np.isin(valid.kind, sorted(kinds)))
    usable = len(choose.kind) > 0
    asked = changes(test, choose if usable else test, places)
    if not usable:
        asked.pop("routing")
    now = _judge(asked, settings)
    verdicts = [
        _of_system(v, learning, settings, COMPARED[v.question], v.question == "long") for v in now
    ]
    ahead = forecasts(test, shorter, counts, places["best"], noise["mae_floor"])
    return {
        "name": name,
        "atoms": len(numbers),
        **noise,
        "mae": {name: (1e3 * test.mean(name)).tolist() for name in test.absolute}
        | {"short": (1e3 * shorter.mean()).tolist()},
        "mae_alone": [
            float(1e3 / 3.0 * test.forks[k].mean()) if k in test.forks else None
            for k in range(len(test.mean("whole")))
        ],
        "learning": describe_learning(learning, slope=True),
        "verdicts": [
            {
                "question": v.question,
                **v.record(),
                "reason": v.reason,
                "training": v.training,
                "now": before.record(),
            }
            for v, before in zip(verdicts, now, strict=True)
        ],
        "limit": limit(verdicts),
        "range": ranges(test, places["longest"], learning, settings, places.get("without")),
        "cutoff_by_frames": {
            name: _gain(test.within(places["at"], places["longest"], name), settings)
            for name in (*SHARES, "whole")
        },
        "forecasts": {k: None if f is None else f.record() for k, f in ahead.items()},
        "order": ordered(now, ahead),
    }


def _judge(changes: Mapping[str, Change], settings: AttributionSettings) -> list[Verdict]:
    return judge(
        changes,
        min_gain=settings.min_gain,
        alpha=settings.alpha,
        seed=settings.seed,
        resamples=settings.bootstrap,
    )


def _of_system(
    now: Verdict,
    learning: Learning | None,
    settings: AttributionSettings,
    compared: Compared,
    long_range: bool,
) -> Verdict:
    """The answer that holds at the end of training."""
    asked = Asked(settings.min_gain, settings.alpha, compared, long_range)
    return decide_for_system(now, learning, asked)


def ranges(
    test: Scored,
    longest: int,
    learning: Learning | None,
    settings: AttributionSettings,
    without: int | None = None,
) -> list[dict[str, Any]]:
    """What the longest scale saves over every other, with one error rate for all of them.

    ``without`` is the scale that differs from it in its long range.
    """
    others = [k for k in range(len(test.mean("whole"))) if k != longest]
    step = {k: test.alone if k in test.forks else test.within for k in others}
    now = _judge({str(k): step[k](k, longest) for k in others}, settings)
    found = []
    for k, verdict in zip(others, now, strict=True):
        compared: Compared = "forks" if k in test.forks else "rungs"
        of_system = _of_system(verdict, learning, settings, compared, k == without)
        found.append(
            {
                "scale": k,
                **of_system.record(),
                "reason": of_system.reason,
                "now": verdict.record(),
            }
        )
    return found


def _gain(change: Change, settings: AttributionSettings) -> dict[str, float | None]:
    """What a longer cutoff saves with so many frames: where it grows, range waits for data."""
    (found,) = _judge({"cutoff": change}, settings)
    return {"gain": found.gain, "low": found.low, "high": found.high}
