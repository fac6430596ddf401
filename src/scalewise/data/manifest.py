"""A split on disk: the role and the group of every frame, tied to the data file by its hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, ValidationError, model_validator

from scalewise.core.errors import InputError, did_you_mean
from scalewise.core.files import read_text, write_json
from scalewise.core.settings import Settings

#: The roles every trainer knows; a manifest may hold others, such as 'ood'.
ROLES: Final = ("train", "valid", "test")


class DataFile(Settings):
    """The file that a manifest speaks of: its name, hash and number of frames."""

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    frames: int = Field(ge=1)


class SplitManifest(Settings):
    """Role and group of every frame of one file.

    Attributes
    ----------
    data
        The file; a manifest is refused for any other content.
    seed, shares
        What the roles were drawn with; no shares where an existing split was kept.
    made
        How the groups and the roles were made, one sentence each.
    role, group
        One entry per frame, in the order of the file. Frames of one group are near-duplicates.

    Examples
    --------
    >>> data = DataFile(file="dft.xyz", sha256=64 * "0", frames=3)
    >>> split = SplitManifest(data=data, role=("train", "test", "train"), group=(0, 1, 0))
    >>> split.members("train").tolist()
    [0, 2]
    """

    kind: Literal["scalewise split"] = "scalewise split"
    schema_number: Literal[1] = 1
    data: DataFile
    seed: int = Field(0, ge=0)
    shares: dict[str, float] = Field(default_factory=dict)
    made: dict[str, str] = Field(default_factory=dict)
    role: tuple[str, ...]
    group: tuple[int, ...]

    @model_validator(mode="after")
    def _consistent(self) -> SplitManifest:
        for name, values in (("role", self.role), ("group", self.group)):
            if len(values) != self.data.frames:
                raise ValueError(f"{name} has {len(values)} entries for {self.data.frames} frames")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have frames, the usual ones first."""
        known = [r for r in ROLES if r in self.role]
        return (*known, *sorted(set(self.role) - set(ROLES)))

    def members(self, role: str) -> Int[np.ndarray, " members"]:
        """Frame numbers of one role.

        Raises
        ------
        InputError
            No frame has this role.
        """
        if role not in self.role:
            raise InputError(
                f"split of {self.data.file}",
                f"no frame has the role '{role}'; roles: {', '.join(self.roles)}",
                f"Name one of these with role=... (fit=... in refine)."
                f"{did_you_mean(role, self.roles)}",
            )
        return np.flatnonzero(np.array(self.role) == role)

    def leaking_groups(self) -> tuple[int, ...]:
        """Groups whose frames have more than one role."""
        seen: dict[int, set[str]] = {}
        for group, role in zip(self.group, self.role, strict=True):
            seen.setdefault(group, set()).add(role)
        return tuple(sorted(g for g, roles in seen.items() if len(roles) > 1))


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), reason, "Give the path of an extxyz file.") from None


def write_manifest(path: Path, manifest: SplitManifest) -> None:
    """Write a manifest as JSON, whole or not at all."""
    write_json(path, manifest.model_dump(mode="json"))


def read_manifest(path: Path, *, data: Path, frames: int) -> SplitManifest:
    """Read a manifest and assert that it was made for this very file.

    Parameters
    ----------
    path
        The manifest, such as ``split.json`` of ``scalewise doctor``.
    data
        The extxyz file that is about to be split.
    frames
        How many frames were read from ``data``.

    Raises
    ------
    InputError
        Missing or damaged manifest; another content or number of frames than it was made for.
    """
    manifest = _parse(path)
    again = f"Run `scalewise doctor {data}` again, or give the file it was run on."
    if manifest.data.frames != frames:
        raise InputError(
            str(path),
            f"made for {manifest.data.frames} frames of {manifest.data.file}, but {data} has "
            f"{frames}",
            again,
        )
    found = hash_file(data)
    if found != manifest.data.sha256:
        raise InputError(
            str(path),
            f"made for {manifest.data.file} with SHA-256 {manifest.data.sha256[:12]}…, but {data} "
            f"has {found[:12]}…",
            again,
        )
    return manifest


def _parse(path: Path) -> SplitManifest:
    try:
        return SplitManifest.model_validate_json(
            read_text(path, "Give the split.json that `scalewise doctor` wrote.")
        )
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = "not text"
        if first is not None:
            key = ".".join(str(part) for part in first["loc"])
            reason = f"key '{key}': {first['msg']}" if key else first["msg"]
        raise InputError(
            str(path), f"not a split manifest ({reason})", "Write it again with `scalewise doctor`."
        ) from None
