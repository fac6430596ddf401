"""Draw the scale of every training step, to train one potential for a whole ladder of scales.

In most steps all atoms have one cutoff, so that the step takes the time of this cutoff. In some
steps every atom has a random cutoff of its own, to train for structures whose atoms have different
cutoffs. The ends of the ladder are drawn with probabilities of their own, since random cutoffs
between them are hardly ever equal to them. Short cutoffs are drawn more often than long ones: the
error falls steeply there, and their steps are cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from scalewise.models.adaptive_cutoff import AdaptiveScale
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.graph_operations import trim_edges
from scalewise.models.scale import ResolvedScale
from scalewise.training.dataset import Batch
from scalewise.training.settings import TrainSettings


@dataclass(frozen=True)
class ScaleDraw:
    """The scale of a step.

    Attributes
    ----------
    cutoff
        Å, of all atoms; the longest of them where they differ.
    per_atom_seed
        Seed of cutoffs that differ from atom to atom.
    long_range
        Whether long range acts.
    adaptive
        Whether an adaptive cutoff chooses the cutoffs.
    """

    cutoff: float
    per_atom_seed: tuple[int, ...] | None
    long_range: bool
    adaptive: bool = False


def draw_scale(settings: TrainSettings, step: int) -> ScaleDraw:
    """Draw the scale of a step, the same in every process and every session."""
    network, rungs, seed = settings.network, settings.scale_sampling, settings.seed
    if network.fork is not None:
        cutoff, long = network.own_scale
        return ScaleDraw(cutoff, None, long)
    kind, place, off, routed = np.random.default_rng((seed, 1, step)).random(4)
    long = network.charges and not (network.long_range_optional and off < rungs.without_long)
    low, high = network.shortest_cutoff, network.cutoff
    if settings.adaptive_cutoff is not None and (
        routed < settings.adaptive_cutoff.share or settings.freeze
    ):
        return ScaleDraw(high, None, network.charges, adaptive=True)
    if kind < rungs.longest:
        return ScaleDraw(high, None, long)
    if kind < rungs.longest + rungs.shortest:
        return ScaleDraw(low, None, long)
    if kind < rungs.longest + rungs.shortest + rungs.mixed:
        return ScaleDraw(high, (seed, 2, step), long)
    return ScaleDraw(float(low * (high / low) ** place), None, long)


def at_scale(
    sample: Batch, drawn: ScaleDraw, network: NetworkSettings, rank: int = 0
) -> tuple[Batch, ResolvedScale | AdaptiveScale]:
    """Prune a sample to a scale and return both; atoms of a mixed step have one cutoff each."""
    positions = sample.positions
    own = sample.forces.new_ones(len(positions))  # of the network's type
    share = own if drawn.long_range else None
    if drawn.adaptive:
        return sample, AdaptiveScale(
            trim_edges(sample.graph, positions, network.shortest_cutoff), share
        )
    if drawn.per_atom_seed is None:
        cutoff = torch.full_like(own, drawn.cutoff)
    else:
        rng = np.random.default_rng((*drawn.per_atom_seed, rank))
        lengths = rng.uniform(network.shortest_cutoff, network.cutoff, len(positions))
        cutoff = torch.as_tensor(lengths, dtype=own.dtype, device=own.device)
    graph = sample.graph
    if drawn.cutoff < graph.cutoff:
        graph = trim_edges(graph, positions, drawn.cutoff)
    return replace(sample, graph=graph), ResolvedScale(cutoff, share)


def validation_scales(settings: TrainSettings) -> dict[str, ScaleDraw]:
    """The scales that a validation looks at, by the ends of their names in the log."""
    network = settings.network
    cutoff, long = network.own_scale
    found = {"": ScaleDraw(cutoff, None, long)}
    if network.ladder and network.fork is None:
        found["_middle"] = ScaleDraw(0.5 * (network.shortest_cutoff + network.cutoff), None, long)
        off = network.long_range_optional and settings.scale_sampling.without_long > 0
        found["_shortest"] = ScaleDraw(network.shortest_cutoff, None, long and not off)
    if settings.adaptive_cutoff is not None:
        found["_adaptive"] = ScaleDraw(network.cutoff, None, long, adaptive=True)
    return found
