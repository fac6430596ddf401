"""Labelled frames: read from extxyz, checked, refused with file, frame and key when wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int, Shaped

from scalewise.errors import InputError, did_you_mean
from scalewise.quantities import ENERGY_KEY, FORCES_KEY, MOLECULE_KEY, PLACE_KEY

#: Root-mean-square force above which eV/Å is implausible for condensed matter below 10^4 K. The
#: same forces in kJ/mol/nm are 965 times larger, in kcal/mol/Å 23 times, in Ha/bohr 51 times less.
LARGEST_RMS, SMALLEST_RMS = 15.0, 1e-3
#: Frames of one file whose forces differ by more than this factor were not made in one unit.
LARGEST_SPREAD = 20.0
#: No two nuclei of a sane frame are closer (H2 is 0.74 Å); coordinates in nm are ten times closer.
SHORTEST_DISTANCE = 0.4


@dataclass(frozen=True, eq=False)
class Frame:
    """One configuration with its labels, in Å, eV and eV/Å.

    Attributes
    ----------
    numbers, positions, cell, pbc
        Atomic numbers [atoms], positions [atoms, 3], lattice vectors in rows [3, 3], periodicity.
    forces
        Reference (or predicted) forces [atoms, 3].
    energy
        Total energy, where the file has one.
    stress
        Stress [3, 3], eV/Å³, positive under tension, where the file has one.
    place
        Where each atom is [atoms], a word of the file's maker, where the file has the column.
    molecule
        Molecule number of each atom [atoms]; pairs inside a molecule do not interact. Without
        molecules every atom has its own number.
    source, index, info
        File, position in the file, and the remaining frame keys.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    forces: Float[np.ndarray, "atoms 3"]
    energy: float | None
    molecule: Int[np.ndarray, " atoms"]
    source: str = "memory"
    index: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    stress: Float[np.ndarray, "3 3"] | None = None
    place: Shaped[np.ndarray, " atoms"] | None = None

    @property
    def where(self) -> str:
        """File and frame, for error messages."""
        return f"{self.source}, frame {self.index}"

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols of the atoms."""
        return [chemical_symbols[n] for n in self.numbers]

    def mask(self, elements: Iterable[str]) -> Bool[np.ndarray, " atoms"]:
        """Return which atoms are of the given elements."""
        return np.isin(self.numbers, [chemical_symbols.index(e) for e in elements])

    def only(self, elements: Iterable[str]) -> Frame:
        """Return the view that sees nothing but these elements; labels stay what they are."""
        keep = self.mask(elements)
        return Frame(
            self.numbers[keep],
            self.positions[keep],
            self.cell,
            self.pbc,
            self.forces[keep],
            None,
            self.molecule[keep],
            self.source,
            self.index,
            self.info,
            place=None if self.place is None else self.place[keep],
        )


def read(
    path: Path,
    *,
    forces_key: str = FORCES_KEY,
    energy_key: str | None = ENERGY_KEY,
    stress_key: str | None = None,
    labelled: bool = True,
    check_units: bool = True,
) -> list[Frame]:
    """Read every frame of an extxyz file and check it.

    Without ``labelled`` no key is looked for: forces are zero, energy and stress are none.

    Raises
    ------
    InputError
        Missing, empty or malformed file; missing force column; values that are not finite; a cell
        without volume; units that look wrong by their magnitude, unless ``check_units`` is off.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(str(path), found, "Give the path of an extxyz file.")
    try:
        atoms_list = ase.io.read(path, index=":", format="extxyz")
    except Exception as error:  # ASE raises a dozen kinds for malformed text
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            str(path), f"not readable as extxyz ({reason})", "Write it again, for example with ASE."
        ) from error
    if not atoms_list:
        raise InputError(str(path), "no frames", "The file is empty; write at least one frame.")
    keys = (forces_key, energy_key) if labelled else (None, None)
    frames = [_convert(a, path, i, *keys) for i, a in enumerate(atoms_list)]
    if stress_key is not None and labelled:
        frames = [
            replace(f, stress=_stress(a, f.where, stress_key))
            for a, f in zip(atoms_list, frames, strict=True)
        ]
    if check_units:
        _suspect_units(frames, forces_key)
    return frames


