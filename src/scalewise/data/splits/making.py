"""How every command makes a split of structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Int
from pydantic import ValidationError

from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress
from scalewise.data.duplicates import Duplicates, find_duplicates
from scalewise.data.references import is_isolated_atom
from scalewise.data.shards import ShardedStructures, numbers_of
from scalewise.data.split_settings import SplitSettings
from scalewise.data.splits.dealing import deal_groups, divide_large
from scalewise.data.splits.identity import DataFile, identify
from scalewise.data.splits.reading import find_roles, read_groups, read_roles
from scalewise.data.splits.split import Split
from scalewise.data.splits.time import follows_time
from scalewise.data.structure import Structure

_DEFAULT: Final = SplitSettings()


def make_split(
    structures: Sequence[Structure],
    *,
    seed: int = _DEFAULT.seed,
    valid: float = _DEFAULT.valid,
    test: float = _DEFAULT.test,
    group_key: str | None = _DEFAULT.group_key,
    role_key: str | None = _DEFAULT.role_key,
    duplicate_distance: float = _DEFAULT.duplicate_distance,
    duplicate_elements: tuple[str, ...] | None = _DEFAULT.duplicate_elements,
    duplicates: Duplicates | None = None,
    data: DataFile | None = None,
    progress: Progress = SILENT,
) -> Split:
    """Group similar structures, and assign whole groups to the roles train, valid and test.

    Groups are sets of near-duplicates, or the structures with one value of ``group_key``. A group
    of near-duplicates with more than half of the structures, such as the trajectory of one
    molecule, is cut into blocks of consecutive structures; if there are too few groups for the
    roles, all of them are. Groups are assigned such that the structures of every composition come
    close to the shares, and that every element is in a training structure. Isolated atoms are
    training structures. With ``role_key`` the given roles are kept.

    Parameters
    ----------
    structures
        The structures to split; their labels are not used.
    seed
        Seed of the order in which groups are assigned.
    valid, test
        Shares of the structures for validation and test; the rest is for training. With ``test=0``
        there is no role test.
    group_key, role_key
        Keys of ``Structure.info`` that hold the group and the role; every structure must have them.
        With ``role_key``, no near-duplicates are searched among structures in shards.
    duplicate_distance
        Root-mean-square displacement below which structures are near-duplicates, Å.
    duplicate_elements
        Elements that are compared; see :func:`find_duplicates`.
    duplicates
        Near-duplicates that were found with these settings; default: they are searched here.
    data
        Name, hash and size of the data; default: those that :func:`identify` finds.
    progress
        Receives a message if structures were cut into blocks, and if structures have roles that are
        not used.

    Raises
    ------
    InputError
        No structures; a structure without ``group_key`` or ``role_key``; shares out of range.

    Examples
    --------
    >>> argon = [
    ...     Structure(np.array([18]), 5.0 * np.eye(1, 3), np.eye(3), np.zeros(3, dtype=bool))
    ...     for _ in range(8)
    ... ]
    >>> for k, structure in enumerate(argon):
    ...     structure.info["run"] = k // 2
    >>> split = make_split(argon, valid=0.25, test=0.25, group_key="run")
    >>> [len(split.members(role)) for role in split.roles], split.leaking_groups()
    ([4, 2, 2], ())
    """
    settings = _checked(
        seed=seed,
        valid=valid,
        test=test,
        group_key=group_key,
        role_key=role_key,
        duplicate_distance=duplicate_distance,
        duplicate_elements=duplicate_elements,
    )
    if data is None:
        data = identify(structures)
    group, grouped = _group(structures, settings, duplicates, progress)
    if settings.role_key is not None:
        roles, shares = read_roles(structures, settings.role_key), {}
        dealt = f"frame key '{settings.role_key}'"
    else:
        _mention_roles(structures, progress)
        shares = settings.shares
        composition = [tuple(np.bincount(n).tolist()) for n in numbers_of(structures)]
        elements = [frozenset(n.tolist()) for n in numbers_of(structures)]
        roles = deal_groups(group.tolist(), composition, shares, settings.seed, elements)
        dealt = "whole groups, dealt by seed"
        isolated = [is_isolated_atom(s) for s in structures]
        if any(isolated) and not all(isolated):
            # references of the energies are no errors to be scored
            roles = ["train" if k else role for k, role in zip(isolated, roles, strict=True)]
            dealt += "; isolated atoms to train"
    return Split(
        data=data,
        seed=settings.seed,
        shares=shares,
        made={"group": grouped, "role": dealt},
        role=tuple(roles),
        group=tuple(group.tolist()),
    )


def _mention_roles(structures: Sequence[Structure], progress: Progress) -> None:
    """Say that the structures bring roles along: published errors are of those."""
    found = find_roles(structures)
    if found is None:
        return
    key, counts = found
    told = ", ".join(f"{n} {role}" for role, n in counts.items())
    progress.message(
        f"frames have roles under the key '{key}' ({told}), which are not used: give "
        f"data.split_key={key} in train and prove, split_key={key} elsewhere"
    )


def _checked(**values: Any) -> SplitSettings:
    try:
        return SplitSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"make_split, '{key}'" if key else "make_split",
            f"{first['msg']}, got {values.get(key, first['input'])!r}" if key else first["msg"],
            "Give shares between 0 and 1, below 1 together, a distance in Å and a seed from 0 on.",
        ) from None


def _group(
    structures: Sequence[Structure],
    settings: SplitSettings,
    duplicates: Duplicates | None,
    progress: Progress,
) -> tuple[Int[np.ndarray, " structures"], str]:
    """Number the groups, and say what they are."""
    if settings.group_key is not None:
        return read_groups(structures, settings.group_key), f"frame key '{settings.group_key}'"
    if settings.role_key is not None and isinstance(structures, ShardedStructures):
        # nothing is dealt: the search would take minutes, and more memory than all the rest
        return np.arange(len(structures)), "every frame by itself: they are too many to compare"
    distance, compared = settings.duplicate_distance, settings.duplicate_elements
    if duplicates is None:
        duplicates = find_duplicates(structures, distance, compared)
    made = f"near-duplicates below {distance:g} Å"
    if compared is not None:
        made += f" of {', '.join(compared)}"
    division = divide_large(duplicates, structures)
    if not division.blocks:
        return division.group, made
    group = division.group
    if settings.role_key is not None:
        # a block is what is alike by its place in the file: it ends where its role does
        names, role = np.unique(read_roles(structures, settings.role_key), return_inverse=True)
        parted = np.isin(np.arange(len(group)), division.members)
        group = np.unique(group * (len(names) + 1) + parted * (role + 1), return_inverse=True)[1]
    what = "the largest group" if division.cut == 1 else f"the {division.cut} largest groups"
    cut = f"cut into {division.blocks} blocks of frames that follow each other, without gaps"
    made += f", {what} {cut}"
    time = follows_time(structures, division.members)
    if not time:
        made += "; they are in no order of time"
    if settings.role_key is None:
        progress.message(
            f"most frames are near-duplicates of each other (below {distance:g} Å), so that there "
            f"are no independent groups. They were {cut}"
            + ("" if time else ", although they are in no order of time")
            + ": test frames resemble training frames, and errors on other frames will be larger"
        )
    return group, made
