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

from scalewise.core.loading import load
from scalewise.data.regimes import CONTACT, nearest
from scalewise.data.structure import Structure
from scalewise.study.branches.base import SumBranch
from scalewise.study.branches.longrange import CoulombBranch
from scalewise.study.branches.pair import ElementPairs, PairBranch, PowerBasis
from scalewise.study.run import run_study
from scalewise.study.settings import StudySettings

BOX, PAIRS, FRAMES = 16.0, 8, 60


def random_salt(rng: np.random.Generator) -> Structure:
    """Eight ion pairs at random in a cubic cell, no two ions closer than 2.3 Å."""
    positions = np.empty((0, 3))
    while len(positions) < 2 * PAIRS:
        trial = rng.uniform(0, BOX, 3)
        apart = positions - trial
        apart -= BOX * np.round(apart / BOX)
        if (np.linalg.norm(apart, axis=1) > 2.3).all():
            positions = np.vstack([positions, trial])
    return Structure(
        numbers=np.array([11, 17] * PAIRS),
        positions=positions,
        cell=BOX * np.eye(3),
        pbc=np.ones(3, dtype=bool),
    )


def write_files(folder: Path, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write dft.xyz, short.xyz and long.xyz with forces in eV/Å; return their paths."""
    rng = np.random.default_rng(seed)
    elements = ElementPairs(("Cl", "Na"))
    repulsion = PowerBasis(elements, (2.5, 2.3, 2.5), 6.5, (8,))
    reference = SumBranch(
        CoulombBranch({"Na": 0.4, "Cl": -0.4}), PairBranch(repulsion, np.full(3, 0.3))
    )
    images: dict[str, list[ase.Atoms]] = {"dft": [], "short": [], "long": []}
    for _ in range(FRAMES):
        frame = random_salt(rng)
        truth = reference.predict(frame).forces
        touching = nearest(frame, {"Na": ["Cl"], "Cl": ["Na"]}, 6.0) < CONTACT
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
            atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
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
    settings = load(
        StudySettings,
        words=[
            f"predictions.files=[{short}, {long}]",
            f"predictions.labels={labels}",
            "predictions.forces_keys=[predicted_forces]",
            "selector.cutoff=7.0",
            "split.block=1",  # frames drawn independently
        ],
    )
    report = run_study(settings, out)
    for regime in report.subsets:
        verdict = report.verdict(regime)
        print(f"{regime:15s} {verdict.answer:12s} {verdict.reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
