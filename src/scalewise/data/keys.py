"""Columns and frame keys that hold the labels, and errors about keys that no frame has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import ase
import numpy as np

from scalewise.core.errors import InputError, did_you_mean
from scalewise.core.progress import Progress
from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY
from scalewise.core.settings import Settings
from scalewise.data.label_names import PLURAL, UNITS, LabelName, resembles, spells


@dataclass(frozen=True)
class LabelKeys:
    """Columns and frame keys that hold the labels of a file.

    Attributes
    ----------
    forces
        Column of the forces, eV/Å; none: forces are not read.
    energy, stress
        Frame keys of the energy, eV, and of the stress, eV/Å³; none: they are not read.
    options
        Name of the setting of each key in the present command, for error messages.
    named
        Labels whose key the user gave: it is an error if no frame has such a key.
    check_units
        Refuse labels that do not look like eV and Å.
    units_option
        Name of the setting that turns this check off.
    adopt
        If no frame has a default key, read the names that common programs write; see
        :func:`scalewise.data.spellings.adopt`.
    complete
        Whether every frame must have forces; otherwise at least one frame must.
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
    adopt: bool = False
    complete: bool = False

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
            adopt=True,
        )

    @property
    def any(self) -> bool:
        """Whether a label is read at all."""
        return any(key is not None for key in (self.forces, self.energy, self.stress))


def frame_value(image: ase.Atoms, key: str) -> Any:
    """What a frame has under a key, among ASE's results or the frame keys; none without."""
    results = image.calc.results if image.calc is not None else {}
    return results.get(key, image.info.get(key))


def frame_columns(image: ase.Atoms) -> dict[str, np.ndarray]:
    """Arrays and results of a frame with a row for each atom, by name."""
    results = image.calc.results if image.calc is not None else {}
    return {**image.arrays, **{k: v for k, v in results.items() if np.ndim(v) == 2}}


def check_forces(source: str, images: Sequence[ase.Atoms], keys: LabelKeys) -> None:
    """Refuse a file in which no frame has the column of forces, or one has not and all must.

    Raises
    ------
    InputError
        The first frame without, and what columns there are.
    """
    if keys.forces is None:
        return
    lacking = [k for k, image in enumerate(images) if keys.forces not in frame_columns(image)]
    if not lacking or (len(lacking) < len(images) and not keys.complete):
        return
    arrays, shape = frame_columns(images[lacking[0]]), (len(images[lacking[0]]), 3)
    known = [k for k, v in arrays.items() if np.shape(v) == shape and k != "positions"]
    listing = ", ".join(f"'{k}'" for k in known) or "none"
    option = keys.options["forces"]
    energies = keys.energy is not None and any(
        frame_value(image, keys.energy) is not None for image in images
    )
    alone = f" For energies without forces, give {option}=null."
    raise InputError(
        f"{source}, frame {lacking[0]}, key '{keys.forces}'",
        f"no such column; columns with three values per atom: {listing}",
        f"Name the column that holds the forces with {option}."
        + did_you_mean(keys.forces, known)
        + alone * (energies and not keys.complete),
    )


def check_present(
    source: str, images: Sequence[ase.Atoms], keys: LabelKeys, progress: Progress
) -> None:
    """Refuse energy and stress keys that were named and are in no frame; tell of default ones.

    Raises
    ------
    InputError
        A key that the user named, and that no frame has.
    """
    wanted: tuple[tuple[LabelName, str | None], ...] = (
        ("energy", keys.energy),
        ("stress", keys.stress),
    )
    for name, key in wanted:
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
        others = _others(name, images)
        if others:
            listed = " and ".join(f"'{k}'" for k in others)
            fit = [k for k in others if "virial" not in k.lower()]
            one = "it" if len(others) == 1 else "one"
            meant = f"; if {one} is what is meant, in {UNITS[name]}, give {option}="
            progress.message(
                f"no {PLURAL[name]} are read: no frame has '{key}', but the file has {listed}"
                + (meant + fit[0] if fit else "")
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


def _others(name: LabelName, images: Sequence[ase.Atoms]) -> list[str]:
    """Keys that may be the label in place of one that no frame has, the likeliest alone."""
    known = frame_keys(images)
    for like in (spells, resembles):
        if found := [key for key in known if like(name, key)]:
            return found
    return _single_numbers(images) if name == "energy" else []


def _single_numbers(images: Sequence[ase.Atoms]) -> list[str]:
    """Frame keys that hold one number with decimals each."""
    found: dict[str, None] = {}
    for image in images:
        found |= {str(k): None for k, v in image.info.items() if isinstance(v, float | np.floating)}
    return list(found)
