"""Operations over all processes of a training: means of tensors, and errors of any process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor

from scalewise.core.errors import InputError
from scalewise.training.dataset import Batch


def reduced(fabric: Fabric, values: Tensor, how: str) -> Tensor:
    """Sum or mean over processes, on the device the values came from."""
    found = fabric.all_reduce(values.to(fabric.device), reduce_op=how)
    assert isinstance(found, Tensor)  # a tensor in, a tensor out
    return found.to(values.device)


def raise_together(fabric: Fabric, error: InputError | None) -> None:
    """Raise the error of any process in all of them: none waits for one that has left.

    Raises
    ------
    InputError
        That of the first process that has one.
    """
    if fabric.world_size == 1:
        if error is not None:
            raise error
        return
    if float(reduced(fabric, torch.tensor([float(error is not None)]), "sum")) == 0.0:
        return
    errors: list[InputError | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(errors, error)
    raise next(e for e in errors if e is not None)


def step_together(fabric: Fabric, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of this process, as many as every other has.

    Raises
    ------
    InputError
        As :func:`raise_together`, where a batch of any process cannot be made.
    """
    steps = iter(batches)
    while True:
        batch, error = None, None
        try:
            batch = next(steps, None)
        except InputError as found:
            error = found
        raise_together(fabric, error)
        if batch is None:
            return
        yield batch
