"""Frames under a strain, and the sums of their energies."""

from __future__ import annotations

import torch
from torch import Tensor

from scalewise.models.density.network import AtomicProperties
from scalewise.models.graph import Graph, collected, spread


def energies_of(graph: Graph, found: AtomicProperties) -> Tensor:
    """Energy of each system, eV [systems]."""
    own = collected(found.energies, graph.system_index, graph.cell.shape[0])
    return found.long_range_energies + own


def strained(graph: Graph, positions: Tensor, strain: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and cells under a strain of each frame [frames, 3, 3]."""
    of_atoms = spread(strain, graph.system_index)
    moved = positions + torch.bmm(of_atoms, positions[..., None])[..., 0]
    return moved, graph.cell + graph.cell @ strain.transpose(1, 2)
