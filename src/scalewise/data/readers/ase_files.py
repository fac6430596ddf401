"""ASE's own files: trajectories (``.traj``) and databases (``.db``, SQLite).

The results of calculators become labels. If a frame has ``free_energy`` and ``energy``, the free
energy is the label, since forces and stress are its derivatives. All results are kept, too.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final

import ase
import ase.db
import ase.io.trajectory
import numpy as np

from scalewise.core.errors import InputError
from scalewise.core.extensions import reason
from scalewise.core.files import check_regular
from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from scalewise.data.label_names import spells
from scalewise.data.readers.labels import set_labels

_TRAJECTORY: Final = "Give a whole trajectory of ASE; was it cut off while it was written?"
_DATABASE: Final = "Give a whole database of ASE, of the kind SQLite."


def read_trajectory(path: Path) -> list[ase.Atoms]:
    """Read every frame of a trajectory.

    Raises
    ------
    InputError
        Not a regular file, or not a whole trajectory of ASE.
    """
    check_regular(path, _TRAJECTORY)
    try:
        with path.open("rb") as stream:  # ASE does not close what it refuses
            frames = ase.io.trajectory.TrajectoryReader(stream)  # type: ignore[no-untyped-call]  # ASE
            images = [_with_results(frame) for frame in frames]
    except Exception as error:  # ASE raises a dozen kinds for damaged files
        raise InputError(str(path), f"damaged ({reason(error)})", _TRAJECTORY) from error
    if not images:
        raise InputError(str(path), "no frames", _TRAJECTORY)
    return images


def read_database(path: Path) -> list[ase.Atoms]:
    """Read every row of a database, in the order of its ids.

    Key-value pairs, and what was stored as ``data``, become keys of the frames; arrays of atoms
    become columns.

    Raises
    ------
    InputError
        Not a regular file, or not a whole database of ASE.
    """
    check_regular(path, _DATABASE)
    try:
        _check_tables(path)
        # without: ASE would leave a lock beside the file
        database = ase.db.connect(str(path), type="db", use_lock_file=False)  # type: ignore[no-untyped-call]  # ASE
        with database as rows:
            images = [_of_row(row) for row in rows.select(sort="id")]
    except Exception as error:  # as above
        raise InputError(str(path), f"damaged ({reason(error)})", _DATABASE) from error
    if not images:
        raise InputError(str(path), "no frames", _DATABASE)
    return images


def is_database(path: Path) -> bool:
    """Whether a file is a database with ASE's table, and not one of another program."""
    try:
        _check_tables(path)
    except sqlite3.Error:
        return False
    return True


def _check_tables(path: Path) -> None:
    """Ask for the table of frames, and write nothing: ASE would make one where there is none."""
    address = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("select id from systems limit 1")


def _of_row(row: Any) -> ase.Atoms:
    atoms = row.toatoms()
    for name, value in {**row.key_value_pairs, **row.data}.items():
        # six or nine values of a frame with three or six atoms are no rows of atoms
        whole = spells("stress", name) and np.size(value) in (6, 9)
        rows = None if whole else _rows(value, len(atoms))
        if rows is not None and name not in atoms.arrays:
            atoms.arrays[name] = rows
        else:
            atoms.info[name] = value
    return _with_results(atoms)


def _rows(value: Any, atoms: int) -> np.ndarray | None:
    """An array with a number, or several, of each atom; or none: lists are such only if nested."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        with contextlib.suppress(ValueError):
            value = np.asarray(value)
    right = isinstance(value, np.ndarray) and value.ndim in (1, 2) and len(value) == atoms
    return value if right else None


def _with_results(atoms: ase.Atoms) -> ase.Atoms:
    """Make labels of results, except of those that have their usual names already."""
    atoms.set_constraint()  # type: ignore[no-untyped-call]  # ASE; labels are what was computed
    if {ENERGY_KEY, FORCES_KEY, STRESS_KEY} & {*atoms.info, *atoms.arrays} or atoms.calc is None:
        return atoms
    found = atoms.calc.results
    energy = found.get("free_energy", found.get("energy"))
    return set_labels(atoms, energy=energy, forces=found.get("forces"), stress=found.get("stress"))
