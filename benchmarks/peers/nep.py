"""NEP: the neuroevolution potential, trained by neppo, called through calorine.

GPUMD's own trainer needs CUDA. neppo, by authors of calorine, trains the same model by gradient
descent in PyTorch, on a CPU too, and writes the same file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from benchmarks.peers import clock, common, data
from calorine.calculators import CPUNEP
from neppo import StructureContainer, Trainer
from neppo.losses import EnergyLoss, ForceLoss
from neppo.models import NEP, Descriptor

CUTOFFS = {"salt": (6.0, 4.0), "silicon": (5.0, 5.0)}
"""Å, radial and angular, as in the published NEPs of water and of silicon."""
RATES = (1e-2, 1e-4)
BATCH = 4


class Timed(Trainer):
    """A trainer whose schedule ends with the budget, not after a number of steps."""

    def start(self, marks: list[float]) -> None:
        """Train for the seconds of the last mark."""
        self.clock = clock.Clock(marks, lambda seconds: None)
        self.clock.start()
        try:
            self.train(steps=10**9, report_interval=10**9)
        except clock.OutOfTimeError:
            with torch.no_grad():
                self._evaluate("train", fold_shift=True)

    def _get_learning_rate(self, k: int, steps: int) -> float:
        if k > 0:
            self.clock.tick()
        if self.clock.finished:
            raise clock.OutOfTimeError
        done = min(1.0, self.clock.seconds / self.clock.budget)
        high, low = RATES
        return low + (high - low) * common.half_cosine(done)


class Neuroevolution:
    """neppo's defaults but for the cutoffs and smaller batches: 32 frames suit a GPU."""

    packages = ("neppo", "calorine")
    own_sources = (
        "neppo 1.0: defaults of Descriptor, NEP, the losses and Trainer",
        "gpumd.org: nep.in, cutoff",
    )
    settings: ClassVar[dict[str, Any]] = {
        "radial_cutoff": CUTOFFS[data.NAME][0],
        "angular_cutoff": CUTOFFS[data.NAME][1],
    }

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """AdamW and half a cosine from 0.01 to 0.0001 over the budget."""
        model = NEP(Descriptor(list(data.ELEMENTS), **self.settings))
        frames = StructureContainer(model, [labelled(f) for f in data.frames("train")])
        trainer = Timed(
            model,
            EnergyLoss() + ForceLoss(),
            frames,
            batch_size=BATCH,
            learning_rate=RATES,
            device="cpu",
        )
        trainer.start(marks)
        model.write(out / "nep.txt")
        common.save_called(self.open(out), marks[-1], out)
        return {
            "recipe": {"batch": BATCH, "learning_rate": RATES, "optimizer": "AdamW"},
            "seconds": trainer.clock.reached,
            "steps": trainer.clock.steps_at,
        }

    def open(self, folder: Path) -> common.Call:
        """Energy and forces in C++ by calorine; neighbors are found in every call."""
        model = CPUNEP(str(folder / "nep.txt"))

        def call(atoms: Atoms) -> tuple[float, np.ndarray]:
            model.calculate(atoms, ["energy", "forces"], ["positions", "numbers", "cell", "pbc"])
            return float(model.results["energy"]), np.array(model.results["forces"])

        return call


def labelled(frame: Atoms) -> Atoms:
    """The frame with its labels where neppo looks for them."""
    found = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    found.calc = SinglePointCalculator(
        found, energy=frame.info["REF_energy"], forces=frame.arrays["REF_forces"]
    )
    return found


if __name__ == "__main__":
    common.main(Neuroevolution())
