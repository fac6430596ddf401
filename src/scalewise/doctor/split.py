"""Problems of a split, and the contents of its roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from scalewise.core.wording import count
from scalewise.data.duplicates import Duplicates
from scalewise.data.splits import (
    LARGE_GROUP,
    ROLES,
    Division,
    Split,
    divide_large,
    find_roles,
    follows_time,
    say_untrained,
    untrained_elements,
)
from scalewise.data.structure import Structure
from scalewise.doctor.findings import Finding
from scalewise.doctor.settings import DoctorSettings

#: Share of the frames in one group from which a set is one molecule, crystal or trajectory.
ONE_WHOLE: Final = 0.9
#: Times the usual distance of training frames from which frames of a role lie beyond these.
FARTHER: Final = 1.15


@dataclass(frozen=True, eq=False)
class Leaks:
    """Pairs of near-duplicate frames with different roles, closest first.

    Attributes
    ----------
    first, second, distance
        Frames of each pair and their distance (Å) [pairs].
    role
        Of every frame.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    distance: Float[np.ndarray, " pairs"]
    role: Sequence[str]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.first)

    def listed(self, most: int) -> list[dict[str, Any]]:
        """The closest pairs, for ``doctor.json``."""
        columns = (v[:most].tolist() for v in (self.first, self.second, self.distance))
        return [
            {"first": a, "second": b, "distance": d, "roles": (self.role[a], self.role[b])}
            for a, b, d in zip(*columns, strict=True)
        ]

    def twins_in_train(self) -> dict[str, int]:
        """Frames of each other role that have a near-duplicate among those to train on."""
        role = np.array(self.role)
        train = role == "train"
        one = train[self.first] != train[self.second]
        seen = np.unique(np.where(train[self.first], self.second, self.first)[one])
        names, counts = np.unique(role[seen], return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def find_leaks(twins: Duplicates, role: Sequence[str]) -> Leaks:
    """Near-duplicate frames whose roles differ."""
    names = np.array(role)
    differ = np.flatnonzero(names[twins.first] != names[twins.second])
    differ = differ[np.argsort(twins.distance[differ], kind="stable")]
    return Leaks(twins.first[differ], twins.second[differ], twins.distance[differ], role)


def judge_split(
    split: Split,
    leaks: Leaks,
    twins: Duplicates,
    frames: Sequence[Structure],
    settings: DoctorSettings,
) -> list[Finding]:
    """Return what is wrong with a split of these frames."""
    findings = _offer_roles(frames, settings)
    group = np.array(split.group)
    given = bool(settings.group_key or settings.split_key)
    division = None if given else divide_large(twins, frames)
    if division is not None and division.blocks:
        findings.append(_say_blocks(division, len(group), frames, settings))
    elif leaks:
        findings.append(_say_leaks(leaks, split, twins, frames, settings))
    missing = [r for r in ROLES if r not in split.role]
    if missing:
        findings.append(
            Finding(
                "error",
                "split",
                f"no frame is left for {', '.join(missing)}",
                _more_for(settings),
            )
        )
    if lost := untrained_elements(frames, split.role):
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


def _offer_roles(frames: Sequence[Structure], settings: DoctorSettings) -> list[Finding]:
    """Say that frames bring roles along that nobody asked for: published errors are of those."""
    found = find_roles(frames) if settings.split_key is None else None
    if found is None:
        return []
    key, counts = found
    told = ", ".join(f"{n} {role}" for role, n in counts.items())
    return [
        Finding(
            "note",
            "split",
            f"frames have roles under the key '{key}' ({told}), which the split here leaves out",
            f"Look at them with split_key={key}; scalewise train takes them with "
            f"data.split_key={key}.",
        )
    ]


def _say_blocks(
    division: Division, n: int, frames: Sequence[Structure], settings: DoctorSettings
) -> Finding:
    every = "all" if len(division.members) == n else "most of"
    named = f"{every} {n}" if division.cut == 1 else f"{n}"
    chain = "one group" if division.cut == 1 else f"{division.cut} groups"
    time = follows_time(frames, division.members)
    return Finding(
        "note",
        "split",
        f"{named} frames chain up to {chain} of near-duplicates (below "
        f"{settings.duplicate_distance:g} Å): {'it was' if division.cut == 1 else 'they were'} cut "
        f"into {count(division.blocks, 'block')} of frames that follow each other, or are hardly "
        "different, without gaps" + ("" if time else "; they are in no order of time"),
        "Errors on its test blocks are those between known frames, not beyond them. Name "
        "independent parts with group_key, or roles with split_key, if there are any.",
    )


def _say_leaks(
    leaks: Leaks,
    split: Split,
    twins: Duplicates,
    frames: Sequence[Structure],
    settings: DoctorSettings,
) -> Finding:
    """One sentence on all near-duplicates between roles."""
    seen = leaks.twins_in_train()
    (closest,) = leaks.listed(1)
    (a, b), (one, other) = (closest["first"], closest["second"]), closest["roles"]
    pair = f"closest: {a} ({one}) and {b} ({other}), {closest['distance']:.2g} Å"
    near = f"near-duplicates (below {settings.duplicate_distance:g} Å)"
    if not seen:
        return Finding(
            "warning",
            "split",
            f"{count(len(leaks), 'pair')} between roles not to train on: {near} ({pair})",
            "These roles are not independent of each other.",
        )
    shares = ", ".join(
        f"{n} of {split.role.count(role)} frames of {role} ({n / split.role.count(role):.0%})"
        for role, n in sorted(seen.items(), key=lambda one: split.roles.index(one[0]))
    )
    whole = np.bincount(twins.group).max() > ONE_WHOLE * len(frames)
    if whole:
        return Finding(
            "note",
            "split",
            f"all frames resemble one another, and so do roles: {near} of frames to train on are "
            f"{shares} ({pair})",
            "This is the nature of one molecule, crystal or trajectory, and no fault of the split. "
            + _say_known(twins, split, sorted(seen, key=split.roles.index)),
        )
    return Finding(
        "warning",
        "split",
        f"the split leaks: {near} of frames to train on are {shares} ({pair})",
        f"Errors on frames of {', '.join(seen)} will look too good. Leave out split_key and "
        "group_key for a split by near-duplicates, or lower duplicate_distance if these frames are "
        "independent.",
    )


def _say_known(twins: Duplicates, split: Split, roles: Sequence[str]) -> str:
    """Of which roles frames are as near to those to train on as these are to each other."""
    train = np.array(split.role) == "train"
    nearest = np.full(len(train), np.inf)
    for one, other in ((twins.first, twins.second), (twins.second, twins.first)):
        known = train[other]
        np.minimum.at(nearest, one[known], twins.distance[known])
    usual = {role: float(np.median(nearest[split.members(role)])) for role in ("train", *roles)}
    beyond = [r for r in roles if usual[r] > FARTHER * usual["train"]]
    within = [r for r in roles if r not in beyond]
    told = [f"errors on {' and '.join(within)} are those between known frames"] * bool(within)
    told += [
        f"frames of {r} are farther from those to train on (median "
        + (f"{usual[r]:.2g} Å" if np.isfinite(usual[r]) else "none so near")
        + f") than these from each other ({usual['train']:.2g} Å)"
        for r in beyond
    ]
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}."


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


def describe_split(split: Split, leaks: Leaks) -> list[dict[str, Any]]:
    """Count the frames and groups of each role, and the frames with a twin to train on."""
    seen = leaks.twins_in_train()
    group = np.array(split.group)
    members = {role: split.members(role) for role in split.roles}
    return [
        {
            "role": role,
            "frames": len(of),
            "groups": len(np.unique(group[of])),
            "twin_in_train": None if role == "train" else seen.get(role, 0),
        }
        for role, of in members.items()
    ]