def _convert(
    atoms: ase.Atoms, path: Path, index: int, forces_key: str | None, energy_key: str | None
) -> Frame:
    where = f"{path}, frame {index}"
    results = atoms.calc.results if atoms.calc is not None else {}
    forces = np.zeros((len(atoms), 3))
    if forces_key is not None:
        forces = _forces(atoms, where, results, forces_key)
    _numbers(where, "positions", atoms.positions)
    if atoms.pbc.any() and abs(atoms.cell.volume) < 1e-6:
        raise InputError(
            f"{where}, key 'Lattice'", "periodic, but the cell has no volume", "Write the cell."
        )
    energy = results.get(energy_key, atoms.info.get(energy_key)) if energy_key else None
    if energy is not None:
        energy = _numbers(where, str(energy_key), energy)
        if energy.size != 1:
            raise InputError(
                f"{where}, key '{energy_key}'", f"{energy.size} values", "An energy is one number."
            )
    molecule = _numbers(where, MOLECULE_KEY, atoms.arrays.get(MOLECULE_KEY, np.arange(len(atoms))))
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        cell=np.asarray(atoms.cell),
        pbc=np.asarray(atoms.pbc),
        forces=forces,
        energy=None if energy is None else float(energy),
        molecule=molecule.astype(np.int64),
        source=str(path),
        index=index,
        info=dict(atoms.info),
        place=_place(atoms),
    )


def _place(atoms: ase.Atoms) -> np.ndarray | None:
    """The words of the column, if it holds words: a column of numbers is something else."""
    column = atoms.arrays.get(PLACE_KEY)
    if column is None or not all(isinstance(word, str) for word in column):
        return None
    return np.asarray(column, dtype=str)


def _forces(
    atoms: ase.Atoms, where: str, results: Mapping[str, Any], forces_key: str
) -> np.ndarray:
    arrays = {**atoms.arrays, **{k: v for k, v in results.items() if np.ndim(v) == 2}}
    if forces_key not in arrays:
        known = [
            k for k, v in arrays.items() if np.shape(v) == (len(atoms), 3) and k != "positions"
        ]
        hint = did_you_mean(forces_key, known)
        listing = ", ".join(f"'{k}'" for k in known) or "none"
        raise InputError(
            f"{where}, key '{forces_key}'",
            f"no such column; columns with three values per atom: {listing}",
            "Name the column that holds the forces (predictions.forces_keys for predictions, "
            f"predictions.labels_key for labels).{hint}",
        )
    forces = _numbers(where, forces_key, arrays[forces_key])
    if forces.shape != (len(atoms), 3):
        raise InputError(
            f"{where}, key '{forces_key}'",
            f"shape {forces.shape} for {len(atoms)} atoms",
            "Forces have three components per atom.",
        )
    return forces


def _stress(atoms: ase.Atoms, where: str, key: str) -> np.ndarray | None:
    """The stress as a symmetric matrix, from nine values or from six in Voigt's order."""
    results = atoms.calc.results if atoms.calc is not None else {}
    found = results.get(key, atoms.info.get(key))
    if found is None:
        return None
    values = _numbers(where, key, found).reshape(-1)
    if values.size == 6:
        xx, yy, zz, yz, xz, xy = values
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if values.size != 9:
        raise InputError(
            f"{where}, key '{key}'",
            f"{values.size} values",
            "A stress has nine values, or six in the order xx, yy, zz, yz, xz, xy.",
        )
    matrix = values.reshape(3, 3)
    return 0.5 * (matrix + matrix.T)


