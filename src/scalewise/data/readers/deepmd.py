"""DeePMD-kit's folders of NumPy arrays: ``type.raw``, ``type_map.raw`` and ``set.*/*.npy``.

Energies are in eV, forces in eV/Å. The virial, in eV, is that of the whole cell: the stress is
``-virial / volume``. A folder with ``nopbc`` is not periodic. If ``set.*`` has
``real_atom_types.npy``, the elements differ between frames, and the type -1 means no atom.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ase
import numpy as np
from ase.data import atomic_numbers

from scalewise.core.errors import InputError, shown
from scalewise.core.files import check_regular, read_text
from scalewise.data.readers.labels import set_labels

#: What tells such a folder from others.
TYPES: Final = "type.raw"
GIVE: Final = "Give a folder of DeePMD-kit with type.raw, type_map.raw and set.*/*.npy."
#: Arrays of a set, and how many numbers of a frame they have: of atoms, or in all.
_ARRAYS: Final = {"coord": None, "box": 9, "energy": 1, "force": None, "virial": 9}


def is_system(path: Path) -> bool:
    """Whether a folder is one of DeePMD-kit."""
    return (path / TYPES).exists()


def files_of(path: Path) -> list[Path]:
    """The files of a folder that are read."""
    arrays = [s / f"{n}.npy" for s in _sets(path) for n in sorted({*_ARRAYS, "real_atom_types"})]
    return [p for p in (path / TYPES, path / "type_map.raw", path / "nopbc", *arrays) if p.exists()]


def read_deepmd(path: Path) -> list[ase.Atoms]:
    """Read every frame of every set, in the order of their names.

    Raises
    ------
    InputError
        A file that is missing or damaged; arrays that do not fit each other.
    """
    if not path.is_dir():
        raise InputError(str(path), "no such folder" if not path.exists() else "a file", GIVE)
    names = _type_map(path)
    kinds = _integers(path / TYPES, read_text(path / TYPES, GIVE).split())
    periodic = not (path / "nopbc").exists()
    sets = _sets(path)
    if not sets:
        raw = (path / "coord.raw").exists()
        remedy = "Make set.* of the files *.raw with raw_to_set.sh of DeePMD-kit." if raw else GIVE
        raise InputError(str(path), "no folder set.* in it", remedy)
    return [image for part in sets for image in _frames(part, kinds, names, periodic)]


def _sets(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("set.*") if p.is_dir())


def _type_map(path: Path) -> np.ndarray:
    file = path / "type_map.raw"
    words = read_text(
        file, "Write the elements of the types 0, 1, ... into it, one a line."
    ).split()
    odd = [word for word in words if word not in atomic_numbers]
    if odd or not words:
        raise InputError(
            str(file), shown(odd[:1]), "It must hold the elements of the types 0, 1, ..., one each."
        )
    return np.array([atomic_numbers[word] for word in words])


def _integers(file: Path, words: list[str]) -> np.ndarray:
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 9 for word in words):
        raise InputError(str(file), shown(" ".join(words), 60), "It must hold a type of each atom.")
    return np.array(words, dtype=int)


def _frames(
    part: Path, kinds: np.ndarray, names: np.ndarray, periodic: bool
) -> Iterator[ase.Atoms]:
    atoms = len(kinds)
    found = {
        name: _array(part / f"{name}.npy", size or 3 * atoms)
        for name, size in _ARRAYS.items()
        if name == "coord" or (part / f"{name}.npy").exists()
    }
    frames = len(found["coord"])
    mixed = part / "real_atom_types.npy"
    if mixed.exists():
        found["types"] = _array(mixed, atoms)
    for name, values in found.items():
        if len(values) != frames:
            raise InputError(
                str(part), f"{len(values)} frames in {name}.npy, but {frames} in coord.npy", GIVE
            )
    if periodic and "box" not in found:
        raise InputError(
            str(part), "no box.npy", f"Write it, or an empty file {part.parent / 'nopbc'}."
        )
    for k in range(frames):
        types = np.rint(found["types"][k]).astype(int) if "types" in found else kinds
        yield _frame(
            f"{part}, frame {k}", {n: v[k] for n, v in found.items()}, types, names, periodic
        )


def _frame(
    where: str, found: dict[str, np.ndarray], kinds: np.ndarray, names: np.ndarray, periodic: bool
) -> ase.Atoms:
    real = kinds >= 0
    if not real.any() or kinds.max() >= len(names):
        raise InputError(
            where,
            f"types up to {kinds.max()}, but type_map.raw has {len(names)} elements",
            "Add the elements to type_map.raw.",
        )
    cell = found["box"].reshape(3, 3) if periodic else np.zeros((3, 3))
    atoms = ase.Atoms(
        names[kinds[real]], found["coord"].reshape(-1, 3)[real], cell=cell, pbc=periodic
    )
    volume = abs(float(np.linalg.det(cell)))
    virial = found.get("virial") if periodic and volume > 0 else None
    return set_labels(
        atoms,
        energy=float(found["energy"][0]) if "energy" in found else None,
        forces=found["force"].reshape(-1, 3)[real] if "force" in found else None,
        stress=None if virial is None else -virial.reshape(3, 3) / volume,
    )


def _array(file: Path, width: int) -> np.ndarray:
    """Numbers of each frame [frames, width]."""
    check_regular(file, GIVE)
    try:
        values = np.load(file, allow_pickle=False, mmap_mode="r")
        numbers = np.array(values, dtype=float)
    except (ValueError, TypeError, OSError, EOFError, SyntaxError, MemoryError, OverflowError) as e:
        reason = " ".join(str(e).split())[:100] or type(e).__name__
        raise InputError(str(file), f"not an array of numbers ({reason})", GIVE) from None
    shapes = [(width,), (width // 3, 3)] + [()] * (width == 1)
    if numbers.ndim == 0 or numbers.shape[1:] not in shapes or not len(numbers):
        raise InputError(
            str(file), f"shape {numbers.shape}, where every frame has {width} numbers", GIVE
        )
    return numbers.reshape(len(numbers), width)
