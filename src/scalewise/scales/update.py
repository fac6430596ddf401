r"""Differentiable scale updates: scales as parameters, moved by the gradient of the loss.

The loss of a unit is a function of its scale :math:`s` through the blend, so that
:math:`\partial L / \partial s` takes one backward pass. The absolute loss has a kink at its
optimum, where the gradient keeps its size and changes its sign: with a fixed step the scale
oscillates, and with a decaying step it stops early. Rprop [1]_ uses only the sign of the gradient
and halves its step at each change of sign, like a bisection, so that it converges to the kink.
Scales are kept in [0, 1] by projection.

References
----------
.. [1] M. Riedmiller, H. Braun, IEEE Int. Conf. Neural Networks (1993) 586.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import HardOracle

#: Halving from the first step to the last one needs 2 x log2(0.05 / 1e-10) = 58 updates at most.
FIRST_STEP, LAST_STEP = 0.05, 1e-10
#: The pool is moved on at most this many units, drawn at random; its loss is that of all.
MOST_UNITS = 10_000


@dataclass(frozen=True, eq=False)
class ScaleUpdate:
    """Scales after the updates, their mean loss, and the loss on the way."""

    scales: Float[np.ndarray, " scales"]
    loss: float
    history: tuple[float, ...]


def update_scales(
    residuals: Residuals, key: Int[np.ndarray, " units"] | None = None, steps: int = 150
) -> ScaleUpdate:
    r"""Move one scale per group of units by the gradient of the mean loss.

    Minimises :math:`\sum_g \sum_{u \in g} L_u(s_g)`; with ``key=None`` there is one global scale.
    Each group starts at its best anchor. With two anchors the loss is convex in every
    :math:`s_g` and the result is the closed-form optimum of
    :class:`~scalewise.scales.oracle.ContinuousOracle` on the grouped residuals.
    """
    groups = np.zeros(residuals.n_units, dtype=np.int64) if key is None else key
    merged = residuals.group(groups)
    start = HardOracle().choose(merged).scale
    values, anchors = _tensors(merged)

    def objective(scales: torch.Tensor) -> torch.Tensor:
        return (
            loss_tensors(blend_tensors(values, anchors, scales), merged.loss).sum()
            / merged.n_components
        )

    moved, history = _descend(objective, start, steps)
    return ScaleUpdate(moved, residuals.mean(merged.unit_losses(moved)), history)


def update_pool(
    residuals: Residuals, scales: Sequence[float], anneal: int = 60, polish: int = 80
) -> ScaleUpdate:
    r"""Move the nodes of a pool from which every unit takes its best, by soft assignment.

    Minimises the free energy :math:`-T \sum_u \log \sum_k \exp(-L_u(s_k) / T)`, whose gradient is
    the softly assigned :math:`\sum_k \pi_{uk} \partial L_u / \partial s_k`. The temperature falls
    from the spread of the losses to a thousandth of it, then assignments are hard. The result is
    never worse than the start on the units used.
    """
    sample = _thinned(residuals)
    values, anchors = _tensors(sample)
    start = np.array(sorted(scales), dtype=float)
    losses = sample.pool_losses(start.tolist())
    spread = max(float(np.ptp(losses, axis=0).mean()), 1e-300)

    def unit_losses(nodes: torch.Tensor) -> torch.Tensor:
        every = [blend_tensors(values, anchors, node.expand(values.shape[1])) for node in nodes]
        return torch.stack([loss_tensors(e, sample.loss).sum(-1) for e in every])

    def objective(nodes: torch.Tensor, step: int) -> torch.Tensor:
        if step >= anneal:
            with torch.no_grad():  # which node is best has no gradient, where it lies has
                taken = unit_losses(nodes).argmin(dim=0)
            chosen = blend_tensors(values, anchors, nodes[taken])
            return loss_tensors(chosen, sample.loss).sum() / sample.n_components
        table = unit_losses(nodes)
        temperature = spread * 10.0 ** (-3.0 * step / anneal)
        soft = -temperature * torch.logsumexp(-table / temperature, dim=0)
        return soft.sum() / sample.n_components

    gaps = np.diff(start)
    first = min(FIRST_STEP, 0.25 * float(gaps[gaps > 0].min(initial=1.0)))
    moved, history = _descend_annealed(objective, start, anneal, polish, first)
    moved = np.sort(moved)
    if sample.pool_losses(moved.tolist()).min(axis=0).sum() > losses.min(axis=0).sum():
        moved = start
    total = residuals.pool_losses(moved.tolist()).min(axis=0)
    return ScaleUpdate(moved, residuals.mean(total), history)


def _descend(
    objective: Callable[[torch.Tensor], torch.Tensor],
    start: Float[np.ndarray, " scales"],
    steps: int,
) -> tuple[Float[np.ndarray, " scales"], tuple[float, ...]]:
    return _descend_annealed(lambda s, _: objective(s), start, 0, steps, FIRST_STEP)


def _descend_annealed(
    objective: Callable[[torch.Tensor, int], torch.Tensor],
    start: Float[np.ndarray, " scales"],
    anneal: int,
    polish: int,
    first_step: float,
) -> tuple[Float[np.ndarray, " scales"], tuple[float, ...]]:
    """Run Rprop; its steps are reset when the annealing ends, for the last descent is exact."""
    scales = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    history: list[float] = []
    for steps, offset in ((anneal, 0), (polish, anneal)):
        optimiser = torch.optim.Rprop([scales], lr=first_step, step_sizes=(LAST_STEP, 0.25))
        for step in range(steps):
            optimiser.zero_grad()
            value = objective(scales, step + offset)
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            with torch.no_grad():
                scales.clamp_(0.0, 1.0)
            history.append(float(value.detach()))
    return scales.detach().numpy().copy(), tuple(history)


def blend_tensors(
    values: torch.Tensor, anchors: torch.Tensor, scales: torch.Tensor
) -> torch.Tensor:
    """Blend as :func:`scalewise.scales.blend.blend`, differentiably, one scale a unit."""
    lower = torch.searchsorted(anchors, scales.detach().contiguous(), right=True) - 1
    lower = lower.clamp(0, len(anchors) - 2)
    t = ((scales - anchors[lower]) / (anchors[lower + 1] - anchors[lower]))[:, None]
    unit = torch.arange(values.shape[1])
    return (1.0 - t) * values[lower, unit] + t * values[lower + 1, unit]


def loss_tensors(residual: torch.Tensor, name: str) -> torch.Tensor:
    """Absolute value or square of every component."""
    return residual.abs() if name == "l1" else residual.square()


def _tensors(residuals: Residuals) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(residuals.values), torch.from_numpy(residuals.anchors)


def _thinned(residuals: Residuals) -> Residuals:
    if residuals.n_units <= MOST_UNITS:
        return residuals
    mask = np.zeros(residuals.n_units, dtype=bool)
    mask[np.random.default_rng(0).permutation(residuals.n_units)[:MOST_UNITS]] = True
    return residuals.subset(mask)
