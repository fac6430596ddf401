"""NumPy archives of one molecule: MD17, rMD17 and sGDML (``.npz``).

``z`` or ``nuclear_charges`` [atoms], ``R`` or ``coords`` [frames, atoms, 3], ``E`` or ``energies``
[frames], ``F`` or ``forces`` [frames, atoms, 3]. ``e_unit`` and ``r_unit`` name the units, as sGDML
writes them. rMD17, which is recognised by its array ``old_indices``, is in kcal/mol and Å. Any
other archive without units is refused, since such archives hold eV, kcal/mol or Hartree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
from ase.units import Ang, Bohr, Hartree, eV, kcal, kJ, mol

from scalewise.core.errors import InputError, cut, shown
from scalewise.core.files import check_regular
from scalewise.data.readers.labels import set_labels

GIVE: Final = "Give an archive as of MD17 or sGDML: z [atoms], R [frames, atoms, 3], E and F."
#: What archives call the same, in the order in which it is looked for.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "numbers": ("z", "nuclear_charges", "atomic_numbers", "numbers"),
    "positions": ("R", "coords", "coordinates", "positions"),
    "energy": ("E", "energies", "energy"),
    "forces": ("F", "forces"),
}
#: Of units in lower case, in eV and Å.
_ENERGIES: Final = {
    "ev": eV,
    "mev": 1e-3 * eV,
    "kcal/mol": kcal / mol,
    "kj/mol": kJ / mol,
    **dict.fromkeys(("ha", "hartree", "eh", "a.u.", "au"), Hartree),
}
_LENGTHS: Final = {
    **dict.fromkeys(("ang", "a", "å", "angstrom"), Ang),
    **dict.fromkeys(("bohr", "a0", "a.u.", "au"), Bohr),
    "nm": 10.0 * Ang,
    "pm": 0.01 * Ang,
}


def read_archive(path: Path) -> list[ase.Atoms]:
    """Read every frame.

    Raises
    ------
    InputError
        Not an archive of arrays; one that lacks elements, positions or units, or whose arrays do
        not fit each other.
    """
    arrays, names = _loaded(path)
    energy_unit, length_unit = _units(path, arrays)
    found = {what: _named(arrays, words) for what, words in _NAMES.items()}
    if found["numbers"] is None or found["positions"] is None:
        raise InputError(str(path), f"arrays {cut(', '.join(names), 200) or 'none'}", GIVE)
    numbers = _array(path, "elements", found["numbers"])
    if numbers.ndim != 1 or not len(numbers) or (numbers != np.round(numbers)).any():
        raise InputError(str(path), f"elements of shape {numbers.shape}", GIVE)
    size = np.shape(found["positions"])[:1] or (0,)
    of_atoms = (*size, len(numbers), 3)
    positions = _array(path, "positions", found["positions"], of_atoms)
    energy, forces = (
        None if found[what] is None else _array(path, what, found[what], shape)
        for what, shape in (("energy", size), ("forces", of_atoms))
    )
    atoms = ase.Atoms(numbers.astype(int))
    if "lattice" in arrays:  # its vectors are columns
        atoms.cell[:] = length_unit * _array(path, "lattice", arrays["lattice"], (3, 3)).T
        atoms.pbc = True
    images = []
    for k in range(len(positions)):
        image = atoms.copy()  # type: ignore[no-untyped-call]  # ASE
        image.positions = length_unit * positions[k]
        set_labels(
            image,
            energy=None if energy is None else energy_unit * float(energy[k]),
            forces=None if forces is None else energy_unit / length_unit * forces[k],
        )
        images.append(image)
    return images


def is_archive(path: Path) -> bool:
    """Whether an archive has elements and positions, and is not one of another kind."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        names = set(archive.files)
    return all(names & {*_NAMES[what]} for what in ("numbers", "positions"))


def _loaded(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that are looked for, and the names of all."""
    check_regular(path, GIVE)
    wanted = {*(n for names in _NAMES.values() for n in names), "lattice", "e_unit", "r_unit"}
    try:
        # NumPy does not close what it refuses
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = list(archive.files)
            return {n: archive[n] for n in names if n in {*wanted, "old_indices"}}, names
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds for damaged files
        reason = cut(" ".join(str(error).split()) or type(error).__name__, 100)
        raise InputError(str(path), f"not an archive of arrays ({reason})", GIVE) from None


def _named(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _units(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Units of energy and length, in eV and Å."""
    if "e_unit" not in arrays:
        if "old_indices" in arrays:
            return kcal / mol, Ang
        raise InputError(
            f"{path}, key 'e_unit'",
            "the archive does not say the units of its energies and lengths",
            "Add them, such as with numpy.savez(path, **numpy.load(path), e_unit='kcal/mol', "
            "r_unit='Ang').",
        )
    return (
        _unit(path, "e_unit", arrays["e_unit"], _ENERGIES),
        _unit(path, "r_unit", arrays.get("r_unit", np.array("Ang")), _LENGTHS),
    )


def _unit(path: Path, key: str, value: np.ndarray, known: Mapping[str, float]) -> float:
    found = value.item() if value.size == 1 else value.tolist()
    word = (found.decode(errors="replace") if isinstance(found, bytes) else str(found)).strip()
    if word.lower() not in known:
        raise InputError(
            f"{path}, key '{key}'", shown(word, 60), f"Known units: {', '.join(known)}."
        )
    return known[word.lower()]


def _array(path: Path, what: str, value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    found = np.asarray(value)
    # axes of length one may be missing or added, as in energies [frames, 1]; no other shape will do
    longer = [n for n in found.shape if n != 1]
    right = found.dtype.kind in "fiu" and (shape is None or longer == [n for n in shape if n != 1])
    if not right:
        wanted = "" if shape is None else f", where {shape} belongs"
        raise InputError(str(path), f"{what} of shape {found.shape}{wanted}", GIVE)
    return found.astype(float).reshape(found.shape if shape is None else shape)
