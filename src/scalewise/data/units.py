r"""Do the labels of a file look like eV, Å, eV/Å and eV/Å³? What does not, and what it looks like.

Sizes alone tell little: relaxed structures have small forces, all-electron energies are huge. What
tells more are relations that no right file breaks, whatever its level of theory:

* *stiffness*: along its shortest bond, of length r, an atom is pushed back with a force constant k.
  :math:`\kappa = k r^3 / k_e`, with the Coulomb constant :math:`k_e`, lies between 0.6 and 20 from
  lithium and argon to carbon; forces in Ha/bohr make it 51 times smaller, kcal/mol/Å 23 times
  larger;
* *work*: between two frames that are nearly alike, the energy changes by the work of forces and
  stress, :math:`\Delta E \approx -\tfrac12 \sum_i (F_i + F_i') \cdot u_i + \tfrac12 (V \sigma +
  V' \sigma') : \epsilon`;
* *compression*: a smaller volume means a larger pressure, by a bulk modulus that is known within
  two orders.

Each is used only where the frames show it beyond doubt; where they do not, nothing is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import ase.units
import numpy as np
from ase.data import covalent_radii
from jaxtyping import Float

from scalewise.quantities import COULOMB_CONSTANT

if TYPE_CHECKING:
    from scalewise.data.frames import Frame

Label = Literal["positions", "forces", "energy", "stress"]

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
#: eV/Å³ (480 GPa): median stress beyond which the interior of planets begins.
LARGEST_STRESS: Final = 3.0
#: eV/atom: median distance of an energy from what composition explains. Bonds have less.
LARGEST_RESIDUAL: Final = 100.0
#: Range of κ, corrected for compression; the values seen are in the module's text.
SOFTEST: Final = 0.2
STIFFEST: Final = 40.0
#: Bond over the sum of covalent radii from which Å is doubted: in bohr all are 1.89 times longer.
LONG_BOND: Final = 1.5
#: κ below which it is bohr, with forces in Ha/bohr: 14 times smaller than in Å and eV/Å.
WEAK: Final = 0.7
#: eV/Å³ (1300 GPa): larger than any bulk modulus; diamond has 2.8.
LARGEST_MODULUS: Final = 8.0
#: Frames looked at, and atoms of each.
FRAMES: Final = 64
ATOMS: Final = 128
#: Elements whose neighbours are farther than covalent radii say.
NOBLE: Final = (2, 10, 18, 36, 54, 86)
#: Strain, and displacement over the shortest bond, up to which two frames are nearly alike.
STRAIN: Final = 0.1
NEAR: Final = 0.2
#: Bonds are compared that are as near to the median of their kind: those of dimers are others.
BAND: Final = 0.12
#: Length over covalent radii below which nuclei repel each other: nothing is said of such bonds.
WALL: Final = 0.75
#: Å of empty space that makes a slab, a wire or a cluster of a periodic frame.
VACUUM: Final = 5.0


@dataclass(frozen=True)
class Suspicion:
    """One label whose unit looks wrong: in which frame (none: all over the file), and why."""

    label: Label
    found: str
    frame: int | None = None


def suspicions(frames: Sequence[Frame], stress_key: str | None = None) -> list[Suspicion]:
    """Everything about the units of labelled frames that looks wrong, most basic first."""
    found = list(suspect_lengths(frames))
    for look in (_forces, _energies):
        found += look(frames)
    if "virial" in (stress_key or "").lower() and any(f.stress is not None for f in frames):
        reason = "named like a virial (eV), where a stress is expected: -virial / volume (eV/Å³)"
        return [*found, Suspicion("stress", reason)]
    return [*found, *_stresses(frames)]


# ------------------------------------------------------------------------------------ positions


def suspect_lengths(frames: Sequence[Frame]) -> Iterator[Suspicion]:
    """Positions that look like nm: too many atoms in a volume, or nuclei too close to each other.

    Forces are not looked at. Only what holds for most frames is a matter of units; single overlaps
    are refused where neighbours are listed.
    """
    looked = _sample(frames)
    dense = [len(f.numbers) / abs(np.linalg.det(f.cell)) for f in looked if f.pbc.all()]
    if dense and (density := float(np.median(dense))) > DENSEST:
        yield Suspicion(
            "positions",
            f"the median cell has {density:.3g} atoms per cubic length, too many for Å (nm looks "
            "like this)",
        )
        return
    closest = [b.length.min() for f in looked if len((b := _shortest(f)).length)]
    if closest and (shortest := float(np.median(closest))) < SHORTEST_DISTANCE:
        yield Suspicion(
            "positions",
            f"in the median frame, two atoms are {shortest:.3g} apart, too close for Å (nm looks "
            "like this)",
        )


class _Bonds(NamedTuple):
    """The shortest bond of each atom: elements, length (Å), and the force that pushes it apart."""

    kind: np.ndarray
    length: np.ndarray
    push: np.ndarray


def _shortest(frame: Frame) -> _Bonds:
    n = len(frame.numbers)
    pick = np.arange(n) if n <= ATOMS else np.linspace(0, n - 1, ATOMS).astype(int)
    if n < 2:
        return _Bonds(np.zeros((0, 2), dtype=int), np.zeros(0), np.zeros(0))
    apart = frame.positions[None] - frame.positions[pick, None]
    if frame.pbc.all():
        fraction = apart @ np.linalg.inv(frame.cell)
        apart = (fraction - np.rint(fraction)) @ frame.cell
    distance = np.linalg.norm(apart, axis=-1)
    row = np.arange(len(pick))
    distance[row, pick] = np.inf
    other = distance.argmin(axis=1)
    length = np.maximum(distance[row, other], 1e-6)
    along = apart[row, other] / length[:, None]
    push = 0.5 * ((frame.forces[other] - frame.forces[pick]) * along).sum(axis=1)
    return _Bonds(
        np.sort(np.stack([frame.numbers[pick], frame.numbers[other]], axis=1)), length, push
    )


# --------------------------------------------------------------------------------------- forces


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


def _stiffness(bonds: Sequence[_Bonds]) -> list[_Stiffness]:
    """Kinds of bonds whose push follows their length: a quarter of its variance at least."""
    kind, length, push = (np.concatenate(part) for part in zip(*bonds, strict=True))
    found = []
    for first, second in np.unique(kind, axis=0).tolist():
        mine = (kind == (first, second)).all(axis=1)
        r, f = _banded(length[mine], push[mine])
        if len(r) < 20 or r.std() < 0.003 * r.mean() or f.std() == 0.0:
            continue
        correlation, slope = np.corrcoef(r, f)[0, 1], np.cov(r, f)[0, 1] / r.var(ddof=1)
        if correlation < -0.5:
            ratio = r.mean() / (covalent_radii[first] + covalent_radii[second])
            found.append(_Stiffness((first, second), len(r), r.mean(), ratio, -slope))
    return found


def _banded(length: np.ndarray, push: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    near = np.abs(length / np.median(length) - 1.0) < BAND
    return length[near], push[near]


def _forces(frames: Sequence[Frame]) -> list[Suspicion]:
    sizes = np.array([_rms(f) for f in frames])
    if not (sizes > 0).any():
        return []
    typical = float(np.median(sizes[sizes > 0]))
    looked = _sample(frames)
    bonds = [_shortest(f) for f in looked]
    known = _stiffness(bonds)
    found = _of_stiffness(known) if known else _of_size(typical, bonds)
    return found or _mixed_sizes(frames, sizes, typical) or _mixed_stiffness(looked, bonds)


def _of_size(typical: float, bonds: Sequence[_Bonds]) -> list[Suspicion]:
    tightest = [t for t in map(_tightest, bonds) if t is not None]
    if typical <= LARGEST_RMS or (tightest and float(np.median(tightest)) < WALL):
        return []
    return [
        Suspicion(
            "forces",
            f"the median frame has a root-mean-square force of {typical:.3g}, too large for eV/Å "
            "(kJ/mol/nm and kcal/mol/Å look like this)",
        )
    ]


def _tightest(bonds: _Bonds) -> float | None:
    """The shortest bond of a frame over covalent radii."""
    if not len(bonds.length):
        return None
    return float((bonds.length / covalent_radii[bonds.kind].sum(axis=1)).min())


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


def _mixed_sizes(frames: Sequence[Frame], sizes: np.ndarray, typical: float) -> list[Suspicion]:
    """Upwards alone: relaxed structures have small forces; and not where bonds are tight."""
    odd = np.flatnonzero(sizes > max(LARGEST_RMS, LARGEST_SPREAD * typical))
    if not len(odd):
        return []
    usual = [t for f in _sample(frames) if (t := _tightest(_shortest(f))) is not None]
    for k in odd.tolist():
        tight = _tightest(_shortest(frames[k]))
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


def _mixed_stiffness(frames: Sequence[Frame], bonds: Sequence[_Bonds]) -> list[Suspicion]:
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


# --------------------------------------------------------------------------- energies and stress


class _Work(NamedTuple):
    """Of two frames that are nearly alike, eV: change of energy, work of forces, and of stress."""

    energy: float
    forces: float
    stress: float


def _works(frames: Sequence[Frame]) -> Float[np.ndarray, "pairs 3"]:
    """Of frames that follow each other in the file and are nearly alike."""
    found = []
    for a, b in itertools.pairwise(frames):
        if a.energy is None or b.energy is None or not np.array_equal(a.numbers, b.numbers):
            continue
        if (a.pbc != b.pbc).any() or (a.pbc.any() and not a.pbc.all()):
            continue
        moved, strain = _moved(a, b)
        shortest = _shortest(a).length.min(initial=np.inf)
        if np.abs(moved).max() > min(NEAR * shortest, 0.6) or np.abs(strain).max() > STRAIN:
            continue
        work = -0.5 * float(((a.forces + b.forces) * moved).sum())
        pressed = 0.0
        if a.pbc.all() and np.abs(strain).max() > 1e-6:
            if a.stress is None or b.stress is None:
                continue
            volume = [abs(float(np.linalg.det(f.cell))) for f in (a, b)]
            pressed = 0.5 * float(((volume[0] * a.stress + volume[1] * b.stress) * strain).sum())
        found.append(_Work(b.energy - a.energy, work, pressed))
    return np.array(found, dtype=float).reshape(-1, 3)


def _moved(a: Frame, b: Frame) -> tuple[np.ndarray, np.ndarray]:
    """How far atoms moved within the cell, Å [atoms, 3], and the strain of the cell [3, 3]."""
    if not a.pbc.all():
        moved = b.positions - a.positions
        return moved - moved.mean(axis=0), np.zeros((3, 3))
    inverse = np.linalg.inv(a.cell)
    fraction = b.positions @ np.linalg.inv(b.cell) - a.positions @ inverse
    fraction -= np.rint(fraction)
    fraction -= fraction.mean(axis=0)
    change = inverse @ b.cell
    return fraction @ (0.5 * (a.cell + b.cell)), 0.5 * (change + change.T) - np.eye(3)


def _factor(energy: np.ndarray, work: np.ndarray) -> float | None:
    """By what to multiply work to get the change of energy; none where they do not go together."""
    if len(work) < 8 or work.std() == 0.0 or energy.std() == 0.0:
        return None
    correlation = float(np.corrcoef(energy, work)[0, 1])
    if abs(correlation) < 0.8:
        return None
    return float(np.copysign(energy.std() / work.std(), correlation))


def _energies(frames: Sequence[Frame]) -> list[Suspicion]:
    labelled = [f for f in frames if f.energy is not None]
    if len(labelled) < 3:
        return []
    residual = _residual(labelled)
    if residual is not None and residual > LARGEST_RESIDUAL:
        return [
            Suspicion(
                "energy",
                f"energies differ by {residual:.3g} per atom from what composition explains, too "
                "much for eV (kJ/mol and kcal/mol look like this)",
            )
        ]
    work = _works(labelled)
    by_forces = work[np.abs(work[:, 1]) > 2.0 * np.abs(work[:, 2])]
    factor = _factor(by_forces[:, 0], by_forces[:, 1])
    if factor is None or 1 / 3 < factor < 3.0:
        return []
    atoms = float(np.median([len(f.numbers) for f in labelled]))
    return [
        Suspicion(
            "energy",
            f"between frames that are nearly alike, energies change by {factor:.3g} times the work "
            f"of the forces{_likely(factor, atoms)}",
        )
    ]


def _residual(frames: Sequence[Frame]) -> float | None:
    """Median distance of energies per atom from a fit on the composition, eV."""
    kinds = np.unique(np.concatenate([f.numbers for f in frames]))
    counts = np.array([[np.count_nonzero(f.numbers == z) for z in kinds] for f in frames])
    atoms = counts.sum(axis=1)
    if len(frames) <= 2 * len(kinds) or not atoms.all():
        return None
    energies = np.array([f.energy for f in frames], dtype=float) / atoms
    shares = counts / atoms[:, None]
    solution = np.linalg.lstsq(shares, energies, rcond=None)[0]
    return float(np.median(np.abs(energies - shares @ solution)))


def _likely(factor: float, atoms: float) -> str:
    known = {
        "energies in Ha look like this": 1 / ase.units.Ha,
        "energies in Ry look like this": 1 / ase.units.Ry,
        "energies in kJ/mol look like this": ase.units.mol / ase.units.kJ,
        "energies in kcal/mol look like this": ase.units.mol / ase.units.kcal,
        "forces in Ha/bohr look like this": ase.units.Ha / ase.units.Bohr,
        "energies per atom look like this": 1 / atoms,
        "forces with the wrong sign look like this": -1.0,
    }
    close = [name for name, value in known.items() if 0.75 < factor / value < 1.33]
    return f" ({', or '.join(close)})" if close else ""


def _stresses(frames: Sequence[Frame]) -> list[Suspicion]:
    labelled = [f for f in frames if f.stress is not None and f.pbc.all()]
    if not labelled:
        return []
    # the largest component: of an even strain or a shear, most are zero
    size = float(np.median([np.abs(f.stress).max() for f in labelled if f.stress is not None]))
    if size > LARGEST_STRESS:
        return [
            Suspicion(
                "stress",
                f"the median frame has a stress of {size:.3g}, or {size * 160.2:.3g} GPa if it "
                "were in eV/Å³ (GPa, kbar and virials in eV look like this)",
            )
        ]
    work = _works(labelled)
    by_stress = work[np.abs(work[:, 2]) > 2.0 * np.abs(work[:, 1])]
    factor = _factor(by_stress[:, 0], by_stress[:, 2])
    if factor is not None:
        if 1 / 3 < factor < 3.0:
            return []
        reason = "stress with the other sign" if factor < -1 / 3 else "GPa, kbar and virials"
        return [
            Suspicion(
                "stress",
                "between frames that are nearly alike, energies change by "
                f"{factor:.3g} times the work of the stress ({reason} look like this)",
            )
        ]
    return _of_compression(labelled)


def _of_compression(frames: Sequence[Frame]) -> list[Suspicion]:
    """Pressure against volume, with composition held, which moves it, too.

    Slabs are left out: their volume is mostly vacuum. Where larger cells are hotter, heat may raise
    the pressure by more than the volume lowers it, and nothing is said.
    """
    dense = [f for f in frames if f.stress is not None and not _has_vacuum(f)]
    kinds = np.unique(np.concatenate([f.numbers for f in dense])) if dense else np.zeros(0)
    if len(dense) < 10 + len(kinds):
        return []
    atoms = np.array([len(f.numbers) for f in dense])
    shares = np.array([[np.count_nonzero(f.numbers == z) for z in kinds] for f in dense])
    held = shares / atoms[:, None]
    hot = _without(held, np.array([np.mean(f.forces**2) for f in dense]))
    x = _without(held, np.log([abs(np.linalg.det(f.cell)) for f in dense] / atoms))
    y = _without(held, np.array([np.trace(f.stress) / 3 for f in dense if f.stress is not None]))
    if x.std() < 0.005 or y.std() < 1e-9:
        return []
    if hot.std() > 1e-9 and np.corrcoef(x, hot)[0, 1] > 0.3:
        return []
    correlation, modulus = float(np.corrcoef(x, y)[0, 1]), float((x @ y) / (x @ x))
    if abs(correlation) < 0.8 or 0 < modulus < LARGEST_MODULUS:
        return []
    if modulus < 0:
        return [
            Suspicion(
                "stress",
                "its pressure rises with the volume: the sign of the stress seems to be the other "
                "one (VASP and LAMMPS have another one)",
            )
        ]
    return [
        Suspicion(
            "stress",
            f"it changes with the volume by a bulk modulus of {modulus:.3g}, or "
            f"{modulus * 160.2:.3g} GPa if it were in eV/Å³ (GPa, kbar and virials look like this)",
        )
    ]


def _without(held: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What linear functions of the held quantities leave of values."""
    return values - held @ np.linalg.lstsq(held, values, rcond=None)[0]


def _has_vacuum(frame: Frame) -> bool:
    """Whether a periodic cell has a layer without atoms, thicker than ``VACUUM``."""
    inside = np.sort((frame.positions @ np.linalg.inv(frame.cell)) % 1.0, axis=0)
    gaps = np.diff(inside, axis=0, append=inside[:1] + 1.0).max(axis=0)
    faces = np.linalg.norm(np.cross(frame.cell[[1, 2, 0]], frame.cell[[2, 0, 1]]), axis=1)
    height = abs(float(np.linalg.det(frame.cell))) / faces
    return bool((gaps * height > VACUUM).any())


def _sample(frames: Sequence[Frame]) -> list[Frame]:
    """Frames evenly spread over the file."""
    if len(frames) <= FRAMES:
        return list(frames)
    return [frames[k] for k in np.linspace(0, len(frames) - 1, FRAMES).astype(int)]


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted median."""
    order = np.argsort(values)
    share = np.cumsum(np.asarray(weights, dtype=float)[order])
    return float(np.asarray(values)[order][np.searchsorted(share, 0.5 * share[-1])])


def _rms(frame: Frame) -> float:
    return float(np.sqrt(np.mean(frame.forces**2))) if frame.forces.size else 0.0
