r"""Refinement of a pool of scales by the objective J on held-out frames: a pure state machine.

A pool starts as one scale for all atoms. Three kinds of steps are taken in turn:

* *move*: every scale follows the gradient of J with respect to its cutoff
  (:mod:`scalewise.analysis.refinement.objective`);
* *insert*: if J falls for some groups of a scale with a longer cutoff and for others with a shorter
  one, the scale is split in two, and both are moved; kept if J on other frames falls by more than
  its interval;
* *prune*: two neighboring scales are merged into one, which is moved; kept unless J on other frames
  rises by more than its interval.

The result is the smallest set of scales that the data can distinguish at this price.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float, Int

from scalewise.analysis.refinement.objective import BEYOND, TINY, ScaleErrors
from scalewise.analysis.refinement.pool import CutoffPool
from scalewise.statistics.bootstrap import FEWEST_GROUPS, group_weights, student

#: Å: first step of a move (halved before it is taken) and longest; and how a step grows.
FIRST, LONGEST, GROWS = 0.4, 0.4, 1.2
#: Å by which groups part that leave a scale.
APART: Final = 0.3
#: An element that is so close to what it may be worse speaks up where groups part: J has a kink
#: there, and its best pool lies on it.
SLACK: Final = 0.005


class Judged(Protocol):
    """Errors and cost of groups of atoms, such as an ``Objective`` has them."""

    block: Int[np.ndarray, " frames"]
    worst: float

    @property
    def shortest(self) -> float:
        """Å."""

    @property
    def longest(self) -> float:
        """Å."""

    @property
    def reference(self) -> ScaleErrors:
        """Errors and neighbors at the longest scale."""

    def errors(self, lengths: Float[np.ndarray, " groups"]) -> ScaleErrors:
        """Errors and neighbors of every frame."""

    def gradient(
        self,
        lengths: Float[np.ndarray, " groups"],
        which: list[int],
        start: ScaleErrors,
        beyond: Float[np.ndarray, " elements"],
    ) -> Float[np.ndarray, " groups"]:
        """Derivative of J without its price on some frames, 1/Å."""

    def neighbors(
        self, lengths: Float[np.ndarray, " groups"]
    ) -> tuple[float, Float[np.ndarray, " groups"]]:
        """Relative number of neighbors and its derivative, 1/Å."""


@dataclass(frozen=True)
class RefinementStep:
    """One line of a pool's history: what was tried, the pool, J on the check, whether it stayed."""

    action: str
    pool: CutoffPool
    value: float
    kept: bool


@dataclass(frozen=True)
class RefinementState:
    """A pool at a price, how it got there, and whether nothing is left to try."""

    pool: CutoffPool
    price: float
    history: tuple[RefinementStep, ...] = ()
    done: bool = False


