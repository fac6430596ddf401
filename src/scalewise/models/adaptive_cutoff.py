r"""A cutoff for every atom, from its element and its nearest environment.

.. math:: r_i = r_\mathrm{short} + (r_\mathrm{long} - r_\mathrm{short})\,
   \sigma\bigl(b_{z_i} + g_i\bigr)

with the logistic function :math:`\sigma`, a constant b of the element, and a contribution g of the
environment,

====================  ============================================================================
by element            :math:`g_i = 0`
by regime             :math:`g_i = c_{z_i} m_i`, with a constant c of the element and the membership
                      m of the neighborhood of named elements
by environment        :math:`g_i = g(x_i)`, a small network on the first layer's invariants x at the
                      shortest cutoff, which every atom can afford
====================  ============================================================================

The membership is a smooth count of neighbors of the named elements that saturates at one,

.. math:: m_i = 1 - (1 - \min(n_i, 1))^3, \qquad n_i = \sum_{j\,\mathrm{named}} f(r_{ij})

The invariants and the membership are twice continuously differentiable, like the envelope f, and so
is the cutoff. Forces include the derivative of the energy with respect to the cutoffs, so that they
are exactly conservative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from scalewise.core.errors import InputError
from scalewise.models.density.network import AtomicProperties, DensityNetwork
from scalewise.models.density.radial import envelope
from scalewise.models.density.settings import AdaptiveCutoffSettings
from scalewise.models.graph import Graph
from scalewise.models.scale import ResolvedScale

#: Å before its end over which the neighborhood of a named element fades.
FADE: Final = 1.0


class AdaptiveScale(NamedTuple):
    """Stands in place of a scale: the adaptive cutoff chooses the cutoffs.

    Attributes
    ----------
    short_graph
        Neighbor lists as far as the shortest cutoff, of the same atoms in the same order.
    long_range
        As in :class:`scalewise.models.scale.ResolvedScale`.
    """

    short_graph: Graph
    long_range: Tensor | None


class AdaptiveCutoff(nn.Module):
    r"""Model that chooses a cutoff for every atom, between the ends of a ladder.

    .. math:: r_i = r_\mathrm{short} + (r_\mathrm{long} - r_\mathrm{short})\,
       \sigma\bigl(b_{z_i} + g_i\bigr)

    with a constant b of the element and a contribution g of the environment; see
    :mod:`scalewise.models.adaptive_cutoff`.

    Parameters
    ----------
    settings
        Whether the cutoff depends on the element alone, on a regime or on the environment, and the
        position on the ladder from which training starts.
    elements
        Atomic numbers that the network knows.
    inputs
        Number of invariants of the network's first layer.
    shortest, longest
        Shortest and longest cutoff of the ladder, Å.

    Raises
    ------
    InputError
        A regime of elements that the network does not know, or whose radius is longer than the
        shortest cutoff.
    """

    named: Tensor

    def __init__(
        self,
        settings: AdaptiveCutoffSettings,
        elements: Sequence[int],
        inputs: int,
        shortest: float,
        longest: float,
    ) -> None:
        super().__init__()
        self.settings, self.shortest, self.longest = settings, shortest, longest
        start = math.log(settings.start / (1.0 - settings.start))
        self.offset = nn.Parameter(torch.full((len(elements),), start))
        if settings.by == "regime":
            self.within = shortest if settings.within is None else settings.within
            named = _named(settings.near, elements, self.within, shortest)
            self.register_buffer("named", named, persistent=False)
            self.change = nn.Parameter(torch.zeros(len(elements)))
        if settings.by == "environment":
            self.first = nn.Linear(inputs, settings.hidden)
            self.second = nn.Linear(settings.hidden, 1, bias=False)
            nn.init.zeros_(self.second.weight)

    @classmethod
    def of(cls, network: DensityNetwork, settings: AdaptiveCutoffSettings) -> AdaptiveCutoff:
        """Make an adaptive cutoff for a network, on the same device and of the same type."""
        s = network.settings
        adaptive = cls(settings, network.elements, s.hidden, s.shortest_cutoff, s.cutoff)
        weight = next(network.parameters())
        return adaptive.to(device=weight.device, dtype=weight.dtype)

    def forward(
        self, network: DensityNetwork, near: Graph, positions: Tensor, cell: Tensor
    ) -> Tensor:
        """Cutoffs of the atoms, Å [atoms].

        ``near`` lists neighbors within the shortest cutoff, ``positions`` (Å) are [atoms, 3] and
        ``cell`` holds the lattice vectors of each frame (Å).
        """
        logit = self.offset[near.atom_types]
        if self.settings.by == "regime":
            member = self.membership(near, positions, cell)
            logit = logit + self.change[near.atom_types] * member
        if self.settings.by == "environment":
            nearest = network.nearest(near, positions, cell)
            logit = logit + self.second(nn.functional.silu(self.first(nearest)))[:, 0]
        return self._length(logit)

    def constants(self, species: Tensor) -> Tensor | None:
        """Cutoffs, Å [atoms], if elements alone decide them; none if they depend on positions."""
        if self.settings.by != "element":
            return None
        return self._length(self.offset[species])

    def _length(self, logit: Tensor) -> Tensor:
        return self.shortest + (self.longest - self.shortest) * torch.sigmoid(logit)

    def membership(self, near: Graph, positions: Tensor, cell: Tensor) -> Tensor:
        """Membership of atoms in the neighborhood of the named elements, from 0 to 1 [atoms]."""
        vector = near.vectors(positions, cell)
        distance = torch.sqrt((vector * vector).sum(dim=-1))
        ending = envelope(distance, distance.new_tensor(self.within), min(FADE, self.within))
        count = (ending * self.named[near.atom_types[near.neighbor_index]]).sum(dim=1)
        left = 1.0 - torch.clamp(count, max=1.0)
        return 1.0 - left * left * left


def _named(names: Sequence[str], elements: Sequence[int], within: float, shortest: float) -> Tensor:
    """One for each element of the network that is named, else zero [elements]."""
    unknown = [n for n in names if atomic_numbers.get(n) not in elements]
    if unknown:
        raise InputError(
            "near (adaptive_cutoff.near in train)",
            f"element {', '.join(unknown)}, which the network does not know",
            "Name elements of the training data.",
        )
    if within > shortest:
        raise InputError(
            "within (adaptive_cutoff.within in train)",
            f"{within:g} Å, but atoms look for their regime as far as the shortest cutoff",
            f"Give at most {shortest:g} Å.",
        )
    numbers = {atomic_numbers[n] for n in names}
    return torch.tensor([float(z in numbers) for z in elements])


class AdaptiveNetwork(nn.Module):
    """A network with an adaptive cutoff; a scale that is given wins over it."""

    def __init__(self, network: DensityNetwork, adaptive_cutoff: AdaptiveCutoff) -> None:
        super().__init__()
        self.network, self.adaptive_cutoff = network, adaptive_cutoff
        self.settings = network.settings

    def cutoffs(self, near: Graph, positions: Tensor, cell: Tensor) -> Tensor:
        """Cutoffs that the adaptive cutoff chooses, Å [atoms]."""
        chosen: Tensor = self.adaptive_cutoff(self.network, near, positions, cell)
        return chosen

    def forward(
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        scale: ResolvedScale | AdaptiveScale,
        *,
        block: int | None = None,
    ) -> AtomicProperties:
        """As :meth:`scalewise.models.density.network.DensityNetwork.forward`."""
        if isinstance(scale, AdaptiveScale):
            scale = ResolvedScale(
                self.cutoffs(scale.short_graph, positions, cell), scale.long_range
            )
        found: AtomicProperties = self.network(graph, positions, cell, scale, block=block)
        return found
