"""The split: role and group of every structure of one data set, which is identified by its hash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, ValidationError, model_validator

from scalewise.core.errors import InputError, did_you_mean
from scalewise.core.files import read_text, write_json
from scalewise.core.settings import Settings
from scalewise.data.readers import hash_file
from scalewise.data.splits.identity import DataFile, identify
from scalewise.data.structure import Structure

#: The roles every trainer knows; a split may have others, such as 'ood'.
ROLES: Final = ("train", "valid", "test")


class Split(Settings):
    """Role and group of every structure of one data set.

    Attributes
    ----------
    data
        Name, hash and size of the data; the split is refused for data of other content.
    seed, shares
        Seed and shares with which the roles were drawn; no shares if existing roles were kept.
    made
        How the groups and the roles were made, one sentence each.
    role, group
        One entry per structure, in the order of the data. Structures of one group must not be
        separated: they are near-duplicates, or a block of consecutive frames of a trajectory.

    Examples
    --------
    >>> data = DataFile(file="dft.xyz", sha256=64 * "0", frames=3)
    >>> split = Split(data=data, role=("train", "test", "train"), group=(0, 1, 0))
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
    def _consistent(self) -> Split:
        for name, values in (("role", self.role), ("group", self.group)):
            if len(values) != self.data.frames:
                raise ValueError(f"{name} has {len(values)} entries for {self.data.frames} frames")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have structures; train, valid and test come first."""
        known = [r for r in ROLES if r in self.role]
        return (*known, *sorted(set(self.role) - set(ROLES)))

    def members(self, role: str) -> Int[np.ndarray, " members"]:
        """Numbers of the structures of one role [members].

        Raises
        ------
        InputError
            No structure has this role.
        """
        if role not in self.role:
            raise InputError(
                f"split of {self.data.file}",
                f"no frame has the role '{role}'; roles: {', '.join(self.roles)}",
                f"Name one of these with role=... (fit=... in refine)."
                f"{did_you_mean(role, self.roles)}",
            )
        return np.flatnonzero(np.array(self.role) == role)

    def check_count(self, structures: Sequence[Structure]) -> None:
        """Check that the split was made for as many structures as these.

        Raises
        ------
        InputError
            The split was made for another number of structures.
        """
        if len(self.role) != len(structures):
            raise InputError(
                "split",
                f"made for {len(self.role)} structures, but {len(structures)} are given",
                "Give the structures that it was made for, in their order.",
            )

    def leaking_groups(self) -> tuple[int, ...]:
        """Return the numbers of the groups whose structures have more than one role."""
        seen: dict[int, set[str]] = {}
        for group, role in zip(self.group, self.role, strict=True):
            seen.setdefault(group, set()).add(role)
        return tuple(sorted(g for g, roles in seen.items() if len(roles) > 1))

    def save(self, path: Path | str) -> None:
        """Write the split as JSON; a failed write leaves no partial file.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        write_json(Path(path), self.model_dump(mode="json"))

    @classmethod
    def load(
        cls, path: Path | str, *, structures: Sequence[Structure], data: Path | None = None
    ) -> Split:
        """Read a split and check that it was made for exactly these structures.

        Parameters
        ----------
        path
            File with the split, such as ``split.json`` of ``scalewise doctor``.
        structures
            The structures that the split is to be used for.
        data
            The file that holds these structures and no others; default: :func:`identify` finds the
            file, if there is one.

        Raises
        ------
        InputError
            A missing or damaged file; structures of another content or number than those that the
            split was made for.
        """
        split = parse_split(Path(path))
        place = "the data" if data is None else str(data)
        again = (
            "Make it again with make_split, or give the structures that it was made for."
            if data is None
            else f"Run `scalewise doctor {data}` again, or give the file it was run on."
        )
        if split.data.frames != len(structures):
            raise InputError(
                str(path),
                f"made for {split.data.frames} frames of {split.data.file}, but {place} has "
                f"{len(structures)}",
                again,
            )
        found = identify(structures).sha256 if data is None else hash_file(data)
        if found != split.data.sha256:
            raise InputError(
                str(path),
                f"made for {split.data.file} with SHA-256 {split.data.sha256[:12]}…, but {place} "
                f"has {found[:12]}…",
                again,
            )
        return split


def parse_split(path: Path) -> Split:
    """Read a split, of whatever data.

    Raises
    ------
    InputError
        Not a split, or a damaged one.
    """
    try:
        return Split.model_validate_json(
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


def save_below(split: Split, folder: Path) -> Path:
    """Write ``split.json`` to a folder."""
    split.save(folder / "split.json")
    return folder / "split.json"
