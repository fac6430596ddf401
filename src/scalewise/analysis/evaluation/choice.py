"""Which frames are scored, and which of them are resampled together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.errors import InputError
from scalewise.core.wording import count
from scalewise.data.keys import LabelKeys, Say
from scalewise.data.reading import read_structures
from scalewise.data.splits import DataFile, Split, read_groups, read_roles
from scalewise.data.structure import Structure
from scalewise.models import checkpoint

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


def read_selection(
    model: Path, data: Path, settings: SelectionSettings, say: Say = lambda _: None
) -> tuple[list[Structure], FrameSelection]:
    """Read the frames of a file, and choose those that are scored, as :func:`select_frames`.

    Raises
    ------
    InputError
        Whatever is wrong with the data, the split or the settings.
    """
    frames = read_structures(data, LabelKeys.of(settings), say=say)
    return frames, select_frames(data, frames, settings, model)


def select_frames(
    path: Path, frames: Sequence[Structure], settings: SelectionSettings, model: Path
) -> FrameSelection:
    """Choose frames by the split given, else by the one beside the model, else all.

    Parameters
    ----------
    path, frames
        The file, and all its frames.
    settings
        ``split``, ``split_key``, ``role``, ``group_key``, ``block``.
    model
        Folder of a potential, or of the run that trained it and left its split there.

    Raises
    ------
    InputError
        A split of other data; a role that no frame has; a frame without the key.
    """
    beside = checkpoint.locate(model).resolve().parent
    data = DataFile.of(path, len(frames))
    split, how, unread = _find(path, frames, settings, beside, data)
    if split is None and settings.role not in (None, (EVERY,)):
        raise InputError(
            f"role '{', '.join(settings.role or ())}'",
            f"nothing says which frames have it ({how})",
            "Give split=split.json, or split_key=... if a frame key holds the roles.",
        )
    roles = settings.role or (("test",) if split is not None else (EVERY,))
    members = {
        role: np.arange(len(frames))
        if split is None or (role == EVERY and EVERY not in split.role)
        else split.members(role)
        for role in roles
    }
    group, grouped = _group(frames, settings, split)
    # blocks of a trajectory are no near-duplicates, only groups that somebody named are
    twins = np.arange(len(frames)) if split is None else np.array(split.group)
    if settings.group_key is not None:
        twins = group
    train, known = _trained(path, frames, beside, split)
    warnings = _leaks(members, twins, train, known)
    if unread is not None and settings.split is None and settings.split_key is None:
        warnings += (f"{unread}: frames of the training may be among these",)
    return FrameSelection(data, members, group, how, grouped, warnings)


def _find(
    path: Path,
    frames: Sequence[Structure],
    settings: SelectionSettings,
    beside: Path,
    data: DataFile,
) -> tuple[Split | None, str, str | None]:
    """The split, where it is from, and why the one beside the model was not used."""
    if settings.split is not None:
        split = Split.load(settings.split, structures=frames, data=path)
        return split, f"roles of {settings.split}", None
    if settings.split_key is not None:
        roles = tuple(read_roles(frames, settings.split_key))
        # groups of one frame: a frame key of roles says nothing about groups
        split = Split(data=data, role=roles, group=tuple(range(len(frames))))
        return split, f"roles in the frame key '{settings.split_key}'", None
    found = beside / SPLIT
    if not found.is_file():
        return None, "no split given and none beside the model", None
    try:
        split = Split.load(found, structures=frames, data=path)
    except InputError as error:
        # not asked for by the user: a model may be tested on any file
        reason = f"{SPLIT} beside the model was not used ({error.found})"
        return None, reason, reason
    return split, f"roles of {SPLIT} beside the model", None


def _group(
    frames: Sequence[Structure], settings: SelectionSettings, split: Split | None
) -> tuple[np.ndarray, str]:
    if settings.group_key is not None:
        return read_groups(frames, settings.group_key), f"frame key '{settings.group_key}'"
    if split is not None and len(set(split.group)) < len(split.group):
        return np.array(split.group), "groups of the split"
    # neighbors in a trajectory are alike, and groups of one frame do not know that
    return np.arange(len(frames)) // settings.block, f"blocks of {settings.block} frames"


def _trained(
    path: Path, frames: Sequence[Structure], beside: Path, split: Split | None
) -> tuple[np.ndarray, bool]:
    """Frames that the model was trained on, by the split beside it, else by the one given.

    Also whether it was the one beside it, so that it is known.
    """
    known = False
    with contextlib.suppress(InputError):  # none, or of another file
        split = Split.load(beside / SPLIT, structures=frames, data=path)
        known = True
    if split is None or "train" not in split.role:
        return np.zeros(0, dtype=int), known
    return split.members("train"), known


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
            found.append(f"{count(trained, 'frame')} {of} trained on")
        elif trained:
            found.append(
                f"{count(trained, 'frame')} {of} to train on by the split given: whether the model "
                "was trained on them is not known"
            )
        if twins:
            found.append(f"{count(twins, 'frame')} {of} in a group with frames to train on")
    return tuple(found)
