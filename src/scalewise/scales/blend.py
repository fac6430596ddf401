"""Residuals of ordered branches for every unit, the input of all mechanisms.

A *unit* gets one scale: it is an ion, or a whole frame. As a blend of predictions is linear, the
residual of a blend is the blend of the residuals, so that predictions and labels are not needed
separately. :class:`Residuals` contain the labels. Oracles and fits take them, and no selector takes
them for a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from scalewise.core.errors import InputError

LossName = Literal["l1", "l2"]


@dataclass(frozen=True, eq=False)
class Residuals:
    r"""Residuals (prediction - label, eV/Å) of ``anchors`` branches, padded with zeros.

    Attributes
    ----------
    values
        Shape [anchors, units, components]; missing components of a unit are zero, which costs
        nothing in any loss.
    counts
        Shape [units]: how many components of each unit are real.
    block
        Shape [units]: the bootstrap block each unit belongs to.
    anchors
        Shape [anchors]: the scales of the branches, increasing from 0 to 1.
    loss
        ``"l1"``: mean absolute component; ``"l2"``: mean squared component.

    Raises
    ------
    InputError
        Non-finite values, anchors out of order, or shapes that do not fit.
    """

    values: Float[np.ndarray, "anchors units components"]
    counts: Int[np.ndarray, " units"]
    block: Int[np.ndarray, " units"]
    anchors: Float[np.ndarray, " anchors"]
    loss: LossName = "l1"

    def __post_init__(self) -> None:
        k, n, _ = self.values.shape
        if k < 2 or self.anchors.shape != (k,):
            raise InputError(
                "anchors", f"{self.anchors.shape} scales for {k} branches", "Give one per branch."
            )
        if np.any(np.diff(self.anchors) <= 0) or self.anchors[0] != 0 or self.anchors[-1] != 1:
            raise InputError(
                "anchors", f"{self.anchors.tolist()}", "They must increase strictly from 0 to 1."
            )
        if n == 0 or self.counts.sum() == 0:
            raise InputError("residuals", "no units", "Choose a regime that has atoms.")
        if self.counts.shape != (n,) or self.block.shape != (n,):
            raise InputError("residuals", "counts and block do not match", f"Give {n} of each.")
        if not np.isfinite(self.values).all():
            bad = int(np.argwhere(~np.isfinite(self.values))[0, 1])
            raise InputError(
                f"residuals, unit {bad}", "not a finite number", "Remove or mend that sample."
            )

    @classmethod
    def of_vectors(
        cls,
        values: Float[np.ndarray, "anchors units components"],
        block: Int[np.ndarray, " units"],
        anchors: Float[np.ndarray, " anchors"] | None = None,
        loss: LossName = "l1",
    ) -> Residuals:
        """Build from unpadded vectors, such as one force per ion; anchors default to even."""
        k, n, c = values.shape
        scales = np.linspace(0.0, 1.0, k) if anchors is None else anchors
        return cls(values, np.full(n, c), block, scales, loss)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.values.shape[1])

    @property
    def n_components(self) -> int:
        """Number of real components over all units: the denominator of every mean."""
        return int(self.counts.sum())

    def subset(self, mask: Bool[np.ndarray, " units"]) -> Residuals:
        """Keep the units where ``mask`` is true."""
        return Residuals(
            self.values[:, mask], self.counts[mask], self.block[mask], self.anchors, self.loss
        )

    def replace_values(self, values: Float[np.ndarray, "anchors units components"]) -> Residuals:
        """Return a copy with other values of the same shape."""
        return Residuals(values, self.counts, self.block, self.anchors, self.loss)

    def group(self, key: Int[np.ndarray, " units"]) -> Residuals:
        """Merge units that share ``key`` (in its sorted order) into one unit each.

        The block of a merged unit is that of its first member.
        """
        _, first, inverse, sizes = np.unique(
            key, return_index=True, return_inverse=True, return_counts=True
        )
        k, _, c = self.values.shape
        order = np.argsort(inverse, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        slot = np.empty(len(key), dtype=np.int64)
        slot[order] = np.arange(len(key)) - np.repeat(starts, sizes)
        values = np.zeros((k, len(sizes), int(sizes.max()), c))
        values[:, inverse, slot] = self.values
        counts = np.bincount(inverse, weights=self.counts).astype(np.int64)
        merged = values.reshape(k, len(sizes), -1)
        return Residuals(merged, counts, self.block[first], self.anchors, self.loss)

    def at(
        self, scale: float | Float[np.ndarray, " units"]
    ) -> Float[np.ndarray, "units components"]:
        r"""Blend the residuals at one scale for all units, or at one scale each.

        Between neighboring anchors :math:`s_k \le s \le s_{k+1}` the blend is linear,
        :math:`e(s) = (1 - t) e_k + t e_{k+1}` with :math:`t = (s - s_k) / (s_{k+1} - s_k)`.
        """
        return blend(self.values, self.anchors, scale)

    def unit_losses(
        self, scale: float | Float[np.ndarray, " units"]
    ) -> Float[np.ndarray, " units"]:
        """Sum the loss of each unit at a common scale or at its own."""
        return component_loss(self.at(scale), self.loss).sum(axis=-1)

    def pool_losses(self, scales: Sequence[float]) -> Float[np.ndarray, "pool units"]:
        """Sum the loss of each unit at each scale of a pool."""
        return np.stack([self.unit_losses(float(s)) for s in scales])

    def mean(self, unit_losses: Float[np.ndarray, " units"]) -> float:
        """Turn summed losses per unit into the mean per component."""
        return float(unit_losses.sum() / self.n_components)


def blend(
    values: Float[np.ndarray, "anchors units components"],
    anchors: Float[np.ndarray, " anchors"],
    scale: float | Float[np.ndarray, " units"],
) -> Float[np.ndarray, "units components"]:
    """Interpolate linearly between neighboring anchors; exact at every anchor."""
    s = np.asarray(scale, dtype=float)
    if np.any((s < 0) | (s > 1)) or not np.isfinite(s).all():
        raise InputError("scale", f"{s.min()} to {s.max()}", "Scales lie between 0 and 1.")
    lower = np.clip(np.searchsorted(anchors, s, side="right") - 1, 0, len(anchors) - 2)
    t = (s - anchors[lower]) / (anchors[lower + 1] - anchors[lower])
    if s.ndim == 0:
        low, high = values[int(lower)], values[int(lower) + 1]
        return (1.0 - t) * low + t * high
    unit = np.arange(values.shape[1])
    return (1.0 - t)[:, None] * values[lower, unit] + t[:, None] * values[lower + 1, unit]


def component_loss(
    residual: Float[np.ndarray, "*shape"], loss: LossName
) -> Float[np.ndarray, "*shape"]:
    """Absolute value or square of every component."""
    return np.abs(residual) if loss == "l1" else np.square(residual)
