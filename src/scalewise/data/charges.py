"""The total charge and the electronic state of a structure."""

from __future__ import annotations

import math
from typing import Final

from scalewise.core.errors import InputError, shown
from scalewise.data.structure import Structure

#: Frame keys of the total charge, e; the first that is there counts.
CHARGE_KEYS: Final = ("total_charge", "charge")
#: Frame keys of the electronic state.
STATE_KEYS: Final = (*CHARGE_KEYS, "spin", "multiplicity", "total_spin", "nelect")


def total_charge(frame: Structure) -> float:
    """The frame's key ``total_charge`` or ``charge``, e; zero without.

    Raises
    ------
    InputError
        Something else than a finite number.
    """
    key = next((k for k in CHARGE_KEYS if k in frame.info), CHARGE_KEYS[0])
    value = frame.info.get(key, 0.0)
    try:
        charge = float(value)
    except (TypeError, ValueError):
        charge = math.nan
    if not math.isfinite(charge):
        raise InputError(
            f"{frame.where}, key '{key}'", shown(value, 60), "It must be a number, the charge in e."
        )
    return charge


def electronic_state(frame: Structure) -> tuple[str, ...]:
    """What the frame's keys say of its charge and spin: one structure has other labels in another.

    Examples
    --------
    >>> import numpy as np
    >>> ion = Structure(
    ...     np.array([11]),
    ...     np.zeros((1, 3)),
    ...     np.zeros((3, 3)),
    ...     np.zeros(3, dtype=bool),
    ...     info={"charge": 1},
    ... )
    >>> electronic_state(ion)[:3]
    ('None', '1', 'None')
    """
    return tuple(str(frame.info.get(key)) for key in STATE_KEYS)
