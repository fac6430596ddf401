"""The whole examination of a data set: read it once, run all checks, report the findings."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from scalewise.core.errors import InputError, did_you_mean
from scalewise.core.progress import SILENT, Progress
from scalewise.data import columns
from scalewise.data.duplicates import Duplicates, find_duplicates
from scalewise.data.keys import LabelKeys
from scalewise.data.placeholders import with_held_atoms
from scalewise.data.readers import reader_for
from scalewise.data.readers.extxyz import read_images
from scalewise.data.reading import read_or_shard
from scalewise.data.references import is_isolated_atom
from scalewise.data.shards import take
from scalewise.data.splits import DataFile, Split, make_split, read_roles
from scalewise.data.structure import Structure
from scalewise.doctor.composition import Composition, EnergyFit, compose, fit_energies
from scalewise.doctor.contradictions import find_contradictions
from scalewise.doctor.energies import find_offsets, judge_offsets, judge_references
from scalewise.doctor.findings import Finding, by_severity
from scalewise.doctor.forecast import CostModel
from scalewise.doctor.geometry import (
    count_neighbors,
    describe_cells,
    find_closest,
    judge_closest,
)
from scalewise.doctor.hidden_noise import find_hidden_noise, find_rounding
from scalewise.doctor.labels import (
    LIMIT,
    check_charges,
    count_labels,
    find_outliers,
    suspect_units,
)
from scalewise.doctor.noise import estimate_noise
from scalewise.doctor.noise_report import describe_noise, judge_noise
from scalewise.doctor.sections import (
    describe_composition,
    describe_counts,
    describe_fit,
    describe_twins,
    forecast_training,
)
from scalewise.doctor.settings import DoctorSettings
from scalewise.doctor.split import describe_split, find_leaks, judge_split
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance

#: Pairs of frames that doctor.json lists one by one.
LISTED: Final = 100
UNITS: Final = {
    "length": "Å",
    "energy": "eV",
    "force": "eV/Å, or as the name says",
    "time": "s, or as the name says",
    "charge": "e",
}


def diagnose_data(
    structures: Sequence[Structure],
    settings: DoctorSettings | None = None,
    *,
    progress: Progress = SILENT,
    cost: CostModel | None = None,
) -> Report:
    """Examine labelled structures before training: noise, outliers, duplicates, units, a split.

    Parameters
    ----------
    structures
        Structures of which some or all have forces (eV/Å), energies (eV) and stresses (eV/Å³) as
        labels. Read them with ``check_units=False``, so that suspicious units are reported as a
        finding and raise no error.
    settings
        Settings of the checks and of the split.
    progress
        Receives messages and progress.
    cost
        Cost model for the forecast of the training time; default: a model of this machine, on
        which a training step is timed.

    Returns
    -------
    Report
        Report of kind ``doctor``. ``attachments["split"]`` is the split, in which no group of
        near-duplicates has two roles unless existing roles were kept.

    Raises
    ------
    InputError
        A key or an element of the settings that the structures do not have.
    """
    return _diagnose(structures, settings or DoctorSettings(), None, progress, cost)


def _diagnose(
    frames: Sequence[Structure],
    settings: DoctorSettings,
    data: DataFile | None,
    progress: Progress,
    cost: CostModel | None,
) -> Report:
    composition = compose(frames)
    _check_elements(settings, composition)
    progress.message("Comparing frames")
    roles = None if settings.split_key is None else read_roles(frames, settings.split_key)
    twins = find_duplicates(frames, settings.duplicate_distance, settings.duplicate_elements, roles)
    split, described, findings = _split(frames, twins, data, settings)
    findings += find_contradictions(frames, twins)
    progress.message("Looking at labels, distances and neighbors")
    labels = _examine_labels(frames, composition, twins, np.array(split.group), settings)
    geometry = _examine_geometry(frames, composition, settings, progress)
    findings += labels.pop("findings") + geometry.pop("findings")
    training = take(frames, np.array(split.members("train"), dtype=np.int64))
    sections = {
        **labels,
        "duplicates": describe_twins(twins),
        "split": described,
        **{k: v for k, v in geometry.items() if k != "neighbors"},
        "neighbors": describe_counts(geometry["neighbors"], composition.elements),
        "forecast": forecast_training(training, geometry["neighbors"], settings.epochs, cost),
    }
    listed = [f.as_dict() for f in by_severity(findings)]
    return Report.made(
        "doctor",
        {"findings": listed, **sections},
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(split.data),
        split=split,
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise doctor``."""
    (path,) = request.files
    settings, progress = request.settings, request.progress
    progress.message(f"Reading {path}")
    keys = LabelKeys.of(settings)
    with tempfile.TemporaryDirectory() as folder:
        structures = read_or_shard(
            path, replace(keys, check_units=False), Path(folder) / "data", progress=progress
        )
        # the splitting would read the file once more to see that it holds these structures
        plain = reader_for(path) is read_images
        data = DataFile.of(path, len(structures)) if plain else None
        return _diagnose(structures, settings, data, progress, None)


