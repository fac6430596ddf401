"""One view of a data set: its atoms, the fitted branches, their predictions, and the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.study.branches.base import Branch
from scalewise.study.branches.matching import FittedBranch, fit_view
from scalewise.study.samples import (
    DescribedAtoms,
    Replicates,
    Samples,
    StudyScene,
    assemble,
    describe,
)
from scalewise.study.settings import StudySettings


@dataclass(frozen=True, eq=False)
class View:
    """Everything the analysis of one view needs."""

    name: str
    scene: StudyScene
    branch_names: tuple[str, ...]
    tune: Samples
    test: Samples
    replicates: Replicates | None
    labels: Float[np.ndarray, "units samples 3"] | None
    """Force samples of the replicate atoms, where the labels have noise."""
    reports: list[dict[str, Any]] = field(default_factory=list)

    def with_regimes(self, names: Sequence[str]) -> View:
        """Keep only the named regimes; those of the replicates may be empty."""

        def kept(samples: Samples) -> Samples:
            return replace(samples, regimes={n: samples.regimes[n] for n in names})

        pair = self.replicates
        if pair is not None:
            pair = replace(pair, regimes={n: pair.regimes[n] for n in names})
        return replace(self, tune=kept(self.tune), test=kept(self.test), replicates=pair)


def ion_view(
    frames: Sequence[Structure],
    split: Split,
    replicates: Sequence[Sequence[Structure]],
    scene: StudyScene,
    settings: StudySettings,
    branches: Sequence[FittedBranch] = (),
) -> View:
    """The branches see the ions alone; the water is noise, measured by solvent replicates.

    ``replicates`` holds, for each frozen ion configuration, its frames with other water. Two
    ``branches``, from short to long scale, are fitted where none are given.
    """
    ions = tuple(e for e in scene.elements if e in scene.ions)
    seen = [f.only(ions) for f in frames]
    main = tuple(branches)
    if not main:
        train, tune_frames = (_pick(seen, split.members(role)) for role in ("train", "tune"))
        main = fit_view(train, tune_frames, settings.branches, settings.ions).branches
    scene = StudyScene(
        ions, ions, scene.ions, scene.regimes, scene.feature_cutoff, scene.anchors, scene.loss
    )
    block = np.array(split.group)
    tune, test = (
        _samples(_pick(seen, part), main, block[part], scene)
        for part in (split.members("tune"), split.members("test"))
    )
    pair, labels = None, None
    if replicates:
        pair, labels = _solvent_replicates(replicates, ions, main, scene)
    return View("ions", scene, ("short", "long"), tune, test, pair, labels, _reports(main))


def explicit_view(
    frames: Sequence[Structure], split: Split, scene: StudyScene, settings: StudySettings
) -> View:
    """The branches see every atom; labels have no noise, so replicates are models of half data."""
    group = np.array(split.group)
    train_frames, tune_frames, test_frames = (
        _pick(frames, split.members(role)) for role in ("train", "tune", "test")
    )
    fitted = fit_view(train_frames, tune_frames, settings.branches, settings.ions)
    block = group[split.members("test")]
    tune = _samples(tune_frames, fitted.branches, group[split.members("tune")], scene)
    errors: dict[str, dict[str, list[float]]] = {}
    described = [describe(frame, scene) for frame in test_frames]
    test = _samples(test_frames, fitted.branches, block, scene, described, errors)
    halves = [_samples(test_frames, half, block, scene, described) for half in fitted.halves]
    pair = Replicates(
        halves[0].residuals, halves[1].residuals, test.geometry, test.regimes, test.frame
    )
    reports = _reports(fitted.branches)
    for report in reports:
        report["mae_by_element"] = {
            e: float(np.mean(values)) for e, values in sorted(errors[report["name"]].items())
        }
    return View("explicit", scene, ("short", "long"), tune, test, pair, None, reports)


def _pick(frames: Sequence[Structure], index: Int[np.ndarray, " part"]) -> list[Structure]:
    return [frames[int(k)] for k in index]


def _reports(fitted: Sequence[FittedBranch]) -> list[dict[str, Any]]:
    return [{"name": b.name, **b.report} for b in fitted]


def _samples(
    frames: Sequence[Structure],
    fitted: Sequence[FittedBranch],
    block: Int[np.ndarray, " frames"],
    scene: StudyScene,
    described: Sequence[DescribedAtoms] | None = None,
    errors: dict[str, dict[str, list[float]]] | None = None,
) -> Samples:
    """Predict frames, and describe them where the caller has not.

    The mean absolute errors of every element, water too, are collected into ``errors``.
    """
    described = described or [describe(frame, scene) for frame in frames]
    predictions, labels = [], []
    for frame, target in zip(frames, (d.target for d in described), strict=True):
        forces = _predict(frame, [b.branch for b in fitted])
        predictions.append(forces[:, target])
        labels.append(frame.labelled_forces[target])
        if errors is not None:
            for b, force in zip(fitted, forces, strict=True):
                off = np.abs(force - frame.labelled_forces)
                for e in set(frame.symbols):
                    by_element = errors.setdefault(b.name, {})
                    by_element.setdefault(e, []).append(float(off[frame.mask([e])].mean()))
    return assemble(
        described, np.concatenate(predictions, axis=1), np.concatenate(labels), block, scene
    )


def _predict(frame: Structure, branches: Sequence[Branch]) -> Float[np.ndarray, "branches atoms 3"]:
    return np.stack([branch.predict(frame).forces for branch in branches])


def _solvent_replicates(
    replicates: Sequence[Sequence[Structure]],
    ions: tuple[str, ...],
    fitted: Sequence[FittedBranch],
    scene: StudyScene,
) -> tuple[Replicates, Float[np.ndarray, "units samples 3"]]:
    """The first half of the samples, in time, and the second; one block per configuration."""
    described: list[DescribedAtoms] = []
    predictions, labels = [], []
    for samples in replicates:
        frame = samples[0].only(ions)
        described.append(describe(frame, scene))
        predictions.append(_predict(frame, [b.branch for b in fitted]))
        labels.append(np.stack([s.only(ions).labelled_forces for s in samples], axis=1))
    every = np.concatenate(labels)
    predicted = np.concatenate(predictions, axis=1)
    block = np.arange(len(replicates))
    first, second = (
        assemble(described, predicted, part.reshape(len(part), -1), block, scene)
        for part in np.array_split(every, 2, axis=1)
    )
    pair = Replicates(first.residuals, second.residuals, first.geometry, first.regimes, first.frame)
    return pair, every
