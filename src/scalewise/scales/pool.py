r"""Scale-pool refinement: a pure state machine that grows, moves and prunes a set of scales.

Two refiners have the same interface: ``init``, then ``step`` until ``state.result`` says why the
refinement stopped.

:class:`DyadicRefiner`
    The rule of arXiv 2606.09480 in our reading: keep the anchors, and halve the interval in which
    this lowers the loss most. The pool never shrinks, since an oracle gains from any further scale.
:class:`HeldOutRefiner`
    Scales of the pool are chosen by a :class:`Guide`, *without* the labels that score the choice.
    An inserted scale is kept if it lowers the loss on held-out blocks by more than its interval.
    Scales whose removal does not raise the loss on held-out blocks are pruned. If there is nothing
    to route, one scale is left.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Int

from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import ContinuousOracle, PoolOracle, best_single
from scalewise.scales.update import ScaleUpdate, update_pool
from scalewise.statistics.bootstrap import ratio_interval


class Result(StrEnum):
    """Why a refiner stopped, or that it has not."""

    RUNNING = "running"
    RECOVERED = "recovered the share of the continuous gain that was asked for"
    FULL = "reached the largest pool allowed"
    NOTHING_GAINS = "no change gains more than its interval"


@dataclass(frozen=True)
class Round:
    """One line of a pool's history."""

    action: str
    scales: tuple[float, ...]
    loss: float
    recovered: float | None = None


@dataclass(frozen=True)
class PoolState:
    """The pool, how it got there, and whether it is done."""

    scales: tuple[float, ...]
    history: tuple[Round, ...]
    result: Result = Result.RUNNING


# --------------------------------------------------------------------------- the paper's rule


@dataclass(frozen=True)
class DyadicRefiner:
    """Halve the interval that the loss asks for, until enough of the gain is recovered."""

    recovery: float = 0.995
    max_scales: int = 9

    def init(self, residuals: Residuals) -> PoolState:
        """Start at the anchors."""
        anchors = tuple(residuals.anchors.tolist())
        return PoolState(anchors, (_dyadic_round("anchors", anchors, residuals),))

    def step(self, residuals: Residuals, state: PoolState) -> PoolState:
        """Insert one scale, or say why not."""
        done = state.history[-1].recovered
        if done is None:
            return replace(state, result=Result.NOTHING_GAINS)
        if done >= self.recovery:
            return replace(state, result=Result.RECOVERED)
        if len(state.scales) >= self.max_scales:
            return replace(state, result=Result.FULL)
        chosen = self._asked_for(residuals, state.scales)
        scales = tuple(sorted((*state.scales, chosen)))
        line = _dyadic_round(f"insert {chosen:g}", scales, residuals)
        return PoolState(scales, (*state.history, line))

    def _asked_for(self, residuals: Residuals, scales: tuple[float, ...]) -> float:
        """Midpoint of the interval in which the units' exact optima would save most loss."""
        pool = PoolOracle(scales).choose(residuals).loss
        exact = ContinuousOracle(scales).choose(residuals)
        inside = np.clip(np.searchsorted(scales, exact.scale) - 1, 0, len(scales) - 2)
        saved = np.bincount(inside, weights=pool - exact.loss, minlength=len(scales) - 1)
        k = int(saved.argmax())
        return 0.5 * (scales[k] + scales[k + 1])


def _dyadic_round(action: str, scales: tuple[float, ...], residuals: Residuals) -> Round:
    single = residuals.mean(best_single(residuals)[1])
    pool = residuals.mean(PoolOracle(scales).choose(residuals).loss)
    continuous = residuals.mean(ContinuousOracle(scales).choose(residuals).loss)
    return Round(action, scales, pool, recovered(single, pool, continuous))


def recovered(single: float, pool: float, continuous: float) -> float | None:
    """Share of the continuous gain over the best single scale that a pool has; None without any."""
    return (single - pool) / (single - continuous) if single > continuous else None


