"""Train, score, judge: what limits a potential of these frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import numpy as np

import scalewise
from scalewise.analysis.attribution.figure import draw_proof
from scalewise.analysis.attribution.kept import absolute_errors
from scalewise.analysis.attribution.questions import Places, again, describe, questions
from scalewise.analysis.attribution.scored import Absolute, Scored, place
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.attribution.trainings import Training, base_split, plan
from scalewise.analysis.evaluation.choice import subsample
from scalewise.analysis.evaluation.evaluate import plain
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.predict import Say, Watch
from scalewise.analysis.evaluation.subsets import regime_members, symbol
from scalewise.analysis.rungs import Rung
from scalewise.core.files import write_json
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_structures
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.reporting.style import save, styled
from scalewise.training.run import train
from scalewise.training.trainer import STATE, Listener, silent

SCHEMA: Final = 1
UNITS: Final = {
    "cutoff": "Å",
    "mae": "meV/Å, mean over components and replicas, at every scale",
    "mae_floor": "meV/Å, of Gaussian label noise of the estimated size",
    "gain": "share of the error that a step saved; its interval is 95 %",
    "again": "share that the next doubling of the frames would save by a power law",
}

Show = Callable[[], AbstractContextManager[Listener]]


def prove(
    path: Path,
    settings: AttributionSettings,
    out: Path,
    *,
    say: Say = lambda _: None,
    watch: Watch = iter,
    show: Show = silent,
) -> dict[str, Any]:
    """Train what is missing below ``out``, score everything; return the content of prove.json.

    Parameters
    ----------
    path
        extxyz with labels, eV and Å.
    settings
        Of the trainings, and what is asked.
    out
        Trainings go below ``out/trainings``; those that are there are used again.
    say, watch, show
        Called with one line per stage; goes through frames; opens the bar of a training.

    Raises
    ------
    InputError
        Whatever is wrong with the data; a role that no frame has; a loss that is not finite.
    """
    frames = read_structures(path, LabelKeys.of(settings.data, "data."), say=say)
    split = base_split(path, frames, settings, say)
    split.members(settings.role)  # complains before hours of training
    trainings = plan(split, frames, settings, out)
    say(_forecast(trainings, settings.minutes))
    trainings = _train(path, trainings, say, show)
    write_json(out / "settings.json", settings.model_dump(mode="json"))
    return _judge(frames, split, trainings, settings, say, watch)


def write_all(results: dict[str, Any], out: Path) -> list[Path]:
    """Write prove.json and the figure below ``out``; return their paths."""
    write_json(out / "prove.json", results)
    with styled():
        figures = save(draw_proof(results), out / "figures" / "prove")
    return [out / "prove.json", *figures]


def _forecast(trainings: Sequence[Training], minutes: float | None) -> str:
    """What is about to be trained, and how long that takes."""
    done = sum((t.folder / STATE).is_file() for t in trainings)
    left = len(trainings) - done
    time = f": {minutes:g} minutes for the first, as many steps for each other" if minutes else ""
    there = f"; {done} begun or finished, which {'is' if done == 1 else 'are'} used" if done else ""
    then = "; then every frame is scored at every scale" if left else ""
    return f"{len(trainings)} trainings{time}{there}{then}"


def _train(path: Path, trainings: Sequence[Training], say: Say, show: Show) -> list[Training]:
    """Train what is not finished; all others as many steps as the first."""
    found: list[Training] = []
    for k, planned in enumerate(trainings, 1):
        training = planned.like(found[0]) if found else planned
        if not training.progress.finished:
            say(f"{k} of {len(trainings)}: {training.name}, replica {training.replica}")
            train(path, training.settings, training.folder, show=show)
        found.append(training)
    return found


def _judge(
    frames: Sequence[Structure],
    split: Split,
    trainings: Sequence[Training],
    settings: AttributionSettings,
    say: Say,
    watch: Watch,
) -> dict[str, Any]:
    network = settings.network
    even = np.linspace(network.shortest_cutoff, network.cutoff, max(settings.points, 2)).round(3)
    # rounding may go beyond the ends
    even = np.clip(even, network.shortest_cutoff, network.cutoff)
    cutoffs = sorted({*even.tolist(), settings.cutoff, network.shortest_cutoff, network.cutoff})
    chosen = {
        role: subsample(split.members(role), settings.frames) for role in ("valid", settings.role)
    }
    say(f"Scoring {len(chosen[settings.role])} frames ({settings.role}) at every scale")
    scored: dict[str, Scored] = {}
    rungs: list[Rung] = []
    for role, members in chosen.items():
        part = [frames[k] for k in members]
        absolute: dict[str, list[np.ndarray]] = {}
        for training in trainings:
            rungs, errors = absolute_errors(
                training.folder, part, cutoffs, role, device=settings.device, watch=watch
            )
            absolute.setdefault(training.name, []).append(errors)
        scored[role] = _scored(absolute, part, np.array(split.group)[members], settings)
    test, valid = scored[settings.role], scored["valid"]
    best = int(valid.mean("whole").argmin())
    part = [frames[k] for k in chosen[settings.role]]
    numbers = np.concatenate([f.numbers for f in part])
    floor = NoiseFloor.estimate(frames, np.array(split.group), settings.seed)
    subsets = [("all", np.ones(len(numbers), dtype=bool))]
    subsets += [(symbol(z), numbers == z) for z in np.unique(numbers).tolist()]
    sizes: dict[str, list[int]] = {}
    for training in trainings:
        sizes.setdefault(training.name, []).append(training.frames)
    counts = {name: round(float(np.mean(of))) for name, of in sizes.items()}
    places = Places(
        at=place(rungs, settings.cutoff, long=network.charges),
        longest=place(rungs, network.cutoff, long=network.charges),
        without=place(rungs, network.cutoff, long=False) if network.long_range_optional else None,
        best=best,
    )
    results = {
        "schema": SCHEMA,
        "scalewise": scalewise.__version__,
        "units": UNITS,
        "data": {
            **split.data.model_dump(),
            "settings": settings.model_dump(mode="json"),
            "role": settings.role,
            "scored": len(part),
            "groups": len(np.unique(test.block)),
        },
        "questions": questions(settings, counts),
        "trainings": [
            {"name": t.name, "replica": t.replica, "frames": t.frames, "folder": str(t.folder)}
            for t in trainings
        ],
        "scales": [{"cutoff": r.cutoff, "long": r.long_range} for r in rungs],
        "single": best,
        "subsets": [
            describe(name, test.only(member), valid, numbers[member], places, floor, settings)
            | {"again": again(test.only(member), counts, best)}
            for name, member in subsets
        ],
    }
    found: dict[str, Any] = plain(results)
    return found


def _scored(
    absolute: Absolute,
    frames: Sequence[Structure],
    group: np.ndarray,
    settings: AttributionSettings,
) -> Scored:
    numbers = np.concatenate([f.numbers for f in frames])
    block = np.repeat(group, [len(f.numbers) for f in frames])
    kind = numbers.astype(np.int64)
    for k, member in enumerate(regime_members(frames, settings.ions).values()):
        kind = kind + (member.astype(np.int64) << (8 + k))
    return Scored(absolute, block, kind)
