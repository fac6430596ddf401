"""Labels that were not computed: zeros and constants that stand in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool

from scalewise.core.errors import InputError
from scalewise.core.wording import count
from scalewise.data import columns
from scalewise.data.label_names import LabelName
from scalewise.data.neighbors import build
from scalewise.data.structure import Structure

#: Å up to which neighbors pull at an atom, and the share of their pull that rounding leaves.
REACH: Final = 6.0
SYMMETRIC: Final = 1e-4
#: Root-mean-square forces (eV/Å) above which atoms are out of balance.
PUSHED: Final = 1e-6
#: Frames of one composition whose energies must be equal before that is strange.
FEWEST: Final = 3
#: Share of the frames of one size in which an atom feels no force, if it was held.
ALWAYS: Final = 0.9
#: Share of the frames of one size that must have one energy.
MANY: Final = 0.5
#: A stress of few digits is seldom more than so many times its last one.
DIGITS: Final = 30.0
#: Frames with atoms that feel no force whose neighbors are looked at.
LOOKED_AT: Final = 3


@dataclass(frozen=True)
class Placeholder:
    """A label that seems not to be one, what was found, and what to do."""

    label: LabelName
    found: str
    remedy: str


def find_placeholders(frames: Sequence[Structure]) -> list[Placeholder]:
    """Labels that cannot be what a method computed.

    Stresses of exactly zero in a cell whose atoms feel forces; one energy for all frames of a
    composition, whose forces differ; atoms that feel no force at all in a frame in which others do,
    though their neighbors do not pull alike.
    """
    if not len(frames):
        return []
    return [*_stresses(frames), *_energies(frames), *_forces(frames)]


def unpulled(frame: Structure) -> Bool[np.ndarray, " atoms"]:
    """Whether each atom's surroundings are so symmetric that a central force on it vanishes.

    A pair force of arbitrary shape, from neighbors up to 6 Å, stands for all others. Where there is
    no list of neighbors, no atom's are.
    """
    try:
        pairs = build(frame, REACH, full=True, images=True)
    except InputError:  # no list, no answer
        return np.zeros(len(frame.numbers), dtype=bool)
    weight = frame.numbers[pairs.j] * np.exp(-pairs.distance) * (1 - pairs.distance / REACH) ** 2
    pull = weight[:, None] * pairs.vector / np.maximum(pairs.distance, 1e-9)[:, None]
    total = np.stack(
        [np.bincount(pairs.i, pull[:, k], minlength=len(frame.numbers)) for k in range(3)]
    )
    size = np.bincount(pairs.i, weight, minlength=len(frame.numbers)).max(initial=0.0)
    return np.asarray(np.abs(total).max(axis=0) <= SYMMETRIC * size)


def with_held_atoms(frames: Sequence[Structure]) -> Bool[np.ndarray, " frames"]:
    """Frames in which some atoms, but not all, feel a force of exactly zero that is no symmetry.

    So constraints are written, as by ASE: these are no labels, and net forces are none of noise.
    """
    sizes = columns.sizes(frames)
    starts = np.cumsum(sizes) - sizes
    still = (columns.forces(frames) == 0.0).all(axis=1)
    number = np.bincount(columns.owners(frames)[still], minlength=len(sizes))
    some = (number > 0) & (number < sizes)
    found = np.zeros(len(sizes), dtype=bool)
    for size in np.unique(sizes[some]).tolist():
        members = np.flatnonzero(some & (sizes == size))
        zero = still[starts[members][:, None] + np.arange(size)]
        # forces of few digits are zero on this atom and that
        same = zero.mean(axis=0) >= ALWAYS
        if same.sum() < (1 if len(members) >= FEWEST else 2):
            continue
        looked = members[:LOOKED_AT].tolist()
        found[members] = any(
            (zero[k] & same & ~unpulled(frames[m])).any() for k, m in enumerate(looked)
        )
    return found


def _pushed(frames: Sequence[Structure]) -> Bool[np.ndarray, " frames"]:
    """Frames with forces that are not zero."""
    square = np.nan_to_num((columns.forces(frames) ** 2).mean(axis=1))
    sums = np.bincount(columns.owners(frames), square, minlength=len(frames))
    return sums > PUSHED**2 * np.maximum(columns.sizes(frames), 1)


def _stresses(frames: Sequence[Structure]) -> list[Placeholder]:
    stress = columns.stresses(frames)
    zero = (stress == 0.0).all(axis=(1, 2)) & columns.periodicity(frames).all(axis=1)
    number = int((zero & _pushed(frames)).sum()) if zero.any() else 0
    others = np.abs(stress[np.isfinite(stress) & (stress != 0.0)])
    if not number or _few_digits(others):
        return []
    return [
        Placeholder(
            "stress",
            f"exactly zero in {count(number, 'frame')} whose atoms feel forces: was it computed?",
            "Leave the key out of frames without a stress; stress_key=null reads none.",
        )
    ]


def _few_digits(values: np.ndarray) -> bool:
    """Whether all are multiples of the smallest, and most of them not many times as large."""
    if not len(values):
        return False
    times = values / values.min()
    return bool(np.median(times) < DIGITS and (np.abs(times - np.round(times)) < 1e-3).all())


def _energies(frames: Sequence[Structure]) -> list[Placeholder]:
    energies, sizes = columns.energies(frames), columns.sizes(frames)
    known = np.flatnonzero(np.isfinite(energies) & columns.labelled(frames, "forces"))
    # frames of equal sizes and energies: few, unless something is wrong
    pairs = np.stack([sizes[known].astype(float), energies[known]], axis=1)
    _, group, numbers = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    wrong = 0
    for k in np.flatnonzero(numbers >= FEWEST).tolist():
        members = known[group.reshape(-1) == k].tolist()
        some = [frames[m] for m in members[:FEWEST]]
        forces = [np.sort(np.linalg.norm(f.labelled_forces, axis=1)) for f in some]
        alike = all(np.array_equal(np.sort(f.numbers), np.sort(some[0].numbers)) for f in some)
        many = len(members) >= MANY * np.count_nonzero(sizes[known] == sizes[members[0]])
        if (
            alike
            and many
            and all(np.abs(f - forces[0]).max(initial=0.0) > 1e-3 for f in forces[1:])
        ):
            wrong += len(members)
    if not wrong:
        return []
    return [
        Placeholder(
            "energy",
            f"the same to the last digit in {count(wrong, 'frame')} of equal composition whose "
            "forces differ: is it each frame's potential energy?",
            "Give the key that holds it; energy_key=null reads none.",
        )
    ]


def _forces(frames: Sequence[Structure]) -> list[Placeholder]:
    number = int(with_held_atoms(frames).sum())
    if not number:
        return []
    return [
        Placeholder(
            "forces",
            f"exactly zero on some atoms in {count(number, 'frame')}, though their neighbors do "
            "not pull alike: were these atoms held?",
            "Write the forces that act on held atoms, too, before constraints are applied (ASE: "
            "get_forces(apply_constraint=False)): a potential cannot know who was held.",
        )
    ]
