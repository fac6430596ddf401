"""scalewise: the medium preset, trained by `scalewise train` with its own defaults."""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.io import write
from benchmarks.peers import common, data
from benchmarks.peers.clock import CPU, name, now
from torch import nn

from scalewise import ScalewiseCalculator
from scalewise.core.loading import load
from scalewise.data.reading import read_structures
from scalewise.data.structure import Labels, Structure
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import NetworkSettings as Settings
from scalewise.models.directional import Directional
from scalewise.models.gradients import Evaluator
from scalewise.models.graph import build
from scalewise.models.programs.evaluation import Programs
from scalewise.models.programs.training import TrainingPrograms
from scalewise.models.scale import ResolvedScale
from scalewise.training import schedule
from scalewise.training.run import train
from scalewise.training.settings import TrainSettings


class Scalewise:
    """The density network with charges."""

    packages = ("scalewise",)
    learning_rate = 5e-3
    own_sources = ("docs/potential.md",)
    settings: ClassVar[dict[str, Any]] = {"preset": "medium", "cutoff": data.CUTOFF}

    def __init__(self) -> None:
        self.network = Settings(**self.settings)

    def build(self) -> nn.Module:
        """Fresh weights, the same every time."""
        torch.manual_seed(0)
        network = DensityNetwork(self.network, data.NUMBERS)
        network.energy_scale.fill_(data.facts()["force_rms"])
        return network

    def prepare(self, frame: Atoms) -> Any:
        """The model's own input, neighbor list included."""
        listed = build(_frame(frame), data.NUMBERS, data.CUTOFF, smearing=self.network.smearing)
        return listed.to(dtype=torch.float32), torch.tensor(frame.positions, dtype=torch.float64)

    def predict(self, model: nn.Module) -> common.Predict:
        """Energy and forces in eager mode."""
        return self._predictor(Evaluator(model))

    def variants(self) -> dict[str, Any]:
        """What calculators do with `compiled=True`, and long trainings by themselves."""
        return {"infer:program": self.program, "train:programs": self.programs}

    def program(self, model: nn.Module, batch: Any) -> common.Fast:
        """Energy and forces from a program of these weights."""
        model.requires_grad_(False)
        whole = Programs(model)

        def run(batch: Any, training: bool) -> common.Result:
            found = whole(batch[0], batch[1], self._scale(batch))
            return found.energy, found.forces

        return common.Fast(model, run)

    def programs(self, model: nn.Module, batch: Any) -> common.Fast:
        """Energy, forces and gradients from programs that take the weights."""
        library = kernel_library(self.network, torch.float32)
        programs = TrainingPrograms(model)
        programs.prepare(batch[0], self._scale(batch))
        run = Evaluator(model, directional=Directional(model, library, programs))
        return common.Fast(model, self._predictor(run, dict(model.named_parameters())))

    @staticmethod
    def _scale(batch: Any) -> ResolvedScale:
        own = torch.ones(len(batch[1]))
        return ResolvedScale(data.CUTOFF * own, own)

    @staticmethod
    def _predictor(differentiate: Evaluator, weights: Any = None) -> common.Predict:
        def run(batch: Any, training: bool) -> common.Result:
            with torch.set_grad_enabled(training):
                found = differentiate(*batch, weights=weights)
            return found.energy, found.forces

        return run

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """One training per mark: its schedule is fitted to the budget, validations included."""
        file = out / "frames.extxyz"
        frames = []
        for role in ("train", "valid"):
            for frame in data.frames(role):
                frame.info["role"] = role
                frames.append(frame)
        write(file, frames)
        steps = {}
        for mark in marks:
            folder = out / f"run{name(mark)}"
            shutil.rmtree(folder, ignore_errors=True)
            words = [f"minutes={mark / 60}", f"processes={torch.get_num_threads()}"]
            words += ["data.split_key=role", "device=cpu"]
            if CPU:  # its clock counts wall time
                schedule.time = types.SimpleNamespace(monotonic=now)
            settings = load(TrainSettings, None, words)
            potential = train(read_structures(file), settings=settings, out=folder)
            steps[name(mark)] = potential.info["step"]
            self._write(potential, mark, out)
        return {
            "recipe": settings.model_dump(mode="json"),
            "seconds": {name(mark): mark for mark in marks},
            "steps": steps,
        }

    def open(self, folder: Path) -> common.Call:
        """Energy and forces by its compiled program, which keeps a neighbor list with a skin."""
        (model,) = folder.glob("run*/model")
        calculator = ScalewiseCalculator(model, compiled=True, device="cpu")

        def call(atoms: Atoms) -> tuple[float, np.ndarray]:
            calculator.calculate(atoms, ["energy", "forces"], ["positions"])
            return calculator.results["energy"], calculator.results["forces"]

        return call

    @staticmethod
    def _write(potential: Any, mark: float, out: Path) -> None:
        for split in common.SPLITS:
            frames = data.frames(split)[: common.FRAMES[0]]
            found = [potential.predict(_frame(frame)) for frame in frames]
            common.write_predictions(
                out / f"{split}@{name(mark)}.npz",
                [p.energy for p in found],
                [p.forces for p in found],
            )


def _frame(atoms: Atoms) -> Structure:
    return Structure(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        cell=np.array(atoms.cell),
        pbc=np.ones(3, dtype=bool),
        molecule=np.arange(len(atoms)),
        labels=Labels(forces=np.zeros((len(atoms), 3))),
    )


if __name__ == "__main__":
    common.main(Scalewise())
