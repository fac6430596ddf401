"""Whether there is a C++ compiler, whether code is being traced, and which kernels are used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

_TRACING: ContextVar[bool] = ContextVar("tracing", default=False)
_KERNELS: ContextVar[Any] = ContextVar("kernels", default=None)


def compiler_found() -> bool:
    """Whether ``torch.compile`` has the C++ compiler it needs on the CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


@contextmanager
def tracing() -> Iterator[None]:
    """Take the paths that suit compilers, while code is traced by other means than theirs."""
    token = _TRACING.set(True)
    try:
        yield
    finally:
        _TRACING.reset(token)


@contextmanager
def computing(operations: Any) -> Iterator[None]:
    """Compute the products of the network with these operations, or, without any, in PyTorch.

    They have the functions of :mod:`scalewise.models.density.kernels.operations`.
    """
    token = _KERNELS.set(operations)
    try:
        yield
    finally:
        _KERNELS.reset(token)


def is_compiling() -> bool:
    """Whether what runs is being compiled."""
    return torch.compiler.is_compiling() or _TRACING.get()


def with_kernels() -> bool:
    """Whether kernels compute the products of the network."""
    return _KERNELS.get() is not None


def kernels() -> Any:
    """The operations that compute the products of the network, if there are any."""
    return _KERNELS.get()
