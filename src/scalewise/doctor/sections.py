"""Sections of doctor.json that list numbers of other modules with little further computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from scalewise.core.errors import InputError
from scalewise.data import columns
from scalewise.data.duplicates import Duplicates
from scalewise.data.structure import Structure
from scalewise.doctor.composition import Composition, EnergyFit
from scalewise.doctor.energies import LISTED, Offsets, describe_offsets
from scalewise.doctor.findings import Finding
from scalewise.doctor.forecast import (
    BYTES_WITHOUT_KERNELS,
    MEASURED,
    WITH_PROGRAMS,
    CostModel,
    forecast,
)
from scalewise.doctor.geometry import NeighborCounts
from scalewise.models.compiler import compiler_found
from scalewise.training.compiling import PROGRAMS_PAY
from scalewise.training.dataset import frames_per_step
from scalewise.training.default_cutoff import default_cutoff
from scalewise.training.step_time import time_step

#: Formula units that a sentence names.
NAMED: Final = 4


def describe_composition(
    frames: Sequence[Structure], composition: Composition
) -> tuple[dict[str, Any], list[Finding]]:
    """Counts, rank and formula units, and what a deficient rank means."""
    kinds, inverse = np.unique(composition.counts, axis=0, return_inverse=True)
    numbers = np.bincount(inverse.ravel(), minlength=len(kinds))
    atoms = composition.counts.sum(axis=1)
    section = {
        "frames": len(frames),
        "atoms": int(atoms.sum()),
        "atoms_per_frame": [int(atoms.min()), int(atoms.max())],
        "elements": list(composition.elements),
        "atoms_of_element": composition.counts.sum(axis=0).tolist(),
        "rank": composition.rank,
        "formula_units": [u.name for u in composition.units],
        "distinct": len(kinds),
        "compositions": [
            {"atoms": kinds[k].tolist(), "frames": int(numbers[k])}
            for k in np.argsort(-numbers, kind="stable")[:LISTED]
        ],
    }
    if composition.rank == len(composition.elements):
        return section, []
    names = [u.name for u in composition.units]
    if len(names) > NAMED:
        several = [u.name for u in composition.units if u.atoms > 1]
        rest = f"{len(names) - len(several[:NAMED])} more"
        names = [*several[:NAMED], rest]
    units = " and ".join(names)
    return section, [
        Finding(
            "note",
            "composition",
            f"compositions have rank {composition.rank} of {len(composition.elements)} elements: "
            f"only energies of {units} are determined",
            "Fit reference energies per formula unit or with minimum norm, and never compare "
            "energies of fragments; isolated atoms would settle it.",
        )
    ]


def most_common(section: Mapping[str, Any], most: int) -> list[str]:
    """The elements with most atoms of the section ``composition``, in their usual order."""
    elements, atoms = section["elements"], section["atoms_of_element"]
    order = sorted(range(len(elements)), key=lambda k: -atoms[k])[:most]
    return [elements[k] for k in sorted(order)]


def describe_fit(
    composition: Composition, fit: EnergyFit | None, offsets: Offsets | None
) -> dict[str, Any] | None:
    """Energies of formula units, the spread around the fit, and how compositions lie about it."""
    if fit is None:
        return None
    residual = 1e3 * fit.residual
    return {
        "unit_energies": {
            u.name: float(e) for u, e in zip(composition.units, fit.unit_energies, strict=True)
        },
        "element_energies_minimum_norm": dict(
            zip(composition.elements, fit.element_energies.tolist(), strict=True)
        ),
        "residual_std_mev_per_atom": float(residual[fit.fitted].std()),
        "residual_std_all_mev_per_atom": float(residual.std()),
        "left_out": int((~fit.fitted).sum()),
        "compositions": describe_offsets(composition, offsets),
    }


def describe_twins(twins: Duplicates) -> dict[str, Any]:
    """How many frames have a near-duplicate."""
    sizes = np.bincount(twins.group)
    nearest = twins.nearest()
    return {
        "pairs": len(twins.first),
        "reordered_pairs": int(twins.reordered.sum()),
        "frames_with_twin": int(np.isfinite(nearest).sum()),
        "frames_with_twin_within_1_angstrom": int((nearest < 1.0).sum()),
        "identical_pairs": int((twins.distance < 1e-3).sum()),
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
    }


def describe_counts(counts: NeighborCounts, elements: Sequence[str]) -> dict[str, Any]:
    """Neighbors per element and cutoff."""
    return {
        "cutoffs": counts.cutoffs.tolist(),
        "frames": counts.frames.tolist(),
        "frames_looked_at": len(counts.looked_at),
        "elements": {
            e: {
                "mean": counts.mean[k].tolist(),
                "percentile_99": counts.high[k].tolist(),
                "max": counts.most[k].tolist(),
            }
            for k, e in enumerate(elements)
        },
        "pairs_per_frame": counts.pairs.tolist(),
        "pairs_per_frame_max": counts.most_pairs.tolist(),
    }


def forecast_training(
    frames: Sequence[Structure], counts: NeighborCounts, epochs: int, cost: CostModel | None
) -> dict[str, Any]:
    """One forecast per cutoff; without a cost model a step is timed."""
    atoms = float(np.mean(columns.sizes(frames))) if frames else 0.0
    batch_size = frames_per_step(frames, 1) if frames else 1
    cost, measured = (cost, None) if cost is not None else _timed(frames)
    if measured and not compiler_found():
        cost = replace(cost, bytes_per_pair=BYTES_WITHOUT_KERNELS)
    elif measured and epochs * len(frames) * atoms >= PROGRAMS_PAY:
        cost = cost.scaled(WITH_PROGRAMS)
    rows = []
    for cutoff, pairs, most in zip(counts.cutoffs, counts.pairs, counts.most_pairs, strict=True):
        if not np.isfinite(pairs):
            continue
        one = forecast(
            frames=len(frames),
            batch_size=batch_size,
            atoms=atoms,
            pairs=pairs,
            most_pairs=most,
            epochs=epochs,
            cost=cost,
        )
        rows.append({"cutoff": float(cutoff), **asdict(one)})
    return {
        "training_frames": len(frames),
        "batch_size": batch_size,
        "epochs": epochs,
        "cost": asdict(cost),
        "measured": measured,
        "default_cutoff": _default_cutoff(frames),
        "rows": rows,
    }


def _default_cutoff(frames: Sequence[Structure]) -> float | None:
    """Å, that a training has where none is given; none where no frame can be looked at."""
    try:
        return default_cutoff(frames) if frames else None
    except InputError:  # what is wrong with a frame is a finding elsewhere
        return None


def _timed(frames: Sequence[Structure]) -> tuple[CostModel, dict[str, Any] | None]:
    """The cost model of this machine, and the step that was timed for it; none without frames."""
    try:
        found = time_step(frames) if frames else None
    except InputError:  # what is wrong with a frame is a finding elsewhere
        found = None
    if found is None:
        return MEASURED, None
    return MEASURED.on_machine(*found), found._asdict()
