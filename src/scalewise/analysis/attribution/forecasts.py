"""Forecasts of the error with twice the frames, with twice the steps, and with other scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from scalewise.analysis.attribution.error_table import Scored
from scalewise.analysis.forecast import ErrorForecast, extend
from scalewise.analysis.learning import Learning
from scalewise.statistics.verdict import Verdict

#: Questions about scales, whose measured gains stand beside the forecasts.
SCALES = ("cutoff", "long", "routing")
#: Width of a normal interval of 90 % over that of 95 %.
NARROWER = 1.645 / 1.960


@dataclass(frozen=True, eq=False)
class ShorterTrainings:
    """Errors of the trainings in fewer steps, eV/Å, summed over components.

    Attributes
    ----------
    steps, whole
        Of these trainings, and of those that they are compared with.
    errors
        Of each replica [scales, atoms].
    """

    steps: int
    whole: int
    errors: Sequence[Float[np.ndarray, "scales atoms"]]

    def only(self, member: np.ndarray) -> ShorterTrainings:
        """The same for some of the atoms."""
        return ShorterTrainings(self.steps, self.whole, [e[:, member] for e in self.errors])

    def mean(self) -> Float[np.ndarray, " scales"]:
        """Error of each scale, mean over atoms, components and replicas, eV/Å."""
        return np.asarray(np.mean([e.mean(axis=1) / 3.0 for e in self.errors], axis=0))

    def learning(self, alone: Learning | None, test: Scored, scale: int) -> Learning | None:
        """How far the trainings have come; ``alone``: what they say of themselves."""
        known = alone or Learning(self.whole, None)
        before, after = self.mean()[scale], test.mean("whole")[scale]
        found = known.after_shorter(self.steps, float(before), float(after))
        return found if found.known else None


def forecasts(
    test: Scored,
    shorter: ShorterTrainings,
    counts: Mapping[str, int],
    best: int,
    floor: float | None,
) -> dict[str, ErrorForecast | None]:
    """What twice the frames, and twice the steps, would save at the scale that is best.

    Parameters
    ----------
    test, shorter
        Errors of some of the atoms.
    counts
        Training frames of each set-up.
    best
        The scale.
    floor
        Noise of the labels, mean absolute error, meV/Å; none: not known.
    """
    by_name = {n: np.array([e[best].mean() / 3.0 for e in of]) for n, of in test.absolute.items()}
    by_name["short"] = np.array([e[best].mean() / 3.0 for e in shorter.errors])
    if not all((e > 0).all() for e in by_name.values()):
        return {"frames": None, "steps": None}
    spread = [np.log(e).var(ddof=1) for e in by_name.values()]
    given: dict[str, Any] = {
        "luck": float(np.sqrt(np.mean(spread))),
        "freedom": sum(len(e) - 1 for e in by_name.values()),
        "floor": 0.0 if floor is None else 1e-3 * floor,
    }
    asked = {
        "frames": ("half", counts["half"], counts["whole"]),
        "steps": ("short", shorter.steps, shorter.whole),
    }
    return {
        kind: extend(
            kind,
            (before, now),
            np.stack([by_name[name], by_name["whole"]], axis=1),
            2 * now,
            **given,
        )
        for kind, (name, before, now) in asked.items()
    }


def ordered(
    now: Sequence[Verdict], found: Mapping[str, ErrorForecast | None]
) -> list[dict[str, float | str]]:
    """What saves most: scales as measured, frames and steps as forecast, with intervals of 90 %.

    What is known to save nothing is left out.
    """
    rows = []
    for v in now:
        if v.question in SCALES and v.gain is not None and v.low is not None and v.high is not None:
            logs = np.log1p(-np.minimum([v.gain, v.low, v.high], 0.999))
            low, high = -np.expm1(logs[0] + NARROWER * (logs[1:] - logs[0]))
            rows.append((v.question, v.gain, float(low), float(high)))
    rows += [(kind, f.gain, f.low, f.high) for kind, f in found.items() if f is not None]
    return [
        {"remedy": remedy, "gain": gain, "low": low, "high": high}
        for remedy, gain, low, high in sorted(rows, key=lambda row: -row[1])
        if high > 0
    ]
