"""Splits that do not leak: whole replicas, blocks or groups go to train, tune or test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from scalewise.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """Frame numbers of each role, and the bootstrap block of every frame."""

    train: Int[np.ndarray, " train"]
    tune: Int[np.ndarray, " tune"]
    test: Int[np.ndarray, " test"]
    block: Int[np.ndarray, " frames"]


def by_trajectory(trajectory: Sequence[int], *, train: float, tune: float, block: int) -> Split:
    """Split frames, in time order, of one or more trajectories; ``train=0`` leaves that role empty.

    With at least three trajectories whole ones are dealt out in their order, so nothing of a test
    trajectory was ever trained on. With fewer, each is cut into consecutive parts and the block at
    each cut is dropped. Bootstrap blocks are runs of ``block`` frames of one trajectory.

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
    return _collect(role, blocks, train)


def by_group(group: Sequence[int], *, train: float, tune: float, seed: int) -> Split:
    """Deal whole groups of near-duplicate frames at random; each group is a bootstrap block."""
    _, index = np.unique(np.asarray(group), return_inverse=True)
    n = int(index.max()) + 1
    order = np.random.default_rng(seed).permutation(n)
    return _collect(_deal(order[index], n, train, tune), index.astype(np.int64), train)


def _deal(index: np.ndarray, n: int, train: float, tune: float) -> np.ndarray:
    first = max(1, round(train * n)) if train > 0 else 0
    second = max(first + 1, round((train + tune) * n))
    return np.digitize(index, [first, second])


def _cut(block: np.ndarray, n: int, train: float, tune: float) -> np.ndarray:
    first, second = round(train * n), round((train + tune) * n)
    role = np.digitize(block, [first, second])
    role[(block == first) & (train > 0) | (block == second)] = -1
    return role


def _collect(role: np.ndarray, block: np.ndarray, train: float) -> Split:
    parts = [np.flatnonzero(role == k) for k in range(3)]
    found = [len(np.unique(block[p])) for p in parts]
    least = [1 if train > 0 else 0, 2, 3]
    if any(have < need for have, need in zip(found, least, strict=True)):
        raise InputError(
            "split",
            f"{len(role)} frames give {found[0]} / {found[1]} / {found[2]} blocks to train / tune "
            "/ test",
            f"At least {least[0]} / {least[1]} / {least[2]} are needed: give more frames, or a "
            "smaller split.block (with predictions.group_key: more groups).",
        )
    return Split(parts[0], parts[1], parts[2], block)
