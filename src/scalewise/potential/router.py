r"""A cutoff for every atom from what is nearest to it.

.. math:: r_i = r_\mathrm{short} + (r_\mathrm{long} - r_\mathrm{short})\,
   \sigma\bigl(b_{z_i} + g(x_i)\bigr)

with a constant b of the element and, for routing by environment, a small network g on the first
layer's invariants x at the shortest cutoff, which every atom can afford. The invariants are as
smooth as the envelope, twice continuously differentiable, and so is the cutoff; the energy that is
made with it is differentiated through it, so that forces stay exactly conservative.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalewise.potential.graph import Graph
from scalewise.potential.network import AtomicProperties, Network
from scalewise.potential.scale import Scale
from scalewise.potential.settings import Route


class Routed(NamedTuple):
    """In place of a scale: let the router choose it.

    Attributes
    ----------
    near
        Neighbour lists as far as the shortest cutoff, of the same atoms in the same order.
    long
        As in :class:`scalewise.potential.scale.Scale`.
    """

    near: Graph
    long: Tensor | None


class ScaleRouter(nn.Module):
    """Chooses a cutoff for every atom.

    Parameters
    ----------
    settings
        By element alone, or by environment, and where on the ladder it starts.
    elements
        How many the network knows.
    inputs
        Invariants of the network's first layer.
    shortest, longest
        Ends of the ladder, Å.
    """

    def __init__(
        self, settings: Route, elements: int, inputs: int, shortest: float, longest: float
    ) -> None:
        super().__init__()
        self.settings, self.shortest, self.longest = settings, shortest, longest
        start = math.log(settings.start / (1.0 - settings.start))
        self.offset = nn.Parameter(torch.full((elements,), start))
        if settings.by == "environment":
            self.first = nn.Linear(inputs, settings.hidden)
            self.second = nn.Linear(settings.hidden, 1, bias=False)
            nn.init.zeros_(self.second.weight)

    @classmethod
    def of(cls, network: Network, settings: Route) -> ScaleRouter:
        """Make a router for a network, on its device and of its type."""
        s = network.settings
        router = cls(settings, len(network.elements), s.hidden, s.shortest, s.cutoff)
        weight = next(network.parameters())
        return router.to(device=weight.device, dtype=weight.dtype)

    def forward(self, species: Tensor, nearest: Tensor) -> Tensor:
        """Cutoffs, Å [atoms], from elements [atoms] and invariants [atoms, inputs]."""
        logit = self.offset[species]
        if self.settings.by == "environment":
            logit = logit + self.second(nn.functional.silu(self.first(nearest)))[:, 0]
        return self.shortest + (self.longest - self.shortest) * torch.sigmoid(logit)


class RoutedNetwork(nn.Module):
    """A network whose atoms get their scale from a router, or, like any network's, from outside."""

    def __init__(self, network: Network, router: ScaleRouter) -> None:
        super().__init__()
        self.network, self.router = network, router
        self.settings = network.settings

    def cutoffs(self, near: Graph, positions: Tensor, cell: Tensor) -> Tensor:
        """Cutoffs that the router chooses, Å [atoms]."""
        chosen: Tensor = self.router(near.species, self.network.nearest(near, positions, cell))
        return chosen

    def forward(
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        scale: Scale | Routed,
        *,
        block: int | None = None,
    ) -> AtomicProperties:
        """As :meth:`scalewise.potential.network.Network.forward`."""
        if isinstance(scale, Routed):
            scale = Scale(self.cutoffs(scale.near, positions, cell), scale.long)
        found: AtomicProperties = self.network(graph, positions, cell, scale, block=block)
        return found
