"""The audit of existing predictions: the evidence of a study without training branches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from scalewise.core.errors import InputError, did_you_mean
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_structures
from scalewise.data.regimes import resolve
from scalewise.data.splits import DataFile, Split, by_group, by_trajectory, read_key
from scalewise.data.structure import Structure, check_same_atoms
from scalewise.study.samples import Replicates, Samples, StudyScene, assemble, describe
from scalewise.study.settings import RESERVED_NAMES, PredictionsSettings, StudySettings
from scalewise.study.views import View

#: What to do without labels.
_LABELS: Final = (
    "Give the file of the reference forces: predictions.labels=dft.xyz, and the name of its column "
    "with predictions.labels_key."
)


def predictions_view(settings: StudySettings) -> View:
    """Read labels and predictions, check that they belong together, and build the samples."""
    audit = settings.predictions
    assert audit is not None  # the caller asks only where there is something to audit
    keys = audit.forces_keys * (len(audit.files) if len(audit.forces_keys) == 1 else 1)
    source = audit.labels or audit.files[0]
    for path, key in zip(audit.files, keys, strict=True):
        if (path, key) == (source, audit.labels_key):
            raise InputError(
                "key 'predictions.labels_key'",
                f"'{key}' of {source}, which is also a prediction: its error would be zero",
                _LABELS,
            )
    try:
        labels = read_structures(source, _keys(audit.labels_key, "labels_key", settings))
    except InputError as error:
        if audit.labels is not None or not error.found.startswith("no such column"):
            raise
        raise InputError(
            f"{source}, key '{audit.labels_key}'",
            "no such column, and predictions.labels names no other file with reference forces",
            _LABELS,
        ) from None
    members = _read_all(audit.files, keys, labels, settings)
    names = audit.names or branch_names(audit.files, keys)
    scene = _scene(labels, audit, settings)
    split = _split(source, labels, audit, settings)
    tune, test = (
        _samples(labels, members, split, part, scene)
        for part in (split.members("tune"), split.members("test"))
    )
    pair = None
    if audit.replicate_files is not None:
        others = _read_all(audit.replicate_files, keys, labels, settings)
        second = _samples(labels, others, split, split.members("test"), scene)
        pair = Replicates(test.residuals, second.residuals, test.geometry, test.regimes, test.frame)
    reports = [{"name": n, "file": p.name} for n, p in zip(names, audit.files, strict=True)]
    return View("predictions", scene, tuple(names), tune, test, pair, None, reports)


def _read_all(
    paths: Sequence[Path], keys: Sequence[str], labels: Sequence[Structure], settings: StudySettings
) -> list[list[Structure]]:
    members = []
    for path, key in zip(paths, keys, strict=True):
        member = read_structures(path, _keys(key, "forces_keys", settings))
        check_same_atoms(labels, member)
        members.append(member)
    return members


def _keys(forces: str, option: str, settings: StudySettings) -> LabelKeys:
    options = {"forces": f"predictions.{option}"}
    return LabelKeys(
        forces, energy=None, options=options, check_units=settings.check_units, complete=True
    )


def branch_names(files: Sequence[Path], keys: Sequence[str]) -> tuple[str, ...]:
    """Name branches by the first of file, column, folder/file that tells them apart, else number.

    Examples
    --------
    >>> branch_names([Path("a.xyz"), Path("b.xyz")], ["forces", "forces"])
    ('a', 'b')
    >>> branch_names([Path("A/p.xyz"), Path("B/p.xyz")], ["forces", "forces"])
    ('A/p', 'B/p')
    """
    candidates = (
        [p.stem for p in files],
        list(keys),
        [f"{p.parent.name}/{p.stem}" for p in files],
    )
    for names in candidates:
        if len(set(names)) == len(names) and not RESERVED_NAMES & set(names):
            return tuple(names)
    return tuple(f"branch {k}" for k in range(1, len(files) + 1))


def _scene(
    labels: Sequence[Structure], audit: PredictionsSettings, settings: StudySettings
) -> StudyScene:
    elements = tuple(sorted({e for f in labels for e in f.symbols}))
    targets = audit.targets or elements
    for element in targets:
        if element not in elements:
            raise InputError(
                "key 'predictions.targets'",
                f"{element} is not in {labels[0].source} ({', '.join(elements)})",
                f"Name elements of the file.{did_you_mean(element, elements)}",
            )
    regimes = resolve(settings.regimes, elements, settings.ions, targets)
    anchors = settings.anchors or tuple(np.linspace(0.0, 1.0, len(audit.files)).tolist())
    if len(anchors) != len(audit.files):
        raise InputError(
            "key 'anchors'",
            f"{len(anchors)} scales for {len(audit.files)} prediction files",
            "Give one anchor per file, in the same order.",
        )
    return StudyScene(
        elements, targets, settings.ions, regimes, settings.selector.cutoff, anchors, settings.loss
    )


def _split(
    source: Path,
    labels: Sequence[Structure],
    audit: PredictionsSettings,
    settings: StudySettings,
) -> Split:
    """Nothing is fitted but selectors, so what would train the branches tunes as well."""
    tune = settings.split.train + settings.split.tune
    data = DataFile.of(source, len(labels))
    if audit.group_key is not None:
        groups = read_key(labels, audit.group_key)
        return by_group(groups, train=0.0, tune=tune, seed=settings.seed, data=data)
    trajectory, block = [0] * len(labels), settings.split.block
    return by_trajectory(trajectory, train=0.0, tune=tune, block=block, data=data)


def _samples(
    labels: Sequence[Structure],
    members: Sequence[Sequence[Structure]],
    split: Split,
    part: np.ndarray,
    scene: StudyScene,
) -> Samples:
    described = [describe(labels[int(k)], scene) for k in part]
    target = [d.target for d in described]
    predictions = np.stack([_forces(member, part, target) for member in members])
    block = np.array(split.group)[part]
    return assemble(described, predictions, _forces(labels, part, target), block, scene)


def _forces(
    frames: Sequence[Structure], part: np.ndarray, target: Sequence[np.ndarray]
) -> Float[np.ndarray, "units 3"]:
    chosen = [frames[int(k)].labelled_forces[t] for k, t in zip(part, target, strict=True)]
    return np.concatenate(chosen)
