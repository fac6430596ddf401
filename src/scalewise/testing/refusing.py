"""Checks that calls are refused with the right exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scalewise.core.errors import InputError


def check_refused(call: Callable[[], Any], what: str) -> None:
    """Check that a call raises ``InputError``."""
    try:
        call()
    except InputError:
        return
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__} instead of InputError") from error
    raise AssertionError(f"{what}: accepted, where an InputError is due")