def refine_dyadic(residuals: Residuals, refiner: DyadicRefiner) -> PoolState:
    """Run a dyadic refiner to its end."""
    state = refiner.init(residuals)
    while state.result is Result.RUNNING:
        state = refiner.step(residuals, state)
    return state


def smallest_moved_pool(
    residuals: Residuals, recovery: float, max_scales: int
) -> tuple[PoolState, float | None]:
    """Find the fewest scales that recover the share when their nodes may move freely."""
    single = residuals.mean(best_single(residuals)[1])
    continuous = residuals.mean(ContinuousOracle().choose(residuals).loss)
    history: list[Round] = []
    scales: tuple[float, ...] = (float(residuals.anchors[0]),)
    for size in range(2, max_scales + 1):
        moved = grow_and_move(residuals, scales)
        share = recovered(single, moved.loss, continuous)
        scales = tuple(moved.scales.tolist())
        history.append(Round(f"move {size} nodes", scales, moved.loss, share))
        if share is None or share >= recovery:
            break
    last = history[-1]
    result = Result.RECOVERED if (last.recovered or 0.0) >= recovery else Result.FULL
    return PoolState(last.scales, tuple(history), result), last.recovered


def grow_and_move(residuals: Residuals, scales: Sequence[float]) -> ScaleUpdate:
    """Add one node to a pool and move all of them; the best of three starts.

    Even nodes with annealing find optima that are spread out, quantiles of the units' exact optima
    those that crowd in one place, and the old nodes with the best of 127 places for the new one
    never lose what the smaller pool had.
    """
    size = len(scales) + 1
    exact = ContinuousOracle().choose(residuals).scale
    quantiles = np.quantile(exact, (np.arange(size) + 0.5) / size)
    best = residuals.pool_losses(scales).min(axis=0)
    places = np.unique(
        np.concatenate([np.linspace(0, 1, 65), np.quantile(exact, np.linspace(0, 1, 62))])
    )
    gains = [np.minimum(best, residuals.unit_losses(float(p))).sum() for p in places]
    grown = (*scales, float(places[int(np.argmin(gains))]))
    return min(
        update_pool(residuals, np.linspace(0.0, 1.0, size).tolist()),
        update_pool(residuals, quantiles.tolist(), anneal=0),
        update_pool(residuals, grown, anneal=0),
        key=lambda moved: moved.loss,
    )


# --------------------------------------------------------------------------- held-out refinement


class Guide(ABC):
    """Picks a scale of a pool for every unit."""

    @abstractmethod
    def assign(self, scales: Sequence[float]) -> Int[np.ndarray, " units"]:
        """Return the index of the scale that each unit takes."""


@dataclass(frozen=True, eq=False)
class ReplicateGuide(Guide):
    """Takes the scale that is best on another replicate of the labels."""

    other: Residuals

    def assign(self, scales: Sequence[float]) -> Int[np.ndarray, " units"]:
        """Return the argmin over the pool on the other replicate."""
        return self.other.pool_losses(scales).argmin(axis=0)


@dataclass(frozen=True, eq=False)
class PreferenceGuide(Guide):
    """Takes the scale nearest to the one that a selector prefers."""

    preferred: Float[np.ndarray, " units"]

    def assign(self, scales: Sequence[float]) -> Int[np.ndarray, " units"]:
        """Return the nearest scale of the pool."""
        distance = np.abs(self.preferred[None, :] - np.asarray(scales)[:, None])
        return distance.argmin(axis=0)


@dataclass(frozen=True, eq=False)
class Guided:
    """Residuals to be scored, and the guide that takes scales for the same units."""

    residuals: Residuals
    guide: Guide

    def losses(self, scales: Sequence[float]) -> Float[np.ndarray, " units"]:
        """Loss of every unit at the scale its guide takes."""
        chosen = np.asarray(scales, dtype=float)[self.guide.assign(scales)]
        return self.residuals.unit_losses(chosen)

    def mean(self, scales: Sequence[float]) -> float:
        """Mean loss per component at the guide's choice."""
        return self.residuals.mean(self.losses(scales))


