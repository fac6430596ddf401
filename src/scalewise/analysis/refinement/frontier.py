"""Pools at many prices of the neighbors, and the choice of one by the limits of the settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scalewise.analysis.refinement.objective import Objective, ScaleErrors
from scalewise.analysis.refinement.pool import CutoffPool
from scalewise.analysis.refinement.refiner import (
    LadderRefiner,
    RefinementState,
    refine_pool,
    value,
    value_of,
)
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.core.progress import Progress

#: How often the price is halved in between two pools, one allowed, one not.
HALVINGS: Final = 2
#: Å by which scales may differ and be one.
TOGETHER: Final = 0.02
#: How often the price is raised where the first pool is allowed, and by how much.
RAISES, RAISED = 3, 4.0


@dataclass(frozen=True)
class EvaluatedPool:
    """A pool with what it does on all frames that scales are found on."""

    state: RefinementState
    errors: ScaleErrors
    longest: ScaleErrors

    @property
    def excess(self) -> float:
        """Error over that of the longest scale, less one."""
        return self.errors.over(self.longest)[0] - 1.0

    def allowed(self, settings: RefineSettings) -> bool:
        """Whether it is as accurate, or as cheap, as the settings ask for."""
        if settings.microseconds is not None:
            return self.errors.microseconds <= settings.microseconds
        worst = float(self.errors.over(self.longest)[1].max()) - 1.0
        return self.excess <= settings.tolerance and worst <= settings.worst


def one_scale(both: Objective, cutoff: float, price: float = 0.0) -> EvaluatedPool:
    """One cutoff for all atoms, Å, that was not refined."""
    pool = CutoffPool.single(cutoff, both.groups)
    return EvaluatedPool(
        RefinementState(pool, price, done=True), both.errors(pool.lengths()), both.reference
    )


def find_frontier(
    fit: Objective,
    check: Objective,
    both: Objective,
    uniform: Sequence[EvaluatedPool],
    settings: RefineSettings,
    progress: Progress,
) -> list[EvaluatedPool]:
    """Pools at falling prices, then at prices between the last one allowed and its neighbor.

    J has several minima: each pool starts from the best of what is known.
    """
    refiner = refiner_of(settings)
    found: list[EvaluatedPool] = []

    def add(price: float) -> EvaluatedPool:
        known = [*found, *uniform]
        start = min(known, key=lambda f: value_of(f.errors, both, price)).state.pool
        state = refine_pool(fit, check, refiner, start, price)
        new = EvaluatedPool(state, both.errors(state.pool.lengths()), both.reference)
        found.append(new)
        shown = ", ".join(f"{s:.2f}" for s in state.pool.scales)
        progress.message(
            f"price {price:.3g}: {shown} Å, error {100 * new.excess:+.1f} %, neighbors "
            f"{100 * new.errors.over(both.reference)[2]:.0f} % of the longest scale's"
        )
        return new

    for k in range(settings.penalties):
        add(settings.largest_penalty * 0.5**k)
    for k in range(RAISES if settings.microseconds is None else 0):
        dearest = min(found, key=lambda f: -f.state.price)
        at_end = dearest.state.pool.scales[-1] <= both.shortest + TOGETHER
        if at_end or not dearest.allowed(settings):
            break
        add(settings.largest_penalty * RAISED ** (k + 1))
    for _ in range(HALVINGS):
        found.sort(key=lambda f: -f.state.price)
        last = next((k for k, f in enumerate(found) if f.allowed(settings)), None)
        if settings.microseconds is not None:  # short scales are allowed, long ones are not
            flags = [f.allowed(settings) for f in found]
            last = flags.index(False) if False in flags else None
        if last is None or last == 0:
            break
        before, after = found[last - 1].state, found[last].state
        add(math.sqrt(before.price * after.price))
    found.sort(key=lambda f: -f.state.price)
    return found


def best_single(
    fit: Objective,
    check: Objective,
    both: Objective,
    refiner: LadderRefiner,
    price: float,
    starts: Sequence[float],
) -> float:
    """The one cutoff, Å, with the lowest J: the best of some starts, or where it moves from there.

    J has several minima: moved from one end of the ladder alone, a cutoff may stay there.
    """

    def cost(cutoff: float) -> float:
        return value(both, CutoffPool.single(cutoff, both.groups), price)

    start = min(starts, key=cost)
    moved = refiner.move(
        fit, check, CutoffPool.single(start, both.groups), price, 2 * refiner.steps
    )
    return min((start, moved.scales[0]), key=cost)


def choose(found: Sequence[EvaluatedPool], settings: RefineSettings) -> EvaluatedPool | None:
    """Of what is allowed the cheapest, or what errs least; of equals the first."""
    allowed = [f for f in found if f.allowed(settings)]
    if settings.microseconds is not None:
        return min(allowed, key=lambda f: f.excess, default=None)
    return min(allowed, key=lambda f: f.errors.neighbors.sum(), default=None)


def refiner_of(settings: RefineSettings) -> LadderRefiner:
    """The refiner with these settings."""
    return LadderRefiner(settings.steps, settings.batch_size, settings.most, settings.seed)
