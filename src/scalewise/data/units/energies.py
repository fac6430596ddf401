"""Detect energies and stresses in other units, by the work between frames and by compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import ase.units
import numpy as np
from jaxtyping import Float

from scalewise.data.structure import nearest_image
from scalewise.data.units.bonds import Suspicion, shortest_bonds

if TYPE_CHECKING:
    from scalewise.data.structure import Structure

#: eV/Å³ (480 GPa): median stress beyond which the interior of planets begins.
LARGEST_STRESS: Final = 3.0
#: eV/atom: median distance of an energy from what composition explains. Bonds have less.
LARGEST_RESIDUAL: Final = 100.0
#: eV/Å³ (1300 GPa): larger than any bulk modulus; diamond has 2.8.
LARGEST_MODULUS: Final = 8.0
#: Strain, and displacement over the shortest bond, up to which two frames are nearly alike.
STRAIN: Final = 0.1
NEAR: Final = 0.2
#: Pairs of frames that are compared, at most.
PAIRS: Final = 2000
#: Å of empty space that makes a slab, a wire or a cluster of a periodic frame.
VACUUM: Final = 5.0


class _Work(NamedTuple):
    """Of two frames that are nearly alike, eV: change of energy, work of forces, and of stress."""

    energy: float
    forces: float
    stress: float


def _works(frames: Sequence[Structure]) -> Float[np.ndarray, "pairs 3"]:
    """Of pairs of frames that follow each other in the file and are nearly alike."""
    found = []
    # at random where there are many: every second one may always be of another kind
    pairs = np.random.default_rng(0).permutation(max(len(frames) - 1, 0))[:PAIRS]
    for k in np.sort(pairs).tolist():
        a, b = frames[k], frames[k + 1]
        if (
            a.labels.energy is None
            or b.labels.energy is None
            or a.labels.forces is None
            or b.labels.forces is None
            or not np.array_equal(a.numbers, b.numbers)
        ):
            continue
        if (a.pbc != b.pbc).any():
            continue
        if not a.pbc.all() and np.abs((a.cell - b.cell)[a.pbc]).max(initial=0.0) > 1e-6:
            continue
        moved, strain = _moved(a, b)
        shortest = shortest_bonds(a).length.min(initial=np.inf)
        if np.abs(moved).max() > min(NEAR * shortest, 0.6) or np.abs(strain).max() > STRAIN:
            continue
        work = -0.5 * float(((a.labels.forces + b.labels.forces) * moved).sum())
        pressed = 0.0
        if a.pbc.all() and np.abs(strain).max() > 1e-6:
            if a.labels.stress is None or b.labels.stress is None:
                continue
            volume = [abs(float(np.linalg.det(f.cell))) for f in (a, b)]
            pressed = 0.5 * float(
                ((volume[0] * a.labels.stress + volume[1] * b.labels.stress) * strain).sum()
            )
        found.append(_Work(b.labels.energy - a.labels.energy, work, pressed))
    return np.array(found, dtype=float).reshape(-1, 3)


def _moved(a: Structure, b: Structure) -> tuple[np.ndarray, np.ndarray]:
    """How far atoms moved within the cell, Å [atoms, 3], and the strain of the cell [3, 3]."""
    # the work of a shift of all atoms is none where forces add up to zero; those on held atoms lack
    held = a.labels.forces is not None and bool((a.labels.forces == 0.0).all(axis=1).any())
    if not a.pbc.all():
        moved = nearest_image(b.positions - a.positions, a.lattice, a.pbc)
        return moved - (0.0 if held else moved.mean(axis=0)), np.zeros((3, 3))
    inverse = np.linalg.inv(a.cell)
    fraction = b.positions @ np.linalg.inv(b.cell) - a.positions @ inverse
    fraction -= np.rint(fraction)
    if not held:
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


def suspect_energies(frames: Sequence[Structure]) -> list[Suspicion]:
    """Energies that are far from any composition's, or that forces do not account for."""
    labelled = [f for f in frames if f.labels.energy is not None]
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


