"""Isolated atoms, whose energies are references of their elements; and charges of frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from scalewise.core.errors import InputError, shown
from scalewise.data.structure import Structure, heights

#: Height (Å) from which a cell keeps an atom away from its images: crystals of one atom per cell
#: are lower than 6 Å, boxes around atoms are 10 Å and more.
FAR: Final = 8.0
#: What files call such frames under ``config_type``, in lower case and without signs between words.
NAMES: Final = frozenset({"isolatedatom", "isolatedatoms", "singleatom", "freeatom", "atom"})
#: Frame keys of the total charge (e), of which the first one counts: ions are no references.
CHARGES: Final = ("total_charge", "charge")


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

    Of several, such as those of several spins, the lowest.

    Raises
    ------
    InputError
        As :func:`total_charge`.
    """
    found: dict[int, float] = {}
    for structure in structures:
        energy = structure.labels.energy
        if energy is None or not is_isolated_atom(structure) or _charged(structure):
            continue
        number = int(structure.numbers[0])
        found[number] = min(energy, found.get(number, np.inf))
    return dict(sorted(found.items()))


def total_charge(structure: Structure) -> float:
    """The frame's key ``total_charge`` or ``charge``, e; zero without.

    Raises
    ------
    InputError
        Something else than a finite number.
    """
    key = next((k for k in CHARGES if k in structure.info), CHARGES[-1])
    value = structure.info.get(key, 0.0)
    try:
        charge = float(value)
    except (TypeError, ValueError):
        charge = math.nan
    if not math.isfinite(charge):
        raise InputError(
            f"{structure.where}, key '{key}'",
            shown(value, 60),
            "It must be a number, the charge in e.",
        )
    return charge


def _charged(structure: Structure) -> bool:
    return abs(total_charge(structure)) > 1e-6
