"""Train the forks, score them, and judge what range the system needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from scalewise.analysis.error_cache import absolute_errors
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.predict import known
from scalewise.analysis.evaluation.selection import (
    SplitSource,
    model_folder,
    read_selection,
    select_frames,
)
from scalewise.analysis.evaluation.subsets import named_subsets
from scalewise.analysis.forks.judging import Errors, ShorterErrors, judge_subset, longest_of
from scalewise.analysis.forks.plan import (
    Fork,
    ShorterLadder,
    plan,
    plan_shorter,
    scale_of,
    scales_of,
    steps_of,
)
from scalewise.analysis.forks.settings import ForkComparisonSettings
from scalewise.analysis.learning import Learning, describe
from scalewise.analysis.trainings import Common, Scoring, TrainingTask, at_a_time, train_all
from scalewise.core.errors import InputError
from scalewise.core.files import write_json
from scalewise.core.progress import SILENT, Progress
from scalewise.core.wording import already, count
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.models.density.settings import ForkSettings
from scalewise.models.description import ladder_of
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.training.trainer import STATE

UNITS: Final = {
    "cutoff": "Å",
    "mae, each, ladder": "meV/Å, mean over components; of the forks, of each fork, of the ladder",
    "now": "whether the longest scale is needed at this budget: answer, gain (share of the error)",
    "system": "the same at the end of training on these frames",
    "enough": "Å, the shortest cutoff beyond which nothing longer is needed by the system",
    "fall": "logarithm of the error at two thirds of the ladder's steps over that at their end",
    "slope": "by how much the logarithm of the error fell with each doubling of the steps",
    "least": "share of its error that a training without end keeps at least (97.5 %)",
    "interval": "95 %, over groups of frames and trainings",
}


#: Errors of the frames that are scored, beside each model.
SCORED: Final = "scored"


def compare_forks(
    model: Potential,
    structures: Sequence[Structure],
    split: Split | SplitSource | None = None,
    settings: ForkComparisonSettings | None = None,
    out: Path | str = "runs/fork",
    *,
    on: str | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Train each scale of a ladder further, alone, and say which range the system needs.

    All scales are trained from the weights of the ladder for equal numbers of steps (*forks*).

    Parameters
    ----------
    model
        A potential that was trained over a ladder.
    structures
        Structures with labelled forces, eV/Å: those that the potential was trained on, and others
        that are scored.
    split
        Roles of the structures; forks are trained on the role ``train``.
    settings
        Scales and steps of the forks, and the structures that are scored.
    out
        Folder of the analysis. Forks are written below ``out/forks``; finished forks there are used
        again.
    on
        Address of a Dask scheduler whose workers train the forks, such as ``tcp://node1:8786``.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``forks``. ``verdict("all")`` says whether the system needs the longest scale
        instead of the shortest cutoff.

    Raises
    ------
    InputError
        A potential with one scale, or without the settings of its training in ``info``; no split;
        structures without labelled forces; a loss that is not finite.
    """
    settings, out = settings or ForkComparisonSettings(), Path(out)
    scales = scales_of(model, settings)
    frames = list(structures)
    source = split if isinstance(split, SplitSource) else SplitSource.given(split)
    choice = select_frames(frames, settings, source)
    roles = source.trained_on or source.split
    if roles is None:
        raise InputError(
            "split",
            f"nothing says which frames to train on ({source.how})",
            "Give split=split.json, or split_key=... if a frame key holds the roles.",
        )
    model.save(out / "ladder")
    chosen = choice.subsample(settings.frames)
    scored = known(model, [frames[k] for k in chosen])
    trained_on = [frames[k] for k in roles.members("train")]
    forks = plan(
        *(model, out / "ladder", trained_on, settings, scales, out / "forks"),
        replicas=range(settings.seeds),
    )
    shorter = plan_shorter(model, trained_on, settings, out)
    progress.message(_forecast(forks, shorter, model, len(scored)))
    members = tuple(chosen.tolist())
    tasks = [
        TrainingTask(
            f.folder, roles, f.settings, (Scoring(SCORED, members, (scale_of(f).cutoff,)),)
        )
        for f in forks
    ]
    if shorter is not None:
        scoring = (Scoring(SCORED, members, (scales[longest_of(scales)].cutoff,)),)
        tasks.insert(0, TrainingTask(shorter.folder, roles, shorter.settings, scoring))
    workers = at_a_time(settings.workers, settings.device)
    common = Common(frames, {out / "ladder": model}, settings.device)
    train_all(common, tasks, workers=workers, on=on, progress=progress)
    errors = Errors(
        fork_errors(forks, scored, SCORED, settings.device),
        _ladder_errors(out / "ladder", scored, scales, settings.device),
        np.repeat(choice.group[chosen], [len(f.numbers) for f in scored]),
        _shorter_errors(shorter, steps_of(model), scored, scales, settings.device),
    )
    of_all = errors.learning(Learning.of(model.info), longest_of(scales))
    floor = NoiseFloor.estimate(frames, choice.group, settings.seed)
    numbers = np.concatenate([f.numbers for f in scored])
    body = {
        "model": {"name": model.name, "ladder": ladder_of(model)},
        "choice": {
            "roles": list(choice.members),
            "scored": len(scored),
            "how": choice.how,
            "groups": choice.grouped,
        },
        "warnings": list(choice.warnings),
        "learning": describe(of_all, slope=True),
        "training": {
            "steps": steps_of(model),
            "shorter_steps": None if shorter is None else shorter.steps,
            "fork_steps": forks[0].settings.steps,
            "seeds": settings.seeds,
        },
        "scales": [
            {"cutoff": s.cutoff, "long": s.long_range and model.network.settings.charges}
            for s in scales
        ],
        "forks": [{"scale": f.scale, "replica": f.replica, "folder": str(f.folder)} for f in forks],
        "subsets": [
            {"kind": kind, "name": name, "atoms": int(member.sum())}
            | floor.beside(numbers[member])
            | judge_subset(errors.only(member), scales, of_all, settings)
            for kind, name, member in named_subsets(scored, settings.ions)
        ],
    }
    write_json(out / "settings.json", settings.model_dump(mode="json"))
    return Report.made(
        "forks",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(choice.data),
    )