def _residual(frames: Sequence[Structure]) -> float | None:
    """Median distance of energies per atom from a fit on the composition, eV."""
    kinds = np.unique(np.concatenate([f.numbers for f in frames]))
    counts = np.array([[np.count_nonzero(f.numbers == z) for z in kinds] for f in frames])
    atoms = counts.sum(axis=1)
    if len(frames) <= 2 * len(kinds) or not atoms.all():
        return None
    energies = np.array([f.labels.energy for f in frames], dtype=float) / atoms
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


def suspect_stresses(frames: Sequence[Structure]) -> list[Suspicion]:
    """Stresses of impossible size, or that energies or volumes contradict."""
    labelled = [f for f in frames if f.labels.stress is not None and f.pbc.all()]
    if not labelled:
        return []
    # the largest component: of an even strain or a shear, most are zero
    size = float(
        np.median([np.abs(f.labels.stress).max() for f in labelled if f.labels.stress is not None])
    )
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


def _of_compression(frames: Sequence[Structure]) -> list[Suspicion]:
    """Pressure against volume, with composition held, which moves it, too.

    Slabs are left out: their volume is mostly vacuum. Where larger cells are hotter, heat may raise
    the pressure by more than the volume lowers it, and nothing is said.
    """
    stressed = [f for f in frames if f.labels.stress is not None and f.labels.forces is not None]
    dense = [f for f in stressed if not _has_vacuum(f)]
    kinds = np.unique(np.concatenate([f.numbers for f in dense])) if dense else np.zeros(0)
    if len(dense) < 10 + len(kinds):
        return []
    atoms = np.array([len(f.numbers) for f in dense])
    shares = np.array([[np.count_nonzero(f.numbers == z) for z in kinds] for f in dense])
    held = shares / atoms[:, None]
    hot = _without(held, np.array([np.mean(f.labelled_forces**2) for f in dense]))
    x = _without(held, np.log([abs(np.linalg.det(f.cell)) for f in dense] / atoms))
    y = _without(
        held,
        np.array([np.trace(f.labels.stress) / 3 for f in dense if f.labels.stress is not None]),
    )
    if x.std() < 0.005 or y.std() < 1e-9:
        return []
    if hot.std() > 1e-9 and np.corrcoef(x, hot)[0, 1] > 0.3:
        return []
    correlation, modulus = float(np.corrcoef(x, y)[0, 1]), float((x @ y) / (x @ x))
    if abs(correlation) < 0.8 or 0 < modulus < LARGEST_MODULUS:
        return []
    if modulus < 0 and _rises_within(x, y):
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


def _rises_within(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether y rises with x where the means of both sides of the widest gap of x are taken off.

    Of two phases, a dense one at rest and an open one under pressure, the means say nothing of the
    sign.
    """
    order = np.argsort(x)
    above = np.zeros(len(x), dtype=bool)
    above[order[int(np.argmax(np.diff(x[order]))) + 1 :]] = True
    if min(above.sum(), (~above).sum()) < 5:
        return False
    held = np.stack([above, ~above], axis=1).astype(float)
    x, y = _without(held, x), _without(held, y)
    return bool(x.std() > 0.002) and float(np.corrcoef(x, y)[0, 1]) > 0.3


def _without(held: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What linear functions of the held quantities leave of values."""
    return values - held @ np.linalg.lstsq(held, values, rcond=None)[0]


def _has_vacuum(frame: Structure) -> bool:
    """Whether a periodic cell has a layer without atoms, thicker than ``VACUUM``."""
    inside = np.sort((frame.positions @ np.linalg.inv(frame.cell)) % 1.0, axis=0)
    gaps = np.diff(inside, axis=0, append=inside[:1] + 1.0).max(axis=0)
    faces = np.linalg.norm(np.cross(frame.cell[[1, 2, 0]], frame.cell[[2, 0, 1]]), axis=1)
    height = abs(float(np.linalg.det(frame.cell))) / faces
    return bool((gaps * height > VACUUM).any())