def _examine_labels(
    frames: Sequence[Structure],
    composition: Composition,
    twins: Duplicates,
    group: np.ndarray,
    settings: DoctorSettings,
) -> dict[str, Any]:
    labels, missing = count_labels(frames)
    described, rank = describe_composition(frames, composition)
    fitted, fit, labelled = _fit(frames)
    offsets = None if fit is None else find_offsets(fitted, fit)
    outliers, extreme = find_outliers(frames, fit, labelled)
    # net forces of frames with held atoms are none of noise
    known = np.flatnonzero(columns.labelled(frames, "forces") & ~with_held_atoms(frames))
    forced = take(frames, known)
    part = composition if len(known) in (0, len(frames)) else compose(forced)
    noise = estimate_noise(forced, part, group[known], settings.seed)
    hidden = find_hidden_noise(frames, twins, group)
    charges, charged = check_charges(frames)
    return {
        "labels": labels,
        "composition": described,
        "energies": describe_fit(fitted, fit, offsets),
        "outliers": [asdict(o) for o in outliers],
        "noise": describe_noise(noise, hidden, find_rounding(frames)),
        "charges": charges,
        "findings": missing
        + extreme
        + judge_noise(noise, hidden, part)
        + rank
        + charged
        + judge_references(frames)
        + judge_offsets(fitted, offsets),
    }


def _examine_geometry(
    frames: Sequence[Structure],
    composition: Composition,
    settings: DoctorSettings,
    progress: Progress,
) -> dict[str, Any]:
    cells, odd = describe_cells(frames)
    units = suspect_units(frames, settings.stress_key)
    # lengths that are not in Å have no neighbors worth counting, and far too many of them
    lengths = any(f.found.startswith("positions:") for f in units)
    seen = [] if lengths else frames
    closest = find_closest(seen, composition.elements, progress)
    counts = count_neighbors(
        seen, composition.elements, settings.cutoffs, settings.neighbor_frames, settings.seed
    )
    return {
        "cells": cells,
        "closest": [asdict(c) for c in closest],
        "neighbors": counts,
        "findings": units + judge_closest(closest) + odd,
    }


def _check_elements(settings: DoctorSettings, composition: Composition) -> None:
    for element in settings.duplicate_elements or ():
        if element not in composition.elements:
            raise InputError(
                "key 'duplicate_elements'",
                f"{element} is not in the data",
                f"Elements: {', '.join(composition.elements)}."
                f"{did_you_mean(element, composition.elements)}",
            )


def _split(
    frames: Sequence[Structure], twins: Duplicates, data: DataFile | None, settings: DoctorSettings
) -> tuple[Split, dict[str, Any], list[Finding]]:
    split = make_split(
        frames,
        **settings.splitting.model_dump(),
        duplicates=twins,
        data=data,
    )
    leaks = find_leaks(twins, split.role)
    section = {
        "made": split.made,
        "roles": describe_split(split, leaks),
        "leaking_pairs": len(leaks),
        "split_groups": len(split.leaking_groups()),
        "leaks": leaks.listed(LISTED),
    }
    return split, section, judge_split(split, leaks, twins, frames, settings)


def _fit(frames: Sequence[Structure]) -> tuple[Composition, EnergyFit | None, np.ndarray]:
    """The fit of the frames that have an energy, without isolated atoms: these are off the line."""
    energies = columns.energies(frames)
    alone = np.flatnonzero(columns.sizes(frames) == 1).tolist()
    energies[[k for k in alone if is_isolated_atom(frames[k])]] = np.nan
    labelled = np.flatnonzero(~np.isnan(energies))
    composition = compose(take(frames, labelled if len(labelled) else np.zeros(1, dtype=np.int64)))
    if len(labelled) <= composition.rank:
        return composition, None, labelled
    energies = energies[labelled]
    return composition, fit_energies(composition, energies, LIMIT), labelled
