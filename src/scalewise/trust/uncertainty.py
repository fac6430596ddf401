r"""Bounds of force errors, from the disagreement between the scales of a ladder.

The scales of a ladder share their weights, and their forces differ most where none of them has
learned enough. The disagreement of atom i is

.. math:: d_i = \Bigl( \frac1K \sum_k |F_i^{(k)} - F_i|^2 \Bigr)^{1/2}

over the K scales next to the one that is used: the next shorter cutoff, and the same cutoff without
long range. Errors of frames that were kept out of training turn the disagreement into a bound, by
conformal prediction [1]_. With the scores

.. math:: s_i = \frac{|F_i - F_i^\mathrm{label}|}{d_i + \epsilon}, \qquad
   \epsilon = \mathrm{median}(d)

the bound :math:`q\,(d_i + \epsilon)` holds a share :math:`1 - \alpha` of the forces of frames that
are drawn as those were, where q is the quantile of the scores at

.. math:: (1 - \alpha) \Bigl( 1 + \frac1n \Bigr), \qquad
   n = \frac{\alpha (1 - \alpha)}{\mathrm{var}(p_g) / G}

with G groups of equal weight: atoms of one frame, and similar frames, are not independent samples
[2]_. The effective number n of independent samples follows from the variance of the share
:math:`p_g` of each group's forces below the plain quantile; it is at least G and at most the number
of atoms. The bound holds this share on average over sets of frames, and need not hold it for frames
of another kind. The share of the forces that it holds is measured on frames that were not used to
make the bound, and is reported.

References
----------
.. [1] V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World (2005); scores over
   an estimate of the error: J. Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094.
.. [2] R. Dunn, L. Wasserman, A. Ramdas, J. Am. Stat. Assoc. 118 (2023) 2491.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import spearmanr

from scalewise.core.progress import Progress
from scalewise.data.structure import Structure
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange, Scale, knows_long_range
from scalewise.statistics.bootstrap import Resampling


def neighboring_scales(potential: Potential, scale: Scale) -> list[Scale]:
    """Scales of the ladder next to one of them: the next cutoff below, and without long range."""
    cutoffs = [c for c in potential.ladder if not isinstance(c, str)]
    used = potential.cutoff if scale.cutoff is None else float(np.max(scale.cutoff))
    below = [c for c in cutoffs if c < used - 1e-6]
    acts = knows_long_range(potential, scale)
    found = [Scale(max(below), scale.long_range)] if below else []
    if acts and potential.long_range is LongRange.OPTIONAL:
        found.append(Scale(scale.cutoff, False))
    return found


@dataclass(frozen=True, eq=False)
class Disagreement:
    """What scales say of labelled frames, atom by atom.

    Attributes
    ----------
    error
        Length of the difference of predicted and labelled force, eV/Å [atoms].
    apart
        Disagreement of the scales, eV/Å [atoms].
    group
        Of the frame of each atom [atoms].
    """

    error: Float[np.ndarray, " atoms"]
    apart: Float[np.ndarray, " atoms"]
    group: Int[np.ndarray, " atoms"]

    def of_groups(self, groups: Int[np.ndarray, " groups"]) -> Disagreement:
        """Those of some groups."""
        own = np.isin(self.group, groups)
        return Disagreement(self.error[own], self.apart[own], self.group[own])


def compare_scales(
    potential: Potential,
    frames: Sequence[Structure],
    group: Int[np.ndarray, " frames"],
    scale: Scale,
    progress: Progress,
) -> Disagreement:
    """Evaluate labelled frames at a scale and at those next to it."""
    others = neighboring_scales(potential, scale)
    errors, apart, groups = [], [], []
    for frame, own in zip(progress.track(frames, "Comparing scales"), group.tolist(), strict=True):
        at = potential.prepare(frame)
        used = at(scale).forces
        squares = [((at(other).forces - used) ** 2).sum(axis=1) for other in others]
        labels = frame.labels.forces
        assert labels is not None
        errors.append(np.linalg.norm(used - labels, axis=1))
        apart.append(np.sqrt(np.mean(squares, axis=0)))
        groups.append(np.full(len(labels), own))
    return Disagreement(np.concatenate(errors), np.concatenate(apart), np.concatenate(groups))


@dataclass(frozen=True)
class Bound:
    """A bound on the error of a force: ``factor`` times disagreement plus ``floor``, eV/Å."""

    level: float
    factor: float
    floor: float

    @classmethod
    def calibrated(cls, found: Disagreement, level: float) -> Bound:
        """The bound that holds a share ``level`` of such forces.

        Examples
        --------
        >>> errors = np.arange(1.0, 101.0)
        >>> made = Disagreement(errors, np.ones(100), np.arange(100))
        >>> bound = Bound.calibrated(made, 0.9)
        >>> round(bound.factor * (1.0 + bound.floor), 6)  # the 91st of 100: 0.9 times 101
        91.0
        """
        floor = max(float(np.median(found.apart)), 1e-9)
        scores = found.error / (found.apart + floor)
        _, inverse, counts = np.unique(found.group, return_inverse=True, return_counts=True)
        weight = 1.0 / (counts[inverse] * len(counts))
        order = np.argsort(scores)
        reached = np.cumsum(weight[order])

        def quantile(share: float) -> float:
            place = int(np.searchsorted(reached, share - 1e-9))
            return float(scores[order[min(place, len(order) - 1)]])

        below = np.bincount(inverse, weights=scores <= quantile(level)) / counts
        of_mean = float(below.var(ddof=1)) / len(counts) if len(counts) > 1 else 1.0
        worth = level * (1.0 - level) / of_mean if of_mean > 0.0 else float(len(scores))
        worth = float(np.clip(worth, len(counts), len(scores)))
        return cls(level, quantile(level * (1.0 + 1.0 / worth)), floor)

    def of(self, apart: Float[np.ndarray, " atoms"]) -> Float[np.ndarray, " atoms"]:
        """The bound on each force, eV/Å, given the disagreement."""
        return self.factor * (apart + self.floor)

    def coverage(self, found: Disagreement, resampling: Resampling) -> dict[str, Any]:
        """The share of forces that the bound holds, with its interval, and how wide it is."""
        bound = self.of(found.apart)
        held = (found.error <= bound).astype(float)
        interval = resampling.mean(held, np.ones(len(held), dtype=int), found.group)
        return {
            "atoms": len(held),
            "groups": len(np.unique(found.group)),
            "held": float(held.mean()),
            "interval": None
            if interval is None
            else [max(interval.low, 0.0), min(interval.high, 1.0)],
            "bound": 1e3 * float(np.median(bound)),
            "error": 1e3 * float(np.median(found.error)),
            "correlation": float(spearmanr(found.error, found.apart).statistic)
            if len(held) > 2
            else None,
        }
