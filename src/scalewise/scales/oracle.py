r"""Oracles: the best choice of scale *with knowledge of the labels*. They are bounds, not models.

Every oracle chooses, for each unit, the scale with the smallest loss on the same labels on which it
is then scored. It therefore gains even if there is nothing to route (see
:mod:`scalewise.scales.nulls`). It cannot be used for prediction: it has no method that takes a
geometry. :class:`TwoReplicateOracle` removes this bias: it chooses with one replicate of the labels
or of the models, and scores with another. If the replicates are models, the bias from the noise of
the labels, which they share, remains.

Reference: L. Yu, arXiv 2606.09480, for hard routing and continuous interpolation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scalewise.scales.blend import LossName, Residuals


@dataclass(frozen=True, eq=False)
class OracleChoice:
    """One scale per unit, and the summed loss of each unit there."""

    scale: Float[np.ndarray, " units"]
    loss: Float[np.ndarray, " units"]


class Oracle(ABC):
    """Chooses a scale for every unit by looking at its labels."""

    @abstractmethod
    def choose(self, residuals: Residuals) -> OracleChoice:
        """Return the chosen scale and the loss of every unit."""


@dataclass(frozen=True)
class PoolOracle(Oracle):
    """The best scale of a pool, unit by unit; ties go to the smaller scale."""

    scales: tuple[float, ...]

    def choose(self, residuals: Residuals) -> OracleChoice:
        """Try every scale of the pool on every unit."""
        losses = residuals.pool_losses(self.scales)
        best = losses.argmin(axis=0)
        return OracleChoice(
            np.asarray(self.scales)[best], losses[best, np.arange(residuals.n_units)]
        )


@dataclass(frozen=True)
class HardOracle(Oracle):
    """The best single anchor, unit by unit: hard routing."""

    def choose(self, residuals: Residuals) -> OracleChoice:
        """Try every anchor on every unit."""
        return PoolOracle(tuple(residuals.anchors.tolist())).choose(residuals)


@dataclass(frozen=True)
class ContinuousOracle(Oracle):
    r"""The exact minimiser over all scales in [0, 1], unit by unit.

    Between two anchors the residual is :math:`a + t b` with :math:`t \in [0, 1]`. The minimiser of
    :math:`\sum_j |a_j + t b_j|` is the weighted median of :math:`-a_j / b_j` with weights
    :math:`|b_j|`; that of :math:`\sum_j (a_j + t b_j)^2` is
    :math:`-\sum_j a_j b_j / \sum_j b_j^2`. Both sums are convex, so clipping to [0, 1] keeps the
    optimum, and the best of the segments between neighboring anchors is the global one.

    Parameters
    ----------
    also
        Further scales to try, such as the nodes of a pool. They cannot win but by rounding; with
        them the loss is never above the pool's, to the last bit.
    """

    also: tuple[float, ...] = ()

    def choose(self, residuals: Residuals) -> OracleChoice:
        """Minimise on every segment, then take the best."""
        tried = sorted({*residuals.anchors.tolist(), *self.also})
        best = PoolOracle(tuple(tried)).choose(residuals)
        scale, loss = best.scale.copy(), best.loss.copy()
        for k in range(len(residuals.anchors) - 1):
            low, high = residuals.anchors[k], residuals.anchors[k + 1]
            a = residuals.values[k]
            t = best_fraction(a, residuals.values[k + 1] - a, residuals.loss)
            candidate = np.clip(low + t * (high - low), low, high)
            value = residuals.unit_losses(candidate)
            better = value < loss
            scale[better], loss[better] = candidate[better], value[better]
        return OracleChoice(scale, loss)


@dataclass(frozen=True)
class TwoReplicateOracle:
    """Choose with one replicate, score with another: what routing can gain, without the bias.

    The replicates share their units, in the same order: the same ions with other water (labels
    resampled), or the same test set under models trained from another seed.
    """

    oracle: Oracle

    def score(self, choose: Residuals, score: Residuals) -> OracleChoice:
        """Return the scale chosen on ``choose`` and its loss on ``score``."""
        scale = self.oracle.choose(choose).scale
        return OracleChoice(scale, score.unit_losses(scale))


def best_fraction(
    a: Float[np.ndarray, "units components"],
    b: Float[np.ndarray, "units components"],
    loss: LossName,
) -> Float[np.ndarray, " units"]:
    r"""Minimise :math:`\sum_j \ell(a_j + t b_j)` over :math:`t \in [0, 1]` for every unit."""
    if loss == "l2":
        square = np.square(b).sum(axis=-1)
        t = np.divide(-(a * b).sum(axis=-1), square, out=np.zeros(len(a)), where=square > 0)
        return np.clip(t, 0.0, 1.0)
    weights = np.abs(b)
    points = np.divide(-a, b, out=np.zeros_like(a), where=b != 0)
    return np.clip(weighted_median(points, weights), 0.0, 1.0)


def weighted_median(
    points: Float[np.ndarray, "units components"], weights: Float[np.ndarray, "units components"]
) -> Float[np.ndarray, " units"]:
    """Lower weighted median along the last axis: where half of the weight is reached.

    Examples
    --------
    >>> weighted_median(np.array([[3.0, 1.0, 2.0]]), np.array([[1.0, 1.0, 5.0]]))
    array([2.])
    """
    order = np.argsort(points, axis=-1)
    cumulated = np.cumsum(np.take_along_axis(weights, order, axis=-1), axis=-1)
    half = (cumulated >= 0.5 * cumulated[:, -1:]).argmax(axis=-1)
    unit = np.arange(len(points))
    return points[unit, order[unit, half]]


def best_single(residuals: Residuals) -> tuple[int, Float[np.ndarray, " units"]]:
    """Return the anchor with the smallest total loss, and its loss on every unit.

    It is picked on the labels it is scored on, which can only make the gains over it smaller.
    """
    losses = residuals.pool_losses(residuals.anchors.tolist())
    index = int(losses.sum(axis=1).argmin())
    return index, losses[index]
