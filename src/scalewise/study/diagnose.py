"""Differences of the branches before routing: correlation, distance, noise floor, curves."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from scalewise.scales.blend import component_loss
from scalewise.scales.oracle import ContinuousOracle, best_single
from scalewise.scales.selectors import Selector
from scalewise.statistics.bootstrap import Resampling
from scalewise.study.samples import Samples
from scalewise.study.score import joined
from scalewise.study.settings import StudySettings
from scalewise.study.views import View

#: Bins of the distance to the nearest ion, Å.
DISTANCE_EDGES = (2.0, 2.6, 3.0, 3.6, 4.2, 4.8, 5.4, 6.0, 7.0, 9.0)
FEWEST_IN_BIN = 15


def complementarity(view: View, settings: StudySettings) -> dict[str, Any]:
    """Error correlation of first and last branch per regime; error of each against distance."""
    return {
        "correlation": {
            name: _correlation(view.test.subset(member), settings)
            for name, member in view.test.regimes.items()
            if member.any()
        },
        "distance": _against_distance(view, settings),
    }


def _correlation(samples: Samples, settings: StudySettings) -> dict[str, Any]:
    values = samples.residuals.values
    resampling = Resampling(settings.seed, settings.evidence.bootstrap)
    found = resampling.correlation(values[0], values[-1], samples.residuals.block)
    return {
        "estimate": found.estimate if found else None,
        "interval": [found.low, found.high] if found else None,
        "n": samples.residuals.n_units,
    }


def _against_distance(view: View, settings: StudySettings) -> list[dict[str, Any]]:
    bins = []
    residuals = view.test.residuals
    for low, high in itertools.pairwise(DISTANCE_EDGES):
        inside = (view.test.distance >= low) & (view.test.distance < high)
        if inside.sum() < FEWEST_IN_BIN:
            continue
        part = residuals.subset(inside)
        losses = part.pool_losses(part.anchors.tolist())
        bins.append(
            {
                "from": low,
                "to": high,
                "n": part.n_units,
                "branches": {
                    name: _mean_with_interval(loss, part.counts, part.block, settings)
                    for name, loss in zip(view.branch_names, losses, strict=True)
                },
            }
        )
    return bins


def _mean_with_interval(
    losses: Float[np.ndarray, " units"],
    counts: Int[np.ndarray, " units"],
    block: Int[np.ndarray, " units"],
    settings: StudySettings,
) -> dict[str, Any]:
    found = Resampling(settings.seed, settings.evidence.bootstrap).mean(losses, counts, block)
    return {
        "mae": float(losses.sum() / counts.sum()),
        "interval": [found.low, found.high] if found else None,
    }


def noise_floor(view: View, label_error: float | None, settings: StudySettings) -> dict[str, Any]:
    r"""Error that no model with these inputs can beat, per regime.

    With :math:`S` force samples of every atom, the mean absolute deviation from their mean is too
    small by :math:`\sqrt{1 - 1/S}` (exactly so for Gaussian noise) and is divided by it; the mean
    square by :math:`1 - 1/S`. The samples follow each other in time, so water that moves more
    slowly than they do is not averaged: the true floor is a little higher.
    Without noise in the labels the floor is their numerical error.
    """
    if view.labels is None or view.replicates is None:
        if label_error is None or settings.loss != "l1":  # the error is known as an absolute one
            return {}
        return {
            "all": {
                "mae": label_error,
                "interval": None,
                "n": view.test.residuals.n_units,
                "source": "numerical error of the labels",
            }
        }
    result = {}
    for name, member in view.replicates.regimes.items():
        if member.any():
            block = view.replicates.first.block[member]
            both = joined(
                view.replicates.first.subset(member), view.replicates.second.subset(member)
            )
            result[name] = {
                **_floor(view.labels[member], block, settings),
                "best_single_on_same_atoms": both.mean(best_single(both)[1]),
            }
    return result


def _floor(
    labels: Float[np.ndarray, "units samples 3"],
    block: Int[np.ndarray, " units"],
    settings: StudySettings,
) -> dict[str, Any]:
    samples = labels.shape[1]
    off = component_loss(labels - labels.mean(axis=1, keepdims=True), settings.loss)
    power = 0.5 if settings.loss == "l1" else 1.0
    unbiased = off.sum(axis=(1, 2)) * (samples / (samples - 1.0)) ** power
    counts = np.full(len(labels), 3 * samples)
    report = _mean_with_interval(unbiased, counts, block, settings)
    return {**report, "n": len(labels), "source": f"{samples} solvent replicates"}


def loss_curves(samples: Samples) -> dict[str, Any]:
    """Mean loss of every regime at 41 scales."""
    scales = np.linspace(0.0, 1.0, 41)
    losses = np.stack([samples.residuals.unit_losses(float(s)) for s in scales])
    return {
        "scale": scales.tolist(),
        "mae": {
            name: (losses[:, member].sum(axis=1) / samples.residuals.counts[member].sum()).tolist()
            for name, member in samples.regimes.items()
            if member.any()
        },
    }


def scale_histograms(samples: Samples, selector: Selector) -> dict[str, Any]:
    """How often each scale is chosen, by the continuous oracle and by the learned selector."""
    edges = np.linspace(0.0, 1.0, 21)
    oracle = ContinuousOracle().choose(samples.residuals).scale
    routed = selector.scales(samples.geometry)

    def counts(scale: Float[np.ndarray, " units"], m: Bool[np.ndarray, " units"]) -> list[int]:
        return np.histogram(scale[m], bins=edges)[0].tolist()

    return {
        "edges": edges.tolist(),
        "oracle": {name: counts(oracle, m) for name, m in samples.regimes.items() if m.any()},
        "selector": {name: counts(routed, m) for name, m in samples.regimes.items() if m.any()},
    }
