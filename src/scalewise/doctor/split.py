"""What is wrong with a split, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalewise.core.wording import count
from scalewise.data.duplicates import Duplicates
from scalewise.data.splits import LARGE_GROUP, ROLES, Split, say_untrained, untrained_elements
from scalewise.data.structure import Structure
from scalewise.doctor.findings import Finding
from scalewise.doctor.settings import DoctorSettings


@dataclass(frozen=True, eq=False)
class Leak:
    """Two near-duplicate frames with different roles, and their distance (Å)."""

    first: int
    second: int
    distance: float
    roles: tuple[str, str]


def find_leaks(twins: Duplicates, roles: Sequence[str]) -> list[Leak]:
    """Near-duplicate frames whose roles differ, closest first."""
    leaks = [
        Leak(int(a), int(b), float(d), (roles[a], roles[b]))
        for a, b, d in zip(twins.first, twins.second, twins.distance, strict=True)
        if roles[a] != roles[b]
    ]
    return sorted(leaks, key=lambda leak: leak.distance)


def judge_split(
    split: Split,
    leaks: Sequence[Leak],
    twins: Duplicates,
    frames: Sequence[Structure],
    settings: DoctorSettings,
) -> list[Finding]:
    """Return what is wrong with a split of these frames."""
    findings = []
    group = np.array(split.group)
    blocks = 0 if settings.group_key or settings.split_key else _count_blocks(twins, group)
    if blocks:
        findings.append(_say_blocks(group, blocks, settings))
    elif leaks:
        findings.append(_say_leaks(leaks))
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


def _count_blocks(twins: Duplicates, group: np.ndarray) -> int:
    """Blocks that a group of most frames was cut into; zero without such a group."""
    member = twins.group == np.bincount(twins.group).argmax()
    large = len(group) > 1 and member.sum() > LARGE_GROUP * len(group)
    return len(np.unique(group[member])) if large else 0


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


def describe_split(split: Split) -> list[dict[str, Any]]:
    """Count the frames and groups of each role."""
    group = np.array(split.group)
    members = {role: split.members(role) for role in split.roles}
    return [
        {"role": role, "frames": len(of), "groups": len(np.unique(group[of]))}
        for role, of in members.items()
    ]
