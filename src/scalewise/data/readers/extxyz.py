"""Extended XYZ files: every frame is read, or an error names the line at which reading stopped.

ASE parses each frame. This module checks what ASE does not check, line by line and without holding
the file in memory: empty lines between frames, after which ASE stops reading, and numbers of atoms
or columns that do not agree with the lines of the file.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import ase
import ase.io.extxyz
import numpy as np

from scalewise.core.errors import InputError, cut, shown
from scalewise.core.files import check_regular
from scalewise.data.readers.opening import SUFFIXES, opened

#: A number of atoms: plain digits, of which no file needs more.
_COUNT: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
#: Cell vectors that some programs write after the atoms.
_VECTORS: Final = ("VEC1", "VEC2", "VEC3")
_AGAIN: Final = "Write the file again, for example with ASE."
_GIVE: Final = "Give the path of an extxyz file."
#: Keys and columns that ASE knows in one spelling; NEP, whose words may be written in any, writes
#: others.
_SPELLED: Final = ("Lattice", "Properties", "pbc")
_COLUMNS: Final = ("species", "pos")
#: What a frame cannot do without, and what ASE calls it; without a word, it puts all atoms at the
#: origin, or makes them dummies.
_NEEDED: Final = {
    "positions": ("pos", "positions"),
    "elements": ("species", "symbols", "Z", "numbers"),
}
#: Six numbers in Voigt's order under keys of which ASE reads nine.
_SIX: Final = re.compile(
    r"""(?<!\S)((?:stress|virial)\s*=\s*["'{]\s*)((?:[^\s"'}]+\s+){5}[^\s"'}]+)(?=\s*["'}])"""
)
#: Places of nine components in these six: xx, yy, zz, yz, xz, xy.
_NINE: Final = (0, 5, 4, 5, 1, 3, 4, 3, 2)
#: A quoted text, as it is; or a key without a value, of which ASE would make one of the next key.
_EMPTY: Final = re.compile(
    r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^{}]*\})"""
    r"""|(?<!\S)([^\s="'{}\[\]]+)\s*=(?:[^\S\n]*(?:""|''|\{\s*\}|\[\s*\]|$)|\s+(?=[^\s="'{}\[\]]+\s*=))"""
)
#: A key and its value, of which quotes and brackets hold spaces.
_PAIR: Final = re.compile(
    r"""(?<!\S)([^\s="'{}\[\]]+)\s*=\s*"""
    r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^{}]*\}|\[[^=]*\]|\S+)"""
)
#: Three letters in a word, of which ASE makes a truth; it takes them apart.
_LETTERS: Final = re.compile(
    r"""(?<!\S)pbc\s*=\s*["']?([TF01])[,;]?([TF01])[,;]?([TF01])["']?(?!\S)"""
)


def read_images(path: Path) -> list[ase.Atoms]:
    """Read every frame of a file, compressed or not.

    Raises
    ------
    InputError
        As :func:`iterate_images`.
    """
    return list(iterate_images(path))


def iterate_images(path: Path) -> Iterator[ase.Atoms]:
    """Read one frame after the other, without holding those before it.

    Raises
    ------
    InputError
        Not a regular file, not text, no frames; a line that is not what its place asks for;
        compressed, and not whole.
    """
    size = float(check_regular(path, _GIVE).st_size)
    if path.suffix.lower() in SUFFIXES:
        size = math.inf
    found = 0
    # only line feeds end lines: other marks may stand in comments
    with opened(path, _GIVE) as stream:
        for start, lines in _frames(path, _Numbered(stream), size):
            yield _parsed(path, found, start, lines)
            found += 1
    if not found:
        raise InputError(str(path), "no frames", "The file is empty; write at least one frame.")


def write_images(stream: Any, images: Iterable[ase.Atoms]) -> None:
    """Write frames as extxyz to an open text file; a path's own `@` would mean something to ASE.

    Empty words are left out, and ends of lines in words become spaces: ASE writes both as they are,
    and neither can be read.
    """
    ase.io.extxyz.write_xyz(stream, [_writable(image) for image in images])


def _writable(image: ase.Atoms) -> ase.Atoms:
    words = {k: " ".join(v.split()) for k, v in image.info.items() if isinstance(v, str)}
    lines = {k: v for k, v in words.items() if not v or len(image.info[k].splitlines()) > 1}
    if not lines:
        return image
    found = image.copy()  # type: ignore[no-untyped-call]  # ASE
    found.calc = image.calc
    found.info = {k: lines.get(k, v) for k, v in image.info.items() if lines.get(k, "x")}
    return found


class _Numbered:
    """The lines of a file; ``number`` is that of the last one, from 1."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._stream = iter(stream)
        self._kept: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._kept.pop() if self._kept else next(self._stream)
        self.number += 1
        return line

    def back(self, line: str) -> None:
        """Take a line back."""
        self._kept.append(line)
        self.number -= 1


def _frames(path: Path, lines: _Numbered, size: float) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of each frame, and the number of its first one."""
    found = 0
    for line in lines:
        if not line.strip():
            continue
        start = lines.number
        atoms = _count(path, line, start, found)
        # an atom has two bytes at least: a symbol and the end of the line
        rows = list(islice(lines, atoms + 1)) if 2 * atoms <= size else []
        if len(rows) < atoms + 1:
            there = f"holds {max(len(rows) - 1, 0)}" if rows else f"has {size:.0f} bytes"
            raise InputError(
                f"{path}, line {start}",
                f"{atoms} atoms declared for frame {found}, but the file {there}",
                "Was it cut off? Write it again, or remove what is left of this frame.",
            )
        rows[0] = _spelled(rows[0])
        _check_rows(path, start, found, rows)
        rows += list(_vectors(lines))
        yield start, [line, *rows]
        found += 1


