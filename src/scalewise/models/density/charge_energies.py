"""Electrostatic energies of a graph: pair sum, long-range part, and charges made neutral."""

from __future__ import annotations

import torch
from torch import Tensor

from scalewise.models import electrostatics, truncation
from scalewise.models.density.radial import envelope
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.graph import Graph, collected, spread

#: Atoms in the long range below which a frame has none: only keeps 0/0 away.
TINY = 1e-6


def neutralised(raw: Tensor, graph: Graph, share: Tensor) -> Tensor:
    r"""Charges that sum to the total charge of every frame [atoms].

    .. math:: q_i = \lambda_i (q_i' + \mu), \qquad
       \mu = \frac{Q - \sum_j \lambda_j q_j'}{\sum_j \lambda_j}

    with the atoms' shares λ in the long range: one constant shifts the charges of a frame. Where no
    atom has a share, all charges are zero.
    """
    systems = graph.cell.shape[0]
    total = collected(share * raw, graph.system_index, systems)
    weight = collected(share, graph.system_index, systems)
    shift = (graph.total_charge - total) / torch.clamp(weight, min=TINY)
    return share * (raw + spread(shift, graph.system_index))


def short_range_energies(
    graph: Graph, positions: Tensor, cell: Tensor, charges: Tensor, settings: NetworkSettings
) -> Tensor:
    """Energy of charges with their neighbors, less that of smeared charges, eV [atoms]."""
    first, second = graph.edge_index
    vector = positions[second] - positions[first]
    shift = graph.edge_cell_shift.to(cell.dtype)
    if cell.shape[0] == 1:
        vector = vector + shift @ cell[0]
    else:  # a batched product of so small matrices takes ten times as long
        vector = vector + (shift[..., None] * spread(cell, graph.system_index[first])).sum(dim=1)
    distance = torch.sqrt((vector * vector).sum(dim=-1)).to(charges.dtype)
    products = charges[first] * charges[second]
    pairs = electrostatics.short_range(distance, products, settings.smearing)
    half = 0.5 * pairs * envelope(distance, distance.new_tensor(settings.cutoff))
    shared = torch.zeros_like(charges).index_add(0, first, half).index_add(0, second, half)
    return shared - electrostatics.self_energy(charges, settings.smearing)


def long_range_energies(
    graph: Graph, positions: Tensor, cell: Tensor, charges: Tensor, smearing: float
) -> Tensor:
    """Energy of smeared charges of each system, along its periodic axes, eV [systems]."""
    axes = None
    if graph.partial or (graph.isolated and graph.kvectors[0].numel()):
        axes, cell = (
            graph.periodic_axes,
            truncation.strained(cell, graph.cell, graph.periodic_axes),
        )
    if graph.cell.shape[0] == 1:
        r, q = positions[None], charges[None]
        if graph.mesh is not None:
            return electrostatics.particle_mesh(r, q, cell, graph.mesh, smearing, axes)
    else:
        r, q = _padded(graph, positions, charges)
    if not graph.isolated:
        return electrostatics.ewald(r, q, cell, graph.kvectors, smearing, axes)
    alone = electrostatics.open_boundary(r, q, smearing)
    if axes is None:
        return alone
    waved = electrostatics.ewald(r, q, cell, graph.kvectors, smearing, axes)
    return torch.where(axes == 0, alone, waved)


def _padded(graph: Graph, positions: Tensor, charges: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and charges by frame, [frames, places, ...], zero in empty places."""
    slot = graph.system_index * graph.largest_system + graph.index_in_system
    padded_charges = charges.new_zeros(graph.cell.shape[0] * graph.largest_system)
    padded_positions = positions.new_zeros(graph.cell.shape[0] * graph.largest_system, 3)
    padded_charges = padded_charges.index_put((slot,), charges)
    padded_positions = padded_positions.index_put((slot,), positions)
    frames = graph.cell.shape[0]
    return padded_positions.reshape(frames, -1, 3), padded_charges.reshape(frames, -1)
