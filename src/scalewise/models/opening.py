"""The trained potential that a command was given, from the folder of a model or of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from scalewise.core.errors import InputError
from scalewise.models import checkpoint
from scalewise.models.potential import Potential


def open_model(folder: Path, *, device: str = "auto", cutoff: float | None = None) -> Potential:
    """Read a potential onto a device.

    Raises
    ------
    InputError
        Not the folder of a potential; no such device; a cutoff (Å) above the network's.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise InputError("key 'device'", "no CUDA device found", "Use device=cpu or device=auto.")
    chosen = "cuda" if found and device != "cpu" else "cpu"
    potential = checkpoint.read(checkpoint.locate(folder), device=chosen)
    if cutoff is not None and cutoff > potential.cutoff:
        raise InputError(
            "key 'cutoff'",
            f"{cutoff:g} Å, but the network was trained with {potential.cutoff:g} Å",
            f"Give at most {potential.cutoff:g}, or train a network with a longer cutoff.",
        )
    return potential
