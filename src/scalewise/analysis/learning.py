r"""How far a training has come: the remaining fall of its error.

The errors of a network that is still learning do not show which range its system needs, as the part
that is not learned yet hides the gain of a longer range. The remaining fall of the logarithm of the
error, :math:`\lambda`, is estimated in one of two ways. If there is a shorter training with the
same settings, the error fell by
:math:`\sigma = \log(e_\mathrm{short} / e) / \log_2(n / n_\mathrm{short})` with each doubling of the
steps n. On ladders of growing length, the remaining fall was

.. math:: \lambda = \log(e / e_\infty) \approx 5 \sigma^2

within a factor of four (95 %). Without a shorter training, the fall over the last third of the
steps is used, in which the learning rate goes to zero:
:math:`\Delta = \log e(2n/3) - \log e(n)`, and :math:`\lambda \approx 4 \Delta` within a factor of
seven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from jaxtyping import Float

#: Share of the steps after which the last fall is counted.
LATE: Final = 2 / 3
#: The remaining fall of the log error: its median over the squared slope, and over the last fall,
#: each with the standard deviation of its logarithm.
FROM_SLOPE: Final = (5.0, 0.7)
FROM_FALL: Final = (4.0, 1.0)
#: Standard deviation of a slope between seeds of the two trainings.
SLOPE_LUCK: Final = 0.02
#: The remaining fall is at least this share of the last one: a slope may be small because both
#: trainings are still on the plateau at their start.
LEAST_OF_FALL: Final = 0.5
#: Largest remaining fall of the log error, so that its exponential is a number.
MOST: Final = 20.0
#: Per cent from which on no number is said.
NEARLY_ALL: Final = 95.0
#: Of each distribution.
DRAWS: Final = 4096


@cache
def normal_draws(number: int = DRAWS, seed: int = 0) -> Float[np.ndarray, "7 draws"]:
    """Standard normal numbers, the same ones each time."""
    return np.random.default_rng(seed).standard_normal((7, number))


@dataclass(frozen=True)
class Learning:
    """How the error of a potential fell.

    Attributes
    ----------
    steps
        Of the training.
    fall
        Logarithm of the ratio of the errors at two thirds of the steps and at the end, 0 at least;
        none: not known.
    seconds
        That it took; none: not known.
    slope
        By how much the logarithm of the error fell with a doubling of the steps, from a shorter
        training to this one; none: there is none.
    """

    steps: int
    fall: float | None
    seconds: float | None = None
    slope: float | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Learning | None:
        """From what a potential knows of its training; none where it knows too little."""
        history = history_of(info)
        steps, errors = (np.array(history.get(k, [])) for k in ("step", "forces_mae"))
        known = len(steps) == len(errors) > 3 and bool((np.diff(steps) > 0).all())
        if not known or steps[0] > LATE * steps[-1]:
            return None
        late = float(np.interp(np.log(LATE * steps[-1]), np.log(steps), np.log(errors)))
        late = min(late, float(np.log(errors[steps <= LATE * steps[-1]].min())))
        seconds = history["seconds"][-1] if "seconds" in history else None
        fall = max(0.0, late - float(np.log(errors.min())))
        return cls(int(steps[-1]), fall, seconds)

    def after_shorter(self, steps: int, before: float, after: float) -> Learning:
        """Add the slope from a shorter training's error, ``before``, to this one's, ``after``.

        Where there is a slope of all atoms already, and these are some of them, the larger counts:
        atoms whose error hardly moved may be at their beginning, while others are still learned.
        """
        if not (before > 0 and after > 0 and steps < self.steps):
            return self
        slope = float(np.log(before / after) / np.log2(self.steps / steps))
        return replace(self, slope=slope if self.slope is None else max(slope, self.slope))

    @property
    def known(self) -> bool:
        """Whether anything says how far the training has come."""
        return self.fall is not None or self.slope is not None

    def left(self) -> Float[np.ndarray, " draws"]:
        r"""By how much the logarithm of the error may still fall, :math:`\lambda`."""
        return remaining_fall(self.slope, self.fall or 0.0, normal_draws())

    @property
    def least(self) -> float | None:
        """The share of its error that a training without end keeps at least (97.5 %)."""
        return float(np.exp(-np.quantile(self.left(), 0.975))) if self.known else None


def remaining_fall(slope: Any, fall: Any, draws: np.ndarray) -> np.ndarray:
    """The remaining fall of the logarithm of the error; slope and fall may have a row for each."""
    luck, factor = draws[:2]
    if slope is None:
        median, spread = FROM_FALL
        return np.asarray(np.minimum(median * fall * np.exp(spread * factor), MOST))
    median, spread = FROM_SLOPE
    slope = np.maximum(slope + SLOPE_LUCK * luck, 0.0)
    middle = np.maximum(median * slope**2, LEAST_OF_FALL * fall)
    return np.asarray(np.minimum(middle * np.exp(spread * factor), MOST))


def history_of(info: Mapping[str, Any]) -> dict[str, list[float]]:
    """Validations that a potential knows, by column; what is no list of positive numbers is left.

    Nothing in a potential's folder is trusted: it may be a stranger's.
    """
    history = info.get("history")
    columns = history.items() if isinstance(history, Mapping) else ()
    found = {
        str(name): [float(v) for v in values]
        for name, values in columns
        if isinstance(values, list)
        and all(type(v) in (int, float) and 0 < v < 1e15 for v in values)
    }
    steps = len(found.get("step", ()))
    return {name: values for name, values in found.items() if len(values) == steps > 0}


def describe(learning: Learning | None, *, slope: bool = False) -> dict[str, Any]:
    """The section of a document that says how far the training had come; ``slope``: with that."""
    names = ("steps", "seconds", "fall", *(["slope"] if slope else []), "least")
    return {n: None if learning is None else getattr(learning, n) for n in names}


def sentence(section: Mapping[str, Any]) -> str:
    """The section in words."""
    if section["least"] is None:
        return "How far the training had come is not known."
    left, slope = 100 * (1 - section["least"]), section.get("slope")
    if slope is None:
        fall, how = section["fall"], "in the last third of its {steps} steps its error fell by"
    else:
        fall, how = max(slope, 0.0), "doubling its steps, up to {steps}, lowered its error by"
    how = f"{how.format(steps=section['steps'])} {100 * (1 - np.exp(-fall)):.2g} %"
    if left < 1:
        return f"The training has converged: {how}."
    most = "nearly all of it" if left > NEARLY_ALL else f"up to {left:.0f} % of it"
    return f"The network is still learning: {how}, and further training may remove {most}."
