"""Verdicts of the forks for a subset of the atoms: at this training budget, and for the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from scalewise.analysis.cutoff_scan.range import shortest_enough
from scalewise.analysis.forks.settings import ForkComparisonSettings
from scalewise.analysis.learning import Learning, describe
from scalewise.analysis.settling import Asked, decide_for_system
from scalewise.models.density.settings import ForkSettings
from scalewise.statistics.bootstrap import group_sums
from scalewise.statistics.changes import Change, between, judge
from scalewise.statistics.verdict import Answer, Verdict


@dataclass(frozen=True, eq=False)
class ShorterErrors:
    """Absolute errors of a second ladder at its longest scale, eV/Å, and the steps of both."""

    steps: int
    whole: int
    errors: Float[np.ndarray, " atoms"]


@dataclass(frozen=True, eq=False)
class Errors:
    """Absolute errors of the forces, eV/Å, summed over components.

    Attributes
    ----------
    forks
        Of each seed and scale [replicas, scales, atoms].
    ladder
        Of the potential that was forked [scales, atoms].
    block
        Group of each atom.
    shorter
        Of the second ladder, if there is one.
    """

    forks: Float[np.ndarray, "replicas scales atoms"]
    ladder: Float[np.ndarray, "scales atoms"]
    block: Int[np.ndarray, " atoms"]
    shorter: ShorterErrors | None = None

    def only(self, member: np.ndarray) -> Errors:
        """The same for some of the atoms."""
        fewer = self.shorter
        if fewer is not None:
            fewer = replace(fewer, errors=fewer.errors[member])
        return Errors(self.forks[..., member], self.ladder[:, member], self.block[member], fewer)

    def learning(self, alone: Learning | None, longest: int) -> Learning | None:
        """How far the ladder has come for these atoms; ``alone``: what it says of itself."""
        if self.shorter is None:
            return alone
        known = alone or Learning(self.shorter.whole, None)
        return known.after_shorter(
            self.shorter.steps, self.shorter.errors.sum(), self.ladder[longest].sum()
        )

    def changes(self, longest: int) -> dict[str, Change]:
        """From each other scale to the longest; forks of one seed are paired."""
        sums = self.forks.sum(axis=2)
        others = [k for k in range(sums.shape[1]) if k != longest]
        spread = [between(np.log(sums[:, longest] / sums[:, k])) for k in others]
        groups = np.stack([[group_sums(e, self.block) for e in of] for of in self.forks])
        return {str(k): Change(groups[:, k], groups[:, longest], spread) for k in others}


def longest_of(scales: Sequence[ForkSettings]) -> int:
    """The place of the longest scale, with long range where there is any."""
    return max(range(len(scales)), key=lambda k: (scales[k].long_range, scales[k].cutoff))


def judge_subset(
    errors: Errors,
    scales: Sequence[ForkSettings],
    learning: Learning | None,
    settings: ForkComparisonSettings,
) -> dict[str, Any]:
    """Errors and answers of every scale for some of the atoms."""
    longest = longest_of(scales)
    learning = errors.learning(learning, longest)
    given: dict[str, Any] = {"min_gain": settings.min_gain, "alpha": settings.alpha}
    found = judge(
        errors.changes(longest), seed=settings.seed, resamples=settings.bootstrap, **given
    )
    now = {int(v.question): v for v in found}
    now[longest] = Verdict(Answer.NOT_NEEDED, 0.0, 0.0, 0.0, 1.0)
    system = {}
    for k, verdict in now.items():
        long_range = scales[k].long_range != scales[longest].long_range
        asked = Asked(settings.min_gain, settings.alpha, "forks", long_range)
        system[k] = decide_for_system(verdict, learning, asked)
    system[longest] = now[longest]
    each = 1e3 / 3.0 * errors.forks.mean(axis=2)
    ladder = 1e3 / 3.0 * errors.ladder.mean(axis=1)
    with_long = [k for k, s in enumerate(scales) if s.long_range]
    return {
        "scales": [
            {
                "mae": float(each[:, k].mean()),
                "each": each[:, k].tolist(),
                "ladder": float(ladder[k]),
                "now": now[k].record(),
                "system": {**system[k].record(), "reason": system[k].reason},
            }
            for k in range(len(scales))
        ],
        "learning": describe(learning, slope=True),
        "reference": longest,
        "enough": shortest_enough(
            [scales[k].cutoff for k in with_long], [system[k] for k in with_long]
        ),
    }
