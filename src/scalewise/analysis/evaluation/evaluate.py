"""The whole evaluation: choose structures, predict them, score the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.parity import count_parity, count_residuals
from scalewise.analysis.evaluation.predict import (
    keep_labels,
    known,
    outside_span,
    predict_frames,
    shorter,
)
from scalewise.analysis.evaluation.role import BROKEN, LOST, RoleData, describe_role
from scalewise.analysis.evaluation.selection import (
    SplitSource,
    model_folder,
    read_selection,
    select_frames,
)
from scalewise.analysis.evaluation.settings import EvaluateSettings
from scalewise.analysis.evaluation.subsets import symbol
from scalewise.core.progress import SILENT, Progress
from scalewise.core.wording import count
from scalewise.data.readers import read_file
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.models.description import describe_weights, machine
from scalewise.models.opening import checked_model, open_model
from scalewise.models.protocol import InteratomicPotential, Prediction, Scale
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.statistics.bootstrap import Resampling

UNITS: Final = {
    "forces": "meV/Å, mean over components",
    "energy": "meV/atom",
    "stress": "meV/Å³, mean over the six components",
    "distance": "Å",
    "parity, residuals": "eV/Å",
    "timing": "µs/atom",
    "interval": "95 %, over groups of frames",
}


def evaluate(
    model: InteratomicPotential,
    structures: Sequence[Structure],
    split: Split | SplitSource | None = None,
    settings: EvaluateSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> Report:
    """Predict labelled structures and score the predictions.

    Parameters
    ----------
    model
        Any model; see :class:`scalewise.InteratomicPotential`.
    structures
        Structures of which some or all have forces (eV/Å), energies (eV) and stresses (eV/Å³) as
        labels.
    split
        Roles of the structures, and the groups of similar structures over which errors are
        resampled.
    settings
        Roles and scale of the evaluation; default: the structures of the role ``test``, or all
        structures if there is no split.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``evaluation``: errors of forces, energies and stresses with 95 % intervals
        over groups, by element, regime and distance, and the noise of the labels for comparison.

    Raises
    ------
    InputError
        No structure with labels in a role that is scored; an element that the model does not know;
        a scale that the model does not have; a role that no structure has.
    """
    settings = settings or EvaluateSettings()
    checked_model(model, "evaluate, model")
    # named by their place: structures in memory may all have the index zero
    frames = [s if s.index == k else replace(s, index=k) for k, s in enumerate(structures)]
    source = split if isinstance(split, SplitSource) else SplitSource.given(split)
    choice = select_frames(frames, settings, source, forces=False)
    scored = known(model, [frames[k] for k in choice.scored])
    counts = ", ".join(f"{len(v)} of role '{k}'" for k, v in choice.members.items())
    progress.message(f"Predicting {len(scored)} of {len(frames)} frames: {counts}; {choice.how}")
    scale = Scale(settings.cutoff, settings.long_range)
    predicted, seconds = predict_frames(model, scored, scale, progress)
    progress.message(f"Scoring; intervals over {choice.grouped}")
    of_frame = dict(zip(choice.scored.tolist(), predicted, strict=True))
    floor = NoiseFloor.estimate(frames, choice.group, settings.seed)
    energy_known = np.array([model.knows_energy(f) for f in frames])
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
    body = {
        "model": _describe_model(model, predicted),
        "choice": {"scored": len(scored), "roles": choice.how, "groups": choice.grouped},
        "warnings": [
            *choice.warnings,
            *_outside(model, scored),
            *_broken(roles),
            *shorter(model, settings.cutoff),
        ],
        "noise": floor.describe(),
        "roles": [
            {"role": name, **describe_role(role, floor, settings, resampling)}
            for name, role in roles.items()
        ],
        "parity": count_parity(every.keep(shown)),
        "residuals": count_residuals(unbroken),
        "timing": _time(scored, seconds, model),
    }
    return Report.made(
        "evaluation",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(choice.data),
        predictions=(scored, predicted),
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise evaluate``: the model, the file and its split are read here."""
    settings = request.settings
    model = open_model(request.model, device=settings.device, cutoff=settings.cutoff)
    folder = model_folder(request.model)
    structures, source = read_selection(folder, request.files[0], settings, request.progress)
    report = evaluate(model, structures, source, settings, progress=request.progress)
    scored, predicted = report.attachments["predictions"]
    images = read_file(request.files[0])
    kept = [keep_labels(images[s.index], s) for s in scored]
    return replace(report, attachments={"predictions": (kept, predicted)})


def _outside(model: InteratomicPotential, frames: Sequence[Structure]) -> list[str]:
    outside = sum(not model.knows_energy(f) for f in frames)
    said = outside_span(model, outside, len(frames))
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
                f"times the median error of frames of their kind, and more than {LOST:.0%} of the "
                f"frame's own forces ({listed})"
            )
    return found


def _describe_model(model: InteratomicPotential, predicted: Sequence[Prediction]) -> dict[str, Any]:
    cutoffs = [p.cutoffs for p in predicted if p.cutoffs is not None]
    ends = model.cutoff_range
    return {
        "name": model.name,
        "elements": None if model.elements is None else [symbol(z) for z in model.elements],
        "cutoff": None if ends is None else ends[1],
        # the mean: an adaptive cutoff gives every atom its own
        "cutoff_used": round(float(np.concatenate(cutoffs).mean()), 4) if cutoffs else None,
        "long_range": model.long_range,
        **describe_weights(model),
    }


def _time(
    frames: Sequence[Structure], seconds: np.ndarray, model: InteratomicPotential
) -> dict[str, Any]:
    """Median over frames; the first one pays for what is set up once, and is left out."""
    atoms = np.array([len(f.numbers) for f in frames])
    first = int(len(frames) > 1)
    each = 1e6 * (seconds / np.maximum(atoms, 1))[first:]
    return {
        "microseconds_per_atom": float(np.median(each)),
        "frames": len(each),
        "median_atoms": float(np.median(atoms[first:])),
        **machine(model),
    }
