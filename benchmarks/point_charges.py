"""Learning Coulomb's law from random point charges, and from two ions, with a 4 Å cutoff.

python benchmarks/point_charges.py [--frames 900,10] [--minutes 5] [--out runs/point-charges]

64 charges of +1 e and 64 of -1 e in a cell of 20 Å, at random but no closer than 2.2 Å, with a
repulsion (2.2 Å / r)^12 of 0.3 eV. Forces and energies are exact: torch-pme's Ewald sum in float64.
The medium preset is trained with and without learned charges, and tested on 100 other frames.
Then, isolated pairs of the two ions at 2.2 to 8 Å, and the learned energy from 8 to 30 Å against
-1/r.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase
import numpy as np
import torch
from ase.io import read as read_atoms
from ase.io import write
from torchpme import CoulombPotential, EwaldCalculator
from vesin import NeighborList

from scalewise.core.loading import load
from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.structure import Frame, read
from scalewise.models import checkpoint
from scalewise.models.potential import Potential
from scalewise.training.run import train
from scalewise.training.settings import TrainSettings

COUNT, BOX, CLOSEST, REPULSION, CUTOFF, TESTED = 128, 20.0, 2.2, 0.3, 4.0, 100
SMEARING, REACH, WAVELENGTH = 1.5, 9.9, 0.65  # of the reference: both its sums end below 1e-10


def random_positions(rng: np.random.Generator) -> np.ndarray:
    """Uniform points, no two closer than ``CLOSEST`` [atoms, 3]."""
    found: list[np.ndarray] = []
    while len(found) < COUNT:
        trial = rng.uniform(0, BOX, 3)
        delta = np.array(found).reshape(-1, 3) - trial
        delta -= BOX * np.round(delta / BOX)
        if not found or np.linalg.norm(delta, axis=1).min() > CLOSEST:
            found.append(trial)
    return np.array(found)


def label(positions: np.ndarray, charges: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy and forces, eV and eV/Å."""
    r = torch.tensor(positions, requires_grad=True)
    cell = BOX * torch.eye(3, dtype=torch.float64)
    i, j, shift = NeighborList(cutoff=REACH, full_list=False).compute(
        positions, cell.numpy(), True, "ijS"
    )
    i, j = torch.tensor(i.astype(np.int64)), torch.tensor(j.astype(np.int64))
    distance = (r[j] - r[i] + torch.tensor(shift.astype(float)) @ cell).norm(dim=1)
    calculator = EwaldCalculator(CoulombPotential(SMEARING), lr_wavelength=WAVELENGTH).double()
    q = torch.tensor(charges)[:, None]
    field = calculator(q, cell, r, torch.stack([i, j], dim=1), distance)
    energy = COULOMB_CONSTANT * (q * field).sum() + (REPULSION * (CLOSEST / distance) ** 12).sum()
    (gradient,) = torch.autograd.grad(energy, r)
    return energy.item(), -gradient.numpy()


def labelled(path: Path, count: int, seed: int) -> list[ase.Atoms]:
    """Frames of random charges; labels take half a second each and are kept in a file."""
    if path.is_file() and len(kept := read_atoms(path, ":")) == count:
        return kept
    rng, frames = np.random.default_rng(seed), []
    charges = np.repeat([1.0, -1.0], COUNT // 2)
    for _ in range(count):
        positions = random_positions(rng)
        energy, forces = label(positions, charges)
        frame = ase.Atoms("Na64Cl64", positions, cell=[BOX] * 3, pbc=True)
        frame.info["REF_energy"], frame.arrays["REF_forces"] = energy, forces
        frames.append(frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, frames)
    return frames


def pairs(distances: np.ndarray) -> list[ase.Atoms]:
    """Isolated pairs of ions."""
    frames = []
    for r in distances:
        pair = ase.Atoms("NaCl", [[0, 0, 0], [r, 0, 0]])
        repulsion = REPULSION * (CLOSEST / r) ** 12
        pair.info["REF_energy"] = repulsion - COULOMB_CONSTANT / r
        force = COULOMB_CONSTANT / r**2 - 12 * repulsion / r  # on the first ion, along x
        pair.arrays["REF_forces"] = np.array([[force, 0, 0], [-force, 0, 0]])
        frames.append(pair)
    return frames


def fit(frames: list[ase.Atoms], out: Path, *words: str) -> Potential:
    """Train on frames that are not near-duplicates of each other; a tenth validates."""
    for k, frame in enumerate(frames):
        frame.info["role"] = "valid" if k % 10 == 9 else "train"
    out.mkdir(parents=True, exist_ok=True)
    write(out / "frames.xyz", frames)
    words = (*words, f"network.cutoff={CUTOFF}", "data.split_key=role", "data.check_units=false")
    return checkpoint.read(train(out / "frames.xyz", load(TrainSettings, None, words), out))


def error(potential: Potential, frames: list[Frame]) -> float:
    """Mean absolute error of a force component, meV/Å."""
    return 1e3 * float(np.mean([np.abs(potential.predict(f).forces - f.forces) for f in frames]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", default="900,10")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("runs/point-charges"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    labelled(options.out / "test.xyz", TESTED, seed=1)
    tested = read(options.out / "test.xyz", check_units=False)
    for count in map(int, options.frames.split(",")):
        frames = labelled(options.out / f"train-{count}.xyz", count, seed=2)
        for charges in ("true", "false"):
            out = options.out / f"{count}-charges-{charges}"
            words = (f"network.charges={charges}", f"minutes={options.minutes}")
            potential = fit(frames, out, *words)
            line = f"{count} frames, charges {charges}: {error(potential, tested):.2f} meV/Å"
            if charges == "true":
                q = potential.predict(tested[0]).charges
                line += f", charges {q[: COUNT // 2].mean():+.4f} {q[COUNT // 2 :].mean():+.4f} e"
            print(line, flush=True)
    potential = fit(
        pairs(np.random.default_rng(0).uniform(CLOSEST, 8.0, 200)),
        options.out / "pairs",
        f"minutes={min(options.minutes, 2.0)}",
    )
    far = np.linspace(8.0, 30.0, 12)
    write(options.out / "far.xyz", pairs(far))
    found = [potential.predict(f).energy for f in read(options.out / "far.xyz", check_units=False)]
    exact = -COULOMB_CONSTANT / far
    apart = np.array(found) - found[-1] - (exact - exact[-1])
    print(f"two ions, 8 to 30 Å: charge {potential_charge(potential, options.out):.4f} e")
    print(
        f"  largest error of the energy over -1/r: {np.abs(np.array(found) / exact - 1).max():.4f}"
    )
    print(f"  of its differences to 30 Å, meV: {1e3 * np.abs(apart).max():.2f}")


def potential_charge(potential: Potential, out: Path) -> float:
    """Charge of the first ion at the largest distance, e."""
    return float(potential.predict(read(out / "far.xyz", check_units=False)[-1]).charges[0])


if __name__ == "__main__":
    main()
