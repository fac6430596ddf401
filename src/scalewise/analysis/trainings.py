"""Trainings that are compared: independent jobs, each scored on the machine that trained it.

Each training has a folder of its own. On this machine it is trained there, and an interrupted
training continues. On the workers of a scheduler it is trained in a temporary folder, whose files
are then copied to its folder here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from scalewise.analysis.error_cache import absolute_errors
from scalewise.core.files import replacing, write_json
from scalewise.core.jobs import run_jobs, usable_cores
from scalewise.core.progress import SILENT, Counted, Progress
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.training.run import progress_of, train_in
from scalewise.training.settings import TrainSettings
from scalewise.training.trainer import STATE

#: Below a worker's temporary folder.
RUN: Final = "run"
START: Final = "start"


@dataclass(frozen=True, eq=False)
class Common:
    """What trainings need: structures, and the potentials that some begin from, by ``start``."""

    structures: Sequence[Structure]
    initial: Mapping[Path, Potential] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Scoring:
    """Frames by number, and cutoffs (Å), at which a trained potential is scored; with a name."""

    name: str
    members: tuple[int, ...]
    cutoffs: tuple[float, ...]


@dataclass(frozen=True)
class TrainingTask:
    """One training, where it is kept, and what it is scored on."""

    folder: Path
    split: Split
    settings: TrainSettings
    scoring: tuple[Scoring, ...]

    @property
    def finished(self) -> bool:
        """Whether it is trained; an error where its folder holds something else."""
        if not progress_of(self.folder, self.settings, self.split).finished:
            return False
        return "history" in open_potential(self.folder, device="cpu").info


def train_all(
    common: Common,
    tasks: Sequence[TrainingTask],
    *,
    workers: int,
    on: str | None = None,
    progress: Progress = SILENT,
) -> None:
    """Train and score all tasks; those that are there are used again.

    Parameters
    ----------
    common, tasks
        What to train.
    workers
        Processes on this machine.
    on
        Address of a Dask scheduler, whose workers train instead.
    progress
        Receives messages, and how many trainings are done.

    Raises
    ------
    InputError
        As :func:`scalewise.training.run.train_in`, and as :func:`scalewise.core.jobs.run_jobs`.
    """
    here, away = list(tasks), list[TrainingTask]()
    if on is not None:
        here = [task for task in tasks if task.finished]
        away = [task for task in tasks if not task.finished]
    for _ in progress.track(
        Counted(run_jobs(_train_here, common, here, workers), len(here)), "Training"
    ):
        pass
    found = run_jobs(_train_away, common, away, 1, on)
    for k, files in progress.track(Counted(found, len(away)), "Training"):
        _keep(away[k], files)


def at_a_time(workers: int | None, device: str, processes: int = 1) -> int:
    """Trainings of so many processes beside each other, by default as many as fit the cores.

    A GPU takes one at a time.
    """
    if workers is not None:
        return workers
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return 1 if gpu else max(1, usable_cores() // processes)


def _train_here(common: Common, task: TrainingTask) -> None:
    if not task.finished:
        known = task.settings.fork is not None  # its ladder was trained on the same frames
        train_in(common.structures, task.split, task.settings, task.folder, known=known)
    _score(common, task, task.folder)


def _score(common: Common, task: TrainingTask, folder: Path) -> None:
    for scoring in task.scoring:
        frames = [common.structures[k] for k in scoring.members]
        absolute_errors(folder, frames, scoring.cutoffs, scoring.name, device=common.device)


def _train_away(common: Common, task: TrainingTask) -> dict[str, bytes]:
    """Train in a temporary folder; return the files that were written, by name."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, settings = Path(temporary), task.settings
        if settings.start is not None:
            start = common.initial[settings.start].save(folder / START)
            settings = settings.model_copy(update={"start": start})
        train_in(common.structures, task.split, settings, folder / RUN)
        _score(common, task, folder / RUN)
        files = [p for p in (folder / RUN).rglob("*") if p.is_file()]
        return {p.relative_to(folder / RUN).as_posix(): p.read_bytes() for p in files}


def _keep(task: TrainingTask, files: dict[str, bytes]) -> None:
    """Write what came back; the state last, by which the training is known to be there."""
    for name in sorted(files, key=lambda name: name == STATE):
        target = task.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(files[name])
    write_json(task.folder / "settings.json", task.settings.model_dump(mode="json"))
