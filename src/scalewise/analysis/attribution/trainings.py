"""The trainings of an attribution, which differ in frames, channels or steps.

There are trainings on all frames, on half and on a quarter of them, with half the channels, and
with a fifth of the steps. Each is a ladder, so that one training gives the error at every scale.
Smaller sets of frames consist of whole groups and are nested. They are drawn again for each
replica, so that the variance due to the choice of frames is included. Frames that a training does
not use have a role of their own.

The first training, on all frames, has the budget of the settings. All others make as many steps and
validations as the first; if time or errors end the first training early, as many as it made. All
sizes of the data are therefore trained for equal numbers of steps, and the load of the machine does
not influence the answers. The trainings with a fifth of the steps show how fast the error falls
with the number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scalewise.analysis.attribution.settings import SHARES, SHORT, AttributionSettings
from scalewise.core.errors import InputError
from scalewise.data.splits import Split, reduced
from scalewise.data.structure import Structure
from scalewise.training.dataset import frames_per_step
from scalewise.training.log import read_lines
from scalewise.training.run import progress_of
from scalewise.training.settings import TrainSettings
from scalewise.training.state import TrainingProgress


@dataclass(frozen=True)
class Training:
    """One training: which set-up, which seed, where, its settings and the roles of its frames."""

    name: str
    replica: int
    folder: Path
    settings: TrainSettings
    split: Split

    @property
    def frames(self) -> int:
        """How many frames it is trained on."""
        return len(self.split.members("train"))

    @property
    def progress(self) -> TrainingProgress:
        """How far it is; an error where its folder holds something else."""
        return progress_of(self.folder, self.settings, self.split)

    @property
    def steps(self) -> int | None:
        """Steps that its budget comes to; none where the clock or the errors end it."""
        given = self.settings
        if given.minutes is not None or given.patience is not None or given.batch_size is None:
            return None
        return given.steps or given.epochs * (self.frames // (given.batch_size * given.processes))

    def like(self, first: Training) -> Training:
        """The same with the steps and validations that another training has, or has made.

        Those of fewer steps have a share of them. Nothing else ends it: its schedule is its steps'.

        Raises
        ------
        InputError
            The other's state or log is damaged.
        """
        share = SHORT if self.name == "short" else 1.0
        if first.steps is not None:
            steps = max(1, round(share * first.steps))
            return replace(self, settings=self.settings.model_copy(update={"steps": steps}))
        path = first.folder / "log.csv"
        remedy = f"Delete {first.folder}: it is trained again."
        lines = read_lines(path, remedy)
        if None in lines:
            raise InputError(str(path), f"damaged (line {lines.index(None) + 2})", remedy)
        budget = {
            "minutes": None,
            "patience": None,
            "steps": max(1, round(share * first.progress.step)),
            "validations": max(len(lines), 1),
        }
        return replace(self, settings=self.settings.model_copy(update=budget))


def plan(
    split: Split, frames: Sequence[Structure], settings: AttributionSettings, out: Path
) -> list[Training]:
    """Write the splits below ``out`` and list all trainings, those of all frames first.

    All have the budget of the settings; :meth:`Training.like` gives them that of the first, or a
    share of it. Their steps have equally many frames.

    Raises
    ------
    InputError
        Too few groups of training frames for sets of three sizes.
    """
    half = {"channels": settings.network.channels // 2, "hidden": settings.network.hidden // 2}
    networks = {"narrow": settings.network.model_copy(update=half)}
    found = []
    for name in ("whole", "narrow", *SHARES, "short"):
        for replica in range(settings.replicas):
            chosen, place = split, "split-whole.json"
            if name in SHARES:
                chosen = reduced(split, SHARES[name], settings.seed + replica, frames)
                place = f"split-{name}-{replica}.json"
            chosen.save(out / place)
            data = settings.data.model_copy(
                update={"split": out / place, "split_key": None, "group_key": None}
            )
            own = {
                "data": data,
                "seed": settings.seed + replica,
                "network": networks.get(name, settings.network),
            }
            folder = out / "trainings" / f"{name}-{replica}"
            words = settings.training.model_copy(update=own)
            found.append(Training(name, replica, folder, words, chosen))
    _check_sizes(split, found)
    return _with_equal_steps(found, frames)


def _with_equal_steps(trainings: Sequence[Training], frames: Sequence[Structure]) -> list[Training]:
    """The trainings with as many frames in a step as the smallest set of them has by default."""

    def size(training: Training) -> int:
        members = [frames[k] for k in training.split.members("train")]
        return frames_per_step(members, training.settings.processes)

    first = trainings[0].settings.batch_size
    update = {"batch_size": first or min(size(t) for t in trainings)}
    return [replace(t, settings=t.settings.model_copy(update=update)) for t in trainings]


def _check_sizes(split: Split, trainings: Sequence[Training]) -> None:
    sizes = {(t.name, t.replica): t.frames for t in trainings}
    names = ("whole", *reversed(SHARES))
    for replica in {t.replica for t in trainings}:
        kept = [sizes[name, replica] for name in names]
        if sorted(set(kept), reverse=True) != kept:
            train = split.members("train")
            groups = len({split.group[k] for k in train.tolist()})
            raise InputError(
                f"training frames of {split.data.file}",
                f"{len(train)} in {groups} groups, of which sets of {kept[1]} and {kept[2]} "
                "frames can be made",
                "Half and a quarter of them must differ: give more frames, or smaller groups with "
                "data.group_key.",
            )
