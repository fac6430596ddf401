"""Groups and roles that are stored with the structures under a frame key."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Int

from scalewise.core.errors import InputError, did_you_mean
from scalewise.data.shards import infos_of
from scalewise.data.structure import Structure

#: What others call the three roles.
SYNONYMS: Final = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
}


def read_groups(structures: Sequence[Structure], key: str) -> Int[np.ndarray, " structures"]:
    """Number the values of a frame key by first appearance.

    Raises
    ------
    InputError
        A structure without the key.
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(v, len(numbers)) for v in read_key(structures, key)])


def read_roles(structures: Sequence[Structure], key: str) -> list[str]:
    """Read the roles in a frame key; 'val', 'training' and the like become the usual names.

    Raises
    ------
    InputError
        A structure without the key.
    """
    return [SYNONYMS.get(v, v) for v in read_key(structures, key)]


def find_roles(structures: Sequence[Structure]) -> tuple[str, dict[str, int]] | None:
    """A frame key that says of every structure whether it is to train on, and how many are of each.

    Its values are words, of which one is ``train`` and another ``valid`` or ``test``, or what
    others call these.
    """
    infos = iter(infos_of(structures))
    first = next(infos, {})
    counts = {
        key: Counter([SYNONYMS.get(value, value)])
        for key, value in first.items()
        if isinstance(value, str)
    }
    for info in infos:
        for key in list(counts):
            value = info.get(key)
            if isinstance(value, str):
                counts[key][SYNONYMS.get(value, value)] += 1
            else:
                del counts[key]
        if not counts:
            return None
    for key, found in counts.items():
        if "train" in found and {"valid", "test"} & found.keys():
            return key, dict(found)
    return None


def read_key(structures: Sequence[Structure], key: str) -> list[str]:
    """Read the values of a frame key as words.

    Raises
    ------
    InputError
        A structure without the key.
    """
    found = []
    for k, info in enumerate(infos_of(structures)):
        if key not in info:
            known = [name for name in info if not name.startswith("REF_")]
            raise InputError(
                f"{structures[k].where}, key '{key}'",
                f"no such frame key; keys: {', '.join(known) or 'none'}",
                f"Every frame needs it.{did_you_mean(key, known)}",
            )
        found.append(sys.intern(str(info[key])))  # one word for a million frames
    return found
