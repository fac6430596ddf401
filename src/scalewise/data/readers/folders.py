"""Folders of many files: all files with the name of a known format, in the order of their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import ase

from scalewise.core.errors import InputError
from scalewise.core.quantities import FILE_KEY
from scalewise.data.readers import deepmd
from scalewise.data.readers.ase_files import is_database, read_database
from scalewise.data.readers.bare import is_poscar, read_poscar
from scalewise.data.readers.molecules import is_archive, read_archive
from scalewise.data.readers.opening import SUFFIXES, opened
from scalewise.data.readers.outcar import read_outcar
from scalewise.data.readers.runner import read_input_data
from scalewise.data.readers.vasprun import read_vasprun

Reader = Callable[[Path], list[ase.Atoms]]
Find = Callable[[Path], Reader | None]
#: Bytes of a file that tell which program it is from.
LOOKED_AT: Final = 4096
#: Files with structures that commands write, and the file beside them that tells.
OURS: Final = {
    "predictions.xyz": "evaluation.json",
    "trajectory.extxyz": "restart.npz",
    "last.extxyz": "restart.npz",
}
GIVE: Final = "Give a folder with files whose names a reader knows, such as OUTCAR or *.extxyz."


def members(folder: Path, find: Find) -> list[tuple[Path, Reader]]:
    """What is read below a folder: files, and folders of DeePMD-kit.

    Names that begin with a dot are left out; what is of another program than its name says; and,
    beside the same file uncompressed, a compressed one. A run of VASP leaves ``OUTCAR`` and
    ``vasprun.xml``: beside the second, which has more digits, the first is left out, and beside
    either the structures of the run, such as ``POSCAR``. What ``scalewise`` itself wrote there,
    predictions and trajectories, is no data. Links to folders are followed, each folder
    once.

    Raises
    ------
    InputError
        A folder that cannot be read, or in which no name is known.
    """
    found = list(_walk(folder, find))
    if not found:
        raise InputError(str(folder), "no file in it that a reader knows by its name", GIVE)
    return sorted(found, key=lambda member: member[0].parts)


def _walk(folder: Path, find: Find) -> Iterator[tuple[Path, Reader]]:
    def refuse(error: OSError) -> None:
        raise InputError(str(error.filename), error.strerror or str(error), GIVE) from None

    root = folder.resolve()
    linked: list[Path] = []
    for where, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = Path(where)
        if deepmd.is_system(place):
            below.clear()
            yield place, deepmd.read_deepmd
            continue
        plain = sorted(name for name in below if not name.startswith("."))
        below[:] = [name for name in plain if not _is_known(place / name, root, linked)]
        data = (n for n in names if not n.startswith(".") and OURS.get(n) not in names)
        here = [place / n for n in data if not _is_copy(n, names)]
        readers = [(path, reader) for path in here if (reader := find(path)) is not None]
        readers = [(path, reader) for path, reader in readers if _is_of(path, reader)]
        runs = {_run_of(path, "vasprun") for path, reader in readers if reader is read_vasprun}
        has_run = any(reader in (read_vasprun, read_outcar) for _, reader in readers)
        for path, reader in readers:
            if reader is read_outcar and _run_of(path, "outcar") in runs:
                continue
            if not (has_run and reader is read_poscar):
                yield path, reader


def _is_known(path: Path, root: Path, linked: list[Path]) -> bool:
    """Whether a path links to a folder that is read without it: loops, and two links to one."""
    if not path.is_symlink():
        return False
    meant = path.resolve()
    if any(meant.is_relative_to(known) or known.is_relative_to(meant) for known in (root, *linked)):
        return True
    linked.append(meant)
    return False


def _is_of(path: Path, reader: Reader) -> bool:
    """Whether a file is of the program that its name says; what cannot be opened seems to be."""
    looks = _LOOKS.get(reader)
    try:
        return looks is None or looks(path)
    except Exception:  # its reader says what is wrong
        return True


def _is_outcar(path: Path) -> bool:
    return b"vasp" in _beginning(path).lower()


def _is_vasprun(path: Path) -> bool:
    return "vasprun" in path.name.lower() or b"<modeling" in _beginning(path)


def _is_input_data(path: Path) -> bool:
    lines = _beginning(path).decode("utf-8-sig", "replace").splitlines()
    words = [line.split()[0] for line in lines if line.strip() and not line.strip().startswith("#")]
    return words[:1] == ["begin"]


def _beginning(path: Path) -> bytes:
    with opened(path, GIVE, encoding=None) as stream:
        return bytes(stream.read(LOOKED_AT))


#: Names that other programs use, too, and what tells their files apart.
_LOOKS: Final[dict[Reader, Callable[[Path], bool]]] = {
    read_outcar: _is_outcar,
    read_vasprun: _is_vasprun,
    read_input_data: _is_input_data,
    read_database: is_database,
    read_archive: is_archive,
    read_poscar: is_poscar,
}


def _is_copy(name: str, names: list[str]) -> bool:
    """Whether a file is there uncompressed, too."""
    return any(name.lower().endswith(s) and name[: -len(s)] in names for s in SUFFIXES)


def _run_of(path: Path, word: str) -> str:
    """What tells a run from others in its folder: the name less what VASP called the file."""
    name = path.name.lower()
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.removesuffix(".xml").replace(word, "")


def iterate_folder(folder: Path, find: Find) -> Iterator[ase.Atoms]:
    """Read one member after the other; each frame keeps the path of its file below the folder.

    Raises
    ------
    InputError
        As :func:`members`; whatever is wrong with a file.
    """
    for path, reader in members(folder, find):
        for image in reader(path):
            image.info[FILE_KEY] = path.relative_to(folder).as_posix()
            yield image
