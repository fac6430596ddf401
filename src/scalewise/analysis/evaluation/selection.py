"""Which frames are scored, and which of them are resampled together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress
from scalewise.core.wording import count
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_structures
from scalewise.data.splits import DataFile, Split, identify, read_groups, read_roles
from scalewise.data.splits.split import parse_split
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.statistics.bootstrap import FEWEST_GROUPS

#: The name of "every frame" where a role is asked for.
EVERY: Final = "all"
SPLIT: Final = "split.json"


@dataclass(frozen=True, eq=False)
class FrameSelection:
    """Frames by role, and the bootstrap group of every frame of the file.

    Attributes
    ----------
    data
        The file's name, hash and number of frames.
    members
        Frame numbers of each role that is scored.
    group
        Of every frame of the file [frames].
    how, grouped
        Where the roles and the groups come from.
    warnings
        What makes the errors look better than they are.
    """

    data: DataFile
    members: Mapping[str, Int[np.ndarray, " members"]]
    group: Int[np.ndarray, " frames"]
    how: str
    grouped: str
    warnings: tuple[str, ...] = ()

    @property
    def scored(self) -> Int[np.ndarray, " scored"]:
        """Numbers of all frames that are scored, once each, in the order of the file."""
        return np.unique(np.concatenate(list(self.members.values())))

    def subsample(self, most: int | None) -> Int[np.ndarray, " chosen"]:
        """At most so many of the scored frames, evenly spread over the file; none: all of them."""
        return subsample(self.scored, most)


def subsample(members: Int[np.ndarray, " members"], most: int | None) -> Int[np.ndarray, " chosen"]:
    """At most so many of the members, evenly spread over them; none: all of them.

    Examples
    --------
    >>> subsample(np.arange(10, 20), 4).tolist(), subsample(np.arange(3), None).tolist()
    ([10, 13, 16, 19], [0, 1, 2])
    """
    if most is None or most >= len(members):
        return members
    return members[np.linspace(0, len(members) - 1, most).round().astype(int)]


def model_folder(model: str | Path | None) -> Path | None:
    """Folder of a potential or of its run, where a model is one: a split may lie there."""
    path = None if model is None else Path(model)
    return path if path is not None and path.is_dir() else None


@dataclass(frozen=True, eq=False)
class SplitSource:
    """A split, its origin, and the split with which the model was trained.

    Attributes
    ----------
    split
        Roles and groups of all structures; none: not known.
    how
        Origin of the split, for reports.
    trained_on
        Split with which the model was trained; none: not known.
    unread
        Reason why a split beside the model was not used; none: there is no such split.
    """

    split: Split | None = None
    how: str = "no split given"
    trained_on: Split | None = None
    unread: str | None = None

    @classmethod
    def given(cls, split: Split | None, trained_on: Split | None = None) -> SplitSource:
        """The source of a split in memory; models are taken to be trained on its training role."""
        if split is None:
            return cls()
        return cls(split, "roles of the split given", trained_on or split)


def read_selection(
    model: Path | None, data: Path, settings: SelectionSettings, progress: Progress = SILENT
) -> tuple[list[Structure], SplitSource]:
    """Read the structures of a file, and find the split that goes with them.

    Raises
    ------
    InputError
        Whatever is wrong with the data, the split or the settings.
    """
    progress.message(f"Reading {data}")
    structures = read_structures(data, LabelKeys.of(settings), progress=progress)
    return structures, find_split(data, structures, settings, model)


def find_split(
    path: Path, structures: Sequence[Structure], settings: SelectionSettings, model: Path | None
) -> SplitSource:
    """Find the split: the one that is given, else the one beside the model.

    Parameters
    ----------
    path, structures
        The file, and all that is in it.
    settings
        ``split``, ``split_key``.
    model
        Folder of a potential, or of the run that trained it and left its split there.

    Raises
    ------
    InputError
        A split of other data; a structure without the key.
    """
    beside = None if model is None else checkpoint.locate(model).resolve().parent / SPLIT
    trained_on, unread = None, None
    if beside is not None and beside.is_file():
        try:
            trained_on = Split.load(beside, structures=structures, data=path)
        except InputError as error:
            if settings.split is None and settings.split_key is None:
                _check_whole(beside)
            # not asked for by the user: a model may be tested on any file
            unread = f"{SPLIT} beside the model was not used ({error.found})"
    if settings.split is not None:
        split = Split.load(settings.split, structures=structures, data=path)
        return SplitSource(split, f"roles of {settings.split}", trained_on)
    if settings.split_key is not None:
        return replace(_of_key(structures, settings.split_key), trained_on=trained_on)
    if trained_on is not None:
        return SplitSource(trained_on, f"roles of {SPLIT} beside the model", trained_on)
    return SplitSource(None, unread or "no split given and none beside the model", None, unread)


def _check_whole(path: Path) -> None:
    """Refuse a damaged split: which frames the model was trained on would not be known."""
    try:
        parse_split(path)
    except InputError as error:
        remedy = "Restore it, or name the roles with split=... or split_key=..."
        raise InputError(str(path), error.found, remedy) from None


def _of_key(structures: Sequence[Structure], key: str) -> SplitSource:
    # groups of one structure: a key of roles says nothing about groups
    split = Split(
        data=identify(structures),
        role=tuple(read_roles(structures, key)),
        group=tuple(range(len(structures))),
    )
    return SplitSource(split, f"roles in the frame key '{key}'")


def select_frames(
    structures: Sequence[Structure],
    settings: SelectionSettings,
    source: SplitSource,
    *,
    forces: bool = True,
) -> FrameSelection:
    """Choose the structures of the roles asked for; all of them without a split.

    Parameters
    ----------
    structures
        All structures of the data.
    settings
        ``role``, ``split_key``, ``group_key``, ``block``.
    source
        The split, and the one of the training.
    forces
        Frames without labelled forces are left out, and it is said how many; else, frames without
        any label.

    Raises
    ------
    InputError
        A role that no structure has, or none with such labels; a structure without a key.
    """
    if source.split is None and settings.split is not None:
        given = Split.load(settings.split, structures=structures)
        source = replace(source, split=given, how=f"roles of {settings.split}")
    if source.split is None and settings.split_key is not None:
        source = replace(_of_key(structures, settings.split_key), trained_on=source.trained_on)
    split = source.split
    if split is None and settings.role not in (None, (EVERY,)):
        raise InputError(
            f"role '{', '.join(settings.role or ())}'",
            f"nothing says which frames have it ({source.how})",
            "Give split=split.json, or split_key=... if a frame key holds the roles.",
        )
    if split is not None:
        split.check_count(structures)
    roles = settings.role or (("test",) if split is not None else (EVERY,))
    members = {
        role: np.arange(len(structures))
        if split is None or (role == EVERY and EVERY not in split.role)
        else split.members(role)
        for role in roles
    }
    members, unlabelled = _with_labels(structures, members, forces=forces)
    group, grouped = _group(structures, settings, split)
    # blocks of a trajectory are no near-duplicates, only groups that somebody named are
    twins = np.arange(len(structures)) if split is None else np.array(split.group)
    if settings.group_key is not None:
        twins = group
    training = source.trained_on or split
    known = source.trained_on is not None
    train = np.zeros(0, dtype=int)
    if training is not None and "train" in training.role:
        train = training.members("train")
    warnings = (*unlabelled, *_leaks(members, twins, train, known))
    if source.unread is not None and split is None:
        warnings += (f"{source.unread}: frames of the training may be among these",)
    data = identify(structures) if split is None else split.data
    left = [] if split is None or EVERY in roles else [r for r in split.roles if r not in roles]
    how = source.how
    if further := [r for r in left if r not in ("train", "valid")]:
        how += f"; not scored: {', '.join(further)}"
    drawn = len(np.unique(group[np.unique(np.concatenate(list(members.values())))]))
    if drawn < FEWEST_GROUPS:
        warnings += (
            f"frames of {drawn} independent {'group' if drawn == 1 else 'groups'} "
            f"({grouped}): intervals need {FEWEST_GROUPS} or more",
        )
    return FrameSelection(data, members, group, how, f"{drawn} {grouped}", warnings)


def _with_labels(
    structures: Sequence[Structure],
    members: Mapping[str, np.ndarray],
    *,
    forces: bool,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Members of each role that have labels, and how many have none."""
    what = "labelled forces" if forces else "a label"
    kept, said = {}, []
    for role, numbers in members.items():
        labels = [structures[k].labels for k in numbers.tolist()]
        has = [
            x.forces is not None or (not forces and (x.energy is not None or x.stress is not None))
            for x in labels
        ]
        kept[role] = numbers[np.array(has, dtype=bool)]
        if not any(has):
            raise InputError(
                structures[0].source,
                f"no frame of '{role}' has {what}",
                "Name what holds them with forces_key"
                + ", energy_key or stress_key" * (not forces)
                + ", or give another role.",
            )
        if not all(has):
            lacking = len(has) - sum(has)
            said.append(f"{count(lacking, 'frame')} of '{role}' without {what} left out")
    return kept, tuple(said)


