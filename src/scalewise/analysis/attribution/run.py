"""Find what limits a potential: train ladders, train forks of their scales, score and judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from scalewise.analysis.attribution.error_table import Absolute, Scored, place
from scalewise.analysis.attribution.forecasts import ShorterTrainings
from scalewise.analysis.attribution.forks import errors_alone, fork_ladders, scale_place
from scalewise.analysis.attribution.questions import ScalePlaces, describe, questions
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.attribution.trainings import Training, plan
from scalewise.analysis.error_cache import absolute_errors
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.selection import subsample
from scalewise.analysis.evaluation.subsets import regime_members, symbol
from scalewise.analysis.forks.plan import Fork
from scalewise.analysis.learning import Learning
from scalewise.analysis.learning import describe as describe_learning
from scalewise.analysis.rungs import Rung
from scalewise.analysis.trainings import Common, Scoring, TrainingTask, at_a_time, train_all
from scalewise.core.files import write_json
from scalewise.core.progress import SILENT, Progress, Quiet
from scalewise.core.wording import already
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_structures
from scalewise.data.splits import Split
from scalewise.data.structure import Structure, check_labelled
from scalewise.models.opening import open_potential
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.training.run import split_for, train_in
from scalewise.training.trainer import STATE

#: Å: cutoffs that differ by less are one.
SAME: Final = 2e-3
UNITS: Final = {
    "cutoff": "Å",
    "mae": "meV/Å, mean over components and replicas, at every scale",
    "mae_alone": "meV/Å, where the ladders on all frames went on at this scale alone",
    "mae_floor": "meV/Å, of Gaussian label noise of the estimated size",
    "gain": "share of the error that a step saved; its interval is 95 %, of `now` at this budget, "
    "else at the end of training",
    "forecasts, order": "shares that would be saved from here on, with intervals of 90 %",
}


def attribute_error(
    structures: Sequence[Structure],
    split: Split | None,
    settings: AttributionSettings,
    out: Path | str = "runs/prove",
    *,
    on: str | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Train several ladders and their forks, score them all, and say what limits the error.

    Parameters
    ----------
    structures
        Structures with forces (eV/Å) and other labels in eV and Å.
    split
        Roles of the structures; none: a split is made as for a training.
    settings
        Settings of the trainings, and of the questions.
    out
        Folder of the analysis. Trainings are written below ``out/trainings`` and forks below
        ``out/forks``; finished ones there are used again.
    on
        Address of a Dask scheduler whose workers train, such as ``tcp://node1:8786``. If the number
        of steps is not known beforehand, the first training runs on this machine.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``prove``. ``verdict("all", question)`` says whether the error falls with a
        longer cutoff (``cutoff``), long-range electrostatics (``long``), different scales for
        different atoms (``routing``), more frames (``data``) or a larger network (``size``).

    Raises
    ------
    InputError
        Faulty data; a structure without labelled forces; a role that no structure has; a loss that
        is not finite.
    """
    frames, out = list(structures), Path(out)
    split = split or split_for(frames, settings.data, settings.seed, progress)
    split.check_count(frames)
    split.members(settings.role)  # complains before hours of training
    check_labelled(frames)
    trainings = plan(split, frames, settings, out)
    progress.message(_forecast(trainings, settings.minutes))
    trainings = _train(frames, trainings, settings, on, progress)
    ladders = [t for t in trainings if t.name == "whole"]
    members = _scored_frames(split, settings)[settings.role].tolist()
    forks = fork_ladders(
        frames, ladders, scored_cutoffs(settings), members, settings, out, on, progress
    )
    write_json(out / "settings.json", settings.model_dump(mode="json"))
    body = _judge(frames, split, trainings, forks, settings, progress)
    return Report.made(
        "prove",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(split.data),
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise prove``."""
    settings, progress = request.settings, request.progress
    keys = LabelKeys.of(settings.data, "data.")
    structures = read_structures(request.files[0], keys, progress=progress)
    on = request.options.get("on")
    return attribute_error(structures, None, settings, request.out, on=on, progress=progress)


def _forecast(trainings: Sequence[Training], minutes: float | None) -> str:
    """What is about to be trained, and how long that takes."""
    done = sum((t.folder / STATE).is_file() for t in trainings)
    left = len(trainings) - done
    time = f": {minutes:g} minutes for the first, its steps or fewer for others" if minutes else ""
    then = "; then further training of each scale alone" if left else ""
    return f"{len(trainings)} trainings{time}{already(done)}{then}"


def _train(
    frames: Sequence[Structure],
    planned: Sequence[Training],
    settings: AttributionSettings,
    on: str | None,
    progress: Progress,
) -> list[Training]:
    """Train what is not finished, all as many steps as the first.

    Where nobody knows how many these will be, the first one is trained here, before the others.
    """
    first, common = planned[0], Common(frames, device=settings.device)
    if first.steps is None and not first.progress.finished:
        progress.message(f"1 of {len(planned)}: {first.name}, replica {first.replica}")
        train_in(frames, first.split, first.settings, first.folder, Quiet(progress))
    trainings = [first, *(training.like(first) for training in planned[1:])]
    scoring = tuple(
        Scoring(role, tuple(members.tolist()), tuple(scored_cutoffs(settings)))
        for role, members in _scored_frames(first.split, settings).items()
    )
    workers = at_a_time(settings.workers, settings.device, settings.processes)
    tasks = [TrainingTask(t.folder, t.split, t.settings, scoring) for t in trainings]
    train_all(common, tasks, workers=workers, on=on, progress=progress)
    return trainings


def scored_cutoffs(settings: AttributionSettings) -> list[float]:
    """Cutoffs that are scored and forked, Å."""
    network = settings.network
    asked = {settings.cutoff, network.shortest_cutoff, network.cutoff}
    even = np.linspace(network.shortest_cutoff, network.cutoff, max(settings.points, 2)).round(3)
    # what is asked, rounded, is no other cutoff
    between = [v for v in even.tolist() if all(abs(v - c) > SAME for c in asked)]
    return sorted({*asked, *between})


def _scored_frames(split: Split, settings: AttributionSettings) -> dict[str, np.ndarray]:
    """Numbers of the frames that are scored, by role."""
    roles = ("valid", settings.role)
    return {role: subsample(split.members(role), settings.frames) for role in roles}


def _judge(
    frames: Sequence[Structure],
    split: Split,
    trainings: Sequence[Training],
    forks: Sequence[Fork],
    settings: AttributionSettings,
    progress: Progress,
) -> dict[str, Any]:
    network = settings.network
    cutoffs, chosen = scored_cutoffs(settings), _scored_frames(split, settings)
    progress.message(
        f"Scoring {len(chosen[settings.role])} frames ({settings.role}) at every scale"
    )
    scored: dict[str, Scored] = {}
    rungs: list[Rung] = []
    for role, members in chosen.items():
        part = [frames[k] for k in members]
        absolute: dict[str, list[np.ndarray]] = {}
        for training in trainings:
            rungs, errors = absolute_errors(
                training.folder, part, cutoffs, role, device=settings.device, progress=progress
            )
            absolute.setdefault(training.name, []).append(errors)
        fewer = absolute.pop("short")
        if role == settings.role:
            shorter = ShorterTrainings(
                _steps(trainings, "short"), _steps(trainings, "whole"), fewer
            )
        scored[role] = _scored(absolute, part, np.array(split.group)[members], settings)
    test, valid = scored[settings.role], scored["valid"]
    best = int(valid.mean("whole").argmin())
    part = [frames[k] for k in chosen[settings.role]]
    test = replace(test, forks=errors_alone(forks, rungs, part, settings))
    numbers = np.concatenate([f.numbers for f in part])
    floor = NoiseFloor.estimate(frames, np.array(split.group), settings.seed)
    subsets = [("all", np.ones(len(numbers), dtype=bool))]
    subsets += [(symbol(z), numbers == z) for z in np.unique(numbers).tolist()]
    sizes: dict[str, list[int]] = {}
    for training in trainings:
        sizes.setdefault(training.name, []).append(training.frames)
    counts = {name: round(float(np.mean(of))) for name, of in sizes.items()}
    places = ScalePlaces(
        at=place(rungs, settings.cutoff, long=network.charges),
        longest=place(rungs, network.cutoff, long=network.charges),
        without=place(rungs, network.cutoff, long=False) if network.long_range_optional else None,
        best=best,
    )
    learning = shorter.learning(_learning(trainings), test, places["longest"])
    return {
        "learning": describe_learning(learning, slope=True),
        "choice": {
            "role": settings.role,
            "scored": len(part),
            "groups": len(np.unique(test.block)),
        },
        "questions": questions(settings, counts),
        "trainings": [
            {"name": t.name, "replica": t.replica, "frames": t.frames, "folder": str(t.folder)}
            for t in trainings
        ],
        "forks": [
            {
                "scale": scale_place(rungs, f, settings),
                "replica": f.replica,
                "folder": str(f.folder),
            }
            for f in forks
        ],
        "scales": [{"cutoff": r.cutoff, "long": r.long_range} for r in rungs],
        "single": best,
        "subsets": [
            describe(
                name,
                test.only(member),
                valid,
                numbers[member],
                places,
                floor,
                learning,
                shorter.only(member),
                counts,
                settings,
            )
            for name, member in subsets
        ],
    }


def _steps(trainings: Sequence[Training], name: str) -> int:
    return next(t.progress.step for t in trainings if t.name == name)


def _learning(trainings: Sequence[Training]) -> Learning | None:
    """How far the trainings on all frames came: that which had most left to learn."""
    found = [
        Learning.of(open_potential(t.folder, device="cpu").info)
        for t in trainings
        if t.name == "whole"
    ]
    known = [learning for learning in found if learning is not None]
    return max(known, key=lambda each: each.fall or 0.0) if len(known) == len(found) else None


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