def _spelled(comment: str) -> str:
    """The comment with the keys, columns and values that ASE knows as ASE writes them."""
    comment = _EMPTY.sub(_without_value, comment)
    for key in _SPELLED:
        if re.search(rf"(?<!\S){key}\s*=", comment) is None:
            comment = re.sub(rf"(?i)(?<!\S){key}(?=\s*=)", key, comment, count=1)
    for column in _COLUMNS:
        if re.search(rf"[=:\"']{column}:", comment) is None:
            before = r"(?<!\S)(Properties\s*=\s*\S*?(?<=[=:\"']))"
            comment = re.sub(
                rf"{before}(?i:{column})(?=:[A-Z]:\d)", rf"\1{column}", comment, count=1
            )
    comment = _SIX.sub(lambda found: found[1] + _nine(found[2].split()), comment)
    return _LETTERS.sub(r'pbc="\1 \2 \3"', comment)


def _without_value(found: re.Match[str]) -> str:
    """What stays of a match of ``_EMPTY``: of a key that is needed, a word that is refused."""
    text, key = found.groups()
    needed = key is not None and key.lower() in {known.lower() for known in _SPELLED}
    return f"{key}=none " if needed else text or ""


def _nine(six: list[str]) -> str:
    return " ".join(six[k] for k in _NINE)


def _count(path: Path, line: str, number: int, before: int) -> int:
    word = line.strip()
    if not _COUNT.fullmatch(word):
        whole = f"The {before} frames before it are whole: does the last one declare too few atoms?"
        other = "Is it of another format? The end of a file's name says its format."
        raise InputError(
            f"{path}, line {number}",
            f"{shown(cut(word, 60))} where the number of atoms of frame {before} belongs",
            f"{whole if before else other} {_AGAIN}",
        )
    return int(word)


def _check_rows(path: Path, start: int, frame: int, rows: list[str]) -> None:
    """Assert that all atoms have the columns that the comment declares, or equally many."""
    declared = _declared(path, start + 1, rows[0])
    columns = declared
    for k, row in enumerate(rows[1:]):
        found = len(row.split())
        if columns is None:
            columns = found
        if found != columns or found < 1:
            raise InputError(
                f"{path}, line {start + 2 + k}",
                f"{found} columns for atom {k} of frame {frame}, where {columns} are "
                + ("in the lines before" if declared is None else "declared"),
                "Does the frame declare too many atoms? " + _AGAIN,
            )


def _declared(path: Path, number: int, comment: str) -> int | None:
    """Sum of the columns in ``Properties=name:type:columns:...``; none without."""
    try:
        parsed = ase.io.extxyz.key_val_str_to_dict(comment)  # type: ignore[no-untyped-call]  # ASE
    except Exception as error:  # as when the frame is parsed
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}, line {number}", f"not readable as extxyz ({cut(reason, 200)})", _AGAIN
        ) from error
    _check_once(f"{path}, line {number}", comment)
    _check_periodicity(f"{path}, line {number}", parsed.get("pbc", True))
    properties = parsed.get("Properties")
    if properties is None:
        return None
    properties = str(properties)
    fields = properties.split(":")
    widths = fields[2::3]
    right = len(fields) % 3 == 0 and all(re.fullmatch("[0-9]{1,6}", w, re.ASCII) for w in widths)
    if not right:
        raise InputError(
            f"{path}, line {number}",
            f"Properties={cut(properties, 80)}",
            "It must list name:type:columns of each property, such as species:S:1:pos:R:3.",
        )
    for what, names in _NEEDED.items():
        if not set(names) & set(fields[::3]):
            raise InputError(
                f"{path}, line {number}",
                f"Properties={cut(properties, 80)} without {what}",
                f"Call their column {names[0]}, as in species:S:1:pos:R:3.",
            )
    return sum(int(w) for w in widths)


def _check_once(where: str, comment: str) -> None:
    """Assert that no key has two values: ASE takes the last one."""
    values: dict[str, str] = {}
    for key, value in _PAIR.findall(comment):
        if values.setdefault(key, value) != value:
            found = f"{shown(cut(values[key], 40))} and {shown(cut(value, 40))}"
            raise InputError(f"{where}, key {shown(key, 60)}", found, "Keep the one that is meant.")


def _check_periodicity(where: str, value: Any) -> None:
    """Assert that ASE makes of the key what it says: any other word is true."""
    found = np.asarray(value)
    if found.dtype.kind not in "bi" or found.shape not in ((), (3,)) or set(found.flat) - {0, 1}:
        there = shown(found.tolist(), 60)
        raise InputError(f"{where}, key 'pbc'", there, 'Write it as pbc="T T F", an axis each.')


def _vectors(lines: _Numbered) -> Iterator[str]:
    for name in _VECTORS:
        line = next(lines, None)
        if line is None:
            return
        if not line.lstrip().startswith(name):
            lines.back(line)
            return
        yield line


def _parsed(path: Path, frame: int, start: int, lines: list[str]) -> ase.Atoms:
    try:
        with warnings.catch_warnings():
            # numbers that overflow become infinite, and are refused as such
            warnings.simplefilter("ignore")
            (image,) = ase.io.extxyz.read_extxyz(io.StringIO("".join(lines)), slice(None))
    except Exception as error:  # ASE raises a dozen kinds for malformed text
        at = f"{path}, frame {frame} (line {start})"
        name = str(error.args[0]) if isinstance(error, KeyError) and error.args else None
        if name in " ".join(lines[2:]).split():
            remedy = "Every atom must be an element: write H for deuterium, and C for C1."
            raise InputError(at, f"an atom called {shown(name, 60)}", remedy) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            at,
            f"not readable as extxyz ({cut(reason, 200)})",
            _AGAIN,
        ) from error
    return image
