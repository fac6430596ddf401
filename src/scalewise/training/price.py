r"""The price of neighbours, found such that a router costs as much accuracy as it may.

A router is trained on

.. math:: L + p\, \bar L \Bigl\langle (r_i / r_\mathrm{long})^3 \Bigr\rangle

with the loss :math:`\bar L` of the longest scale on the same frames, so that the price p is a
relative loss for all neighbours of that scale. After each such step the price follows the running
excess :math:`L / \bar L - 1`: it rises while the excess is below the tolerance, and falls above.
"""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor

from scalewise.training.state import Progress

#: Share of a step in the running excess: frames differ in it by some per cent.
MEMORY: Final = 0.02
#: Largest relative change of the price in a step: ten times in about a hundred.
RATE: Final = 0.025
#: Excess, in parts of the loss, that counts as far from the tolerance.
FAR: Final = 0.01


def neighbours_cost(cutoffs: Tensor, longest: float) -> Tensor:
    """Mean neighbours at cutoffs (Å) [atoms], in parts of those at the longest, scalar."""
    share = cutoffs / longest
    return (share * share * share).mean()


def follow(progress: Progress, routed: float, longest: float, tolerance: float) -> None:
    """Move excess and price after a step with these losses."""
    if longest <= 0:
        return
    progress.excess += MEMORY * (routed / longest - 1.0 - progress.excess)
    far = min(max((tolerance - progress.excess) / FAR, -1.0), 1.0)
    progress.price *= math.exp(RATE * far)
