"""The whole evaluation: choose frames, predict them, score, then write what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
import torch

import scalewise
from scalewise.analysis.evaluation.choice import FrameSelection, read_selection
from scalewise.analysis.evaluation.figure import draw_distances, draw_parity
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.predict import (
    FORCES,
    Say,
    Watch,
    keep_labels,
    known,
    outside_span,
    predict_frames,
    shorter,
    write_images,
)
from scalewise.analysis.evaluation.role import BROKEN, LOST, RoleData, describe_role
from scalewise.analysis.evaluation.settings import EvaluateSettings
from scalewise.analysis.evaluation.spread import count_parity, count_residuals
from scalewise.core.files import write_json
from scalewise.core.wording import count
from scalewise.data.readers.extxyz import read_images
from scalewise.data.structure import Structure
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.protocol import Prediction
from scalewise.reporting.style import save, styled
from scalewise.statistics.bootstrap import Resampling

SCHEMA: Final = 1
UNITS: Final = {
    "forces": "meV/Å, mean over components",
    "energy": "meV/atom",
    "stress": "meV/Å³, mean over the six components",
    "distance": "Å",
    "parity, residuals": "eV/Å",
    "timing": "µs/atom",
    "interval": "95 %, over groups of frames",
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The content of evaluation.json, and the frames behind it with their predictions."""

    results: dict[str, Any]
    images: Sequence[ase.Atoms]
    predicted: Sequence[Prediction]


def evaluate(
    model: Path,
    data: Path,
    settings: EvaluateSettings,
    *,
    say: Say = lambda _: None,
    watch: Watch = iter,
) -> Evaluation:
    """Predict labelled frames and score the predictions; nothing is written.

    Parameters
    ----------
    model
        Folder of a potential, or of the run that trained it.
    data
        extxyz with labelled forces (eV/Å), and energies (eV) and stresses (eV/Å³) where known.
    settings
        Which frames, and how.
    say, watch
        Called with one line per stage; goes through the frames and shows progress.

    Raises
    ------
    InputError
        Whatever is wrong with the model, the data, the split or the settings.
    """
    potential = open_potential(model, device=settings.device, cutoff=settings.cutoff)
    say(f"Reading {data}")
    frames, choice = read_selection(model, data, settings, say)
    scored = known(potential, [frames[k] for k in choice.scored])
    counts = ", ".join(f"{len(v)} of role '{k}'" for k, v in choice.members.items())
    say(f"Predicting {len(scored)} of {len(frames)} frames: {counts}; {choice.how}")
    predicted, seconds = predict_frames(
        potential, scored, cutoff=settings.cutoff, long=settings.long_range, watch=watch
    )
    say(f"Scoring; intervals over {choice.grouped}")
    of_frame = dict(zip(choice.scored.tolist(), predicted, strict=True))
    floor = NoiseFloor.estimate(frames, choice.group, settings.seed)
    energy_known = np.array([potential.knows_energy(f) for f in frames])
    roles = {
        role: RoleData.collect(
            [frames[k] for k in members],
            [of_frame[k] for k in members],
            choice.group[members],
            energy_known[members],
        )
        for role, members in choice.members.items()
    }
    resampling = Resampling(settings.seed, settings.bootstrap)
    every = RoleData.collect(
        scored, predicted, choice.group[choice.scored], energy_known[choice.scored]
    )
    left_out = {
        role.frames[k].index
        for role in roles.values()
        for k in np.flatnonzero(role.broken).tolist()
    }
    shown = np.array([f.index not in left_out for f in every.frames])
    unbroken = {name: role.keep(~role.broken) for name, role in roles.items()}
    results = {
        "schema": SCHEMA,
        "scalewise": scalewise.__version__,
        "units": UNITS,
        "model": _describe_model(model, potential, predicted),
        "data": {**choice.data.model_dump(), "settings": settings.model_dump(mode="json")},
        "choice": {"scored": len(scored), "roles": choice.how, "groups": choice.grouped},
        "warnings": [
            *choice.warnings,
            *_outside(potential, scored),
            *_broken(roles),
            *shorter(potential, settings.cutoff),
        ],
        "noise": floor.describe(),
        "roles": [
            {
                "role": name,
                **describe_role(role, floor, settings, resampling),
            }
            for name, role in roles.items()
        ],
        "parity": count_parity(every.keep(shown)),
        "residuals": count_residuals(unbroken),
        "timing": _time(scored, seconds, potential),
    }
    images = _images(data, frames, choice)
    return Evaluation(plain(results), images, predicted)


def write_all(evaluation: Evaluation, out: Path) -> list[Path]:
    """Write evaluation.json, the figures and predictions.xyz below ``out``; return their paths.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    results = evaluation.results
    write_json(out / "evaluation.json", results)
    figures: dict[str, Callable[[Any], Any]] = {"parity": draw_parity, "distance": draw_distances}
    drawn = []
    with styled():
        for name, draw in figures.items():
            figure = draw(results)
            drawn += [] if figure is None else save(figure, out / "figures" / name)
    write_images(out / "predictions.xyz", evaluation.images, evaluation.predicted, FORCES)
    return [out / "evaluation.json", *drawn, out / "predictions.xyz"]


def _images(data: Path, frames: Sequence[Structure], choice: FrameSelection) -> list[ase.Atoms]:
    images = read_images(data)
    return [keep_labels(images[k], frames[k]) for k in choice.scored]


def _outside(potential: Potential, frames: Sequence[Structure]) -> list[str]:
    outside = sum(not potential.knows_energy(f) for f in frames)
    said = outside_span(potential, outside, len(frames))
    return [f"{said}; energies leave them out"] if outside else []


def _broken(roles: Mapping[str, RoleData]) -> list[str]:
    found = []
    for name, role in roles.items():
        numbers = [role.frames[k].index for k in np.flatnonzero(role.broken).tolist()]
        if numbers:
            more = f" and {len(numbers) - 8} more" * (len(numbers) > 8)
            listed = ", ".join(map(str, numbers[:8])) + more
            found.append(
                f"{count(len(numbers), 'frame')} of '{name}' broken, with more than {BROKEN:g} "
                f"times the median frame's error, and more than {LOST:.0%} of the frame's own "
                f"forces ({listed})"
            )
    return found


def _describe_model(
    model: Path, potential: Potential, predicted: Sequence[Prediction]
) -> dict[str, Any]:
    used = np.concatenate([p.cutoffs for p in predicted])
    return {
        "folder": str(model),
        "elements": list(potential.composition.describe()),
        "cutoff": potential.cutoff,
        # the mean: a router gives every atom its own
        "cutoff_used": round(float(used.mean()), 4),
        "parameters": sum(w.numel() for w in potential.network.parameters()),
        "dtype": str(potential.dtype).removeprefix("torch."),
    }


def _time(frames: Sequence[Structure], seconds: np.ndarray, potential: Potential) -> dict[str, Any]:
    """Median over frames; the first one pays for what is set up once, and is left out."""
    atoms = np.array([len(f.numbers) for f in frames])
    first = int(len(frames) > 1)
    each = 1e6 * (seconds / np.maximum(atoms, 1))[first:]
    return {
        "microseconds_per_atom": float(np.median(each)),
        "frames": len(each),
        "median_atoms": float(np.median(atoms[first:])),
        "device": potential.device.type,
        "threads": torch.get_num_threads(),
    }


def plain(value: Any) -> Any:
    """Python's numbers with ten significant digits, and null for what is not a number."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.10g}") if np.isfinite(value) else None
    return value
