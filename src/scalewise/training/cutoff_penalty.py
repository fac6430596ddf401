r"""The price of neighbors in the training of an adaptive cutoff, adjusted to a tolerance.

An adaptive cutoff is trained on

.. math:: L + p\, \bar L\, \frac{\sum_i n_i(r_i)}{\sum_i n_i(r_\mathrm{long})}, \qquad
   n_i(r) = \sum_j \min\Bigl(1, \max\Bigl(0, \frac{r - r_{ij}}{w} + \frac12\Bigr)\Bigr)

with the loss :math:`\bar L` of the longest scale on the same frames. The price p is therefore what
all neighbors of the longest scale cost, relative to the loss. The number :math:`n_i` of neighbors
is counted for each atom, smoothed over w = 0.5 Å: one and the same cutoff is cheap at a surface and
expensive in a dense region. Unless the price is given, it follows the running average of the excess
:math:`L / \bar L - 1` after each such step: it rises while the excess is below the tolerance, and
falls while it is above.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from scalewise.models.graph import Graph
from scalewise.training.state import TrainingProgress

#: Å over which a neighbor is counted in part: a shell is felt before it is there.
BLUR: Final = 0.5
#: Price above which none rises: where the shortest scale costs less than it may, it would for ever.
DEAREST: Final = 100.0
#: Share of a step in the running excess: frames differ in it by some per cent.
MEMORY: Final = 0.02
#: Largest relative change of the price in a step: ten times in about a hundred.
RATE: Final = 0.025
#: Excess, in parts of the loss, that counts as far from the tolerance.
FAR: Final = 0.01


def neighbors_cost(graph: Graph, positions: Tensor, cutoffs: Tensor) -> Tensor:
    """Neighbors within cutoffs (Å) [atoms], in parts of all that the graph lists, scalar."""
    vector = graph.vectors(positions.detach(), graph.cell)
    distance = torch.sqrt((vector * vector).sum(dim=-1))

    def count(reach: Tensor) -> Tensor:
        return torch.clamp((reach - distance) / BLUR + 0.5, min=0.0, max=1.0).sum()

    most = count(torch.full_like(distance[:, :1], graph.cutoff))
    return count(cutoffs[:, None]) / torch.clamp(most, min=1.0)


def update_multiplier(
    progress: TrainingProgress, routed: float, longest: float, tolerance: float
) -> None:
    """Move excess and price after a step with these losses."""
    if longest <= 0:
        return
    progress.excess += MEMORY * (routed / longest - 1.0 - progress.excess)
    far = min(max((tolerance - progress.excess) / FAR, -1.0), 1.0)
    progress.multiplier = min(progress.multiplier * math.exp(RATE * far), DEAREST)
