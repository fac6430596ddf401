"""Neighbor lists for cutoffs that differ between atoms, so that a short cutoff takes less time.

A padded list is as wide as the longest list of its atoms. If cutoffs differ, atoms are sorted into
parts of similar width, each with a padded list of its own. An atom i may then be within the cutoff
of atom j while j is beyond the cutoff of i. Every atom therefore has two lists: of the atoms within
its cutoff, and of the atoms within whose cutoff it is, to which it sends messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from scalewise.models.graph import SLOTS, Graph, Lists

#: Slots, of both kinds, that cost as much as one more part (benchmarks/focus.py: 1200 to 1500 of
#: each kind at 188 and 564 atoms).
PART: Final = 2800
#: What all of it costs beside its slots, in slots, and what a slot of one list for all costs in
#: slots of either kind here, where both ends need directions of their own (the same measurement).
BESIDE: Final = 6000
WHOLE: Final = 1.3


def bin_atoms(
    graph: Graph, positions: Tensor, cutoffs: Tensor, *, always: bool = False
) -> tuple[Graph, Tensor] | None:
    """Lists for the cutoffs (Å) of single atoms, and the order that their atoms are in.

    Parameters
    ----------
    graph
        One frame or more, listed as far as the longest of the cutoffs at least.
    positions, cutoffs
        Å [atoms, 3] and [atoms], in the order of the graph.
    always
        Also where one list for all is quicker: few atoms, or cutoffs that hardly differ.

    Returns
    -------
    tuple or None
        None where one list for all is quicker. Else the graph of the reordered atoms, and the
        number that each of them had [atoms]. Positions and whatever else speaks of atoms must be
        brought into this order.
    """
    vector = graph.vectors(positions, graph.cell)
    square = (vector * vector).sum(dim=-1)
    # a pair has exactly opposite vectors from its two ends: they agree on who sees whom
    seeing = square < (cutoffs * cutoffs)[:, None]
    seen = square < (cutoffs * cutoffs)[graph.neighbor_index]
    wide = [_padded(kept.sum(dim=1)) for kept in (seeing, seen)]
    order = torch.argsort(wide[0] + wide[1], stable=True)
    ends = _deal((wide[0] + wide[1])[order].cpu().numpy())
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    taken = sum(int(w[order[a:b]].max()) * (b - a) for w in wide for a, b in bounds)
    if not always and taken + BESIDE > WHOLE * graph.neighbor_index.numel():
        return None
    shown, where = _lists(graph, order, place, seen, wide[1], bounds)
    listed, into = _lists(graph, order, place, seeing, wide[0], bounds)
    slots = sum(lists.neighbor_index.numel() for lists in listed)
    # an empty slot may receive anything: its envelope is zero
    reverse = torch.zeros(slots, dtype=torch.int64, device=order.device)
    old = seeing.reshape(-1).nonzero()[:, 0]
    reverse[into[old]] = where[graph.reverse_neighbor_index[old]]
    parts = []
    for (start, end), lists, sent in zip(bounds, listed, shown, strict=True):
        atoms = order[start:end]
        part = replace(
            graph,
            atom_types=graph.atom_types[atoms],
            system_index=graph.system_index[atoms],
            senders=sent,
        )
        near = (
            None
            if graph.first_neighbor_index is None
            else lists.neighbor_index[:, : graph.first_neighbor_index.shape[1]]
        )
        parts.append(replace(part, first_neighbor_index=near, **lists._asdict()))
    focused = replace(
        graph,
        atom_types=graph.atom_types[order],
        system_index=graph.system_index[order],
        index_in_system=graph.index_in_system[order],
        edge_index=place[graph.edge_index],
        reverse_neighbor_index=reverse,
        bins=tuple(parts),
    )
    return focused, order


def _padded(count: Tensor) -> Tensor:
    return torch.clamp((count + SLOTS - 1) // SLOTS, min=1) * SLOTS


def _deal(widths: np.ndarray) -> list[int]:
    """Ends of the parts that cost least: atoms times the widest of each part, and the parts."""
    levels, ends = np.unique(widths, return_index=True)
    ends = np.append(ends[1:], len(widths))
    best, before = [0.0], [0]
    for k, end in enumerate(ends):
        starts = np.append(0, ends[:k])
        cost = np.array(best) + (end - starts) * levels[k] + PART
        before.append(int(cost.argmin()))
        best.append(float(cost.min()))
    found, k = [], len(ends)
    while k > 0:
        found.append(int(ends[k - 1]))
        k = before[k]
    return found[::-1]


def _lists(
    graph: Graph,
    order: Tensor,
    place: Tensor,
    kept: Tensor,
    width: Tensor,
    bounds: Sequence[tuple[int, int]],
) -> tuple[list[Lists], Tensor]:
    """Lists of the kept slots, part by part, and where each slot went in all of them, flattened."""
    atoms, device = len(kept), kept.device
    first = torch.empty(atoms, dtype=torch.int64, device=device)
    shapes, total = [], 0
    for start, end in bounds:
        widest = int(width[order[start:end]].max())
        first[order[start:end]] = total + widest * torch.arange(end - start, device=device)
        shapes.append((end - start, widest))
        total += (end - start) * widest
    target = (first[:, None] + kept.cumsum(dim=1) - 1).reshape(-1)
    old = kept.reshape(-1).nonzero()[:, 0]
    new = target[old]
    widths = torch.repeat_interleave(
        torch.tensor([w for _, w in shapes], device=device),
        torch.tensor([n for n, _ in shapes], device=device),
    )
    neighbor = torch.repeat_interleave(torch.arange(atoms, device=device), widths)
    neighbor[new] = place[graph.neighbor_index.reshape(-1)[old]]
    image = graph.cell_shift.new_zeros(total, 3)
    image[new] = graph.cell_shift.reshape(-1, 3)[old]
    mask = graph.mask.new_zeros(total)
    mask[new] = True
    sizes = [n * w for n, w in shapes]
    split = (torch.split(v, sizes) for v in (neighbor, image, mask))
    lists = [
        Lists(*(v.reshape(n, w, *v.shape[1:]) for v in part))
        for part, (n, w) in zip(zip(*split, strict=True), shapes, strict=True)
    ]
    return lists, target
