r"""The objective of refinement: errors and cost of a frozen network with a pool of scales.

.. math:: J = \frac{L}{L_\mathrm{long}} + p\, \frac{n}{n_\mathrm{long}}
   + \omega \sum_e \max\Bigl(0, \frac{L_e}{L_{e,\mathrm{long}}} - 1 - w\Bigr)

Here L is the sum of absolute errors of the forces, :math:`L_e` that of element e and n the mean
number of neighbors, each divided by its value at the longest scale; p is the price of neighbors and
w the largest relative increase of the error that one element may have. :math:`\omega = 4` makes an
increase beyond w outweigh the gains of all other elements. Without the last term rare elements
would not count: ions are a hundredth of a solution. The gradient of J with respect to the cutoff of
every group is computed through the network, by differentiating the forces.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scalewise.data.structure import Structure
from scalewise.models.adaptive_cutoff import AdaptiveCutoff, AdaptiveNetwork, AdaptiveScale
from scalewise.models.density.settings import AdaptiveCutoffSettings
from scalewise.models.gradients import Evaluator
from scalewise.models.graph import Graph
from scalewise.models.graph_operations import trim_edges
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange

#: Weight of what an element is worse than it may be.
BEYOND: Final = 4.0
#: Å between the points of the table of neighbors.
GRID: Final = 0.05
#: eV/Å; of an element that no frame has.
TINY: Final = 1e-30
#: Ends of the ladder that an adaptive cutoff can give, as shares of it: the logit has none at the
#: very ends.
ENDS: Final = (1e-4, 1.0 - 1e-4)


@dataclass(frozen=True, eq=False)
class ScaleErrors:
    """Of some frames.

    Attributes
    ----------
    losses
        Sum of absolute errors of the forces on each element, eV/Å [frames, elements].
    neighbors
        Their number [frames].
    microseconds
        Per atom, of energy, forces and stress with a list that exists; median over frames.
    """

    losses: Float[np.ndarray, "frames elements"]
    neighbors: Float[np.ndarray, " frames"]
    microseconds: float = 0.0

    def over(self, longest: ScaleErrors) -> tuple[float, Float[np.ndarray, " elements"], float]:
        """Error of all atoms, of each element, and neighbors, over those of the longest scale."""
        own, other = self.losses.sum(axis=0), longest.losses.sum(axis=0)
        each = np.where(other > 0, own / np.maximum(other, TINY), 1.0)
        neighbors = self.neighbors.sum() / longest.neighbors.sum()
        return float(own.sum() / other.sum()), each, float(neighbors)

    def and_of(self, other: ScaleErrors) -> ScaleErrors:
        """Of these frames and of others."""
        return ScaleErrors(
            np.concatenate([self.losses, other.losses]),
            np.concatenate([self.neighbors, other.neighbors]),
        )


@dataclass(frozen=True, eq=False)
class _Held:
    graph: Graph
    near: Graph
    positions: Tensor
    forces: Tensor
    distance: Tensor


class Objective:
    """Errors and neighbors of one frozen network on some frames, at a cutoff for each group.

    Parameters
    ----------
    potential
        Trained over a ladder. An adaptive cutoff that it has is not looked at.
    settings
        By element or by regime: what tells groups apart.
    frames, block
        Labelled frames and the group of frames that each is resampled with.
    worst
        Share by which an element may be worse than at the longest scale.
    """

    def __init__(
        self,
        potential: Potential,
        settings: AdaptiveCutoffSettings,
        frames: Sequence[Structure],
        block: Int[np.ndarray, " frames"],
        worst: float,
    ) -> None:
        adaptive = AdaptiveCutoff.of(potential.network, settings)
        self.block, self.worst = block, worst
        self.settings = settings
        self.potential = replace(potential, adaptive_cutoff=adaptive)
        self._evaluate = Evaluator(AdaptiveNetwork(potential.network, adaptive))
        self._held = [self._hold(f) for f in frames]
        self.atoms = np.array([len(h.positions) for h in self._held])

    def _hold(self, frame: Structure) -> _Held:
        p = self.potential
        graph = p.graph(frame)
        positions = torch.as_tensor(frame.positions, device=p.device, dtype=torch.float64)
        forces = torch.as_tensor(frame.labelled_forces, device=p.device, dtype=p.dtype)
        vector = graph.vectors(positions, graph.cell)
        near = trim_edges(graph, positions, self.shortest)
        return _Held(graph, near, positions, forces, torch.sqrt((vector * vector).sum(dim=-1)))

    def only(self, member: Bool[np.ndarray, " frames"]) -> Objective:
        """The same on some of the frames."""
        found = copy.copy(self)
        found.__dict__.pop("reference", None)
        found.__dict__.pop("_table", None)
        found._held = [h for h, kept in zip(self._held, member, strict=True) if kept]
        found.block, found.atoms = self.block[member], self.atoms[member]
        return found

    @property
    def shortest(self) -> float:
        """The ladder's shortest cutoff, Å."""
        return self.potential.cutoff_range[0]

    @property
    def longest(self) -> float:
        """The ladder's longest cutoff, Å."""
        return self.potential.cutoff

    @property
    def groups(self) -> int:
        """How many kinds of atoms have a cutoff of their own."""
        kinds = 1 if self.settings.by == "element" else 2
        return kinds * len(self.potential.network.elements)

    def routed(self, lengths: Float[np.ndarray, " groups"]) -> Potential:
        """The potential with an adaptive cutoff that gives these cutoffs, Å."""
        adaptive = AdaptiveCutoff.of(self.potential.network, self.settings)
        with torch.no_grad():
            for name, value in self._weights(self._shares(lengths)).items():
                adaptive.get_parameter(name).copy_(value)
        return replace(self.potential, adaptive_cutoff=adaptive)

    def _shares(self, lengths: Float[np.ndarray, " groups"]) -> Tensor:
        x = (np.asarray(lengths) - self.shortest) / (self.longest - self.shortest)
        p = self.potential
        return torch.as_tensor(np.clip(x, *ENDS), device=p.device, dtype=p.dtype)

    def _weights(self, shares: Tensor) -> dict[str, Tensor]:
        logit = torch.log(shares) - torch.log1p(-shares)
        if self.settings.by == "element":
            return {"offset": logit}
        far, near = logit.reshape(-1, 2).unbind(dim=1)
        return {"offset": far, "change": near - far}

    def errors(self, lengths: Float[np.ndarray, " groups"]) -> ScaleErrors:
        """What the network does at a cutoff for each group."""
        potential = self.routed(lengths)
        losses = np.zeros((len(self._held), len(potential.network.elements)))
        neighbors, seconds = np.zeros((2, len(self._held)))
        for k, held in enumerate(self._held):
            positions = held.positions.cpu().numpy()
            start = time.perf_counter()
            found = potential.evaluate_graph(held.graph, positions)
            error = (found.forces - held.forces).abs().double().sum(dim=1).cpu().numpy()
            seconds[k] = time.perf_counter() - start
            species = held.graph.atom_types.cpu().numpy()
            losses[k] = np.bincount(species, weights=error, minlength=losses.shape[1])
            neighbors[k] = float((held.distance < found.cutoffs[:, None]).sum())
        return ScaleErrors(losses, neighbors, 1e6 * float(np.median(seconds / self.atoms)))

    @cached_property
    def reference(self) -> ScaleErrors:
        """What it does where all atoms have the longest cutoff."""
        return self.errors(np.full(self.groups, self.longest))

    def gradient(
        self,
        lengths: Float[np.ndarray, " groups"],
        which: Sequence[int],
        start: ScaleErrors,
        beyond: Float[np.ndarray, " elements"],
    ) -> Float[np.ndarray, " groups"]:
        """Derivative of J without its price, by each group's cutoff, 1/Å.

        Parameters
        ----------
        lengths
            Å [groups].
        which
            Frames on which it is estimated.
        start
            Errors at other cutoffs nearby.
        beyond
            By how much each element was worse there than it may be, on as many frames as there are.
            Whether it is now is judged by that and by what changed since on the chosen frames: few
            frames alone would say it of rare elements by chance.
        """
        shares = self._shares(lengths).requires_grad_(True)
        network = {f"network.{k}": v for k, v in self.potential.network.named_parameters()}
        sums = shares.new_zeros(len(self.potential.network.elements))
        for held in (self._held[k] for k in which):
            adaptive = {f"adaptive_cutoff.{k}": v for k, v in self._weights(shares).items()}
            graph = trim_edges(held.graph, held.positions, float(np.max(lengths)))
            share = None
            if self.potential.long_range is not LongRange.NONE:
                share = torch.ones_like(held.forces[:, 0])
            found = self._evaluate(
                graph,
                held.positions,
                scale=AdaptiveScale(held.near, share),
                weights={**network, **adaptive},
            )
            error = (found.forces - held.forces).abs().sum(dim=1)
            sums = sums.index_add(0, held.graph.atom_types, error)
        longest = self.reference.losses[list(which)].sum(axis=0)
        change = sums - torch.as_tensor(start.losses[list(which)].sum(axis=0)).to(sums)
        over = torch.as_tensor(beyond).to(sums) + change / torch.as_tensor(
            np.maximum(longest, TINY)
        ).to(sums)
        loss = sums.sum() / longest.sum() + BEYOND * torch.relu(over).sum()
        (slope,) = torch.autograd.grad(loss, shares)
        return np.asarray(slope.double().cpu().numpy() / (self.longest - self.shortest))

    @cached_property
    def _table(self) -> tuple[Float[np.ndarray, " grid"], Float[np.ndarray, "groups grid"]]:
        """Cutoffs, and the neighbors that each group adds to the mean there."""
        grid = np.arange(self.shortest, self.longest + GRID, GRID)
        table = np.zeros((self.groups, len(grid)))
        adaptive = AdaptiveCutoff.of(self.potential.network, self.settings)
        for held in self._held:
            distance = np.sort(held.distance.double().cpu().numpy(), axis=1)
            counts = np.stack([np.searchsorted(row, grid) for row in distance])
            species = held.graph.atom_types.cpu().numpy()
            weight = np.zeros((len(species), self.groups))
            if self.settings.by == "element":
                weight[np.arange(len(species)), species] = 1.0
            else:
                member = adaptive.membership(held.near, held.positions, held.near.cell)
                near = member.double().cpu().numpy()
                weight[np.arange(len(species)), 2 * species] = 1.0 - near
                weight[np.arange(len(species)), 2 * species + 1] = near
            table += weight.T @ counts
        return grid, table / self.atoms.sum()

    def neighbors(
        self, lengths: Float[np.ndarray, " groups"]
    ) -> tuple[float, Float[np.ndarray, " groups"]]:
        """Neighbors over those of the longest scale, smoothed, and the derivative, 1/Å."""
        grid, table = self._table
        most = table[:, -1].sum()
        value, slope = np.zeros(self.groups), np.zeros(self.groups)
        for g, length in enumerate(np.clip(lengths, grid[0], grid[-1])):
            value[g] = np.interp(length, grid, table[g])
            ends = np.clip([length - 2 * GRID, length + 2 * GRID], grid[0], grid[-1])
            low, high = np.interp(ends, grid, table[g])
            slope[g] = (high - low) / (ends[1] - ends[0])
        return float(value.sum() / most), slope / most
