"""Operations on graphs: join them to batches, reorder atoms, trim lists to a shorter cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from scalewise.models.graph import SLOTS, Graph


def batch(graphs: Sequence[Graph]) -> Graph:
    """Join graphs of one cutoff into one, of any periodicity, without any pair between them.

    Raises
    ------
    ValueError
        No graphs, or different cutoffs.
    """
    if len(graphs) == 1:
        return graphs[0]
    cutoffs = {g.cutoff for g in graphs}
    if len(cutoffs) != 1:
        raise ValueError(f"one cutoff makes a batch, got {sorted(cutoffs)}")
    slots = max(g.neighbor_index.shape[1] for g in graphs)
    atoms = np.cumsum([0] + [len(g.atom_types) for g in graphs])
    frames = np.cumsum([0] + [len(g.cell) for g in graphs])
    starts, frame_starts = atoms[:-1].tolist(), frames[:-1].tolist()
    widest = [max((g.kvectors[a] for g in graphs), key=len) for a in range(3)]
    neighbor = torch.cat(
        [_widen(g.neighbor_index, slots) + a for g, a in zip(graphs, starts, strict=True)]
    )
    inner = [g.first_neighbor_index.shape[1] for g in graphs if g.first_neighbor_index is not None]
    return Graph(
        atom_types=torch.cat([g.atom_types for g in graphs]),
        neighbor_index=neighbor,
        cell_shift=torch.cat([_widen(g.cell_shift, slots) for g in graphs]),
        mask=torch.cat([_widen(g.mask, slots) for g in graphs]),
        reverse_neighbor_index=torch.cat(
            [_reverse(g, slots, a) for g, a in zip(graphs, starts, strict=True)]
        ),
        edge_index=torch.cat(
            [g.edge_index + a for g, a in zip(graphs, starts, strict=True)], dim=1
        ),
        edge_cell_shift=torch.cat([g.edge_cell_shift for g in graphs]),
        system_index=torch.cat(
            [g.system_index + f for g, f in zip(graphs, frame_starts, strict=True)]
        ),
        index_in_system=torch.cat([g.index_in_system for g in graphs]),
        cell=torch.cat([g.cell for g in graphs]),
        periodic_axes=torch.cat([g.periodic_axes for g in graphs]),
        total_charge=torch.cat([g.total_charge for g in graphs]),
        kvectors=(widest[0], widest[1], widest[2]),
        cutoff=graphs[0].cutoff,
        largest_system=max(g.largest_system for g in graphs),
        partial=any(g.partial for g in graphs),
        isolated=any(g.isolated for g in graphs),
        first_neighbor_index=neighbor[:, : max(inner)] if len(inner) == len(graphs) else None,
    )


def _widen(value: Tensor, slots: int) -> Tensor:
    """Pad neighbor lists to more entries: the atom itself for indices, zero for the rest."""
    extra = slots - value.shape[1]
    if value.dtype == torch.int64:
        own = torch.arange(len(value), device=value.device)[:, None].expand(-1, extra)
        return torch.cat([value, own], dim=1)
    return torch.cat([value, value.new_zeros(len(value), extra, *value.shape[2:])], dim=1)


def _reverse(graph: Graph, slots: int, start: int) -> Tensor:
    """Reverse slots in lists of another width, from atom ``start`` on."""
    atoms, old = graph.neighbor_index.shape
    back = graph.reverse_neighbor_index.reshape(atoms, old)
    moved = (back // old + start) * slots + back % old
    first = (torch.arange(atoms, device=back.device) + start)[:, None] * slots
    empty = first + torch.arange(old, slots, device=back.device)
    return torch.cat([moved, empty], dim=1).reshape(-1)


def widened(graph: Graph, slots: int) -> Graph:
    """The same lists with more empty entries, ``slots`` in all; those of the first layer stay."""
    return replace(
        graph,
        neighbor_index=_widen(graph.neighbor_index, slots),
        cell_shift=_widen(graph.cell_shift, slots),
        mask=_widen(graph.mask, slots),
        reverse_neighbor_index=_reverse(graph, slots, 0),
    )


def twinned(graph: Graph) -> Graph:
    """Every frame twice, as two that follow each other, and every atom beside its twin.

    Raises
    ------
    ValueError
        A graph with a mesh, which is for one frame, or of lists of several widths.
    """
    if graph.mesh is not None or graph.bins or graph.senders is not None:
        raise ValueError("a graph with a mesh, bins or senders has no twin")
    atoms, slots = graph.neighbor_index.shape
    neighbor = _beside(2 * graph.neighbor_index, 2 * graph.neighbor_index + 1)
    back = graph.reverse_neighbor_index.reshape(atoms, slots)
    back = back + back // slots * slots  # the row of an atom is twice as far
    near = graph.first_neighbor_index
    edges = 2 * graph.edge_index
    twice = {
        name: getattr(graph, name).repeat_interleave(2, dim=0)
        for name in (
            *("atom_types", "cell_shift", "mask", "edge_cell_shift", "index_in_system"),
            *("cell", "periodic_axes", "total_charge"),
        )
    }
    return replace(
        graph,
        neighbor_index=neighbor,
        reverse_neighbor_index=_beside(back, back + slots).reshape(-1),
        edge_index=torch.stack([edges, edges + 1], dim=-1).flatten(1),
        system_index=_beside(2 * graph.system_index, 2 * graph.system_index + 1),
        first_neighbor_index=None if near is None else neighbor[:, : near.shape[1]],
        **twice,
    )


def _beside(one: Tensor, two: Tensor) -> Tensor:
    """Rows of two tensors in turn."""
    return torch.stack([one, two], dim=1).flatten(0, 1)


def reordered(graph: Graph, order: Tensor) -> Graph:
    """Bring the atoms of a graph with one list for all into another order [atoms]."""
    place = torch.argsort(order)
    slots = graph.neighbor_index.shape[1]
    back = graph.reverse_neighbor_index.reshape(-1, slots)[order]
    names = ("atom_types", "cell_shift", "mask", "system_index", "index_in_system")
    own = {n: getattr(graph, n)[order] for n in names}
    neighbor = place[graph.neighbor_index[order]]
    return replace(
        graph,
        neighbor_index=neighbor,
        first_neighbor_index=None
        if graph.first_neighbor_index is None
        else neighbor[:, : graph.first_neighbor_index.shape[1]],
        reverse_neighbor_index=(place[back // slots] * slots + back % slots).reshape(-1),
        edge_index=place[graph.edge_index],
        **own,
    )


def trim_edges(graph: Graph, positions: Tensor, cutoff: float) -> Graph:
    """Keep the pairs closer than ``cutoff`` (Å) at other positions [atoms, 3].

    A list made with a longer cutoff holds every pair as long as no atom has moved by more than
    half the difference: engines rebuild it then, and prune it in every step. Slots keep the order
    of the longer list, and the pairs of the electrostatics stay.
    """
    atoms = len(graph.atom_types)
    vector = graph.vectors(positions, graph.cell)
    # a pair has exactly opposite vectors from its two ends, so both are kept or neither
    kept = (vector * vector).sum(dim=-1) < cutoff * cutoff
    width = max(SLOTS, -(-int(kept.sum(dim=1).max()) // SLOTS) * SLOTS)
    row = torch.arange(atoms, device=kept.device)[:, None]
    target = (row * width + kept.cumsum(dim=1) - 1).reshape(-1)
    old = kept.reshape(-1).nonzero()[:, 0]
    new = target[old]
    reverse = torch.arange(atoms * width, device=kept.device)
    reverse[new] = target[graph.reverse_neighbor_index[old]]
    neighbor = row.expand(atoms, width).reshape(-1).clone()
    neighbor[new] = graph.neighbor_index.reshape(-1)[old]
    image = graph.cell_shift.new_zeros(atoms * width, 3)
    image[new] = graph.cell_shift.reshape(-1, 3)[old]
    mask = graph.mask.new_zeros(atoms * width)
    mask[new] = True
    neighbor = neighbor.reshape(atoms, width)
    return replace(
        graph,
        neighbor_index=neighbor,
        first_neighbor_index=None
        if graph.first_neighbor_index is None
        else neighbor[:, : graph.first_neighbor_index.shape[1]],
        cell_shift=image.reshape(atoms, width, 3),
        mask=mask.reshape(atoms, width),
        reverse_neighbor_index=reverse,
        cutoff=cutoff,
    )
