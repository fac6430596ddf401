"""Smaller sets of training structures, each within the larger ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from scalewise.data.splits.split import Split
from scalewise.data.structure import Structure

#: Role of training structures that a smaller set leaves out.
SPARE: Final = "spare"


def reduced(split: Split, share: float, seed: int, structures: Sequence[Structure] = ()) -> Split:
    """Leave whole groups of training structures out, until about a share is left; sets are nested.

    The group that crosses the share stays if that comes nearer to it. Groups that hold the first
    structure of an element, where ``structures`` are given, are left out last: a network must know
    all.

    Raises
    ------
    InputError
        No structure to train on.

    Examples
    --------
    >>> from scalewise.data.splits import DataFile
    >>> data = DataFile(file="dft.xyz", sha256=64 * "0", frames=5)
    >>> split = Split(data=data, role=("train",) * 4 + ("test",), group=(0, 0, 1, 1, 2))
    >>> reduced(split, 0.5, seed=0).role.count(SPARE)
    2
    """
    train = split.members("train")
    group = np.array(split.group)
    order = np.random.default_rng(seed).permutation(np.unique(group[train]))
    order = _elements_first(order, group, train, structures)
    sizes = np.cumsum([int((group[train] == g).sum()) for g in order])
    kept = int(np.abs(sizes - share * len(train)).argmin()) + 1
    left_out = np.isin(group, order[kept:])
    role = np.array(split.role)
    role[left_out & (role == "train")] = SPARE
    return split.model_copy(update={"role": tuple(role.tolist())})


def _elements_first(
    order: np.ndarray, group: np.ndarray, train: np.ndarray, structures: Sequence[Structure]
) -> np.ndarray:
    """Move groups to the front that hold an element which none before them does."""
    if not structures:
        return order
    held: dict[int, set[int]] = {}
    for k in train.tolist():
        held.setdefault(int(group[k]), set()).update(structures[k].numbers.tolist())
    seen: set[int] = set()
    first = []
    for g in order.tolist():
        if not held[g] <= seen:
            first.append(g)
            seen |= held[g]
    return np.array([*first, *(g for g in order.tolist() if g not in first)])
