"""Labelled frames: read from extxyz, checked, refused with file, frame and key when wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int, Shaped

from scalewise.core.errors import InputError, did_you_mean, shown
from scalewise.core.quantities import MOLECULE_KEY, PLACE_KEY
from scalewise.data import units
from scalewise.data.keys import LabelKeys, Say, check_present, frame_value
from scalewise.data.readers.extxyz import read_images

#: Å: from here on positions have no digits left for 10^-7 Å, and whole lattice vectors no integer.
FARTHEST: Final = 2e8
#: Å: no edge of a cell is longer, and no lattice vector shorter.
LONGEST_EDGE: Final = 1e7
SHORTEST_EDGE: Final = 0.2


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
    path: Path, keys: LabelKeys | None = None, *, say: Say = lambda _: None, **changes: Any
) -> list[Frame]:
    """Read every frame of an extxyz file and check it.

    Parameters
    ----------
    path
        An extxyz file.
    keys
        Where its labels are; default: the usual keys. Without a forces key nothing is looked for:
        forces are zero, energy and stress are none.
    say
        Told of labels that the file seems to have under other keys.
    changes
        Attributes of ``keys`` to replace, such as ``energy=None`` or ``check_units=False``.

    Raises
    ------
    InputError
        Missing, empty or malformed file; missing force column; a key that was named and that no
        frame has; values that are not finite; a cell without volume; units that look wrong, unless
        ``check_units`` is off.
    """
    keys = replace(keys or LabelKeys(), **changes)
    return convert(read_images(path), str(path), keys, say)


def convert(
    images: Sequence[ase.Atoms], source: str, keys: LabelKeys, say: Say = lambda _: None
) -> list[Frame]:
    """Check frames that were read, and take their labels; see :func:`read`."""
    frames = [_convert(image, source, k, keys) for k, image in enumerate(images)]
    if keys.forces is not None:
        check_present(source, images, keys, say)
    if keys.check_units:
        _refuse_units(frames, keys)
    return frames


def without_labels(*, check_units: bool = True) -> LabelKeys:
    """Keys with which no label is read."""
    return LabelKeys(forces=None, energy=None, check_units=check_units)


def _convert(image: ase.Atoms, source: str, index: int, keys: LabelKeys) -> Frame:
    where = f"{source}, frame {index}"
    if not len(image):
        raise InputError(where, "no atoms", "Remove the frame.")
    _check_geometry(image, where)
    forces = np.zeros((len(image), 3))
    energy = stress = None
    if keys.forces is not None:
        forces = _forces(image, where, keys)
        energy = None if keys.energy is None else _energy(image, where, keys.energy)
        stress = None if keys.stress is None else _stress(image, where, keys.stress)
    given = image.arrays.get(MOLECULE_KEY)
    molecule = np.arange(len(image)) if given is None else _numbers(where, MOLECULE_KEY, given)
    return Frame(
        numbers=image.numbers.astype(np.int64),
        positions=image.positions,
        cell=np.asarray(image.cell),
        pbc=np.asarray(image.pbc),
        forces=forces,
        energy=energy,
        molecule=molecule.reshape(len(image), -1)[:, 0].astype(np.int64),
        source=source,
        index=index,
        info=dict(image.info),
        stress=stress,
        place=_place(image),
    )


def _check_geometry(image: ase.Atoms, where: str) -> None:
    unknown = np.flatnonzero((image.numbers < 1) | (image.numbers >= len(chemical_symbols)))
    if len(unknown):
        raise InputError(
            f"{where}, species",
            f"atom {unknown[0]} has the atomic number {image.numbers[unknown[0]]}",
            "Every atom must be of an element: remove dummy atoms.",
        )
    check_positions(_numbers(where, "positions", image.positions), where)
    check_cell(np.asarray(image.cell), np.asarray(image.pbc), where)


def check_positions(positions: np.ndarray, where: str) -> None:
    """Assert that positions are numbers that distances can be formed of.

    Raises
    ------
    InputError
        A position that is not finite, or farther from the origin than 2·10^8 Å.
    """
    far = np.abs(positions).max(axis=1, initial=0.0)
    odd = np.flatnonzero(~(far <= FARTHEST))
    if not len(odd):
        return
    if not np.isfinite(far[odd]).all():
        atom = int(odd[~np.isfinite(far[odd])][0])
        raise InputError(
            f"{where}, key 'positions'",
            f"atom {atom} is not at a finite position",
            "A simulation that exploded? Use a smaller time step, or better starting positions.",
        )
    raise InputError(
        f"{where}, key 'positions'",
        f"atom {odd[0]} is {far[odd[0]]:.3g} Å from the origin, where a number has no digits left "
        "for distances",
        "Write positions near the cell, such as after atoms.wrap().",
    )


def check_cell(cell: np.ndarray, pbc: np.ndarray, where: str) -> None:
    """Assert that lattice vectors are numbers and, where periodic, span a volume.

    Raises
    ------
    InputError
        Values that are not finite or absurdly large; a periodic cell without volume, or so skewed
        that numbers cannot tell its lattice vectors apart.
    """
    key = f"{where}, key 'Lattice'"
    if not np.isfinite(cell).all() or np.abs(cell).max() > LONGEST_EDGE:
        raise InputError(
            key,
            f"the cell {shown(cell.tolist())}",
            f"Lattice vectors must be finite and at most {LONGEST_EDGE:g} Å long.",
        )
    if not pbc.any():
        return
    volume, edges = abs(float(np.linalg.det(cell))), np.linalg.norm(cell, axis=1)
    if volume < 1e-6:
        raise InputError(key, "periodic, but the cell has no volume", "Write the cell.")
    shortest = float(edges.min())
    if shortest < SHORTEST_EDGE:
        raise InputError(
            key,
            f"an edge of {shortest:.3g} Å, along which atoms would lie upon each other",
            "Write the cell, or convert it to Å.",
        )
    if volume < 1e-3 * float(edges.prod()):
        raise InputError(
            key,
            f"edges of {edges[0]:.3g}, {edges[1]:.3g} and {edges[2]:.3g} Å around a volume of "
            f"{volume:.3g} Å³: the cell is skewed",
            "Describe the same lattice by shorter vectors: ase.build.niggli_reduce(atoms).",
        )


def _energy(image: ase.Atoms, where: str, key: str) -> float | None:
    found = frame_value(image, key)
    if found is None:
        return None
    values = _numbers(where, key, found)
    if values.size != 1:
        raise InputError(
            f"{where}, key '{key}'", f"{values.size} values", "An energy is one number."
        )
    return float(values.reshape(-1)[0])


def _place(image: ase.Atoms) -> np.ndarray | None:
    """The words of the column, if it holds words: a column of numbers is something else."""
    column = image.arrays.get(PLACE_KEY)
    if column is None or not all(isinstance(word, str) for word in column):
        return None
    return np.asarray(column, dtype=str)


def _forces(image: ase.Atoms, where: str, keys: LabelKeys) -> np.ndarray:
    assert keys.forces is not None  # the caller asks only where there is a column to look for
    results = image.calc.results if image.calc is not None else {}
    arrays = {**image.arrays, **{k: v for k, v in results.items() if np.ndim(v) == 2}}
    shape = (len(image), 3)
    if keys.forces not in arrays:
        known = [k for k, v in arrays.items() if np.shape(v) == shape and k != "positions"]
        listing = ", ".join(f"'{k}'" for k in known) or "none"
        hint = did_you_mean(keys.forces, known)
        raise InputError(
            f"{where}, key '{keys.forces}'",
            f"no such column; columns with three values per atom: {listing}",
            f"Name the column that holds the forces with {keys.options['forces']}.{hint}",
        )
    forces = _numbers(where, keys.forces, arrays[keys.forces])
    if forces.shape != shape:
        raise InputError(
            f"{where}, key '{keys.forces}'",
            f"shape {forces.shape} for {len(image)} atoms",
            "Forces have three components per atom.",
        )
    return forces


def _stress(image: ase.Atoms, where: str, key: str) -> np.ndarray | None:
    """The stress as a symmetric matrix, from nine values or from six in Voigt's order."""
    found = frame_value(image, key)
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
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}, key '{key}'",
            f"{shown(values, 60)} where numbers belong",
            "Write numbers, or another key.",
        ) from None
    sane = np.atleast_1d(np.isfinite(numbers) & (np.abs(numbers) < 1e30))
    if not sane.all():
        place = f"atom {int(np.argwhere(~sane)[0][0])} holds a value" if numbers.ndim else "a value"
        raise InputError(
            f"{where}, key '{key}'",
            f"{place} that is not finite, or beyond 1e30",
            "Remove the frame or recompute it.",
        )
    return numbers


def _refuse_units(frames: Sequence[Frame], keys: LabelKeys) -> None:
    """Refuse the first thing about units that looks wrong."""
    labelled = keys.forces is not None
    named = {
        "positions": "positions",
        "forces": keys.forces,
        "energy": keys.energy,
        "stress": keys.stress,
    }
    found = units.suspicions(frames, keys.stress) if labelled else units.suspect_lengths(frames)
    for one in found:
        place = frames[0].source if one.frame is None else f"{frames[0].source}, frame {one.frame}"
        raise InputError(
            f"{place}, key '{named[one.label]}'",
            one.found,
            f"Convert to eV and Å, or set {keys.units_option}=false if the values are right.",
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