@dataclass(frozen=True)
class LadderRefiner:
    """Move on ``fit``, decide on ``check``; the two share no group of frames.

    Parameters
    ----------
    steps, batch
        Of a move, and frames of each.
    most
        Largest pool.
    gain
        What a further scale must save of J at least.
    seed
        Of the batches and of the bootstrap.
    """

    steps: int = 16
    batch: int = 4
    most: int = 6
    gain: float = 0.002
    seed: int = 0

    def init(self, fit: Judged, check: Judged, pool: CutoffPool, price: float) -> RefinementState:
        """Move a pool to where this price wants it."""
        moved = self.move(fit, check, pool, price, 2 * self.steps)
        return RefinementState(
            moved, price, (RefinementStep("move", moved, value(check, moved, price), True),)
        )

    def step(self, fit: Judged, check: Judged, state: RefinementState) -> RefinementState:
        """Insert a scale or prune one, whichever pays; else the pool is done."""
        tried: list[RefinementStep] = []
        for action, pool in self._proposals(fit, check, state):
            moved = self.move(fit, check, pool, state.price, self.steps)
            small, large = (state.pool, moved) if action == "insert" else (moved, state.pool)
            pays = self._pays(check, large, small, state.price)
            kept = pays if action == "insert" else not pays
            tried.append(RefinementStep(action, moved, value(check, moved, state.price), kept))
            if kept:
                return replace(state, pool=moved, history=(*state.history, *tried))
        return replace(state, history=(*state.history, *tried), done=True)

    def _pays(self, check: Judged, large: CutoffPool, small: CutoffPool, price: float) -> bool:
        """Whether a larger pool is better, beyond its interval and by enough."""
        change = rise(check, large, small, price, self.seed)
        return change is not None and change[1] < 0 and sum(change) / 2 <= -self.gain

    def _proposals(
        self, fit: Judged, check: Judged, state: RefinementState
    ) -> list[tuple[str, CutoffPool]]:
        pool, found = state.pool, []
        known = [line.pool.members for line in state.history]
        gaps = np.diff(pool.scales)
        for k in np.argsort(gaps).tolist():
            one = pool.merged(k, 0.5 * (pool.scales[k] + pool.scales[k + 1]))
            if one.members not in known:
                found.append(("prune", one))
        if len(pool.scales) < self.most:
            parted = self._parted(fit, check, state)
            found += [("insert", new) for new in parted if new.members not in known]
        return found

    def _parted(self, fit: Judged, check: Judged, state: RefinementState) -> list[CutoffPool]:
        """Part the groups of each scale that disagree about where to go, most of all first."""
        pool, every = state.pool, list(range(len(fit.block)))
        lengths = pool.lengths()
        start, beyond = _beyond(fit, check, lengths)
        slope = fit.gradient(lengths, every, start, beyond + SLACK)
        slope = slope + state.price * fit.neighbors(lengths)[1]
        found = []
        for k, groups in enumerate(pool.members):
            up = [g for g in groups if slope[g] < 0]
            down = [g for g in groups if slope[g] > 0]
            if up and down:
                strength = min(abs(slope[up].sum()), abs(slope[down].sum()))
                low = max(pool.scales[k] - APART, fit.shortest)
                high = min(pool.scales[k] + APART, fit.longest)
                found.append((strength, k, pool.split(k, up, (low, high))))
        return [new for _, _, new in sorted(found, key=lambda item: -item[0])]

    def move(
        self, fit: Judged, check: Judged, pool: CutoffPool, price: float, steps: int
    ) -> CutoffPool:
        """Follow the sign of the gradient: a scale's step grows while it lasts, and halves else.

        Rprop, as in :mod:`scalewise.scales.update`: J has kinks, where a gradient keeps its size.
        """
        scales, length = np.array(pool.scales), np.full(len(pool.scales), FIRST)
        last = np.zeros(len(scales))
        start, beyond = _beyond(fit, check, pool.lengths())
        rng = np.random.default_rng(self.seed)
        size = min(self.batch, len(fit.block))
        rounds = -(-steps * size // len(fit.block))
        order = np.concatenate([rng.permutation(len(fit.block)) for _ in range(rounds)])
        for t in range(steps):
            lengths = _lengths(scales, pool)
            if t == steps // 2:
                start, beyond = _beyond(fit, check, lengths)
            which = order[t * size : (t + 1) * size].tolist()
            slope = fit.gradient(lengths, which, start, beyond)
            slope = slope + price * fit.neighbors(lengths)[1]
            sign = np.sign([slope[list(m)].sum() for m in pool.members])
            length = np.minimum(length * np.where(sign == last, GROWS, 0.5), LONGEST)
            scales = np.clip(scales - length * sign, fit.shortest, fit.longest)
            last = sign
        return pool.moved(scales.tolist())


def _lengths(
    scales: Float[np.ndarray, " scales"], pool: CutoffPool
) -> Float[np.ndarray, " groups"]:
    """Scales of the groups while they move: they may pass one another."""
    found = np.zeros(sum(len(m) for m in pool.members))
    for scale, groups in zip(scales, pool.members, strict=True):
        found[list(groups)] = scale
    return found


def _beyond(
    fit: Judged, check: Judged, lengths: Float[np.ndarray, " groups"]
) -> tuple[ScaleErrors, Float[np.ndarray, " elements"]]:
    """Errors of the fit, and how much worse each element is than it may be, on all frames."""
    start = fit.errors(lengths)
    longest = fit.reference.and_of(check.reference)
    return start, start.and_of(check.errors(lengths)).over(longest)[1] - 1.0 - fit.worst


def value(judged: Judged, pool: CutoffPool, price: float) -> float:
    """J of a pool on some frames."""
    return value_of(judged.errors(pool.lengths()), judged, price)


def value_of(found: ScaleErrors, judged: Judged, price: float) -> float:
    """J of what a pool does on some frames."""
    one = np.ones(len(found.neighbors))
    return float(_value(one, found, judged.reference, price, judged.worst))


def _value(
    weight: np.ndarray, found: ScaleErrors, longest: ScaleErrors, price: float, worst: float
) -> np.ndarray:
    """J with frames counted by a weight [..., frames]."""
    losses, bounds = weight @ found.losses, weight @ longest.losses
    cost = (weight @ found.neighbors) / (weight @ longest.neighbors)
    total = losses.sum(axis=-1) / bounds.sum(axis=-1) + price * cost
    over = np.where(bounds > 0, losses / np.maximum(bounds, TINY), 1.0)
    summed: np.ndarray = total + BEYOND * np.maximum(0.0, over - 1.0 - worst).sum(axis=-1)
    return summed


def rise(
    check: Judged, new: CutoffPool, old: CutoffPool, price: float, seed: int, resamples: int = 1000
) -> tuple[float, float] | None:
    """95 % interval of how far J rises from one pool to another; none below three groups.

    Groups of frames are resampled (:func:`scalewise.statistics.bootstrap.student`).
    """
    after, before, longest = (
        check.errors(new.lengths()),
        check.errors(old.lengths()),
        check.reference,
    )
    group = np.unique(check.block, return_inverse=True)[1]
    n = int(group.max()) + 1
    if n < FEWEST_GROUPS:
        return None
    drawn = group_weights(n, seed, resamples)
    weight = np.concatenate([np.ones((1, n)), drawn])[:, group]
    ends = [_value(weight, e, longest, price, check.worst) for e in (after, before)]
    difference = ends[0] - ends[1]
    found = student(float(difference[0]), difference[1:], n)
    return found.low, found.high


def refine_pool(
    fit: Judged, check: Judged, refiner: LadderRefiner, pool: CutoffPool, price: float
) -> RefinementState:
    """Run a refiner to its end at one price."""
    state = refiner.init(fit, check, pool, price)
    while not state.done:
        state = refiner.step(fit, check, state)
    return state
