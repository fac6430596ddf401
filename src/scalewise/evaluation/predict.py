"""Predictions of a potential for frames of a file, and the extxyz file that holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from jaxtyping import Float

from scalewise.artifacts import replacing
from scalewise.data.frames import Frame, read
from scalewise.errors import InputError
from scalewise.evaluation.model import open_model
from scalewise.evaluation.settings import Predict
from scalewise.potential.graph import check_elements
from scalewise.potential.potential import Potential, Predicted
from scalewise.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY

Say = Callable[[str], None]
#: Goes through frames and shows how far it is.
Watch = Callable[[Sequence[Frame]], Iterable[Frame]]
#: Where ASE's readers look for the forces.
FORCES: Final = "forces"
#: Column of the cutoff of each atom, Å.
CUTOFFS: Final = "cutoffs"


def predict_file(
    model: Path,
    data: Path,
    settings: Predict,
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
    potential = open_model(model, device=settings.device, cutoff=settings.cutoff)
    frames = read(data, labelled=False, check_units=settings.check_units)
    outside = sum(not potential.baseline.spans(f.numbers) for f in known(potential, frames))
    if outside:
        say(outside_span(outside, len(frames)))
    for sentence in shorter(potential, settings.cutoff):
        say(sentence)
    predicted, _ = predict_frames(
        potential, frames, cutoff=settings.cutoff, long=settings.long, watch=watch
    )
    images = read_images(data)
    replaced = sorted({key for image in images for key in held(image, settings.forces_key)})
    if replaced:
        say(f"{', '.join(replaced)} of {data.name}: replaced by predictions in {out.name}")
    write_images(out, images, predicted, settings.forces_key)


def outside_span(outside: int, frames: int) -> str:
    """The sentence about compositions whose absolute energy the training did not determine."""
    return (
        f"{outside} of {frames} frames have a composition that the training frames do not "
        "determine: their absolute energies mean nothing, forces and stress do"
    )


def shorter(potential: Potential, cutoff: float | None) -> list[str]:
    """The sentence about a cutoff that the network was not trained with, if it is one."""
    shortest = potential.network.settings.shortest
    if cutoff is None or cutoff >= shortest:
        return []
    return [
        f"cutoff={cutoff:g} Å is shorter than the {shortest:g} Å that the network was "
        "trained with: its errors grow, and say nothing of a network trained for that cutoff"
    ]


def known(potential: Potential, frames: Sequence[Frame]) -> Sequence[Frame]:
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
    frames: Sequence[Frame],
    *,
    cutoff: float | None = None,
    long: bool = True,
    watch: Watch = iter,
) -> tuple[list[Predicted], Float[np.ndarray, " frames"]]:
    """Predict frames one after the other; also the seconds that each took.

    Raises
    ------
    InputError
        As :meth:`scalewise.potential.potential.Potential.predict`.
    """
    predicted, seconds = [], []
    for frame in watch(frames):
        start = time.perf_counter()
        predicted.append(potential.predict(frame, cutoffs=cutoff, long=long))
        seconds.append(time.perf_counter() - start)
    return predicted, np.array(seconds)


def read_images(path: Path) -> list[ase.Atoms]:
    """Read a file that was already checked again, with all columns and frame keys."""
    return list(ase.io.read(path, index=":", format="extxyz"))


def held(image: ase.Atoms, forces_key: str) -> list[str]:
    """What an image has under the names of predictions."""
    results = image.calc.results if image.calc is not None else {}
    names = ("energy", "stress", "energies", "charges", CUTOFFS, forces_key)
    return [n for n in names if n in results or n in image.info or n in image.arrays]


def write_images(
    path: Path, images: Sequence[ase.Atoms], predicted: Sequence[Predicted], forces_key: str
) -> None:
    """Write images with their predictions as extxyz, whole or not at all.

    Frames get ``energy`` (eV) and, where periodic, ``stress`` (eV/Å³, positive under tension);
    atoms get ``forces_key`` (eV/Å), ``energies`` (eV), ``charges`` (e) and ``cutoffs`` (Å). All
    else stays.
    """
    filled = [_fill(i, p, forces_key) for i, p in zip(images, predicted, strict=True)]
    with replacing(path) as temporary:
        ase.io.write(temporary, filled, format="extxyz")


def _fill(image: ase.Atoms, predicted: Predicted, forces_key: str) -> ase.Atoms:
    filled: ase.Atoms = image.copy()  # type: ignore[no-untyped-call]  # ASE
    results = dict(image.calc.results) if image.calc is not None else {}
    for name in held(image, forces_key):
        results.pop(name, None)
        filled.info.pop(name, None)
        filled.arrays.pop(name, None)
    results |= {
        "energy": predicted.energy,
        "energies": predicted.energies,
        "charges": predicted.charges,
    }
    if predicted.stress is not None:
        xx, yy, zz = np.diag(predicted.stress)
        yz, xz, xy = (predicted.stress[a, b] for a, b in ((1, 2), (0, 2), (0, 1)))
        results["stress"] = np.array([xx, yy, zz, yz, xz, xy])
    filled.arrays[CUTOFFS] = predicted.cutoffs
    if forces_key == FORCES:
        results[FORCES] = predicted.forces
    else:
        filled.arrays[forces_key] = predicted.forces
    filled.calc = SinglePointCalculator(filled, **results)  # type: ignore[no-untyped-call]  # ASE
    return filled


def keep_labels(image: ase.Atoms, frame: Frame) -> ase.Atoms:
    """Return the image with its labels under the usual names, where no prediction goes."""
    kept: ase.Atoms = image.copy()  # type: ignore[no-untyped-call]  # ASE
    kept.calc = image.calc
    kept.arrays[FORCES_KEY] = frame.forces
    if frame.energy is not None:
        kept.info[ENERGY_KEY] = frame.energy
    if frame.stress is not None:
        kept.info[STRESS_KEY] = frame.stress
    return kept
