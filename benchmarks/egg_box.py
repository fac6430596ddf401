"""Waves in the force residuals of an element against its position in the cell.

python benchmarks/egg_box.py MODEL [DATA]

A force error that depends on where an atom sits between the points of an integration grid (the
"egg-box effect") is a sine of the position with as many periods per cell edge as the grid has
points. Every number of periods is tried; noise gives all of them the same small amplitude.
DATA defaults to the revPBE0-D3 salt water below $SCALEWISE_DATA (../shared/data).
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from scalewise.data.reading import read_structures
from scalewise.data.structure import Structure
from scalewise.models import checkpoint

PERIODS = np.arange(20, 401)


def amplitudes(places: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Amplitude of each wave, mean over the components, in the residuals' unit [periods]."""
    waves = np.exp(-2j * np.pi * PERIODS[:, None, None] * places)
    return 2.0 * np.abs((waves * residuals).mean(axis=1)).mean(axis=1)


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    potential = checkpoint.read(Path(arguments[0]))
    default = Path(os.environ.get("SCALEWISE_DATA", "../shared/data")) / "nacl_water_revpbe0d3"
    frames = read_structures(Path(arguments[1]) if len(arguments) > 1 else default / "all.extxyz")
    cells: dict[tuple[float, ...], list[Structure]] = defaultdict(list)
    for frame in frames:
        cells[tuple(frame.cell.diagonal().round(2).tolist())].append(frame)
    cell, members = max(cells.items(), key=lambda item: len(item[1]))
    print(f"{len(members)} frames with cells of {cell} Å; amplitudes in meV/Å")
    errors = [f.labelled_forces - potential.predict(f).forces for f in members]
    for number in sorted({z for f in members for z in f.numbers.tolist()}):
        masks = [f.numbers == number for f in members]
        # as many atoms of each element as of the rarest will do, and need little memory
        places = np.concatenate(
            [f.positions[m] / f.cell.diagonal() for f, m in zip(members, masks, strict=True)]
        )[:4000]
        residuals = 1e3 * np.concatenate([e[m] for e, m in zip(errors, masks, strict=True)])[:4000]
        found = amplitudes(places, residuals)
        order = found.argsort()[::-1][:3]
        waves = ", ".join(f"{found[k]:6.1f} at {PERIODS[k]} periods" for k in order)
        print(f"element {number:2d}: rms {residuals.std():6.1f}, largest waves {waves}")


if __name__ == "__main__":
    main(sys.argv[1:])
