"""Which columns and frame keys hold the labels, and what is said of keys that no frame has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import ase
import numpy as np

from scalewise.core.errors import InputError, did_you_mean
from scalewise.core.progress import Progress
from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY
from scalewise.core.settings import Settings

LabelName = Literal["forces", "energy", "stress"]
#: What programs call the labels of a frame, in lower case.
USUAL: Final[Mapping[str, frozenset[str]]] = {
    "energy": frozenset(
        {
            "energy",
            "ref_energy",
            "dft_energy",
            "free_energy",
            "total_energy",
            "totenergy",
            "energies",
        }
        | {"potential_energy", "etot", "toten"}
    ),
    "stress": frozenset({"stress", "ref_stress", "dft_stress", "virial", "virials", "ref_virial"}),
}


@dataclass(frozen=True)
class LabelKeys:
    """Where a file has its labels, and what the command at hand calls the settings that say so.

    Attributes
    ----------
    forces
        Column of the forces, eV/Å; none: no labels are read.
    energy, stress
        Frame keys of the energy, eV, and of the stress, eV/Å³; none: they are not read.
    options
        Setting of each label, as the command takes it, for error messages.
    named
        Labels whose key the user gave: one that no frame has is an error then.
    check_units
        Refuse what does not look like eV and Å.
    units_option
        The setting that turns this off.
    """

    forces: str | None = FORCES_KEY
    energy: str | None = ENERGY_KEY
    stress: str | None = None
    options: Mapping[str, str] = field(
        default_factory=lambda: {k: f"{k}_key" for k in ("forces", "energy", "stress")}
    )
    named: frozenset[str] = frozenset()
    check_units: bool = True
    units_option: str = "check_units"

    @classmethod
    def of(cls, settings: Settings, prefix: str = "") -> Self:
        """Take them from settings with ``forces_key``, ``energy_key``, ``stress_key``.

        ``prefix`` is what stands before these words on the command line, such as ``data.``.
        """
        names = ("forces", "energy", "stress")
        given = settings.model_fields_set
        return cls(
            **{n: getattr(settings, f"{n}_key") for n in names},
            options={n: f"{prefix}{n}_key" for n in names},
            named=frozenset(n for n in names if f"{n}_key" in given),
            check_units=getattr(settings, "check_units", False),
            units_option=f"{prefix}check_units",
        )


def frame_value(image: ase.Atoms, key: str) -> Any:
    """What a frame has under a key, among ASE's results or the frame keys; none without."""
    results = image.calc.results if image.calc is not None else {}
    return results.get(key, image.info.get(key))


def check_present(
    source: str, images: Sequence[ase.Atoms], keys: LabelKeys, progress: Progress
) -> None:
    """Refuse energy and stress keys that were named and are in no frame; tell of default ones.

    Raises
    ------
    InputError
        A key that the user named, and that no frame has.
    """
    for name, key in (("energy", keys.energy), ("stress", keys.stress)):
        if key is None or any(frame_value(image, key) is not None for image in images):
            continue
        known = frame_keys(images)
        option = keys.options[name]
        if name in keys.named:
            raise InputError(
                f"{source}, key '{key}'",
                f"no frame has it; frame keys: {', '.join(known) or 'none'}",
                f"Correct {option}, or leave it out.{did_you_mean(key, known)}",
            )
        usual = [k for k in known if k.lower() in USUAL[name]]
        if usual:
            listed = " and ".join(f"'{k}'" for k in usual)
            what = "energies" if name == "energy" else "stresses"
            fit = [k for k in usual if "virial" not in k.lower()]
            one = "it" if len(usual) == 1 else "one"
            hint = f"; if {one} is what is meant, give {option}={fit[0]}" if fit else ""
            progress.message(
                f"no {what} are read: no frame has '{key}', but the file has {listed}{hint}"
            )


def frame_keys(images: Sequence[ase.Atoms]) -> list[str]:
    """Names of the frame keys and results with numbers of all frames, in their order."""
    found: dict[str, None] = {}
    for image in images:
        results = image.calc.results if image.calc is not None else {}
        for key, value in {**results, **image.info}.items():
            if not (np.ndim(value) == 2 and np.shape(value)[0] == len(image) != 3):
                found[str(key)] = None
    return list(found)
