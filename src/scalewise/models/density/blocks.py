"""Blocks of atoms that a layer evaluates one after the other to save memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scalewise.models.compiler import with_kernels
from scalewise.models.density.layers import LayerOutput
from scalewise.models.graph import Graph


def directly(function: Callable[..., Any], *inputs: Any) -> Any:
    """Call a function: where nothing is computed again, in place of a checkpoint."""
    return function(*inputs)


class Rows(NamedTuple):
    """What atoms see of their neighbors, before it is gathered: what kernels take.

    Attributes
    ----------
    table
        [rows, channels].
    row
        The row of each neighbor [atoms, neighbors].
    """

    table: Tensor
    row: Tensor


Piece = tuple[Tensor, LayerOutput, Tensor | None]


def split(value: Tensor | None, sizes: list[int]) -> Sequence[Tensor | None]:
    """Parts of a value; slices would make a derivative of full size for each part."""
    if value is None or len(sizes) == 1:
        return [value] * len(sizes)
    return torch.split(value, sizes)


def split_described(value: LayerOutput | None, sizes: list[int]) -> Sequence[LayerOutput | None]:
    """Parts of a layer's output, as :func:`split`."""
    if value is None or len(sizes) == 1:
        return [value] * len(sizes)
    parts = zip(*(torch.split(v, sizes, -2) for v in value), strict=True)
    return [LayerOutput(*part) for part in parts]


def joined(
    pieces: Sequence[Piece],
) -> tuple[Tensor, LayerOutput, Sequence[Tensor | None]]:
    """The layer of all atoms from that of its parts; messages stay apart."""
    energies, described, seen = zip(*pieces, strict=True)
    if len(pieces) == 1:
        return energies[0], described[0], seen
    whole = LayerOutput(*(torch.cat(v, dim=-2) for v in zip(*described, strict=True)))
    return torch.cat(energies), whole, seen


def received(
    seen: Sequence[Tensor | None], graph: Graph, parts: Sequence[tuple[slice, Graph]]
) -> Sequence[Tensor | Rows]:
    """What atoms receive of what their neighbors show [rows, neighbors, channels], part by part."""
    flat = [v.flatten(0, 1) for v in seen if v is not None]
    if with_kernels():
        ((_, part),) = parts
        return [Rows(flat[0], graph.reverse_neighbor_index.reshape(part.neighbor_index.shape))]
    # an autograd.Function that gathers both ways would be faster, but torch.compile drops its
    # second derivative without a word, and index_put it cannot always compile
    received = (flat[0] if len(flat) == 1 else torch.cat(flat))[graph.reverse_neighbor_index]
    shapes = [part.neighbor_index.shape for _, part in parts]
    pieces = torch.split(received, [a * b for a, b in shapes]) if len(shapes) > 1 else [received]
    return [v.reshape(*shape, -1) for v, shape in zip(pieces, shapes, strict=True)]
