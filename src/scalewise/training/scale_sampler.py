"""The scale of every training step: one training for a whole ladder of scales.

Most steps give all atoms one cutoff, and cost what that cutoff costs. Some give every atom a cutoff
of its own, so that atoms of unlike scale work together. The ends of the ladder are drawn on their
own account: a cutoff drawn between them hardly ever meets them. Short cutoffs are drawn more often
than long ones: the error falls steeply there, and their steps are cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from scalewise.models.adaptive_cutoff import Routed
from scalewise.models.density.settings import Network
from scalewise.models.graph import prune
from scalewise.models.scale import Scale
from scalewise.training.dataset import Sample
from scalewise.training.settings import Train


@dataclass(frozen=True)
class Drawn:
    """The scale of a step.

    Attributes
    ----------
    cutoff
        Å, of all atoms; the longest of them where they differ.
    spread
        Seed of cutoffs that differ from atom to atom.
    long
        Whether long range acts.
    routed
        Whether a router chooses the cutoffs.
    """

    cutoff: float
    spread: tuple[int, ...] | None
    long: bool
    routed: bool = False


def draw(settings: Train, step: int) -> Drawn:
    """Draw the scale of a step, the same in every process and every session."""
    network, rungs, seed = settings.network, settings.rungs, settings.seed
    kind, place, off, routed = np.random.default_rng((seed, 1, step)).random(4)
    long = network.charges and not (network.switched and off < rungs.without_long)
    low, high = network.shortest, network.cutoff
    if settings.route is not None and (routed < settings.route.share or settings.freeze):
        return Drawn(high, None, network.charges, routed=True)
    if kind < rungs.longest:
        return Drawn(high, None, long)
    if kind < rungs.longest + rungs.shortest:
        return Drawn(low, None, long)
    if kind < rungs.longest + rungs.shortest + rungs.mixed:
        return Drawn(high, (seed, 2, step), long)
    return Drawn(float(low * (high / low) ** place), None, long)


def at_scale(
    sample: Sample, drawn: Drawn, network: Network, rank: int = 0
) -> tuple[Sample, Scale | Routed]:
    """Prune a sample to a scale and return both; atoms of a mixed step have one cutoff each."""
    positions = sample.positions
    own = sample.forces.new_ones(len(positions))  # of the network's type
    share = own if drawn.long else None
    if drawn.routed:
        return sample, Routed(prune(sample.graph, positions, network.shortest), share)
    if drawn.spread is None:
        cutoff = torch.full_like(own, drawn.cutoff)
    else:
        rng = np.random.default_rng((*drawn.spread, rank))
        lengths = rng.uniform(network.shortest, network.cutoff, len(positions))
        cutoff = torch.as_tensor(lengths, dtype=own.dtype, device=own.device)
    graph = sample.graph
    if drawn.cutoff < graph.cutoff:
        graph = prune(graph, positions, drawn.cutoff)
    return replace(sample, graph=graph), Scale(cutoff, share)


def judged(settings: Train) -> dict[str, Drawn]:
    """The scales that a validation looks at, by the ends of their names in the log."""
    network = settings.network
    long = network.charges
    found = {"": Drawn(network.cutoff, None, long)}
    if network.ladder:
        found["_middle"] = Drawn(0.5 * (network.shortest + network.cutoff), None, long)
        off = network.switched and settings.rungs.without_long > 0
        found["_shortest"] = Drawn(network.shortest, None, long and not off)
    if settings.route is not None:
        found["_routed"] = Drawn(network.cutoff, None, long, routed=True)
    return found
