"""The machine: features of its processor, and the folder of programs compiled for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from scalewise.core.errors import InputError


def cache_folder() -> Path:
    """Where programs of this user are kept: ``$SCALEWISE_CACHE``, or the system's place.

    Raises
    ------
    InputError
        The user has no home directory.
    """
    given = os.environ.get("SCALEWISE_CACHE")
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scalewise"
    except RuntimeError as error:
        remedy = "Let SCALEWISE_CACHE name a folder for compiled programs."
        raise InputError("cache", "no home directory", remedy) from error


def processor() -> list[str]:
    """What the processor can do, as Linux says it; elsewhere, only its kind."""
    kind = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return sorted({*kind, *flags.partition(":")[2].split()})