def _numbers(where: str, key: str, values: Any) -> np.ndarray:
    """The values as numbers, finite and of a size that squares do not overflow."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"{where}, key '{key}'", "text where numbers belong", "Write numbers, or another key."
        ) from None
    sane = np.atleast_1d(np.isfinite(numbers) & (np.abs(numbers) < 1e30))
    if not sane.all():
        atom = int(np.argwhere(~sane)[0][0])
        raise InputError(
            f"{where}, key '{key}'",
            f"atom {atom} holds a value that is not finite, or beyond 1e30",
            "Remove the frame or recompute it.",
        )
    return numbers


def _suspect_units(frames: Sequence[Frame], key: str) -> None:
    sizes = np.array([np.sqrt(np.mean(f.forces**2)) if f.forces.size else 0.0 for f in frames])
    typical = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    first = frames[0]
    turn_off = "Convert to eV/Å, or set check_units=false if the values are right."
    if typical > LARGEST_RMS:
        raise InputError(
            f"{first.source}, key '{key}'",
            f"the median frame has a root-mean-square force of {typical:.3g}, too large for eV/Å "
            "(kJ/mol/nm and kcal/mol/Å look like this)",
            turn_off,
        )
    if 0 < typical < SMALLEST_RMS:
        raise InputError(
            f"{first.source}, key '{key}'",
            f"the median frame has a root-mean-square force of {typical:.3g}, too small for eV/Å",
            turn_off,
        )
    # forces that are exactly zero, as of a lone atom, have no unit
    known = np.where(sizes > 0, sizes, typical)
    ratio = np.maximum(known / typical, typical / known) if typical else known
    worst = int(ratio.argmax())
    if typical and ratio[worst] > LARGEST_SPREAD:
        raise InputError(
            f"{frames[worst].where}, key '{key}'",
            f"root-mean-square force {sizes[worst]:.3g} against {typical:.3g} in the median frame: "
            "units seem mixed",
            turn_off,
        )
    _suspect_lengths(first)


def _suspect_lengths(frame: Frame) -> None:
    if len(frame.positions) < 2:
        return
    delta = frame.positions[:, None] - frame.positions[None, :500]
    distance = np.linalg.norm(delta, axis=-1)
    distance[distance == 0] = np.inf
    shortest = float(distance.min())
    if shortest < SHORTEST_DISTANCE:
        raise InputError(
            f"{frame.where}, key 'positions'",
            f"two atoms are {shortest:.3g} apart, too close for Å (nm looks like this)",
            "Convert to Å, or set check_units=false if the values are right.",
        )


def check_same_atoms(reference: Sequence[Frame], other: Sequence[Frame]) -> None:
    """Assert that two files hold the same atoms in the same order.

    Raises
    ------
    InputError
        Different numbers of frames or atoms, another atom order, or moved atoms.
    """
    first, second = reference[0].source, other[0].source
    if len(reference) != len(other):
        raise InputError(
            second,
            f"{len(other)} frames, but {first} has {len(reference)}",
            "Predict every frame of the labelled file, in its order.",
        )
    for a, b in zip(reference, other, strict=True):
        if len(a.numbers) != len(b.numbers):
            found = f"{len(b.numbers)} atoms, but {len(a.numbers)} in {first}"
        elif (a.numbers != b.numbers).any():
            atom = int(np.flatnonzero(a.numbers != b.numbers)[0])
            found = f"atom {atom} is {b.symbols[atom]}, but {a.symbols[atom]} in {first}"
        elif (a.pbc != b.pbc).any() or np.abs(a.cell - b.cell).max() > 1e-3:
            found = f"its cell or periodicity is not that of {first}"
        elif _displaced(a, b) > 1e-3:
            found = f"an atom is {_displaced(a, b):.3g} Å from where {first} has it"
        else:
            continue
        raise InputError(b.where, found, "Write both files with the same frames and atom order.")


def _displaced(a: Frame, b: Frame) -> float:
    """Largest distance between equal atoms, modulo lattice vectors."""
    delta = a.positions - b.positions
    if a.pbc.all():
        fraction = np.linalg.solve(a.cell.T, delta.T).T
        delta = (fraction - np.round(fraction)) @ a.cell
    return float(np.linalg.norm(delta, axis=1).max(initial=0.0))
