"""The noise of the labels: the error that a perfect model would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from scalewise.analysis.evaluation.subsets import symbol
from scalewise.data.placeholders import with_held_atoms
from scalewise.data.structure import Structure
from scalewise.doctor.composition import compose
from scalewise.doctor.noise import MEAN_ABSOLUTE, estimate_noise


@dataclass(frozen=True, eq=False)
class NoiseFloor:
    """Standard deviation of the noise of each element's force labels, from net forces.

    Attributes
    ----------
    sigma
        By atomic number, per component, eV/Å. Empty where the labels say nothing.
    interval
        Its 95 % interval, where known.
    """

    sigma: Mapping[int, float]
    interval: Mapping[int, tuple[float, float] | None]

    @classmethod
    def estimate(cls, frames: Sequence[Structure], group: np.ndarray, seed: int) -> NoiseFloor:
        """Estimate it from all structures with labelled forces."""
        held = with_held_atoms(frames)
        kept = [k for k, f in enumerate(frames) if f.labels.forces is not None and not held[k]]
        labelled = [frames[k] for k in kept]
        if not labelled:
            return cls({}, {})
        noise = estimate_noise(labelled, compose(labelled), group[kept], seed)
        of = {atomic_numbers[e.name]: e for e in noise.elements}
        return cls({z: e.sigma for z, e in of.items()}, {z: e.interval for z, e in of.items()})

    def beside(self, numbers: np.ndarray) -> dict[str, Any]:
        r"""Error that a perfect model has on these atoms, meV/Å.

        ``rmse_floor`` :math:`\langle \sigma^2 \rangle^{1/2}` holds for noise of any shape,
        ``mae_floor`` :math:`\sqrt{2/\pi}\, \langle \sigma \rangle` for Gaussian noise. Where the
        interval begins at zero there is no floor to name: both are None, the interval is not.
        """
        names = ("mae_floor", "rmse_floor", "rmse_floor_interval")
        if not self.sigma or not len(numbers):
            return dict.fromkeys(names)
        present, counts = np.unique(numbers, return_counts=True)
        share, listed = counts / counts.sum(), present.tolist()
        if not set(listed) <= self.sigma.keys():
            return dict.fromkeys(names)
        sigma = np.array([self.sigma[z] for z in listed])
        ends = [self.interval[z] for z in listed]
        known = [end for end in ends if end is not None]
        # of several elements all at their ends: wider than need be, never too narrow
        interval = (
            (1e3 * np.sqrt(share @ np.array(known) ** 2)).tolist()
            if len(known) == len(ends)
            else None
        )
        if interval is not None and interval[0] <= 0.0:
            return dict(zip(names, (None, None, interval), strict=True))
        values = (
            1e3 * MEAN_ABSOLUTE * float(share @ sigma),
            1e3 * float(np.sqrt(share @ sigma**2)),
            interval,
        )
        return dict(zip(names, values, strict=True))

    def describe(self) -> list[dict[str, Any]]:
        """The section ``noise`` of evaluation.json, in meV/Å."""
        return [
            {
                "element": symbol(z),
                "sigma": 1e3 * s,
                "interval": (ends := self.interval[z]) and [1e3 * end for end in ends],
                **self.beside(np.array([z])),
            }
            for z, s in self.sigma.items()
        ]
