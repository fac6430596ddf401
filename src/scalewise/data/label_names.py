"""Names of labels: the default names, those that programs write, and other common ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY

LabelName = Literal["forces", "energy", "stress"]
DEFAULTS: Final[Mapping[LabelName, str]] = {
    "forces": FORCES_KEY,
    "energy": ENERGY_KEY,
    "stress": STRESS_KEY,
}
PLURAL: Final[Mapping[LabelName, str]] = {
    "forces": "forces",
    "energy": "energies",
    "stress": "stresses",
}
UNITS: Final[Mapping[LabelName, str]] = {"forces": "eV/Å", "energy": "eV", "stress": "eV/Å³"}
#: What programs call the labels of a frame, in lower case, with the unit that is read or without
#: one. Virials are those of a frame, in eV.
_LENGTH: Final = r"[_/-]?(a|ang|angstrom)"
_WORDS: Final[Mapping[LabelName, str]] = {
    "forces": rf"forces?([_-]?ev({_LENGTH})?)?",
    "energy": "(((free|tot|total|potential)[_-]?)?energy|e[_-]?tot|toten)([_-]?ev)?",
    "stress": rf"stress([_-]?ev{_LENGTH}\^?3)?|virials?([_-]?ev)?",
}
#: What may stand before it: that it is the reference, or the method, or a program that writes eV
#: and eV/Å. Its stress may be in another unit, and have the other sign.
_REFERENCE: Final = "(ref|reference)"
_ORIGIN: Final[Mapping[LabelName, str]] = {
    "forces": "(dft|vasp|castep|aims|gpaw)",
    "energy": "(dft|vasp|castep|aims|gpaw)",
    "stress": "dft",
}
#: What is in the names of keys that may be labels, under other names or in other units.
_RESEMBLE: Final[Mapping[LabelName, tuple[str, ...]]] = {
    "forces": ("force", "gradient"),
    "energy": ("energy",),
    "stress": ("stress", "virial"),
}


def spells(name: LabelName, key: str) -> bool:
    """Whether a key is what programs call a label, in upper or lower case.

    Examples
    --------
    >>> spells("energy", "Energy"), spells("stress", "ref_STRESS"), spells("forces", "energy")
    (True, True, False)
    >>> spells("energy", "vasp_total_energy_eV"), spells("energy", "energy_Ha")
    (True, False)
    """
    before = f"({_REFERENCE}|{_ORIGIN[name]})[_-]?"
    return re.fullmatch(f"({before})?({_WORDS[name]})", key.lower()) is not None


def spells_reference(name: LabelName, key: str) -> bool:
    """Whether a key says that it is a label, and no prediction: such as ``REF_virials``."""
    return re.fullmatch(f"{_REFERENCE}[_-]({_WORDS[name]})", key.lower()) is not None


def resembles(name: LabelName, key: str) -> bool:
    """Whether a key may be a label under another name, or in another unit."""
    return any(word in key.lower() for word in _RESEMBLE[name])
