"""Errors from a peer's predictions: the same few lines for every peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.peers import data


def errors(file: Path, split: str) -> dict[str, Any]:
    """Mean absolute errors in meV/Å and meV/atom; nothing is subtracted or aligned.

    Energies are compared less the composition baseline that `data` took off all labels, which
    leaves their errors unchanged. A file with fewer frames is compared with the first ones.
    """
    found = np.load(file)
    frames = data.frames(split)[: len(found["energy"])]
    atoms = np.array([len(frame) for frame in frames])
    reference = np.concatenate([frame.arrays["REF_forces"] for frame in frames])
    if found["forces"].shape != reference.shape:
        raise SystemExit(
            f"{file}: forces of shape {found['forces'].shape}, expected {reference.shape}"
        )
    off = 1e3 * np.abs(found["forces"] - reference)
    numbers = np.concatenate([frame.numbers for frame in frames])
    energies = np.array([frame.info["REF_energy"] for frame in frames])
    by_element = {
        e: float(off[numbers == z].mean())
        for e, z in zip(data.ELEMENTS, data.NUMBERS, strict=True)
        if (numbers == z).any()
    }
    return {
        "frames": len(frames),
        "force_mae": float(off.mean()),
        "force_rmse": float(np.sqrt(np.mean(off**2))),
        "force_mae_by_element": by_element,
        "energy_mae_per_atom": float(1e3 * np.mean(np.abs(found["energy"] - energies) / atoms)),
    }


def all_errors(folder: Path) -> dict[str, dict[str, Any]]:
    """By time mark, then by split, for every prediction file in the folder of a run."""
    by_mark: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*@*.npz")):
        split, _, mark = file.stem.partition("@")
        by_mark.setdefault(mark, {})[split] = errors(file, split)
    return dict(sorted(by_mark.items(), key=lambda item: float(item[0])))
