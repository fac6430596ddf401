"""Readers of file formats, chosen by the name of a file.

A reader is a function of a path that returns every frame of the file as ASE's atoms, in Å, with
labels in eV and Å under ``REF_energy`` (info), ``REF_forces`` (column) and ``REF_stress`` (info);
labels that the file does not have are left out. :func:`scalewise.testing.check_reader` checks that
a reader does so. Other packages add readers with entry points of the group ``scalewise.readers``,
whose names are the suffixes.

Folders are read, too: a folder of shards (:mod:`scalewise.data.shards`), a folder of DeePMD-kit, or
any other folder, of which every file with the name of a known format is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import ase

from scalewise.core.errors import InputError, shown
from scalewise.core.extensions import declared, imported, reason
from scalewise.data import shards
from scalewise.data.readers import (
    ase_files,
    bare,
    deepmd,
    extxyz,
    folders,
    molecules,
    outcar,
    runner,
    vasprun,
)
from scalewise.data.readers.opening import SUFFIXES, every_suffix

Reader = Callable[[Path], list[ase.Atoms]]

GROUP: Final = "scalewise.readers"
#: By suffix, such as ``.xyz``, or by a word that names of files begin or end with: ``OUTCAR``.
READERS: Final[dict[str, Reader]] = {}


def register_reader(suffixes: str | Iterable[str], reader: Reader) -> None:
    """Register a reader for all files with these suffixes; it replaces an earlier one.

    Parameters
    ----------
    suffixes
        One or several suffixes, each with its dot, such as ``.xyz.gz``; case does not matter. A
        word without a leading dot, such as ``OUTCAR``, stands for all names that begin or end with
        it, such as ``OUTCAR_2`` and ``a.OUTCAR``.
    reader
        Function of a path that returns the frames of the file as a list of ASE's atoms.

    Raises
    ------
    InputError
        No suffix, or an empty one; a reader that cannot be called.
    """
    words = [suffixes] if isinstance(suffixes, str) else list(suffixes)
    if not words or not all(isinstance(w, str) and w.strip(". ") for w in words):
        raise InputError("suffixes", shown(words), "Give one or several, such as '.xyz'.")
    if not callable(reader):
        raise InputError("reader", shown(reader), "Give a function of a path.")
    for word in words:
        READERS[word.lower()] = reader


def known_formats() -> list[str]:
    """Suffixes and words by which files are recognised, without those of compressed files."""
    names = {*READERS, *(k.lower() for k in declared(GROUP))}
    return sorted(n if n.startswith(".") else n.upper() for n in names if not n.endswith(SUFFIXES))


def found_reader(path: Path) -> Reader | None:
    """The reader of the longest suffix that a name ends with, else of the longest word; or none.

    The path itself is not looked at, and need not be there.
    """
    name = path.name.lower()
    others = {k.lower(): entry for k, entry in declared(GROUP).items()}
    fitting = [k for k in {*READERS, *others} if _fits(name, k)]
    if not fitting:
        return None
    best = max(fitting, key=lambda word: (word.startswith("."), len(word)))
    return READERS[best] if best in READERS else imported(others[best])


def reader_for(path: Path | str) -> Reader:
    """The reader of a file by its name, or of a folder; that of extxyz where no other fits.

    Examples
    --------
    >>> reader_for("dft.xyz.gz") is reader_for("dft") is extxyz.read_images
    True
    >>> reader_for("run1/OUTCAR_2.gz") is outcar.read_outcar
    True

    Raises
    ------
    InputError
        A reader that another package declares, and that cannot be imported.
    """
    path = Path(path)
    if os.path.isdir(path):  # of any word; a name that is too long is none
        if shards.is_shards(path):
            return _read_shards
        return deepmd.read_deepmd if deepmd.is_system(path) else _read_folder
    return found_reader(path) or extxyz.read_images


def _read_folder(path: Path) -> list[ase.Atoms]:
    return list(folders.iterate_folder(path, found_reader))


def _read_shards(path: Path) -> list[ase.Atoms]:
    return [frame.to_ase() for frame in shards.ShardedStructures.open(path)]


def files_of(path: Path) -> list[Path]:
    """The files that are read for a path: itself, or those of a folder, in their order.

    Raises
    ------
    InputError
        A folder in which there are none.
    """
    if not path.is_dir():
        return [path]
    if shards.is_shards(path):  # it names all others, with their hashes
        return [path / shards.NAME]
    if deepmd.is_system(path):
        return deepmd.files_of(path)
    return [file for member, _ in folders.members(path, found_reader) for file in files_of(member)]


def hash_file(path: Path) -> str:
    """SHA-256 of a file, or of what is read in a folder and how it is called, as 64 hex digits.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    if path.is_dir():
        whole = hashlib.sha256()
        for file in files_of(path):
            name = file.relative_to(path).as_posix()
            whole.update(f"{len(name.encode())} {name} {hash_file(file)}\n".encode())
        return whole.hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(str(path), why, "Give the path of a file with structures.") from None


def read_file(path: Path | str) -> list[ase.Atoms]:
    """Read every frame of a file, or of a folder, with its reader.

    Raises
    ------
    InputError
        A file that is missing, empty or malformed, or whose reader fails or finds no frames.
    """
    return list(iterate_file(path))


def iterate_file(path: Path | str) -> Iterator[ase.Atoms]:
    """Read one frame of a file, or of a folder, after the other.

    Extended XYZ is read line by line, and a folder file by file; whatever else is read as a whole.

    Raises
    ------
    InputError
        As :func:`read_file`, where reading comes to it.
    """
    path, found = Path(path), 0
    reader = reader_for(path)
    try:
        # what others return may be anything
        images: Iterable[Any] = _STREAMS.get(reader, reader)(path)
        for image in images:
            if not isinstance(image, ase.Atoms):
                found = 0
                break
            found += 1
            yield image
    except InputError:
        raise
    except Exception as error:  # readers of others raise what they like
        raise InputError(
            str(path), f"not readable ({reason(error)})", "Write it again, for example as extxyz."
        ) from error
    if not found:
        raise InputError(str(path), "no frames", "The file must hold one frame at least.")


def _iterate_folder(path: Path) -> Iterator[ase.Atoms]:
    return folders.iterate_folder(path, found_reader)


#: Readers that need not hold the whole file, and what reads it frame by frame.
_STREAMS: Final[Mapping[Reader, Callable[[Path], Iterator[ase.Atoms]]]] = {
    extxyz.read_images: extxyz.iterate_images,
    _read_folder: _iterate_folder,
}


def _fits(name: str, word: str) -> bool:
    if word.startswith("."):
        return name.endswith(word)
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.startswith(word) or name.endswith(word)


register_reader(every_suffix(".xyz", ".extxyz"), extxyz.read_images)
register_reader(".traj", ase_files.read_trajectory)
register_reader(".db", ase_files.read_database)
register_reader(".npz", molecules.read_archive)
register_reader("OUTCAR", outcar.read_outcar)
register_reader(every_suffix(".xml"), vasprun.read_vasprun)
register_reader("input.data", runner.read_input_data)
register_reader(("POSCAR", "CONTCAR", *every_suffix(".vasp")), bare.read_poscar)
register_reader(every_suffix(".cif"), bare.read_cif)