def _group(
    frames: Sequence[Structure], settings: SelectionSettings, manifest: Split | None
) -> tuple[np.ndarray, str]:
    if settings.group_key is not None:
        group = read_groups(frames, settings.group_key)
        return group, f"values of the frame key '{settings.group_key}'"
    if manifest is not None and len(set(manifest.group)) < len(manifest.group):
        return np.array(manifest.group), "groups of the split"
    # neighbors in a trajectory are alike, and groups of one frame do not know that
    return np.arange(len(frames)) // settings.block, f"blocks of {settings.block} frames"


def _leaks(
    members: Mapping[str, np.ndarray], group: np.ndarray, train: np.ndarray, known: bool
) -> tuple[str, ...]:
    """What makes errors look too good; ``known``: the model was trained on ``train``."""
    seen = set(group[train].tolist())
    found = []
    for role, frames in members.items():
        if role == "train":
            continue
        trained = int(np.isin(frames, train).sum())
        twins = sum(g in seen for g in group[frames].tolist()) - trained
        of = f"of {len(frames)} of '{role}'"
        if trained and known:
            found.append(f"{count(trained, 'frame')} {of} were trained on")
        elif trained:
            found.append(
                f"{count(trained, 'frame')} {of} to train on by the split given: whether the model "
                "was trained on them is not known"
            )
        if twins:
            found.append(f"{count(twins, 'frame')} {of} in a group with frames to train on")
    return tuple(found)
