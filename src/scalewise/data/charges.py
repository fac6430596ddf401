"""The total charge and the electronic state of a structure."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from scalewise.core.errors import InputError, shown
from scalewise.data.structure import Structure

#: Frame keys of the total charge, e.
CHARGE_KEYS: Final = ("total_charge", "charge")
#: Frame keys of the electronic state.
STATE_KEYS: Final = (*CHARGE_KEYS, "spin", "multiplicity", "total_spin", "nelect")


def total_charge(frame: Structure) -> float:
    """Return the frame's key ``total_charge`` or ``charge``, e; zero without.

    Raises
    ------
    InputError
        A value that is not a finite number, or more than the charge of all nuclei; two keys with
        different values.
    """
    found = {key: _charge(frame, key) for key in CHARGE_KEYS if key in frame.info}
    if len(set(found.values())) > 1:
        said = " and ".join(f"{key}={value:g}" for key, value in found.items())
        raise InputError(f"{frame.where}, keys 'charge'", said, "Remove the key that is wrong.")
    return next(iter(found.values()), 0.0)


def _charge(frame: Structure, key: str) -> float:
    value = frame.info[key]
    try:
        charge = math.nan if isinstance(value, bool | np.bool_) else float(value)
    except (TypeError, ValueError):
        charge = math.nan
    nuclei = int(frame.numbers.sum())
    if not math.isfinite(charge) or charge > nuclei:
        raise InputError(
            f"{frame.where}, key '{key}'",
            shown(value, 60),
            f"It must be a number, the charge in e, at most that of the nuclei, {nuclei}.",
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
