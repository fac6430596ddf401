"""Charges learned from forces alone, on the study's TIP3P salt water, where the truth is known.

python benchmarks/tip3p_charges.py FOLDER [--minutes 10] [--out runs/tip3p] [key=value...]

FOLDER is what `scalewise generate` wrote. TIP3P has -0.834 e on oxygen, 0.417 e on hydrogen, and
the ions have 1 and -1 e; the labels are forces of the whole simulation, energies are not used. The
last fifth of the replicas is for the test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from ase.io import read as read_atoms
from ase.io import write

from scalewise.core.loading import load
from scalewise.data.structure import read
from scalewise.models import checkpoint
from scalewise.training.run import train
from scalewise.training.settings import TrainSettings

TRUTH = {"H": 0.417, "O": -0.834, "Na": 1.0, "Cl": -1.0}


def gather(folder: Path) -> list[ase.Atoms]:
    """Frames of all replicas, each with its role: whole replicas are held out."""
    files = sorted(folder.glob("replica-*.extxyz")) or sorted(folder.glob("*.extxyz"))
    tested = max(1, len(files) // 5)
    roles = ["train"] * (len(files) - tested - 1) + ["valid"] + ["test"] * tested
    frames = []
    for file, role in zip(files, roles, strict=True):
        for atoms in read_atoms(file, ":"):
            bare = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
            bare.arrays["REF_forces"] = atoms.arrays["REF_forces"]
            bare.info["role"] = role
            frames.append(bare)
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="*", metavar="key=value")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("runs/tip3p"))
    options = parser.parse_intermixed_args()  # words may stand anywhere
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "frames.xyz"
    write(file, gather(options.folder))
    words = ["data.split_key=role", f"minutes={options.minutes}", *options.words]
    potential = checkpoint.read(train(file, load(TrainSettings, None, words), options.out))
    tested = [f for f in read(file) if f.info["role"] == "test"]
    found = [potential.predict(f) for f in tested]
    numbers = np.concatenate([f.numbers for f in tested])
    charges = np.concatenate([p.charges for p in found])
    errors = 1e3 * np.concatenate(
        [np.abs(p.forces - f.forces) for p, f in zip(found, tested, strict=True)]
    )
    print(f"force error on {len(tested)} test frames: {errors.mean():.2f} meV/Å")
    for z in potential.network.elements:
        name = chemical_symbols[z]
        own = charges[numbers == z]
        print(
            f"  {name:2s} charge {own.mean():+.4f} ± {own.std():.4f} e, true {TRUTH[name]:+.3f} "
            f"({100 * (own.mean() / TRUTH[name] - 1):+.1f} %), "
            f"forces {errors[numbers == z].mean():.2f} meV/Å"
        )


if __name__ == "__main__":
    main()