@dataclass(frozen=True)
class HeldOutRefiner:
    """Propose on ``fit``, decide on ``check``; the two share no block.

    Parameters
    ----------
    max_scales
        Largest pool.
    alpha
        Level of the one-sided test that an insertion must pass and a node must keep passing.
    seed
        Of the block bootstrap.
    """

    max_scales: int = 9
    alpha: float = 0.025
    seed: int = 0

    def init(self, fit: Guided, check: Guided) -> PoolState:
        """Start at the anchors."""
        scales = tuple(fit.residuals.anchors.tolist())
        return PoolState(scales, (Round("anchors", scales, check.mean(scales)),))

    def step(self, fit: Guided, check: Guided, state: PoolState) -> PoolState:
        """Prune one node if none misses it, else insert one if it pays, else stop."""
        if len(state.history) > 4 * self.max_scales:  # nodes that differ in the last digit only
            return replace(state, result=Result.NOTHING_GAINS)
        moved = move_nodes(fit, state.scales)
        pruned = self._prune(fit, check, moved)
        if pruned is not None:
            return _next(state, "prune and move", pruned, check)
        if len(moved) >= self.max_scales:
            return replace(_next(state, "move", moved, check), result=Result.FULL)
        grown = self._insert(fit, check, moved)
        if grown is not None and grown not in [line.scales for line in state.history]:
            return _next(state, "insert and move", grown, check)
        return replace(_next(state, "stop", moved, check), result=Result.NOTHING_GAINS)

    def _prune(
        self, fit: Guided, check: Guided, scales: tuple[float, ...]
    ) -> tuple[float, ...] | None:
        if len(scales) == 1:
            return None
        without = [scales[:k] + scales[k + 1 :] for k in range(len(scales))]
        least = min(without, key=fit.mean)
        smaller = move_nodes(fit, least)
        return None if self._beats(check, scales, smaller) else smaller

    def _insert(
        self, fit: Guided, check: Guided, scales: tuple[float, ...]
    ) -> tuple[float, ...] | None:
        edges = sorted({0.0, *scales, 1.0})
        middles = [0.5 * (a + b) for a, b in itertools.pairwise(edges)]
        grown = [move_nodes(fit, tuple(sorted({*scales, m}))) for m in middles]
        best = min(grown, key=fit.mean)
        return best if self._beats(check, best, scales) else None

    def _beats(self, check: Guided, new: Sequence[float], old: Sequence[float]) -> bool:
        interval = ratio_interval(
            check.losses(new), check.losses(old), check.residuals.block, seed=self.seed
        )
        return interval is not None and interval.estimate < 1 and interval.p <= self.alpha


def _next(state: PoolState, action: str, scales: tuple[float, ...], check: Guided) -> PoolState:
    return PoolState(scales, (*state.history, Round(action, scales, check.mean(scales))))


def move_nodes(fit: Guided, scales: Sequence[float], rounds: int = 50) -> tuple[float, ...]:
    """Alternate the guide's assignment and the exact optimum of every node; drop unused nodes.

    The k-medians iteration with a guide in place of the nearest centre. A round that does not
    lower the loss ends it, for a guide other than the labels gives no guarantee of descent.
    """
    current = tuple(sorted(set(scales)))
    loss = np.inf
    for _ in range(rounds):
        assigned = fit.guide.assign(current)
        used = np.unique(assigned)
        nodes = ContinuousOracle().choose(fit.residuals.group(assigned)).scale
        proposal = tuple(sorted(set(nodes.tolist())))
        value = fit.mean(proposal)
        if value >= loss and len(used) == len(current):
            break
        current, loss = proposal, value
    return current


def refine_held_out(fit: Guided, check: Guided, refiner: HeldOutRefiner) -> PoolState:
    """Run a held-out refiner to its end."""
    state = refiner.init(fit, check)
    while state.result is Result.RUNNING:
        state = refiner.step(fit, check, state)
    return state
