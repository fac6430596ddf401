"""Contradictions: equal structures with different labels, which no model can both reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from scalewise.core.wording import count
from scalewise.data.charges import CHARGE_KEYS, electronic_state
from scalewise.data.duplicates import Duplicates
from scalewise.data.structure import Structure, nearest_image
from scalewise.doctor.findings import Finding

#: Å by which no atom of two frames of one structure differs.
SAME: Final = 1e-3
#: eV/atom and eV/Å by which their labels may: convergence, and the smoothness of grids.
ENERGY: Final = 1e-3
FORCE: Final = 0.02


def find_contradictions(frames: Sequence[Structure], twins: Duplicates) -> list[Finding]:
    """Name frames of one structure (all atoms within 0.001 Å) whose labels differ."""
    odd = []
    near = np.flatnonzero(twins.distance < SAME)
    for a, b in zip(twins.first[near].tolist(), twins.second[near].tolist(), strict=True):
        if not _same(frames[a], frames[b]):
            continue
        apart = _apart(frames[a], frames[b])
        if apart is not None:
            odd.append((a, b, apart))
    if not odd:
        return []
    a, b, apart = odd[0]
    more = f"; {count(len(odd) - 1, 'such pair')} more" if len(odd) > 1 else ""
    remedy = "Were they computed with one method and one unit? Keep one of each pair."
    if electronic_state(frames[a]) != electronic_state(frames[b]):
        remedy = (
            "Their keys name different electronic states, of which a network is told the total "
            "charge alone: keep the frames of one state."
        )
    return [
        Finding(
            "error",
            "duplicates",
            f"frames {a} and {b} are one structure with different labels: {apart}{more}",
            remedy,
        )
    ]


def _same(a: Structure, b: Structure) -> bool:
    if not np.array_equal(a.numbers, b.numbers) or not np.array_equal(a.pbc, b.pbc):
        return False
    if np.abs((a.cell - b.cell)[a.pbc]).max(initial=0.0) > SAME or _charge(a) != _charge(b):
        return False
    moved = nearest_image(b.positions - a.positions, a.lattice, a.pbc)
    return bool(np.abs(moved - moved.mean(axis=0)).max(initial=0.0) < SAME)


def _charge(frame: Structure) -> str:
    """What a network is told of the electronic state, whatever the key holds."""
    return next((str(frame.info[key]) for key in CHARGE_KEYS if key in frame.info), "")


def _apart(a: Structure, b: Structure) -> str | None:
    """By how much the labels differ; none where they agree."""
    found = []
    if a.labels.energy is not None and b.labels.energy is not None:
        energy = abs(a.labels.energy - b.labels.energy) / max(len(a.numbers), 1)
        if energy > ENERGY:
            found.append(f"energies differ by {1e3 * energy:.3g} meV/atom")
    if a.labels.forces is not None and b.labels.forces is not None:
        force = float(np.abs(a.labels.forces - b.labels.forces).max(initial=0.0))
        if force > FORCE:
            found.append(f"forces by up to {force:.3g} eV/Å")
    return " and ".join(found) or None
