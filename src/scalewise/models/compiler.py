"""Whether there is a C++ compiler, and whether code is being traced for one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_TRACING: ContextVar[bool] = ContextVar("tracing", default=False)


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


def is_compiling() -> bool:
    """Whether what runs is being compiled."""
    return torch.compiler.is_compiling() or _TRACING.get()
