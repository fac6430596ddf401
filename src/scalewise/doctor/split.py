"""The grouped split: dealt out anew, or an existing one checked for leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scalewise.core.errors import InputError, did_you_mean
from scalewise.core.wording import count
from scalewise.data.duplicates import Duplicates
from scalewise.data.manifest import ROLES
from scalewise.data.structure import Frame
from scalewise.doctor.findings import Finding
from scalewise.doctor.settings import DoctorSettings

#: What others call the three roles.
SYNONYMS: Final = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
}
#: A group with more than this share of the frames leaves little to choose: it is cut into so many
#: blocks.
LARGE_GROUP: Final = 0.5
BLOCKS: Final = 20
#: Å below which frames stay together there; the second, where the first leaves too few apart.
ALIKE: Final = (0.1, 1e-3)


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
    elements: Sequence[frozenset[int]] | None = None,
) -> list[str]:
    """Deal whole groups to roles so that every stratum comes close to the shares.

    Groups come stratum by stratum, in random order within each, and the next one goes to the role
    that is furthest behind its share of the frames dealt so far, itself included. Of every element,
    one group at least goes to the first role: what is trained must know it.

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
    elements
        Atomic numbers in every frame.

    Returns
    -------
    list of str
        The role of every frame. Every role has a group if there are as many groups as roles and
        the first role does not need them all for its elements.

    Examples
    --------
    >>> deal_groups([0, 0, 1, 2], [0] * 4, {"train": 0.5, "test": 0.5}, seed=0)
    ['test', 'test', 'train', 'train']
    >>> rare = [frozenset({1, 78}), frozenset({1, 78}), frozenset({1}), frozenset({1})]
    >>> deal_groups([0, 0, 1, 2], [0] * 4, {"train": 0.5, "test": 0.5}, seed=0, elements=rare)
    ['train', 'train', 'train', 'test']
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
    sizes = {g: len(m) for g, m in members.items()}
    nothing: frozenset[int] = frozenset()
    of_group = {
        g: nothing.union(*(elements[k] for k in m)) if elements is not None else nothing
        for g, m in members.items()
    }
    _keep_elements(owner, sizes, of_group, next(iter(shares)))
    _fill_empty(owner, sizes, shares, of_group)
    return [owner[g] for g in group]


def _keep_elements(
    owner: dict[int, str],
    sizes: Mapping[int, int],
    elements: Mapping[int, frozenset[int]],
    first: str,
) -> None:
    """Give ``first`` the smallest group of every element that it lacks."""
    for z in sorted(frozenset().union(*elements.values())):
        holders = [g for g in owner if z in elements[g]]
        if not any(owner[g] == first for g in holders):
            owner[min(holders, key=lambda g: sizes[g])] = first


def _fill_empty(
    owner: dict[int, str],
    sizes: Mapping[int, int],
    shares: Mapping[str, float],
    elements: Mapping[int, frozenset[int]],
) -> None:
    """Give each role without a group the smallest one of the role that has most to spare.

    The first role spares no group whose elements no other one of its groups has.
    """
    first = next(iter(shares))

    def spare(role: str) -> list[int]:
        held = [g for g in owner if owner[g] == role]
        if role != first:
            return held if len(held) > 1 else []
        count = Counter(z for g in held for z in elements[g])
        return [g for g in held if len(held) > 1 and all(count[z] > 1 for z in elements[g])]

    for role in shares:
        if role in owner.values() or len(owner) < len(shares):
            continue
        most = max((spare(r) for r in shares), key=len)
        if most:
            owner[min(most, key=lambda g: sizes[g])] = role


def divide_large(twins: Duplicates) -> tuple[Int[np.ndarray, " frames"], int]:
    """Cut a group of more than half of the frames into blocks of frames that follow each other.

    Frames that chain up to one group, as those of a crystal or of one molecule, could not be dealt
    to roles otherwise. Blocks that follow each other are alike at their ends; copies of one frame
    are never parted.

    Returns
    -------
    array, int
        The groups, and how many blocks were made: zero where no group is so large.
    """
    group = twins.group
    sizes = np.bincount(group)
    largest = int(sizes.argmax())
    if len(group) < 2 or sizes[largest] <= LARGE_GROUP * len(group):
        return group, 0
    members = np.flatnonzero(group == largest)
    alike = _alike(twins, members)
    units = int(alike.max()) + 1
    blocks = min(BLOCKS, units)
    cut = alike * blocks // units
    divided = group.copy()
    divided[members] = np.where(cut == 0, largest, len(sizes) + cut - 1)
    return np.unique(divided, return_inverse=True)[1], blocks


