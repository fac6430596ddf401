"""The machine: what its processor can do, and where a user's programs for it are kept."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cache_folder() -> Path:
    """Where programs of this user are kept: ``$SCALEWISE_CACHE``, or the system's place."""
    given = os.environ.get("SCALEWISE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scalewise"


def processor() -> list[str]:
    """What the processor can do, as Linux says it; elsewhere, only its kind."""
    kind = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return sorted({*kind, *flags.partition(":")[2].split()})
