"""The optimiser and the learning rate of each weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import torch
from torch import Tensor

from scalewise.training.muon import Muon
from scalewise.training.settings import TrainSettings

#: Rate of what a network makes of its scale, over that of other weights: each step draws
#: another scale, and its signs with it: at the full rate these weights would walk at random.
CONDITIONING: Final = 0.02
#: That of an adaptive cutoff's constants, which are single numbers with a way to go: at the rate of
#: others, 220 steps moved a cutoff by 0.4 Å, whatever the multiplier.
CONSTANT: Final = 5.0
BETAS: Final = (0.9, 0.99)


def make_optimizers(
    weights: Mapping[str, Tensor], matrices: Collection[str], settings: TrainSettings
) -> list[torch.optim.Optimizer]:
    """Muon for matrices, unless they are frozen, and Adam for all other weights.

    Parameters
    ----------
    weights
        By name; those that need no gradient are left out.
    matrices
        Names of weights that mix channels.
    settings
        Rates and decay.
    """
    rest = [n for n, w in weights.items() if n not in matrices and w.requires_grad]
    shares = sorted({_share(n) for n in rest}, reverse=True)
    groups = [
        {"params": [weights[n] for n in rest if _share(n) == share], "share": share}
        for share in shares
    ]
    adam = torch.optim.Adam(groups, lr=settings.adam_rate, betas=BETAS, fused=True)
    if settings.freeze:
        return [adam]
    mixing = [weights[name] for name in matrices]
    return [Muon(mixing, lr=settings.learning_rate, weight_decay=settings.weight_decay), adam]


def _share(name: str) -> float:
    """Rate of a weight over that of most."""
    if name in ("adaptive_cutoff.offset", "adaptive_cutoff.change"):
        return CONSTANT
    return CONDITIONING if name.rpartition("network.")[2].startswith("conditioning_") else 1.0
