"""Readers of file formats, chosen by the end of a file's name.

A reader is a function of a path that returns every frame of the file as ASE's atoms, in Å, with
labels in eV and Å under ``REF_energy`` (info), ``REF_forces`` (column) and ``REF_stress`` (info).
:func:`scalewise.testing.check_reader` says whether it keeps to that. Other packages add readers
with entry points of the group ``scalewise.readers``, named like the suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import ase

from scalewise.core.errors import InputError, shown
from scalewise.core.extensions import declared, imported, reason
from scalewise.data.readers import extxyz

Reader = Callable[[Path], list[ase.Atoms]]

GROUP: Final = "scalewise.readers"
#: By suffix, such as ``.xyz``, or by the whole name of files that have none, such as ``OUTCAR``.
READERS: Final[dict[str, Reader]] = {}


def register_reader(suffixes: str | Iterable[str], reader: Reader) -> None:
    """Read files whose names end so with a reader, in place of any that did before.

    Parameters
    ----------
    suffixes
        One or several, each with its dot, such as ``.xyz.gz``, in any case; a word without a dot
        in front is the whole name of a file, such as ``OUTCAR``.
    reader
        Returns the frames of a file.

    Raises
    ------
    InputError
        An empty suffix; a reader that cannot be called.
    """
    words = [suffixes] if isinstance(suffixes, str) else list(suffixes)
    if not words or not all(isinstance(w, str) and w.strip(". ") for w in words):
        raise InputError("suffixes", shown(words), "Give one or several, such as '.xyz'.")
    if not callable(reader):
        raise InputError("reader", shown(reader), "Give a function of a path.")
    for word in words:
        READERS[word.lower()] = reader


def found_reader(path: Path) -> Reader | None:
    """The reader of the longest suffix that the name of a file ends with; none without one."""
    name = path.name.lower()
    others = {k.lower(): entry for k, entry in declared(GROUP).items()}
    fitting = [k for k in {*READERS, *others} if _ends(name, k)]
    if not fitting:
        return None
    best = max(fitting, key=len)
    return READERS[best] if best in READERS else imported(others[best])


def reader_for(path: Path | str) -> Reader:
    """The reader of a file, by the end of its name; that of extxyz where no other fits.

    Examples
    --------
    >>> reader_for("dft.xyz") is reader_for("dft") is extxyz.read_images
    True
    >>> reader_for("dft.extxyz.gz") is extxyz.read_compressed
    True

    Raises
    ------
    InputError
        A reader that another package declares, and that cannot be imported.
    """
    return found_reader(Path(path)) or extxyz.read_images


def read_file(path: Path | str) -> list[ase.Atoms]:
    """Read every frame of a file with its reader.

    Raises
    ------
    InputError
        A file that is missing, empty or malformed, or whose reader fails or finds no frames.
    """
    path = Path(path)
    reader = reader_for(path)
    try:
        images = list(reader(path))
    except InputError:
        raise
    except Exception as error:  # readers of others raise what they like
        raise InputError(
            str(path), f"not readable ({reason(error)})", "Write it again, for example as extxyz."
        ) from error
    if not images or not all(isinstance(image, ase.Atoms) for image in images):
        raise InputError(str(path), "no frames", "The file must hold one frame at least.")
    return images


def _ends(name: str, suffix: str) -> bool:
    return name.endswith(suffix) if suffix.startswith(".") else name == suffix


register_reader((".xyz", ".extxyz"), extxyz.read_images)
register_reader((".xyz.gz", ".extxyz.gz"), extxyz.read_compressed)
