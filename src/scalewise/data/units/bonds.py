"""Common parts of the checks of units: suspicions, and the shortest bond of every atom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
from ase.data import covalent_radii

from scalewise.data.structure import nearest_image

if TYPE_CHECKING:
    from scalewise.data.structure import Structure

Label = Literal["positions", "forces", "energy", "stress"]

#: Frames looked at, and atoms of each.
FRAMES: Final = 64
ATOMS: Final = 128


@dataclass(frozen=True)
class Suspicion:
    """One label whose unit looks wrong: in which frame (none: all over the file), and why."""

    label: Label
    found: str
    frame: int | None = None


class Bonds(NamedTuple):
    """Bonds: elements [bonds, 2], length (Å), and the force that pushes them apart (eV/Å)."""

    kind: np.ndarray
    length: np.ndarray
    push: np.ndarray


def shortest_bonds(frame: Structure) -> Bonds:
    """The shortest bond of each atom (of 128 atoms, evenly spread, at most)."""
    n = len(frame.numbers)
    pick = np.arange(n) if n <= ATOMS else np.linspace(0, n - 1, ATOMS).astype(int)
    if n < 2:
        return Bonds(np.zeros((0, 2), dtype=int), np.zeros(0), np.zeros(0))
    apart = frame.positions[None] - frame.positions[pick, None]
    apart = nearest_image(apart, frame.lattice, frame.pbc)
    distance = np.linalg.norm(apart, axis=-1)
    row = np.arange(len(pick))
    distance[row, pick] = np.inf
    other = distance.argmin(axis=1)
    length = np.maximum(distance[row, other], 1e-6)
    along = apart[row, other] / length[:, None]
    forces = np.zeros((n, 3)) if frame.labels.forces is None else frame.labels.forces
    push = 0.5 * ((forces[other] - forces[pick]) * along).sum(axis=1)
    return Bonds(
        np.sort(np.stack([frame.numbers[pick], frame.numbers[other]], axis=1)), length, push
    )


def tightest(bonds: Bonds) -> float | None:
    """The shortest bond of a frame over covalent radii."""
    if not len(bonds.length):
        return None
    return float((bonds.length / covalent_radii[bonds.kind].sum(axis=1)).min())


def sample(frames: Sequence[Structure]) -> list[Structure]:
    """Frames evenly spread over the file."""
    if len(frames) <= FRAMES:
        return list(frames)
    return [frames[k] for k in np.linspace(0, len(frames) - 1, FRAMES).astype(int)]
