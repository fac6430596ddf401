"""Audit two prediction files: whether one model suffices, or choosing between them pays.

    python examples/audit_two_models.py [LABELS SHORT LONG]

Without files it writes three of its own: salt whose reference forces are electrostatics and a
repulsion, a "short" model that is right where a counterion touches, and a "long" model that is
right everywhere else. The verdict should be that routing is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import ase.io
import numpy as np

import scalewise as sw

BOX, PAIRS, FRAMES = 16.0, 8, 60


def random_salt(rng: np.random.Generator) -> np.ndarray:
    """Positions (Å) of eight ion pairs at random in a cubic cell, none closer than 2.3 Å."""
    positions = np.empty((0, 3))
    while len(positions) < 2 * PAIRS:
        trial = rng.uniform(0, BOX, 3)
        apart = positions - trial
        apart -= BOX * np.round(apart / BOX)
        if (np.linalg.norm(apart, axis=1) > 2.3).all():
            positions = np.vstack([positions, trial])
    return positions


def salt_forces(positions: np.ndarray, charges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forces (eV/Å) of screened charges that repel each other; distance to a counterion (Å)."""
    apart = positions[:, None] - positions
    apart -= BOX * np.round(apart / BOX)
    r = np.linalg.norm(apart, axis=-1) + np.where(np.eye(len(positions)), np.inf, 0.0)
    unlike = charges[:, None] != charges
    size = 14.4 * np.outer(charges, charges) * np.exp(-r / 3.0) / r**2 + 2.4 * (2.4 / r) ** 9
    forces = (size[..., None] * apart / r[..., None]).sum(axis=1, where=~np.isinf(r)[..., None])
    return forces, np.where(unlike, r, np.inf).min(axis=1)


def write_files(folder: Path, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write dft.xyz, short.xyz and long.xyz with forces in eV/Å; return their paths."""
    rng = np.random.default_rng(seed)
    numbers, charges = np.array([11, 17] * PAIRS), np.array([0.4, -0.4] * PAIRS)
    images: dict[str, list[ase.Atoms]] = {"dft": [], "short": [], "long": []}
    for _ in range(FRAMES):
        positions = random_salt(rng)
        truth, nearest = salt_forces(positions, charges)
        touching = nearest < 3.6
        good, bad = (
            0.02 * rng.standard_normal(truth.shape),
            0.2 * rng.standard_normal(truth.shape),
        )
        forces = {
            "dft": truth,
            "short": truth + np.where(touching[:, None], good, bad),
            "long": truth + np.where(touching[:, None], bad, good),
        }
        for name, values in forces.items():
            atoms = ase.Atoms(numbers, positions, cell=[BOX] * 3, pbc=True)
            atoms.new_array("REF_forces" if name == "dft" else "predicted_forces", values)
            images[name].append(atoms)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.xyz" for name in images}
    for name, frames in images.items():
        ase.io.write(paths[name], frames, format="extxyz")
    return paths["dft"], paths["short"], paths["long"]


def main(arguments: list[str]) -> None:
    """Audit the files that were named, or the ones written here."""
    out = Path("runs/audit")
    labels, short, long = map(Path, arguments) if arguments else write_files(out / "data")
    report = sw.audit_predictions(
        [short, long],
        labels,
        out,
        predictions={"forces_keys": ("predicted_forces",)},
        selector={"cutoff": 7.0},
        split={"block": 1},  # frames drawn independently
    )
    for regime in report.subsets:
        verdict = report.verdict(regime)
        print(f"{regime:15s} {verdict.answer:12s} {verdict.reason}")
    report.save(out)


if __name__ == "__main__":
    main(sys.argv[1:])
