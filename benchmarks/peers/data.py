"""The frames that every peer sees: the splits of one set and one large frame for timing.

The set is NaCl(aq), or what $PEERS_SET names. Only energies and forces are written, so that all
learn from the same labels: silicon's stresses are left out.

Energies are written less a composition baseline: peers differ in how they shift energies, and
total energies of 36 keV leave float32 only 4 meV. The baseline is the minimum-norm least-squares
fit per element on the training frames. H goes with O and Na with Cl in salt water, so the four
numbers are not atomic energies; any solution of the two independent ones gives the same residuals.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.neighborlist import neighbor_list

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Source:
    """A published set: where it lies below the data folder, its splits and its elements."""

    file: str
    key: str
    splits: tuple[str, ...]
    elements: tuple[str, ...]
    numbers: tuple[int, ...]
    replicas: tuple[int, int, int]


SETS = {
    "salt": Source(
        file="nacl_water_revpbe0d3/all.extxyz",
        key="suggested_split",
        splits=("train", "valid", "test", "ood"),
        elements=("H", "O", "Na", "Cl"),
        numbers=(1, 8, 11, 17),
        replicas=(3, 1, 1),
    ),
    "silicon": Source(
        file="mlearn/Si.extxyz",
        key="split",
        splits=("train", "valid", "test"),
        elements=("Si",),
        numbers=(14,),
        replicas=(2, 2, 2),
    ),
}
NAME = os.environ.get("PEERS_SET", "salt")
if NAME not in SETS:
    raise SystemExit(f"PEERS_SET={NAME}: known sets are {', '.join(SETS)}")
SET = SETS[NAME]
FOLDER = HERE.parents[1] / "runs" / "peers" / "data" / NAME
SPLITS, ELEMENTS, NUMBERS = SET.splits, SET.elements, SET.numbers
CUTOFF = 5.0
"""Å, for every network: none of their manuals asks for another value for water."""


def source() -> Path:
    """The published frames, below $SCALEWISE_DATA or beside the checkout."""
    beside = HERE.parents[2] / "shared" / "data"
    path = Path(os.environ.get("SCALEWISE_DATA", beside))
    file = path / SET.file
    if not file.is_file():
        raise SystemExit(
            f"no frames at {file}: set SCALEWISE_DATA to the folder that holds {SET.file}"
        )
    return file


def composition(frames: list[Atoms]) -> np.ndarray:
    """How many atoms of each of ELEMENTS, shape (frames, elements)."""
    return np.array([[int((f.numbers == z).sum()) for z in NUMBERS] for f in frames], dtype=float)


def baseline(frames: list[Atoms]) -> np.ndarray:
    """Energy per element in eV, minimum norm among the least-squares solutions."""
    energies = np.array([f.info["REF_energy"] for f in frames])
    return np.linalg.lstsq(composition(frames), energies, rcond=1e-8)[0]


def _bare(frame: Atoms, energy: float, forces: np.ndarray) -> Atoms:
    """Only what a peer may use, so that no stray key is taken for a label."""
    bare = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    bare.info["REF_energy"] = energy
    bare.arrays["REF_forces"] = forces
    return bare


def speed_frame(train: list[Atoms]) -> Atoms:
    """The largest cubic training frame, repeated: wide enough for 5 Å each way."""
    largest = max((f for f in train if _cubic(f)), key=len)
    copies = int(np.prod(SET.replicas))
    forces = np.tile(largest.arrays["REF_forces"], (copies, 1))
    return _bare(largest.repeat(SET.replicas), copies * largest.info["REF_energy"], forces)


def _cubic(frame: Atoms) -> bool:
    """Edges of one length at right angles, and forces: crystals have none by symmetry."""
    cube = np.ptp(frame.cell.lengths()) < 1e-6 and np.allclose(frame.cell.angles(), 90)
    return bool(cube and np.abs(frame.arrays["REF_forces"]).max() > 0.1)


def prepare() -> Path:
    """Write the splits, the frame for timing and `facts.json`, unless they are there."""
    facts = FOLDER / "facts.json"
    if facts.is_file():
        return FOLDER
    frames = read(source(), ":")
    parts = {s: [f for f in frames if f.info[SET.key] == s] for s in SPLITS}
    shifts = baseline(parts["train"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    for split, part in parts.items():
        left = [f.info["REF_energy"] for f in part] - composition(part) @ shifts
        bare = [_bare(f, e, f.arrays["REF_forces"]) for f, e in zip(part, left, strict=True)]
        parts[split] = bare
        write(FOLDER / f"{split}.extxyz", bare)
    large = speed_frame(parts["train"])
    write(FOLDER / "speed.extxyz", [large])
    known = {"baseline_ev": dict(zip(ELEMENTS, shifts.tolist(), strict=True))}
    known |= {"frames": {split: len(part) for split, part in parts.items()}}
    known |= {"speed": {"atoms": len(large), "edges": len(neighbor_list("i", large, CUTOFF))}}
    known |= statistics(parts["train"])
    facts.write_text(json.dumps(known, indent=1))
    return FOLDER


def statistics(train: list[Atoms]) -> dict[str, float | dict[str, float]]:
    """What model builders ask for: neighbors per atom and the spread of forces, in eV/Å."""
    sample = train[::20]
    edges = sum(len(neighbor_list("i", f, CUTOFF)) for f in sample)
    forces = np.concatenate([f.arrays["REF_forces"] for f in train])
    numbers = np.concatenate([f.numbers for f in train])
    by_element = {
        e: float(np.sqrt(np.mean(forces[numbers == z] ** 2)))
        for e, z in zip(ELEMENTS, NUMBERS, strict=True)
    }
    return {
        "neighbors": edges / sum(len(f) for f in sample),
        "force_rms": float(np.sqrt(np.mean(forces**2))),
        "force_rms_by_element": by_element,
    }


@cache
def facts() -> dict:
    return json.loads((FOLDER / "facts.json").read_text())


@cache
def frames(split: str) -> list[Atoms]:
    """The prepared frames of one split, or the one named speed."""
    return read(FOLDER / f"{split}.extxyz", ":")
