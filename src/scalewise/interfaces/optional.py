"""Packages that only some interfaces need; if one is missing, an error names what to install."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from scalewise.core.errors import InputError


def require(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Raises
    ------
    InputError
        It is not installed, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated, and what engines take
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module(module)
    except (ImportError, OSError) as error:
        raise InputError(
            module.partition(".")[0],
            f"cannot be imported ({error})",
            f'Install it: pip install "scalewise[{extra}]".',
        ) from error
