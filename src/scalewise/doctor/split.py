"""The grouped split: dealt out anew, or an existing one checked for leaks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from scalewise.config import Doctor
from scalewise.data.duplicates import Duplicates
from scalewise.data.frames import Frame
from scalewise.data.manifest import ROLES
from scalewise.doctor.findings import Finding, count
from scalewise.errors import InputError, did_you_mean

#: What others call the three roles.
SYNONYMS: Final = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
}
#: A group with more than this share of the frames leaves little to choose.
LARGE_GROUP: Final = 0.5


@dataclass(frozen=True, eq=False)
class Leak:
    """Two near-duplicate frames with different roles, and their distance (Å)."""

    first: int
    second: int
    distance: float
    roles: tuple[str, str]


def read_groups(frames: Sequence[Frame], key: str) -> Int[np.ndarray, " frames"]:
    """Number the values of a frame key by first appearance.

    Raises
    ------
    InputError
        A frame without the key.
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(v, len(numbers)) for v in _values(frames, key)])


def read_roles(frames: Sequence[Frame], key: str) -> list[str]:
    """Roles in a frame key; 'val', 'training' and the like become the usual names.

    Raises
    ------
    InputError
        A frame without the key.
    """
    return [SYNONYMS.get(v, v) for v in _values(frames, key)]


def _values(frames: Sequence[Frame], key: str) -> list[str]:
    for frame in frames:
        if key not in frame.info:
            known = [k for k in frame.info if not k.startswith("REF_")]
            raise InputError(
                f"{frame.where}, key '{key}'",
                f"no such frame key; keys: {', '.join(known) or 'none'}",
                f"Every frame needs it.{did_you_mean(key, known)}",
            )
    return [str(frame.info[key]) for frame in frames]


def deal_groups(
    group: Sequence[int],
    stratum: Sequence[Hashable],
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """Deal whole groups to roles so that every stratum comes close to the shares.

    Groups come stratum by stratum, in random order within each, and the next one goes to the role
    that is furthest behind its share of the frames dealt so far, itself included.

    Parameters
    ----------
    group
        Group of every frame.
    stratum
        What should be spread over all roles, such as the composition, of every frame; a group
        belongs to the stratum of its first frame.
    shares
        Share of the frames of each role.
    seed
        Of the random order.

    Returns
    -------
    list of str
        The role of every frame. Every role has a group if there are as many groups as roles.

    Examples
    --------
    >>> deal_groups([0, 0, 1, 2], [0] * 4, {"train": 0.5, "test": 0.5}, seed=0)
    ['test', 'test', 'train', 'train']
    """
    members: dict[int, list[int]] = {}
    for k, g in enumerate(group):
        members.setdefault(g, []).append(k)
    strata = {s: n for n, s in enumerate(dict.fromkeys(stratum))}
    order = np.random.default_rng(seed).permutation(list(members)).tolist()
    order.sort(key=lambda g: strata[stratum[members[g][0]]])
    given = dict.fromkeys(shares, 0)
    owner: dict[int, str] = {}
    dealt = 0
    for g in order:
        size = len(members[g])
        dealt += size
        role = max(shares, key=lambda r: shares[r] * dealt - given[r])
        given[role] += size
        owner[g] = role
    _fill_empty(owner, {g: len(m) for g, m in members.items()}, shares)
    return [owner[g] for g in group]


def _fill_empty(
    owner: dict[int, str], sizes: Mapping[int, int], shares: Mapping[str, float]
) -> None:
    """Give each role without a group the smallest group of the role that has most groups."""
    for role in shares:
        if role in owner.values() or len(owner) < len(shares):
            continue
        held = {r: [g for g in owner if owner[g] == r] for r in shares}
        richest = max(held, key=lambda r: len(held[r]))
        owner[min(held[richest], key=lambda g: sizes[g])] = role


def find_leaks(twins: Duplicates, roles: Sequence[str]) -> list[Leak]:
    """Near-duplicate frames whose roles differ, closest first."""
    leaks = [
        Leak(int(a), int(b), float(d), (roles[a], roles[b]))
        for a, b, d in zip(twins.first, twins.second, twins.distance, strict=True)
        if roles[a] != roles[b]
    ]
    return sorted(leaks, key=lambda leak: leak.distance)


def judge_split(
    leaks: Sequence[Leak], group: np.ndarray, roles: Sequence[str], settings: Doctor
) -> list[Finding]:
    """What is wrong with a split."""
    findings = []
    if leaks:
        named = "; ".join(
            f"{k.first} ({k.roles[0]}) and {k.second} ({k.roles[1]}), {k.distance:.2g} Å"
            for k in leaks[:3]
        )
        more = f"; and {len(leaks) - 3} more" if len(leaks) > 3 else ""
        findings.append(
            Finding(
                "warning",
                "split",
                f"the split leaks: {count(len(leaks), 'near-duplicate pair')} between roles "
                f"(frames {named}{more})",
                "Test errors will look too good. Leave out split_key and group_key for a split by "
                "near-duplicates, or lower duplicate_distance if these frames are independent.",
            )
        )
    missing = [r for r in ROLES if r not in roles]
    if missing:
        findings.append(
            Finding(
                "error",
                "split",
                f"no frame is left for {', '.join(missing)}",
                "Add independent frames, or lower duplicate_distance "
                f"(now {settings.duplicate_distance:g} Å).",
            )
        )
    largest = int(np.bincount(group).max())
    if largest > LARGE_GROUP * len(group) and len(group) > 1:
        findings.append(
            Finding(
                "warning",
                "split",
                f"{largest} of {len(group)} frames chain up to one group of near-duplicates",
                "For a crystal or a molecule set duplicate_distance to a fraction of the thermal "
                "motion, or group by trajectory with group_key.",
            )
        )
    return findings


def describe_split(roles: Sequence[str], group: np.ndarray) -> list[dict[str, Any]]:
    """Frames and groups of each role."""
    held = np.array(roles)
    names = [r for r in ROLES if r in held] + sorted(set(roles) - set(ROLES))
    return [
        {
            "role": role,
            "frames": int((held == role).sum()),
            "groups": len(np.unique(group[held == role])),
        }
        for role in names
    ]