def _forecast(
    forks: Sequence[Fork], shorter: ShorterLadder | None, model: Potential, scored: int
) -> str:
    """What is about to be trained, and what it costs."""
    steps = forks[0].settings.steps or 0
    folders = [f.folder for f in forks] + ([] if shorter is None else [shorter.folder])
    done = sum((folder / STATE).is_file() for folder in folders)
    fewer = 0 if shorter is None else shorter.steps
    second = f" and a second ladder of {count(fewer, 'step')}" if fewer else ""
    share = (len(forks) * steps + fewer) / steps_of(model)
    times = f"{share:.2g}" if share < 10 else f"{share:.0f}"
    return (
        f"{count(len(forks), 'fork')} of {count(steps, 'step')} each{second}, {times} times "
        f"the steps of the ladder's training{already(done)}; then {count(scored, 'frame')} are "
        "scored"
    )


def fork_errors(
    forks: Sequence[Fork], scored: Sequence[Structure], name: str, device: str
) -> Float[np.ndarray, "replicas scales atoms"]:
    """Absolute errors of all forks, eV/Å, which were measured where they were trained.

    ``name`` is that of the scoring.
    """
    found = {}
    for fork in forks:
        cutoffs = [scale_of(fork).cutoff]
        _, errors = absolute_errors(fork.folder, scored, cutoffs, name, device=device)
        found[fork.replica, fork.scale] = errors[0]
    replicas, scales = (sorted(set(of)) for of in zip(*found, strict=True))
    return np.stack([np.stack([found[r, k] for k in scales]) for r in replicas])


def _ladder_errors(
    folder: Path, scored: Sequence[Structure], scales: Sequence[ForkSettings], device: str
) -> Float[np.ndarray, "scales atoms"]:
    """Errors of the ladder that is forked, at the scales of its forks."""
    cutoffs = sorted({s.cutoff for s in scales})
    rungs, errors = absolute_errors(folder, scored, cutoffs, SCORED, device=device)
    has_long = any(rung.long_range for rung in rungs)
    places = [(rung.cutoff, rung.long_range) for rung in rungs]
    found: np.ndarray = errors[
        [places.index((s.cutoff, s.long_range and has_long)) for s in scales]
    ]
    return found


def _shorter_errors(
    shorter: ShorterLadder | None,
    whole: int,
    scored: Sequence[Structure],
    scales: Sequence[ForkSettings],
    device: str,
) -> ShorterErrors | None:
    """Errors of the second ladder, at the longest scale."""
    if shorter is None:
        return None
    longest = [scales[longest_of(scales)]]
    (errors,) = _ladder_errors(shorter.folder, scored, longest, device)
    return ShorterErrors(shorter.steps, whole, errors)


def run_command(request: Request) -> Report:
    """Run ``scalewise fork``: the potential, the file and its split are read here."""
    settings = request.settings
    potential = open_potential(request.model, device=settings.device)
    scales_of(potential, settings)  # complains before anything is read
    folder = model_folder(request.model)
    structures, source = read_selection(folder, request.files[0], settings, request.progress)
    return compare_forks(
        potential,
        structures,
        source,
        settings,
        request.out,
        on=request.options.get("on"),
        progress=request.progress,
    )
