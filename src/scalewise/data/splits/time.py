"""Whether frames are in the order of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Int

from scalewise.data import columns
from scalewise.data.displacement import Stack, compared_atoms, displacements
from scalewise.data.shards import numbers_of, take
from scalewise.data.structure import Structure

#: Pairs that are compared.
PAIRS: Final = 200
#: Frames that follow each other are of one trajectory where they are closer than this share of the
#: distance of any two. Of the molecules of rMD17, which are in no order, it is 0.98 to 1.01.
CLOSER: Final = 0.8


def follows_time(frames: Sequence[Structure], members: Int[np.ndarray, " members"]) -> bool:
    """Whether frames that follow each other are closer to each other than any two of them."""
    first_one, some = frames[int(members[0])], take(frames, members)
    pbc = columns.periodicity(some)
    same = [
        k
        for k, numbers, axes in zip(members.tolist(), numbers_of(some), pbc, strict=True)
        if np.array_equal(numbers, first_one.numbers) and np.array_equal(axes, first_one.pbc)
    ]
    if len(same) < 3 or not compared_atoms(frames[same[0]], None).any():
        return False
    rng = np.random.default_rng(0)
    start = rng.integers(len(same) - 1, size=min(PAIRS, len(same) - 1))
    first, second = rng.integers(len(same), size=(2, PAIRS))
    first, second = first[first != second], second[first != second]
    used, place = np.unique(np.concatenate([start, start + 1, first, second]), return_inverse=True)
    stack = Stack.of([frames[same[k]] for k in used.tolist()], None)
    n = len(start)
    a = np.concatenate([place[:n], place[2 * n : 2 * n + len(first)]])
    b = np.concatenate([place[n : 2 * n], place[2 * n + len(first) :]])
    apart = displacements(stack, a, b)
    near, far = np.median(apart[:n]), np.median(apart[n:])
    return bool(near < CLOSER * far)
