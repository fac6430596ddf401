"""Detect lengths that are not in Å and forces that are not in eV/Å, by the stiffness of bonds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import covalent_radii

from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.units.bonds import Bonds, Suspicion, sample, shortest_bonds, tightest

if TYPE_CHECKING:
    from scalewise.data.structure import Structure

#: Root-mean-square force, eV/Å, above which the median frame is implausible where no stiffness
#: speaks for it: atoms of condensed matter below 10^4 K feel less.
LARGEST_RMS: Final = 15.0
#: Frames of one file whose forces are so many times those of the median frame, and beyond
#: ``LARGEST_RMS``, were not made in one unit.
LARGEST_SPREAD: Final = 20.0
#: Å: no two nuclei of a sane frame are closer (H2 is 0.74 Å); in nm all are.
SHORTEST_DISTANCE: Final = 0.4
#: Atoms per Å³; diamond has 0.18, and a thousand times as many in nm³.
DENSEST: Final = 2.0
#: Range of κ, corrected for compression; the values seen are in the text of the package.
SOFTEST: Final = 0.2
STIFFEST: Final = 40.0
#: Bond over the sum of covalent radii from which Å is doubted: in bohr all are 1.89 times longer.
LONG_BOND: Final = 1.5
#: κ below which it is bohr, with forces in Ha/bohr: 14 times smaller than in Å and eV/Å.
WEAK: Final = 0.7
#: Elements whose neighbors are farther than covalent radii say.
NOBLE: Final = (2, 10, 18, 36, 54, 86)
#: Bonds are compared that are as near to the median of their kind: those of dimers are others.
BAND: Final = 0.12
#: Correlation of push and length from which gradients are suspected in the place of forces; right
#: forces have -0.65 and less where bonds are not stretched beyond so many times their radii.
REVERSED: Final = 0.6
UNSTRETCHED: Final = 1.06
#: Length over covalent radii below which nuclei repel each other: nothing is said of such bonds.
WALL: Final = 0.75


def suspect_lengths(frames: Sequence[Structure]) -> Iterator[Suspicion]:
    """Positions that look like nm: too many atoms in a volume, or nuclei too close to each other.

    Forces are not looked at. Only what holds for most frames is a matter of units; single overlaps
    are refused where neighbors are listed.
    """
    looked = sample(frames)
    dense = [len(f.numbers) / abs(np.linalg.det(f.cell)) for f in looked if f.pbc.all()]
    if dense and (density := float(np.median(dense))) > DENSEST:
        yield Suspicion(
            "positions",
            f"the median cell has {density:.3g} atoms per cubic length, too many for Å (nm looks "
            "like this)",
        )
        return
    # of most atoms of most frames: where two atoms overlap, the others are as far as in Å
    closest = [np.median(b.length) for f in looked if len((b := shortest_bonds(f)).length)]
    if closest and (shortest := float(np.median(closest))) < SHORTEST_DISTANCE:
        yield Suspicion(
            "positions",
            f"in the median frame, the median distance to the nearest atom is {shortest:.3g}, too "
            "short for Å (nm looks like this)",
        )


@dataclass(frozen=True)
class _Stiffness:
    """Of one kind of bond: its mean length over covalent radii, its force constant, and κ."""

    kind: tuple[int, int]
    count: int
    length: float
    ratio: float
    constant: float

    @property
    def kappa(self) -> float:
        """κ as it would be without compression, which stiffens bonds by a high power."""
        return self.constant * self.length**3 / COULOMB_CONSTANT * min(1.0, self.ratio) ** 9


def _stiffness(bonds: Sequence[Bonds]) -> list[_Stiffness]:
    """Kinds of bonds whose push follows their length: a quarter of its variance at least.

    Where it grows with the length, force constants are negative.
    """
    kind, length, push = (np.concatenate(part) for part in zip(*bonds, strict=True))
    found = []
    for first, second in np.unique(kind, axis=0).tolist():
        mine = (kind == (first, second)).all(axis=1)
        r, f = _banded(length[mine], push[mine])
        if len(r) < 20 or r.std() < 0.003 * r.mean() or f.std() == 0.0:
            continue
        correlation, slope = np.corrcoef(r, f)[0, 1], np.cov(r, f)[0, 1] / r.var(ddof=1)
        ratio = r.mean() / (covalent_radii[first] + covalent_radii[second])
        if correlation < -0.5 or (correlation > REVERSED and WALL < ratio < UNSTRETCHED):
            found.append(_Stiffness((first, second), len(r), r.mean(), ratio, -slope))
    return found


def _banded(length: np.ndarray, push: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    near = np.abs(length / np.median(length) - 1.0) < BAND
    return length[near], push[near]


def suspect_forces(frames: Sequence[Structure]) -> list[Suspicion]:
    """Forces whose stiffness is not that of eV/Å, or not that of other frames."""
    sizes = np.array([_rms(f) for f in frames])
    if not (sizes > 0).any():
        return []
    typical = float(np.median(sizes[sizes > 0]))
    looked = sample(frames)
    bonds = [shortest_bonds(f) for f in looked]
    related = _stiffness(bonds)
    known = [s for s in related if s.constant > 0]
    found = _of_sign(related) or (_of_stiffness(known) if known else _of_size(typical, bonds))
    return found or _mixed_sizes(frames, sizes, typical) or _mixed_stiffness(looked, bonds)


def _of_sign(related: Sequence[_Stiffness]) -> list[Suspicion]:
    firm = [s for s in related if not set(s.kind) & set(NOBLE)]
    pulled = sum(s.count for s in firm if s.constant < 0)
    if pulled <= 3 * sum(s.count for s in firm if s.constant > 0):
        return []
    return [
        Suspicion(
            "forces",
            "atoms that are close pull at each other, and those that are farther apart push: the "
            "sign seems to be the other one (gradients of the energy look like this)",
        )
    ]


def _of_size(typical: float, bonds: Sequence[Bonds]) -> list[Suspicion]:
    tight = [t for t in map(tightest, bonds) if t is not None]
    if typical <= LARGEST_RMS or (tight and float(np.median(tight)) < WALL):
        return []
    return [
        Suspicion(
            "forces",
            f"the median frame has a root-mean-square force of {typical:.3g}, too large for eV/Å "
            "(kJ/mol/nm and kcal/mol/Å look like this)",
        )
    ]


def _of_stiffness(known: Sequence[_Stiffness]) -> list[Suspicion]:
    firm = [s for s in known if not set(s.kind) & set(NOBLE) and s.ratio > WALL]
    if not firm:
        return []
    weight = [s.count for s in firm]
    kappa = _median([s.kappa for s in firm], weight)
    ratio = _median([s.ratio for s in firm], weight)
    if ratio > LONG_BOND and kappa < WEAK:  # ions far apart have long bonds, and firm ones
        return [
            Suspicion(
                "positions",
                f"bonds are {ratio:.2f} times as long as the atoms' covalent radii say (positions "
                "in bohr look like this)",
            )
        ]
    if SOFTEST <= kappa <= STIFFEST:
        return []
    typical = f"{_median([s.constant for s in firm], weight):.3g}"
    if kappa < SOFTEST:
        reason = "too soft for eV/Å: Ha/bohr and Ry/bohr look like this"
    else:
        reason = "too stiff for eV/Å: kcal/mol/Å, kJ/mol/Å and kJ/mol/nm look like this"
    return [
        Suspicion(
            "forces",
            f"against the lengths of bonds, forces give a force constant of {typical}, {reason}",
        )
    ]


def _mixed_sizes(frames: Sequence[Structure], sizes: np.ndarray, typical: float) -> list[Suspicion]:
    """Upwards alone: relaxed structures have small forces; and not where bonds are tight."""
    odd = np.flatnonzero(sizes > max(LARGEST_RMS, LARGEST_SPREAD * typical))
    if not len(odd):
        return []
    usual = [t for f in sample(frames) if (t := tightest(shortest_bonds(f))) is not None]
    for k in odd.tolist():
        tight = tightest(shortest_bonds(frames[k]))
        if tight is not None and tight > 0.9 * float(np.median(usual)):
            return [
                Suspicion(
                    "forces",
                    f"root-mean-square force {sizes[k]:.3g} against {typical:.3g} in the median "
                    "frame, whose bonds are as short: units seem mixed",
                    frames[k].index,
                )
            ]
    return []


def _mixed_stiffness(frames: Sequence[Structure], bonds: Sequence[Bonds]) -> list[Suspicion]:
    """Frames whose bonds are strained as those of others, and pushed by another factor.

    Three frames at least: a unit is wrong in a block of frames. Relaxed frames are not strained, or
    their forces do not follow.
    """
    found: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    for k, bond in enumerate(bonds):
        for first, second in np.unique(bond.kind, axis=0).tolist():
            mine = (bond.kind == (first, second)).all(axis=1)
            r, f = _banded(bond.length[mine], bond.push[mine])
            if len(r) < 5 or r.std() < 0.003 * r.mean() or f.std() == 0.0:
                continue
            if np.corrcoef(r, f)[0, 1] < (-0.6 if len(r) >= 8 else -0.8):
                found.setdefault((first, second), []).append((k, r.std(), f.std() / r.std()))
    odd: dict[int, float] = {}
    for rows in found.values():
        _, strains, slopes = (np.array(column) for column in zip(*rows, strict=True))
        usual, middle = np.median(strains), np.median(slopes)
        for k, strain, slope in rows:
            if strain > 0.5 * usual and not 0.1 < slope / middle < 10.0:
                odd[k] = slope / middle
    if len(odd) < 3:
        return []
    first_odd = min(odd)
    return [
        Suspicion(
            "forces",
            f"forces are {odd[first_odd]:.2g} times those of other frames whose bonds are strained "
            "as much: units seem mixed",
            frames[first_odd].index,
        )
    ]


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted median."""
    order = np.argsort(values)
    share = np.cumsum(np.asarray(weights, dtype=float)[order])
    return float(np.asarray(values)[order][np.searchsorted(share, 0.5 * share[-1])])


def _rms(frame: Structure) -> float:
    return float(np.sqrt(np.mean(frame.labelled_forces**2))) if frame.labelled_forces.size else 0.0
