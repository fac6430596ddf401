"""A reader of one's own: RuNNer's ``input.data``, in Bohr and Hartree, as structures in Å and eV.

    python examples/extend_reader.py [input.data]

scalewise reads this format itself: it is short enough to show how a reader is written.
Installed as a package it would declare an entry point ``.data`` of the group
``scalewise.readers``, and every command would read such files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import ase.units
import numpy as np

from scalewise import InputError, read_structures, register_reader

BOHR, HARTREE = ase.units.Bohr, ase.units.Hartree


def read_runner(path: Path) -> list[ase.Atoms]:
    """Read every frame between ``begin`` and ``end``."""
    images: list[ase.Atoms] = []
    lines = [""]
    try:
        lines = path.read_text().splitlines()
        for line in lines:
            word, *rest = line.split() or [""]
            if word == "begin":
                atoms = ase.Atoms()
                lattice, forces = [], []
            elif word == "lattice":
                lattice.append([float(x) * BOHR for x in rest])
            elif word == "atom":  # x y z element charge unused fx fy fz
                atoms.append(ase.Atom(rest[3], [float(x) * BOHR for x in rest[:3]]))
                forces.append([float(x) * HARTREE / BOHR for x in rest[6:9]])
            elif word == "energy":
                atoms.info["REF_energy"] = float(rest[0]) * HARTREE
            elif word == "end":
                atoms.set_cell(lattice or None)
                atoms.pbc = bool(lattice)
                atoms.arrays["REF_forces"] = np.array(forces)
                images.append(atoms)
            elif word not in ("", "comment", "charge"):
                raise ValueError(f"'{word}' is no keyword")
        if lines[-1].split() != ["end"]:
            raise ValueError("it does not finish with 'end'")
    except (OSError, ValueError, LookupError, NameError) as error:
        raise InputError(str(path), str(error), "Give a whole file of RuNNer.") from error
    return images


register_reader(".data", read_runner)


if __name__ == "__main__":
    for frame in read_structures(sys.argv[1] if len(sys.argv) > 1 else "input.data"):
        print(f"{frame.where}: {len(frame.numbers)} atoms, {frame.labels.energy} eV")
