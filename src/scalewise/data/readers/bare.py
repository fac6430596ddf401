"""Structures without labels, for predictions: ``POSCAR`` and ``CONTCAR`` of VASP, and CIF."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import ase
import ase.io.cif
import ase.io.vasp

from scalewise.core.errors import InputError
from scalewise.core.extensions import reason
from scalewise.data.readers.opening import opened

_POSCAR: Final = "Give a whole POSCAR or CONTCAR of VASP 5 or newer."
_CIF: Final = "Give a whole CIF with cell and sites."


def read_poscar(path: Path) -> list[ase.Atoms]:
    """Read the structure of a POSCAR or CONTCAR; velocities and constraints are left out.

    Raises
    ------
    InputError
        Not a regular file, or not a whole POSCAR.
    """

    def parsed(stream: IO[Any]) -> Iterator[ase.Atoms]:
        lines = stream.read().splitlines()
        symbols, counts = (line.split() for line in lines[5:7])
        if not all(n.isdigit() for n in counts) or len(symbols) != len(counts):
            raise ValueError(f"elements {' '.join(symbols)}, numbers {' '.join(counts)}")
        yield ase.io.vasp.read_vasp(io.StringIO("\n".join(lines) + "\n"))

    return _read(path, parsed, _POSCAR)


def is_poscar(path: Path) -> bool:
    """Whether a file begins as a POSCAR: a comment, a scale and a lattice vector."""
    with opened(path, _POSCAR) as stream:
        lines = list(itertools.islice(stream, 3))
    try:
        scale, vector = ([float(v) for v in line.split()] for line in lines[1:])
    except ValueError:
        return False
    return len(scale) in (1, 3) and len(vector) == 3


def read_cif(path: Path) -> list[ase.Atoms]:
    """Read every structure of a CIF, with all sites that its symmetry makes.

    Raises
    ------
    InputError
        Not a regular file, not a whole CIF, one of which ASE would have to leave something out, or
        one with sites that are partly occupied.
    """

    def parsed(stream: IO[Any]) -> Iterator[ase.Atoms]:
        yield from ase.io.cif.read_cif(stream, slice(None))

    return _read(path, parsed, _CIF)


def _read(
    path: Path, parsed: Callable[[IO[Any]], Iterator[ase.Atoms]], give: str
) -> list[ase.Atoms]:
    try:
        with opened(path, give) as stream, warnings.catch_warnings():
            warnings.simplefilter("error")  # of ASE, on what it leaves out or cannot be sure of
            images = list(parsed(stream))
    except InputError:
        raise
    except Exception as error:  # ASE raises a dozen kinds for damaged files
        raise InputError(str(path), f"damaged ({reason(error)})", give) from error
    if not images:
        raise InputError(str(path), "no frames", give)
    if any(_is_disordered(image) for image in images):
        raise InputError(
            str(path),
            "sites that are partly occupied",
            "Give one structure of those that it means.",
        )
    return [ase.Atoms(i.numbers, i.positions, cell=i.cell, pbc=i.pbc) for i in images]


def _is_disordered(image: ase.Atoms) -> bool:
    """Whether ASE took one of several atoms, or an atom that may be missing, for a site."""
    sites = image.info.get("occupancy", {}).values()
    return any(list(site.values()) != [1.0] for site in sites)
