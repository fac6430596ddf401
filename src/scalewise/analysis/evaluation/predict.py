"""Predictions of a potential for frames of a file, and the extxyz file that holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from jaxtyping import Float

from scalewise.analysis.evaluation.settings import PredictSettings
from scalewise.core.errors import InputError
from scalewise.core.files import replacing
from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from scalewise.core.wording import count
from scalewise.data.readers import extxyz
from scalewise.data.readers.extxyz import read_images
from scalewise.data.reading import convert_images, without_labels
from scalewise.data.structure import Structure
from scalewise.models.graph import check_elements
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.protocol import Prediction

Say = Callable[[str], None]
#: Goes through frames and shows how far it is.
Watch = Callable[[Sequence[Structure]], Iterable[Structure]]
#: Where ASE's readers look for the forces.
FORCES: Final = "forces"
#: Column of the cutoff of each atom, Å.
CUTOFFS: Final = "cutoffs"
#: Names of results: of the predictions, and others that ASE's readers know.
RESULTS: Final = (
    *("energy", "free_energy", "stress", "energies", "charges", CUTOFFS),
    *("dipole", "magmom", "magmoms", "stresses", "bec", "polarization"),
)
#: Those with as many values as a frame of few atoms may have atoms.
OF_FRAMES: Final = ("stress", "dipole", "polarization")
#: Before the name of a result that the file had.
INPUT: Final = "input_"


def predict_file(
    model: Path,
    data: Path,
    settings: PredictSettings,
    out: Path,
    *,
    say: Say = lambda _: None,
    watch: Watch = iter,
) -> None:
    """Predict every frame of an extxyz file, labelled or not, and write them to another.

    Raises
    ------
    InputError
        Whatever is wrong with the model, the frames or ``out``; nothing is written then.
    """
    if out.exists() and data.exists() and out.samefile(data):
        raise InputError(str(out), "the file that is read", "Write the predictions to another.")
    potential = open_potential(model, device=settings.device, cutoff=settings.cutoff)
    images = read_images(data)
    frames = convert_images(images, str(data), without_labels(check_units=settings.check_units))
    outside = sum(not potential.knows_energy(f) for f in known(potential, frames))
    if outside:
        say(outside_span(potential, outside, len(frames)))
    for sentence in shorter(potential, settings.cutoff):
        say(sentence)
    predicted, _ = predict_frames(
        potential, frames, cutoff=settings.cutoff, long=settings.long_range, watch=watch
    )
    taken = {key for image in images for key in held(image, settings.forces_key)}
    earlier = {key for key in taken if any(_has_input(image, key) for image in images)}
    if kept := sorted(taken - earlier):
        as_input = ", ".join(INPUT + key for key in kept)
        say(f"{', '.join(kept)} of {data.name}: kept in {out.name} as {as_input}")
    if earlier:
        say(
            f"{', '.join(sorted(earlier))} of {data.name}: replaced in {out.name}, as those of an "
            f"earlier prediction; what that one kept as {INPUT}... stays"
        )
    write_images(out, images, predicted, settings.forces_key)


def outside_span(potential: Potential, outside: int, frames: int) -> str:
    """The sentence about compositions whose absolute energy the training did not determine."""
    if not len(potential.composition.span):
        return (
            "the potential was trained without energies: its absolute energies mean nothing, "
            "forces and stress do"
        )
    return (
        f"{outside} of {count(frames, 'frame')} with a composition that the training frames do not "
        "determine: absolute energies mean nothing there, forces and stress do"
    )


def shorter(potential: Potential, cutoff: float | None) -> list[str]:
    """The sentence about a cutoff that the network was not trained with, if it is one."""
    shortest = potential.cutoff_range[0]
    if cutoff is None or cutoff >= shortest:
        return []
    return [
        f"cutoff={cutoff:g} Å is shorter than the shortest that the network was trained for, "
        f"{shortest:g} Å: its errors grow, and say nothing of a network trained for that cutoff"
    ]


def known(potential: Potential, frames: Sequence[Structure]) -> Sequence[Structure]:
    """Return the frames, all elements of which the potential knows: seconds before the rest.

    Raises
    ------
    InputError
        An element that it does not know.
    """
    for frame in frames:
        check_elements(frame, potential.network.elements)
    return frames


def predict_frames(
    potential: Potential,
    frames: Sequence[Structure],
    *,
    cutoff: float | None = None,
    long: bool = True,
    watch: Watch = iter,
) -> tuple[list[Prediction], Float[np.ndarray, " frames"]]:
    """Predict frames one after the other; also the seconds that each took.

    Raises
    ------
    InputError
        As :meth:`scalewise.models.potential.Potential.predict`.
    """
    predicted, seconds = [], []
    for frame in watch(frames):
        start = time.perf_counter()
        predicted.append(potential.predict(frame, cutoffs=cutoff, long=long))
        seconds.append(time.perf_counter() - start)
    return predicted, np.array(seconds)


def held(image: ase.Atoms, forces_key: str) -> dict[str, Any]:
    """What an image has under the names of results, which readers would take for predictions."""
    found = dict(image.calc.results) if image.calc is not None else {}
    for name in (*RESULTS, forces_key):
        if (value := image.info.get(name, image.arrays.get(name))) is not None:
            found.setdefault(name, value)
    return found


def _has_input(image: ase.Atoms, name: str) -> bool:
    """Whether an earlier prediction has kept what the file had under this name."""
    return INPUT + name in image.info or INPUT + name in image.arrays


def write_images(
    path: Path, images: Sequence[ase.Atoms], predicted: Sequence[Prediction], forces_key: str
) -> None:
    """Write images with their predictions as extxyz, whole or not at all.

    Frames get ``energy`` and ``free_energy`` (eV) and, where periodic, ``stress`` (eV/Å³, positive
    under tension); atoms get ``forces_key`` (eV/Å), ``energies`` (eV), ``charges`` (e) and
    ``cutoffs`` (Å). What was there under names of results, such as ``dipole``, gets ``input_``
    before its name. All else stays.
    """
    filled = [_fill(i, p, forces_key) for i, p in zip(images, predicted, strict=True)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        extxyz.write_images(stream, filled)


def _fill(image: ase.Atoms, predicted: Prediction, forces_key: str) -> ase.Atoms:
    filled: ase.Atoms = image.copy()  # type: ignore[no-untyped-call]  # ASE
    for name, value in held(image, forces_key).items():
        filled.info.pop(name, None)
        filled.arrays.pop(name, None)
        if _has_input(image, name):
            continue
        of_atoms = np.shape(value)[:1] == (len(image),) and name not in OF_FRAMES
        place = filled.arrays if of_atoms else filled.info
        place[INPUT + name] = value
    results: dict[str, Any] = {
        "energy": predicted.energy,
        "free_energy": predicted.energy,
        "energies": predicted.energies,
        "charges": predicted.charges,
    }
    results = {name: value for name, value in results.items() if value is not None}
    if predicted.stress is not None:
        xx, yy, zz = np.diag(predicted.stress)
        yz, xz, xy = (predicted.stress[a, b] for a, b in ((1, 2), (0, 2), (0, 1)))
        results["stress"] = np.array([xx, yy, zz, yz, xz, xy])
    if predicted.cutoffs is not None:
        filled.arrays[CUTOFFS] = predicted.cutoffs
    if forces_key == FORCES:
        results[FORCES] = predicted.forces
    else:
        filled.arrays[forces_key] = predicted.forces
    filled.calc = SinglePointCalculator(filled, **results)  # type: ignore[no-untyped-call]  # ASE
    return filled


def keep_labels(image: ase.Atoms, frame: Structure) -> ase.Atoms:
    """Return the image with its labels under the usual names, where no prediction goes."""
    kept: ase.Atoms = image.copy()  # type: ignore[no-untyped-call]  # ASE
    kept.calc = image.calc
    if frame.labels.forces is not None:
        kept.arrays[FORCES_KEY] = frame.labels.forces
    if frame.labels.energy is not None:
        kept.info[ENERGY_KEY] = frame.labels.energy
    if frame.labels.stress is not None:
        kept.info[STRESS_KEY] = frame.labels.stress
    return kept