def _alike(twins: Duplicates, members: np.ndarray) -> np.ndarray:
    """Number the members that are hardly different (else: the same) alike, by first appearance."""
    found = np.arange(len(members))
    for distance in ALIKE:
        close = twins.distance < distance
        links = (np.ones(int(close.sum())), (twins.first[close], twins.second[close]))
        graph = coo_array(links, shape=(len(twins.group), len(twins.group)))
        _, component = connected_components(graph, directed=False)
        _, start, found = np.unique(component[members], return_index=True, return_inverse=True)
        found = np.argsort(np.argsort(start))[found]
        if len(start) >= 0.5 * BLOCKS:
            break
    return found


def untrained_elements(frames: Sequence[Frame], roles: Sequence[str]) -> dict[str, list[str]]:
    """Elements that no frame to train on has, and the roles of the frames that have them."""
    held: dict[int, set[str]] = {}
    for frame, role in zip(frames, roles, strict=True):
        for z in np.unique(frame.numbers).tolist():
            held.setdefault(z, set()).add(role)
    lost = {z: sorted(r) for z, r in held.items() if "train" not in r}
    return {chemical_symbols[z]: lost[z] for z in sorted(lost)}


def say_untrained(lost: Mapping[str, Sequence[str]]) -> str:
    """The sentence about such elements."""
    named = "; ".join(f"{symbol} only in {', '.join(roles)}" for symbol, roles in lost.items())
    return f"elements that no frame to train on has: {named}"


def find_leaks(twins: Duplicates, roles: Sequence[str]) -> list[Leak]:
    """Near-duplicate frames whose roles differ, closest first."""
    leaks = [
        Leak(int(a), int(b), float(d), (roles[a], roles[b]))
        for a, b, d in zip(twins.first, twins.second, twins.distance, strict=True)
        if roles[a] != roles[b]
    ]
    return sorted(leaks, key=lambda leak: leak.distance)


def judge_split(
    leaks: Sequence[Leak],
    group: np.ndarray,
    frames: Sequence[Frame],
    roles: Sequence[str],
    settings: DoctorSettings,
    blocks: int = 0,
) -> list[Finding]:
    """What is wrong with a split; ``blocks`` are those that a group of most frames was cut into."""
    findings = []
    if blocks:
        findings.append(_say_blocks(group, blocks, settings))
    elif leaks:
        findings.append(_say_leaks(leaks))
    missing = [r for r in ROLES if r not in roles]
    if missing:
        findings.append(
            Finding(
                "error",
                "split",
                f"no frame is left for {', '.join(missing)}",
                _more_for(settings),
            )
        )
    if lost := untrained_elements(frames, roles):
        findings.append(
            Finding(
                "error",
                "split",
                say_untrained(lost),
                "A potential will not know them: give a frame of each the role train, or leave "
                "split_key out.",
            )
        )
    largest = int(np.bincount(group).max())
    if settings.group_key and largest > LARGE_GROUP * len(group) and len(group) > 1:
        findings.append(
            Finding(
                "warning",
                "split",
                f"{largest} of {len(group)} frames share one value of '{settings.group_key}'",
                "Use a key that divides them further, or leave group_key out.",
            )
        )
    return findings


def _say_blocks(group: np.ndarray, blocks: int, settings: DoctorSettings) -> Finding:
    return Finding(
        "warning",
        "split",
        f"most of {len(group)} frames chain up to one group of near-duplicates (below "
        f"{settings.duplicate_distance:g} Å): it was cut into {count(blocks, 'block')} of frames "
        "that follow each other",
        "Errors on its test blocks are those between known frames, not beyond them. Name "
        "independent parts with group_key, or roles with split_key, if there are any.",
    )


def _say_leaks(leaks: Sequence[Leak]) -> Finding:
    named = "; ".join(
        f"{k.first} ({k.roles[0]}) and {k.second} ({k.roles[1]}), {k.distance:.2g} Å"
        for k in leaks[:3]
    )
    more = f"; and {len(leaks) - 3} more" if len(leaks) > 3 else ""
    beside = sorted({r for k in leaks for r in k.roles if "train" in k.roles} - {"train"})
    meaning = (
        f"Errors on the frames of {', '.join(beside)} will look too good."
        if beside
        else "These roles are not independent of each other."
    )
    return Finding(
        "warning",
        "split",
        f"the split leaks: {count(len(leaks), 'near-duplicate pair')} between roles "
        f"(frames {named}{more})",
        f"{meaning} Leave out split_key and group_key for a split by near-duplicates, or lower "
        "duplicate_distance if these frames are independent.",
    )


def _more_for(settings: DoctorSettings) -> str:
    """What gives a role frames."""
    if settings.split_key:
        return (
            f"The key '{settings.split_key}' gives no frame this role: correct it, or leave "
            "split_key out."
        )
    if settings.group_key:
        return f"Use a key with more groups than '{settings.group_key}' has, or leave it out."
    return (
        "Add independent frames, or lower duplicate_distance "
        f"(now {settings.duplicate_distance:g} Å)."
    )


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
