"""Isolated atoms: structures whose energies are the reference energies of their elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from scalewise.data.charges import total_charge
from scalewise.data.structure import Structure, heights

#: Height (Å) from which a cell keeps an atom away from its images: crystals of one atom per cell
#: are lower than 6 Å, boxes around atoms are 10 Å and more.
FAR: Final = 8.0
#: What files call such frames under ``config_type``, in lower case and without signs between words.
NAMES: Final = frozenset({"isolatedatom", "isolatedatoms", "singleatom", "freeatom", "atom"})


def is_isolated_atom(structure: Structure) -> bool:
    """Whether a structure is one atom, without a cell, in a wide one, or named so.

    Examples
    --------
    >>> argon = Structure(np.array([18]), np.zeros((1, 3)), 12 * np.eye(3), np.ones(3, dtype=bool))
    >>> is_isolated_atom(argon)
    True
    """
    if len(structure.numbers) != 1:
        return False
    if not structure.pbc.any():
        return True
    name = "".join(c for c in str(structure.info.get("config_type", "")).lower() if c.isalpha())
    if name in NAMES:
        return True
    periodic = structure.cell[structure.pbc]
    # of a slab or wire only the periodic directions matter: edges, where there are no heights
    low = heights(structure.cell) if structure.pbc.all() else np.linalg.norm(periodic, axis=1)
    return bool(low.min() >= FAR)


def reference_energies(structures: Sequence[Structure]) -> dict[int, float]:
    """Energy (eV) of the neutral isolated atom of each element that has one, by atomic number.

    Of several, such as those of several spins, the lowest; ions are no references.

    Raises
    ------
    InputError
        As :func:`scalewise.data.charges.total_charge`.
    """
    found: dict[int, float] = {}
    for structure in structures:
        energy = structure.labels.energy
        if energy is None or not is_isolated_atom(structure) or abs(total_charge(structure)) > 1e-6:
            continue
        number = int(structure.numbers[0])
        found[number] = min(energy, found.get(number, np.inf))
    return dict(sorted(found.items()))
