"""Predictions, labels and geometry of the scored atoms, in separate types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from scalewise.data import regimes
from scalewise.data.regime_settings import RegimeSettings
from scalewise.data.structure import Structure
from scalewise.scales.blend import LossName, Residuals
from scalewise.scales.selectors import SelectorInputs
from scalewise.study.features import environment


@dataclass(frozen=True, eq=False)
class Samples:
    """Atoms of one role (tune or test) of one view.

    Attributes
    ----------
    residuals
        One unit per atom, its three force components (eV/Å).
    geometry
        What selectors see of the same atoms.
    regimes
        Which atoms belong to each regime.
    frame
        Number of the frame of each atom.
    distance
        Distance to the nearest ion (Å); infinite where there is none within reach.
    """

    residuals: Residuals
    geometry: SelectorInputs
    regimes: Mapping[str, Bool[np.ndarray, " units"]]
    frame: Int[np.ndarray, " units"]
    distance: Float[np.ndarray, " units"]

    def subset(self, mask: Bool[np.ndarray, " units"]) -> Samples:
        """Keep the atoms where ``mask`` is true."""
        return Samples(
            self.residuals.subset(mask),
            self.geometry.subset(mask),
            {name: member[mask] for name, member in self.regimes.items()},
            self.frame[mask],
            self.distance[mask],
        )


@dataclass(frozen=True, eq=False)
class Replicates:
    """Residuals of the same atoms under two replicates of the labels or of the models."""

    first: Residuals
    second: Residuals
    geometry: SelectorInputs
    regimes: Mapping[str, Bool[np.ndarray, " units"]]
    frame: Int[np.ndarray, " units"]


@dataclass(frozen=True)
class StudyScene:
    """What is common to all samples of a view: elements, targets, ions, regimes, reach."""

    elements: tuple[str, ...]
    targets: tuple[str, ...]
    ions: Mapping[str, int]
    regimes: tuple[RegimeSettings, ...]
    feature_cutoff: float
    anchors: tuple[float, ...]
    loss: LossName

    @property
    def reach(self) -> float:
        """Longest distance (Å) that any regime compares; zero without such a regime."""
        bounds = [b for r in self.regimes for b in (r.above, r.below) if b is not None]
        return max(bounds, default=0.0) + 1e-6


@dataclass(frozen=True, eq=False)
class DescribedAtoms:
    """Geometry of the target atoms of one frame, before any label is looked at."""

    target: Bool[np.ndarray, " atoms"]
    features: Float[np.ndarray, "targets features"]
    regimes: Mapping[str, Bool[np.ndarray, " targets"]]
    distance: Float[np.ndarray, " targets"]
    symbols: tuple[str, ...]


def describe(frame: Structure, scene: StudyScene) -> DescribedAtoms:
    """Work out features, regimes and the nearest ion of every target atom of a frame."""
    target = frame.mask(scene.targets)
    ions = [e for e in scene.elements if e in scene.ions]
    reach = scene.reach
    distance = np.full(len(target), np.inf)
    if ions and reach > 1e-3:
        distance = regimes.nearest(frame, dict.fromkeys(scene.targets, ions), reach)
    return DescribedAtoms(
        target,
        environment(frame, scene.elements, target, scene.feature_cutoff),
        {r.name: regimes.membership(r, frame, scene.ions, reach)[target] for r in scene.regimes},
        distance[target],
        tuple(np.asarray(frame.symbols)[target].tolist()),
    )


def assemble(
    described: Sequence[DescribedAtoms],
    predictions: Float[np.ndarray, "anchors units 3"],
    labels: Float[np.ndarray, "units components"],
    block: Int[np.ndarray, " frames"],
    scene: StudyScene,
) -> Samples:
    """Join the frames of one role.

    ``labels`` may hold several samples of the force of each atom, [units, 3 * samples]: the
    residuals then hold all of them, and the geometry is that of the one configuration.
    """
    counts = [int(d.target.sum()) for d in described]
    frame = np.repeat(np.arange(len(described)), counts)
    repeats = labels.shape[1] // 3
    residual = np.tile(predictions, (1, 1, repeats)) - labels[None]
    difference = np.linalg.norm(predictions[1:] - predictions[:-1], axis=-1).T
    environments = np.concatenate([d.features for d in described])
    features = np.concatenate([environments, np.log(difference + 1e-6)], axis=1)
    member = {r.name: np.concatenate([d.regimes[r.name] for d in described]) for r in scene.regimes}
    symbols = [s for d in described for s in d.symbols]
    return Samples(
        Residuals.of_vectors(
            residual, np.asarray(block)[frame], np.asarray(scene.anchors), scene.loss
        ),
        SelectorInputs(features, _strata(symbols, member)),
        member,
        frame,
        np.concatenate([d.distance for d in described]),
    )


def _strata(
    symbols: Sequence[str], member: Mapping[str, Bool[np.ndarray, " units"]]
) -> Int[np.ndarray, " units"]:
    """Bit pattern of the regimes and the element: equal in tune and test, unlike a running number.

    The lower bits hold the regimes, the letters of the element come above them.
    """
    code = np.zeros(len(symbols), dtype=np.int64)
    for bit, mask in enumerate(member.values()):
        code |= np.asarray(mask, dtype=np.int64) << bit
    letters = np.array([sum(ord(c) << (8 * k) for k, c in enumerate(s)) for s in symbols])
    return code | (letters << len(member))
