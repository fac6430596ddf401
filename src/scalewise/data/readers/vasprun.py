"""VASP's vasprun.xml: every ionic step, without holding the file in memory.

The energy is the free energy, ``e_fr_energy``, since forces and stress are its derivatives. With an
external pressure, VASP adds pressure times volume to this energy; this term is subtracted, as ASE
does. The stress in the file is in kbar and positive under compression; its sign is changed. Steps
whose electronic iteration stopped at NELM, and whose energy still changed by EDIFF or more, have
the key ``scf_converged`` with the value false.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final
from xml.etree import ElementTree as ET

import ase
import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from scalewise.core.errors import InputError, shown
from scalewise.data.readers.labels import CONVERGED, set_labels
from scalewise.data.readers.opening import opened
from scalewise.data.readers.outcar import KBAR

GIVE: Final = "Give the vasprun.xml of a run of VASP."


def read_vasprun(path: Path) -> list[ase.Atoms]:
    """Read every ionic step.

    Raises
    ------
    InputError
        Not a vasprun.xml; one that was cut off, or has no step; a step that is not whole.
    """
    images: list[ase.Atoms] = []
    with opened(path, GIVE, encoding=None) as stream:
        try:
            for atoms in _steps(path, stream):
                images.append(atoms)
        except (ET.ParseError, LookupError) as error:  # the second, of unknown encodings
            raise InputError(
                str(path),
                f"not whole XML after {len(images)} steps ({error})",
                "Was the run or a copy of it cut off? Give its OUTCAR (in a folder, it is read "
                "once this file is gone), or remove what follows the last </calculation> and end "
                "the file with </modeling>.",
            ) from None
    if not images:
        raise InputError(
            str(path), "no ionic step with positions, forces and energy", f"Leave it out. {GIVE}"
        )
    return images


def _steps(path: Path, stream: IO[bytes]) -> Iterator[ase.Atoms]:
    numbers: np.ndarray | None = None
    pressure, learned, found = 0.0, False, 0
    most, accuracy = None, None
    parents: list[ET.Element] = []
    for event, element in ET.iterparse(stream, events=("start", "end")):
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if element.tag == "atominfo":
            numbers = _kinds(path, element)
        elif element.tag in ("parameters", "incar"):
            for one in element.iter("i"):
                if one.get("name", "").upper() == "PSTRESS":
                    pressure = float(_row(path, one, 1, "PSTRESS")[0])
                if one.get("name", "").upper() == "ML_LMLFF":
                    learned = "T" in (one.text or "")
                if one.get("name", "").upper() == "NELM":
                    most = int(_row(path, one, 1, "NELM")[0])
                if one.get("name", "").upper() == "EDIFF":
                    accuracy = abs(float(_row(path, one, 1, "EDIFF")[0]))
        elif element.tag == "calculation":
            # steps that were predicted, and not computed, iterate no electrons
            if not (learned and element.find("scstep") is None):
                atoms = _step(f"{path}, step {found}", numbers, element, pressure)
                if _unconverged(element, most, accuracy):
                    atoms.info[CONVERGED] = False
                yield atoms
            found += 1
        else:
            continue
        element.clear()
        if parents:
            parents[-1].remove(element)


def _unconverged(element: ET.Element, most: int | None, accuracy: float | None) -> bool:
    """Whether the electronic iteration of a step stopped at its limit before it converged."""
    rounds = element.findall("scstep")
    if most is None or len(rounds) < most:
        return False
    energies = [one.findtext("energy/i[@name='e_fr_energy']") for one in rounds[-2:]]
    try:
        change = abs(float(energies[1] or "nan") - float(energies[0] or "nan"))
    except (IndexError, ValueError):  # one round, or a number that is none
        return True
    return accuracy is None or not change < accuracy


def _kinds(path: Path, element: ET.Element) -> np.ndarray:
    rows = element.findall("array[@name='atoms']/set/rc")
    names = [(row[0].text or "").strip() if len(row) else "" for row in rows]
    potentials = _potentials(element)
    for k, row in enumerate(rows):
        # some versions write 'r' for Zr and 'X' for Xe; the potential of the kind says what it is
        if names[k] not in chemical_symbols[1:] and len(row) > 1:
            names[k] = potentials.get((row[1].text or "").strip(), names[k])
    odd = [name for name in names if name not in chemical_symbols[1:]]
    if odd or not names:
        raise InputError(
            f"{path}, atominfo",
            f"{shown(odd[0]) if odd else 'no atom'} where an element belongs",
            "Every atom must be an element.",
        )
    return np.array([atomic_numbers[name] for name in names])


def _potentials(element: ET.Element) -> dict[str, str]:
    """Elements of the potentials, such as Zr of PAW_PBE Zr_sv, by the number of their kind."""
    found = {}
    for k, row in enumerate(element.findall("array[@name='atomtypes']/set/rc"), 1):
        words = (row[-1].text or "").split() if len(row) else []
        symbol = words[1].partition("_")[0] if len(words) > 1 else ""
        if symbol in chemical_symbols[1:]:
            found[str(k)] = symbol
    return found


def _step(
    where: str, numbers: np.ndarray | None, element: ET.Element, pressure: float
) -> ase.Atoms:
    if numbers is None:
        raise InputError(where, "no atominfo before it", GIVE)
    cell = _table(where, element.find("structure/crystal/varray[@name='basis']"), 3, "a cell")
    n = len(numbers)
    fractions = _table(where, element.find("structure/varray[@name='positions']"), n, "positions")
    atoms = ase.Atoms(numbers, cell=cell, pbc=True, scaled_positions=fractions)
    forces = element.find("varray[@name='forces']")
    stress = element.find("varray[@name='stress']")
    enthalpy = element.find("energy/i[@name='e_fr_energy']")
    if enthalpy is None:
        raise InputError(where, "no energy e_fr_energy", f"Remove the step. {GIVE}")
    energy = float(_row(where, enthalpy, 1, "an energy")[0])
    work = -KBAR * pressure * abs(float(np.linalg.det(cell)))
    return set_labels(
        atoms,
        energy=energy - work,
        forces=None if forces is None else _table(where, forces, n, "forces"),
        stress=None if stress is None else KBAR * _table(where, stress, 3, "a stress"),
    )


def _table(where: str, element: ET.Element | None, rows: int, what: str) -> np.ndarray:
    found: list[Any] = [] if element is None else element.findall("v")
    if len(found) != rows:
        raise InputError(where, f"{len(found)} rows where {what} of {rows} belong", GIVE)
    return np.array([_row(where, row, 3, what) for row in found]).reshape(rows, 3)


def _row(where: str | Path, element: ET.Element, count: int, what: str) -> np.ndarray:
    words = (element.text or "").split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.full(1, np.nan)
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(
            str(where),
            f"{shown(' '.join(words), 60)} where numbers of {what} belong",
            "Remove the step.",
        )
    return values
