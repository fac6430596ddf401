"""Predict the frames of a file with a model, and write an extxyz file of the predictions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from jaxtyping import Float

from scalewise.analysis.evaluation.settings import PredictSettings
from scalewise.core.errors import InputError
from scalewise.core.files import check_new_file, replacing
from scalewise.core.progress import SILENT, Progress
from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from scalewise.core.wording import count
from scalewise.data import columns
from scalewise.data.readers import extxyz, files_of, read_file
from scalewise.data.reading import convert_images, without_labels
from scalewise.data.structure import Structure
from scalewise.models.graph import check_elements
from scalewise.models.opening import open_model
from scalewise.models.potential import Potential
from scalewise.models.protocol import InteratomicPotential, Prediction, Scale, prepare
from scalewise.models.quickened import quickened
from scalewise.reporting.experiments import Request

#: How the name of a file of predictions ends.
SUFFIXES: Final = (".xyz", ".extxyz")
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


def run_command(request: Request) -> list[Path]:
    """Run ``scalewise predict``."""
    (data,) = request.files
    settings = request.settings
    model = open_model(request.model, device=settings.device, cutoff=settings.cutoff)
    predict_file(model, data, settings, request.out, progress=request.progress)
    return [request.out]


def predict_file(
    model: InteratomicPotential,
    data: Path,
    settings: PredictSettings,
    out: Path,
    *,
    progress: Progress = SILENT,
) -> None:
    """Predict every frame of a file, labelled or not, and write them to another.

    Raises
    ------
    InputError
        Whatever is wrong with the frames or ``out``; nothing is written then.
    """
    check_new_file(out, *SUFFIXES)
    target = out.resolve()  # a folder that is not there yet, and ".." after it, hide what it is
    if data.is_dir() and data.resolve() in target.parents:
        raise InputError(str(out), f"in the folder that is read, {data}", "Write it elsewhere.")
    if target.exists() and data.exists() and any(target.samefile(f) for f in files_of(data)):
        raise InputError(str(out), "the file that is read", "Write the predictions to another.")
    images = read_file(data)
    frames = convert_images(images, str(data), without_labels(check_units=settings.check_units))
    outside = sum(not model.knows_energy(f) for f in known(model, frames))
    if outside:
        progress.message(outside_span(model, outside, len(frames)))
    for sentence in shorter(model, settings.cutoff):
        progress.message(sentence)
    scale = Scale(settings.cutoff, settings.long_range)
    predicted, _ = predict_frames(model, frames, scale, progress)
    taken = {key for image in images for key in held(image, settings.forces_key)}
    earlier = {key for key in taken if any(_has_input(image, key) for image in images)}
    if kept := sorted(taken - earlier):
        as_input = ", ".join(INPUT + key for key in kept)
        progress.message(f"{', '.join(kept)} of {data.name}: kept in {out.name} as {as_input}")
    if earlier:
        progress.message(
            f"{', '.join(sorted(earlier))} of {data.name}: replaced in {out.name}, as those of an "
            f"earlier prediction; what that one kept as {INPUT}... stays"
        )
    write_images(out, images, predicted, settings.forces_key)


def outside_span(model: InteratomicPotential, outside: int, frames: int) -> str:
    """The sentence about compositions whose absolute energy the training did not determine."""
    if isinstance(model, Potential) and not len(model.composition.span):
        return (
            "the potential was trained without energies: its absolute energies mean nothing, "
            "forces and stress do"
        )
    return (
        f"{outside} of {count(frames, 'frame')} with a composition that the training frames do not "
        "determine: absolute energies mean nothing there, forces and stress do"
    )


def shorter(model: InteratomicPotential, cutoff: float | None) -> list[str]:
    """The sentence about a cutoff that the network was not trained with, if it is one."""
    ends = model.cutoff_range
    if cutoff is None or ends is None or cutoff >= ends[0]:
        return []
    return [
        f"cutoff={cutoff:g} Å is shorter than the shortest that the network was trained for, "
        f"{ends[0]:g} Å: its errors grow, and say nothing of a network trained for that cutoff"
    ]


def known(model: InteratomicPotential, frames: Sequence[Structure]) -> Sequence[Structure]:
    """Return the frames, all elements of which the model knows: seconds before the rest.

    Raises
    ------
    InputError
        An element that it does not know.
    """
    if model.elements is not None:
        for frame in frames:
            check_elements(frame, model.elements)
    return frames


def predict_frames(
    model: InteratomicPotential,
    frames: Sequence[Structure],
    scale: Scale,
    progress: Progress = SILENT,
) -> tuple[list[Prediction], Float[np.ndarray, " frames"]]:
    """Predict frames one after the other; also the seconds that each took.

    Raises
    ------
    InputError
        As :meth:`scalewise.models.protocol.InteratomicPotential.evaluate`.
    """
    model = quickened(model, float(columns.sizes(frames).sum()))
    predicted, seconds = [], []
    for frame in progress.track(frames, "Predicting"):
        start = time.perf_counter()
        predicted.append(prepare(model, frame)(scale))
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

    Frames get ``energy`` and ``free_energy`` (eV) and, in a cell, ``stress`` (eV/Å³, positive
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


def save_below(predictions: tuple[Sequence[ase.Atoms], Sequence[Prediction]], folder: Path) -> Path:
    """Write ``predictions.xyz``: structures or images, with their predictions."""
    images, predicted = predictions
    atoms = [i.to_ase() if isinstance(i, Structure) else i for i in images]
    write_images(folder / "predictions.xyz", atoms, predicted, FORCES)
    return folder / "predictions.xyz"
