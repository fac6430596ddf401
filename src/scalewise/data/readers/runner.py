"""RuNNer's and n2p2's ``input.data``: text in Hartree and bohr, which become eV and Å.

Every frame stands between ``begin`` and ``end``, with lines ``comment``, ``lattice`` (none or
three), ``atom x y z element charge (unused) fx fy fz``, ``energy`` and ``charge``. The charge of
the frame is read as ``total_charge``; charges of atoms, unless all are zero, as ``REF_charges``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree

from scalewise.core.errors import InputError
from scalewise.data.readers.labels import set_labels
from scalewise.data.readers.opening import malformed, opened

GIVE: Final = "Give an input.data of RuNNer or n2p2."
_WHOLE: Final = "Was it cut off? Write it again, or remove what is left of this frame."
#: Words of an atom: x y z element charge (unused) fx fy fz.
_ATOM: Final = 9


def read_input_data(path: Path) -> list[ase.Atoms]:
    """Read every frame.

    Raises
    ------
    InputError
        A line that is not what its place asks for; a frame that is not whole; no frames.
    """
    with opened(path, GIVE) as stream:
        images = list(_frames(path, stream))
    if not images:
        raise InputError(str(path), "no frames", GIVE)
    return images


def _frames(path: Path, stream: IO[str]) -> Iterator[ase.Atoms]:
    block: list[tuple[int, list[str], str]] | None = None
    start = 0
    for number, text in enumerate(stream, 1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        if block is None:
            if words != ["begin"]:
                raise malformed(path, number, text, "'begin' belongs", GIVE)
            block, start = [], number
        elif words == ["end"]:
            yield _frame(path, start, block)
            block = None
        elif words[0] == "begin":
            raise InputError(f"{path}, line {start}", "a frame without 'end'", _WHOLE)
        else:
            block.append((number, words, text))
    if block is not None:
        raise InputError(f"{path}, line {start}", "a frame without 'end'", _WHOLE)


def _frame(path: Path, start: int, block: list[tuple[int, list[str], str]]) -> ase.Atoms:
    cell, rows, symbols = [], [], []
    single: dict[str, float] = {}
    comments = []
    for number, words, text in block:
        key = words[0]
        if key == "comment":
            comments.append(text.strip().partition("comment")[2].strip())
        elif key == "lattice":
            cell.append(_numbers(path, number, text, words[1:], 3))
        elif key == "atom" and len(words) > _ATOM and words[4] in atomic_numbers:
            symbols.append(words[4])
            rows.append(_numbers(path, number, text, [*words[1:4], words[5], *words[7:10]], 7))
        elif key in ("energy", "charge") and key not in single:
            single[key] = float(_numbers(path, number, text, words[1:], 1)[0])
        else:
            wanted = (
                "'atom x y z element charge (unused) fx fy fz' belongs"
                if key == "atom"
                else "'atom', 'lattice', 'energy', 'charge', 'comment' or 'end' belongs"
            )
            raise malformed(path, number, text, wanted, _WHOLE)
    if not rows or len(cell) not in (0, 3):
        found = "no atoms" if not rows else f"{len(cell)} lattice vectors"
        raise InputError(f"{path}, line {start}", f"a frame with {found}", _WHOLE)
    values = np.array(rows)
    atoms = ase.Atoms(symbols, Bohr * values[:, :3], pbc=bool(cell))
    if cell:
        atoms.cell[:] = Bohr * np.array(cell)
    if comments:
        atoms.info["comment"] = " ".join(comments)
    if "charge" in single:
        atoms.info["total_charge"] = single["charge"]
    if values[:, 3].any():
        atoms.arrays["REF_charges"] = values[:, 3]
    return set_labels(
        atoms,
        energy=Hartree * single["energy"] if "energy" in single else None,
        forces=Hartree / Bohr * values[:, 4:],
    )


def _numbers(path: Path, number: int, text: str, words: list[str], count: int) -> np.ndarray:
    try:
        # Fortran writes 1.0D-01
        values = np.array([float(re.sub("[dD]", "e", word)) for word in words[:count]])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise malformed(path, number, text, f"{count} numbers belong", _WHOLE)
    return values
