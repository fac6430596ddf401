"""The total charge of a structure, from its frame keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.data.charges import total_charge
from scalewise.data.structure import Structure


def ion(**info: Any) -> Structure:
    return Structure(
        np.array([11]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool), info=info
    )


@pytest.mark.parametrize(
    ("info", "charge"),
    [
        ({}, 0.0),
        ({"charge": 1}, 1.0),
        ({"total_charge": "-2"}, -2.0),
        ({"charge": np.int64(11)}, 11.0),
        ({"charge": 1, "total_charge": 1.0}, 1.0),
    ],
)
def test_the_charge_is_that_of_the_key(info: dict[str, Any], charge: float) -> None:
    assert total_charge(ion(**info)) == charge


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 1, "total_charge": 2}, "charge=1.*Remove the key that is wrong"),
        ({"charge": 12}, "at most that of the nuclei, 11"),
        ({"charge": True}, "must be a number"),
        ({"charge": "plus"}, "must be a number"),
        ({"total_charge": [1, 2]}, "must be a number"),
        ({"charge": float("nan")}, "must be a number"),
    ],
)
def test_charges_that_cannot_be_meant(info: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        total_charge(ion(**info))
