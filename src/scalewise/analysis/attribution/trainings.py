"""The trainings of a proof: all frames, half and a quarter of them, and half the channels.

Every one is a ladder, so that one training gives the error at every scale. Smaller sets hold whole
groups, are nested, and are drawn anew for each replica: which frames a half happens to hold is
luck, too. Frames that a training does not see have a role of their own.

The first training, on all frames, has the budget that was asked for. All others get as many steps
and validations as it came to: fewer frames are seen more often, and not trained less, and a machine
that is busy at one time and idle at another does not decide what is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from scalewise.analysis.attribution.settings import SHARES, AttributionSettings
from scalewise.core.errors import InputError
from scalewise.data.manifest import SplitManifest, write_manifest
from scalewise.data.structure import Structure
from scalewise.training.log import read_lines
from scalewise.training.run import progress_of
from scalewise.training.settings import TrainSettings
from scalewise.training.state import Progress

#: Role of training frames that a smaller set leaves out.
SPARE: Final = "spare"


@dataclass(frozen=True)
class Training:
    """One training: which set-up, which seed, where, its settings and the roles of its frames."""

    name: str
    replica: int
    folder: Path
    settings: TrainSettings
    split: SplitManifest

    @property
    def frames(self) -> int:
        """How many frames it is trained on."""
        return len(self.split.members("train"))

    @property
    def progress(self) -> Progress:
        """How far it is; an error where its folder holds something else."""
        return progress_of(self.folder, self.settings, self.split)

    def like(self, first: Training) -> Training:
        """The same with as many steps and validations as another training has made.

        Raises
        ------
        InputError
            The other's state or log is damaged.
        """
        path = first.folder / "log.csv"
        remedy = f"Delete {first.folder}: it is trained again."
        lines = read_lines(path, remedy)
        if None in lines:
            raise InputError(str(path), f"damaged (line {lines.index(None) + 2})", remedy)
        budget = {
            "minutes": None,
            "steps": first.progress.step,
            "validations": max(len(lines), 1),
        }
        return replace(self, settings=self.settings.model_copy(update=budget))


def reduced(
    manifest: SplitManifest, share: float, seed: int, frames: Sequence[Structure] = ()
) -> SplitManifest:
    """Leave whole groups of training frames out, until about a share is left; sets are nested.

    The group that crosses the share stays if that comes nearer to it. Groups that hold the first
    frame of an element, where ``frames`` are given, are left out last: a network must know all.
    """
    train = manifest.members("train")
    group = np.array(manifest.group)
    order = np.random.default_rng(seed).permutation(np.unique(group[train]))
    order = _elements_first(order, group, train, frames)
    sizes = np.cumsum([int((group[train] == g).sum()) for g in order])
    kept = int(np.abs(sizes - share * len(train)).argmin()) + 1
    left_out = np.isin(group, order[kept:])
    role = np.array(manifest.role)
    role[left_out & (role == "train")] = SPARE
    return manifest.model_copy(update={"role": tuple(role.tolist())})


def _elements_first(
    order: np.ndarray, group: np.ndarray, train: np.ndarray, frames: Sequence[Structure]
) -> np.ndarray:
    """Move groups to the front that hold an element which none before them does."""
    if not frames:
        return order
    held: dict[int, set[int]] = {}
    for k in train.tolist():
        held.setdefault(int(group[k]), set()).update(frames[k].numbers.tolist())
    seen: set[int] = set()
    first = []
    for g in order.tolist():
        if not held[g] <= seen:
            first.append(g)
            seen |= held[g]
    return np.array([*first, *(g for g in order.tolist() if g not in first)])


def plan(
    manifest: SplitManifest, frames: Sequence[Structure], settings: AttributionSettings, out: Path
) -> list[Training]:
    """Write the splits below ``out`` and list all trainings, those of all frames first.

    All have the budget of the settings; :meth:`Training.like` gives them that of the first.

    Raises
    ------
    InputError
        Too few groups of training frames for sets of three sizes.
    """
    half = {"channels": settings.network.channels // 2, "hidden": settings.network.hidden // 2}
    networks = {"narrow": settings.network.model_copy(update=half)}
    found = []
    for name in ("whole", "narrow", *SHARES):
        for replica in range(settings.replicas):
            chosen, place = manifest, "split-whole.json"
            if name in SHARES:
                chosen = reduced(manifest, SHARES[name], settings.seed + replica, frames)
                place = f"split-{name}-{replica}.json"
            write_manifest(out / place, chosen)
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
    _check_sizes(manifest, found)
    return found


def _check_sizes(manifest: SplitManifest, trainings: Sequence[Training]) -> None:
    sizes = {(t.name, t.replica): t.frames for t in trainings}
    names = ("whole", *reversed(SHARES))
    for replica in {t.replica for t in trainings}:
        kept = [sizes[name, replica] for name in names]
        if sorted(set(kept), reverse=True) != kept:
            train = manifest.members("train")
            groups = len({manifest.group[k] for k in train.tolist()})
            raise InputError(
                f"training frames of {manifest.data.file}",
                f"{len(train)} in {groups} groups, of which sets of {kept[1]} and {kept[2]} "
                "frames can be made",
                "Half and a quarter of them must differ: give more frames, or smaller groups with "
                "data.group_key.",
            )
