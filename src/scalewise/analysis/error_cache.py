"""Errors of a training at every scale, which are stored beside its model and computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scalewise.analysis.evaluation.predict import known
from scalewise.analysis.rungs import Rung, ladder_rungs, measure
from scalewise.core.errors import InputError
from scalewise.core.files import check_regular, replacing
from scalewise.core.progress import SILENT, Progress
from scalewise.data.splits import hash_file
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.opening import open_potential

#: Raised when errors come to be measured in another way.
SCHEMA: Final = 1


def absolute_errors(
    folder: Path,
    frames: Sequence[Structure],
    cutoffs: Sequence[float],
    role: str,
    *,
    device: str,
    progress: Progress = SILENT,
) -> tuple[list[Rung], Float[np.ndarray, "scales atoms"]]:
    """Scales of a training's potential, and the errors there, eV/Å, summed over components.

    Read from ``errors-ROLE.safetensors`` in the folder where that was made with this model, these
    frames and these cutoffs; else measured, and written there.

    Raises
    ------
    InputError
        An element that the potential does not know; a folder that cannot be written to.
    """
    potential = open_potential(folder, device=device)
    rungs = ladder_rungs(potential, cutoffs)
    path, digest = folder / f"errors-{role}.safetensors", _digest(folder, frames, cutoffs)
    found = _read(path, digest, (len(rungs), sum(len(f.numbers) for f in frames)))
    if found is None:
        found = np.abs(measure(known(potential, frames), rungs, progress).errors).sum(axis=2)
        with replacing(path) as temporary:
            temporary.write_bytes(save({"errors": found}, metadata={"digest": digest}))
    return rungs, found


def _digest(folder: Path, frames: Sequence[Structure], cutoffs: Sequence[float]) -> str:
    """Name the model, the frames with their labels, and the cutoffs."""
    found = hashlib.sha256(f"{SCHEMA} {list(cutoffs)}".encode())
    for file in sorted(p for p in checkpoint.locate(folder).iterdir() if p.is_file()):
        found.update(hash_file(file).encode())
    for frame in frames:
        for part in (frame.numbers, frame.positions, frame.cell, frame.labelled_forces):
            found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _read(path: Path, digest: str, shape: tuple[int, int]) -> np.ndarray | None:
    """Errors that were kept; what is damaged or of something else counts as missing."""
    try:
        check_regular(path, "")
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("digest") != digest:
                return None
            kept = file.get_slice("errors")
            if kept.get_dtype() not in ("F32", "F64") or tuple(kept.get_shape()) != shape:
                return None
            found: np.ndarray = file.get_tensor("errors")
    except (InputError, SafetensorError, OSError):
        return None
    return found if (np.isfinite(found) & (found >= 0.0)).all() else None
