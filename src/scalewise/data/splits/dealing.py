"""Assign whole groups to roles, and cut a group with most of the structures into blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scalewise.data.duplicates import Duplicates
from scalewise.data.shards import elements_of, numbers_of, take
from scalewise.data.structure import Structure

#: A group with more than this share of the frames leaves little to choose: it is cut into so many
#: blocks, as are all together where there are fewer groups than this.
LARGE_GROUP: Final = 0.5
BLOCKS: Final = 20
FEW_GROUPS: Final = 3
#: Å below which frames stay together there; the second, where the first leaves too few apart, or
#: more than this share of them together.
ALIKE: Final = (0.1, 1e-3)
MOST_ALIKE: Final = 0.1


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


@dataclass(frozen=True, eq=False)
class Division:
    """Groups of near-duplicates, the large ones cut into blocks of frames that follow each other.

    Attributes
    ----------
    group
        Of every frame.
    blocks, cut
        How many blocks were made, and of how many groups; zero where none is so large.
    members
        The frames that were cut into blocks.
    """

    group: Int[np.ndarray, " frames"]
    blocks: int
    cut: int
    members: Int[np.ndarray, " members"]


def divide_large(twins: Duplicates, structures: Sequence[Structure]) -> Division:
    """Cut groups that leave little to choose into blocks of frames that follow each other.

    Frames that chain up to one group, as those of a crystal or of one molecule, could not be dealt
    to roles otherwise. Cut are a group of more than half of the frames and, where there are fewer
    groups than roles, or too few that can be spared without an element that nobody trains on, all.
    No gap is left between blocks, so that those that follow each other are alike at their ends;
    copies of one frame are never parted.
    """
    group = twins.group
    sizes = np.bincount(group)
    few = len(sizes) < FEW_GROUPS or _spare(group, structures, FEW_GROUPS - 1) < FEW_GROUPS - 1
    least = 1 if few else LARGE_GROUP * len(group)
    large = np.flatnonzero((sizes > least) & (sizes > 1))
    divided, made = group.copy(), 0
    for number in large.tolist():
        members = np.flatnonzero(group == number)
        alike = _alike(twins, members)
        sizes_alike = np.bincount(alike)
        share = len(members) / len(group) if len(large) > 1 else 1.0
        blocks = min(max(round(BLOCKS * share), 2), len(sizes_alike))
        # blocks of as many frames each, as far as copies allow
        middle = np.cumsum(sizes_alike) - 0.5 * sizes_alike
        cut = np.unique(blocks * middle // len(members), return_inverse=True)[1][alike]
        divided[members] = np.where(cut == 0, number, divided.max() + cut)
        made += int(cut.max()) + 1
    if made == len(large):  # nothing but copies
        return Division(group, 0, 0, np.zeros(0, dtype=np.int64))
    names = np.unique(divided, return_inverse=True)[1]
    return Division(names, made, len(large), np.flatnonzero(np.isin(group, large)))


def _spare(group: Int[np.ndarray, " frames"], structures: Sequence[Structure], enough: int) -> int:
    """How many groups other roles may have so that all elements are left; no more than asked.

    Near-duplicates have one composition: the first frame of a group says which elements it has.
    """
    first, sizes = np.unique(group, return_index=True, return_counts=True)[1:]
    held = [frozenset(n.tolist()) for n in numbers_of(take(structures, first))]
    count = Counter(z for elements in held for z in elements)
    spare = 0
    for number in np.argsort(sizes, kind="stable").tolist():
        if spare == enough:
            break
        if all(count[z] > 1 for z in held[number]):
            count.subtract(held[number])
            spare += 1
    return spare


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
        if len(start) >= 0.5 * BLOCKS and np.bincount(found).max() <= MOST_ALIKE * len(members):
            break
    return found


def untrained_elements(
    structures: Sequence[Structure], roles: Sequence[str]
) -> dict[str, list[str]]:
    """Return elements that no structure to train on has, and the roles of those that have them."""
    held: dict[int, set[str]] = {}
    for role in dict.fromkeys(roles):
        members = np.flatnonzero(np.asarray(roles) == role)
        for z in elements_of(take(structures, members)):
            held.setdefault(z, set()).add(role)
    lost = {z: sorted(r) for z, r in held.items() if "train" not in r}
    return {chemical_symbols[z]: lost[z] for z in sorted(lost)}


def say_untrained(lost: Mapping[str, Sequence[str]]) -> str:
    """Name what :func:`untrained_elements` found, in one sentence."""
    named = "; ".join(f"{symbol} only in {', '.join(roles)}" for symbol, roles in lost.items())
    return f"elements that no frame to train on has: {named}"
