"""Whether there is a C++ compiler, and whether code is being traced for one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_TRACING: ContextVar[bool] = ContextVar("tracing", default=False)
_KERNELS: ContextVar[bool] = ContextVar("kernels", default=False)


def compiler_found() -> bool:
    """Whether ``torch.compile`` has the C++ compiler it needs on the CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


@contextmanager
def tracing(*, kernels: bool = False) -> Iterator[None]:
    """Take the paths that suit compilers, while code is traced by other means than theirs.

    With ``kernels``, the products of the network are operations that kernels compute.
    """
    tokens = _TRACING.set(True), _KERNELS.set(kernels)
    try:
        yield
    finally:
        _TRACING.reset(tokens[0])
        _KERNELS.reset(tokens[1])


def is_compiling() -> bool:
    """Whether what runs is being compiled."""
    return torch.compiler.is_compiling() or _TRACING.get()


def with_kernels() -> bool:
    """Whether what runs is traced for a program that has kernels."""
    return _KERNELS.get()
