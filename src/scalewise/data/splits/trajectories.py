"""Splits of the study: whole replicas, blocks or groups get the role train, tune or test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from scalewise.core.errors import InputError
from scalewise.data.splits.identity import DataFile
from scalewise.data.splits.split import Split

#: Roles of the study, in the order of time; of none: frames between two parts of one trajectory.
_ROLES: Final = ("train", "tune", "test")
LEFT_OUT: Final = "left_out"


def by_trajectory(
    trajectory: Sequence[int], *, train: float, tune: float, block: int, data: DataFile
) -> Split:
    """Split frames, in time order, of one or more trajectories into train, tune and test.

    With at least three trajectories whole ones are dealt out in their order, so nothing of a test
    trajectory was ever trained on. With fewer, each is cut into consecutive parts and the block at
    each cut is left out. Groups are bootstrap blocks: runs of ``block`` frames of one trajectory.

    Parameters
    ----------
    trajectory
        Number of the trajectory of every frame.
    train, tune
        Shares of the trajectories, or of each one; ``train=0`` leaves that role empty.
    block
        Frames of a bootstrap block.
    data
        What the frames are.

    Raises
    ------
    InputError
        Too few frames to give every role at least one block, and the test at least three.
    """
    run = np.asarray(trajectory)
    names = np.unique(run)
    blocks = np.empty(len(run), dtype=np.int64)
    offset = 0
    for name in names:
        members = np.flatnonzero(run == name)
        blocks[members] = offset + np.arange(len(members)) // block
        offset = int(blocks[members].max()) + 1
    if len(names) >= 3:
        role = _deal(np.searchsorted(names, run), len(names), train, tune)
    else:
        role = np.full(len(run), -1)
        for name in names:
            members = np.flatnonzero(run == name)
            local = blocks[members] - blocks[members[0]]
            role[members] = _cut(local, int(local.max()) + 1, train, tune)
    made = {
        "group": f"runs of {block} frames of one trajectory",
        "role": "whole trajectories, in their order"
        if len(names) >= 3
        else "consecutive parts of each trajectory, a block between two of them left out",
    }
    return _collect(role, blocks, _shares(train, tune), made, 0, data)


def by_group(
    group: Sequence[int] | Sequence[str], *, train: float, tune: float, seed: int, data: DataFile
) -> Split:
    """Deal whole groups of near-duplicate frames at random; each group is a bootstrap block.

    Raises
    ------
    InputError
        Too few groups to give the tuning two and the test three.
    """
    _, index = np.unique(np.asarray(group), return_inverse=True)
    n = int(index.max()) + 1
    order = np.random.default_rng(seed).permutation(n)
    made = {"group": "groups that were given", "role": "whole groups, dealt by seed"}
    role = _deal(order[index], n, train, tune)
    return _collect(role, index, _shares(train, tune), made, seed, data)


def _shares(train: float, tune: float) -> dict[str, float]:
    return {"train": train, "tune": tune, "test": round(1.0 - train - tune, 10)}


def _deal(index: np.ndarray, n: int, train: float, tune: float) -> np.ndarray:
    first = max(1, round(train * n)) if train > 0 else 0
    second = max(first + 1, round((train + tune) * n))
    return np.digitize(index, [first, second])


def _cut(block: np.ndarray, n: int, train: float, tune: float) -> np.ndarray:
    first, second = round(train * n), round((train + tune) * n)
    role = np.digitize(block, [first, second])
    role[(block == first) & (train > 0) | (block == second)] = -1
    return role


def _collect(
    role: np.ndarray,
    block: np.ndarray,
    shares: dict[str, float],
    made: dict[str, str],
    seed: int,
    data: DataFile,
) -> Split:
    parts = [np.flatnonzero(role == k) for k in range(3)]
    found = [len(np.unique(block[p])) for p in parts]
    least = [1 if shares["train"] > 0 else 0, 2, 3]
    if any(have < need for have, need in zip(found, least, strict=True)):
        raise InputError(
            "split",
            f"{len(role)} frames give {found[0]} / {found[1]} / {found[2]} blocks to train / tune "
            "/ test",
            f"At least {least[0]} / {least[1]} / {least[2]} are needed: give more frames, or a "
            "smaller split.block (with predictions.group_key: more groups).",
        )
    return Split(
        data=data,
        seed=seed,
        shares=shares,
        made=made,
        role=tuple(LEFT_OUT if k < 0 else _ROLES[k] for k in role.tolist()),
        group=tuple(block.tolist()),
    )
