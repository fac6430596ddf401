"""Which frames are scored, and which of them are resampled together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int

from scalewise import checkpoint
from scalewise.data.frames import Frame, read
from scalewise.data.manifest import DataFile, SplitManifest, hash_file, read_manifest
from scalewise.doctor.split import read_groups, read_roles
from scalewise.errors import InputError
from scalewise.evaluation.settings import Scored

#: The name of "every frame" where a role is asked for.
EVERY: Final = "all"
SPLIT: Final = "split.json"


@dataclass(frozen=True, eq=False)
class Choice:
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

    def spread(self, most: int | None) -> Int[np.ndarray, " chosen"]:
        """At most so many of the scored frames, evenly spread over the file; none: all of them."""
        return spread(self.scored, most)


def spread(members: Int[np.ndarray, " members"], most: int | None) -> Int[np.ndarray, " chosen"]:
    """At most so many of the members, evenly spread over them; none: all of them.

    Examples
    --------
    >>> spread(np.arange(10, 20), 4).tolist(), spread(np.arange(3), None).tolist()
    ([10, 13, 16, 19], [0, 1, 2])
    """
    if most is None or most >= len(members):
        return members
    return members[np.linspace(0, len(members) - 1, most).round().astype(int)]


def read_chosen(model: Path, data: Path, settings: Scored) -> tuple[list[Frame], Choice]:
    """Read the frames of a file, and choose those that are scored, as :func:`choose`.

    Raises
    ------
    InputError
        Whatever is wrong with the data, the split or the settings.
    """
    frames = read(
        data,
        forces_key=settings.forces_key,
        energy_key=settings.energy_key,
        stress_key=settings.stress_key,
        check_units=settings.check_units,
    )
    return frames, choose(data, frames, settings, checkpoint.locate(model).resolve().parent)


def choose(path: Path, frames: Sequence[Frame], settings: Scored, beside: Path) -> Choice:
    """Choose frames by the split given, else by the one beside the model, else all.

    Parameters
    ----------
    path, frames
        The file, and all its frames.
    settings
        ``split``, ``split_key``, ``role``, ``group_key``, ``block``.
    beside
        Folder in which the training of the model left its split.

    Raises
    ------
    InputError
        A split of other data; a role that no frame has; a frame without the key.
    """
    data = DataFile(file=path.name, sha256=hash_file(path), frames=len(frames))
    manifest, how = _find(path, frames, settings, beside, data)
    if manifest is None and settings.role not in (None, (EVERY,)):
        raise InputError(
            "key 'role'",
            f"'{', '.join(settings.role or ())}', but nothing says which frames have it ({how})",
            "Give split=split.json, or split_key=... if a frame key holds the roles.",
        )
    roles = settings.role or (("test",) if manifest is not None else (EVERY,))
    members = {
        role: np.arange(len(frames))
        if manifest is None or (role == EVERY and EVERY not in manifest.role)
        else manifest.members(role)
        for role in roles
    }
    group, grouped = _group(frames, settings, manifest)
    # blocks of a trajectory are no near-duplicates, only groups that somebody named are
    twins = np.arange(len(frames)) if manifest is None else np.array(manifest.group)
    if settings.group_key is not None:
        twins = group
    warnings = _leaks(members, twins, _trained(path, frames, beside, manifest))
    return Choice(data, members, group, how, grouped, warnings)


def _find(
    path: Path, frames: Sequence[Frame], settings: Scored, beside: Path, data: DataFile
) -> tuple[SplitManifest | None, str]:
    n = len(frames)
    if settings.split is not None:
        return read_manifest(settings.split, data=path, frames=n), f"roles of {settings.split}"
    if settings.split_key is not None:
        roles = tuple(read_roles(frames, settings.split_key))
        # groups of one frame: a frame key of roles says nothing about groups
        manifest = SplitManifest(data=data, role=roles, group=tuple(range(n)))
        return manifest, f"roles in the frame key '{settings.split_key}'"
    found = beside / SPLIT
    if not found.is_file():
        return None, "no split given and none beside the model"
    try:
        return read_manifest(found, data=path, frames=n), f"roles of {SPLIT} beside the model"
    except InputError:
        # not asked for by the user: a model may be tested on any file
        return None, f"{SPLIT} beside the model is of another file"


def _group(
    frames: Sequence[Frame], settings: Scored, manifest: SplitManifest | None
) -> tuple[np.ndarray, str]:
    if settings.group_key is not None:
        return read_groups(frames, settings.group_key), f"frame key '{settings.group_key}'"
    if manifest is not None and len(set(manifest.group)) < len(manifest.group):
        return np.array(manifest.group), "groups of the split"
    # neighbours in a trajectory are alike, and groups of one frame do not know that
    return np.arange(len(frames)) // settings.block, f"blocks of {settings.block} frames"


def _trained(
    path: Path, frames: Sequence[Frame], beside: Path, manifest: SplitManifest | None
) -> np.ndarray:
    """Frames that the model was trained on, by the split beside it, else by the one given."""
    with contextlib.suppress(InputError):  # none, or of another file
        manifest = read_manifest(beside / SPLIT, data=path, frames=len(frames))
    if manifest is None or "train" not in manifest.role:
        return np.zeros(0, dtype=int)
    return manifest.members("train")


def _leaks(
    members: Mapping[str, np.ndarray], group: np.ndarray, train: np.ndarray
) -> tuple[str, ...]:
    seen = set(group[train].tolist())
    found = []
    for role, frames in members.items():
        if role == "train":
            continue
        trained = np.isin(frames, train).sum()
        twins = sum(g in seen for g in group[frames].tolist()) - trained
        if trained:
            found.append(f"{trained} of the {len(frames)} frames of '{role}' were trained on")
        if twins:
            found.append(f"{twins} frames of '{role}' have near-duplicates in the training frames")
    return tuple(found)
