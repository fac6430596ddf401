"""Neighbor lists with a skin, which are built again before they miss a pair."""

from __future__ import annotations

import math

import numpy as np
import torch

from scalewise.core.errors import InputError, shown
from scalewise.data.charges import total_charge
from scalewise.data.structure import Structure
from scalewise.models.graph import Graph, build, moved_to
from scalewise.models.graph_operations import trim_edges
from scalewise.models.potential import Potential


class BufferedLists:
    """The lists of one structure that moves.

    Parameters
    ----------
    potential
        Whose cutoff they have.
    skin
        Å by which they are longer. They are built again when atoms have moved and the cell has
        changed so far that they may miss a pair.

    Raises
    ------
    InputError
        A skin that is no length.
    """

    def __init__(self, potential: Potential, skin: float) -> None:
        if not (isinstance(skin, int | float) and math.isfinite(skin) and skin >= 0):
            raise InputError("skin", shown(skin), "It must be a length in Å, zero or more.")
        self.potential, self.skin = potential, float(skin)
        self.buffered: tuple[Structure, Graph] | None = None

    def __call__(self, frame: Structure) -> Graph:
        """The neighbors of a structure within the cutoff, and farther ones if they cost nothing.

        Raises
        ------
        InputError
            As :func:`scalewise.models.graph.build`.
        """
        longer = self._longer(frame)
        if self.potential.takes_lists_of(longer.cutoff, self.potential.cutoff):
            return longer
        places = torch.as_tensor(frame.positions, dtype=torch.float64, device=self.potential.device)
        return trim_edges(longer, places, self.potential.cutoff)

    def forget(self) -> None:
        """Build them again at the next call."""
        self.buffered = None

    def _longer(self, frame: Structure) -> Graph:
        settings = self.potential.network.settings
        smearing = settings.smearing if settings.charges else 0.0
        held = self.buffered  # another thread may forget it
        if held is not None:
            listed, graph = held
            if still_hold(listed, frame, settings.cutoff, self.skin):
                if frame.pbc.all() and np.array_equal(listed.cell, frame.cell):
                    return graph
                return moved_to(graph, frame, smearing)
        graph = build(
            frame,
            self.potential.network.elements,
            settings.cutoff + self.skin,
            smearing=smearing,
            near=None
            if settings.first_layer_cutoff is None
            else settings.first_layer_cutoff + self.skin,
        ).to(self.potential.device, self.potential.dtype)
        self.buffered = (frame, graph)
        return graph


def still_hold(listed: Structure, frame: Structure, cutoff: float, skin: float) -> bool:
    r"""Whether lists of ``cutoff + skin`` hold every pair that is closer than ``cutoff`` now.

    With the cell :math:`h = h_0 F` and positions :math:`r_i = r^0_i F + u_i`, a pair at v now was
    at :math:`(v - \Delta u) F^{-1}`, no farther than :math:`(|v| + 2 u_\mathrm{max}) |F^{-1}|`.
    Across periodic axes, F changes nothing.
    """
    same = (
        np.array_equal(listed.numbers, frame.numbers)
        and np.array_equal(listed.pbc, frame.pbc)
        and total_charge(listed) == total_charge(frame)
    )
    if not same or not np.isfinite(frame.cell).all():
        return False
    before, stretch = listed.positions, 1.0
    if frame.pbc.any() and not np.array_equal(listed.cell, frame.cell):
        old, new = listed.cell[frame.pbc], frame.cell[frame.pbc]
        change = np.eye(3) + np.linalg.pinv(old) @ (new - old)
        if not 0.5 < float(np.linalg.det(change)) < 2.0:
            return False
        before = before @ change
        stretch = max(stretch, float(np.linalg.norm(np.linalg.inv(change), ord=2)))
    apart = frame.positions - before
    apart -= apart.mean(axis=0)
    farthest = float(np.sqrt((apart * apart).sum(axis=1).max(initial=0.0)))
    return (cutoff + 2.0 * farthest) * stretch < cutoff + skin
