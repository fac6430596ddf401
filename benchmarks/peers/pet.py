"""PET of metatrain: width 64, half its default; trained by metatrain in its own recipe."""

from __future__ import annotations

import contextlib
import math
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import metatrain.pet.trainer as trainer
import torch
from ase import Atoms
from benchmarks.peers import common, data
from benchmarks.peers.clock import Clock, OutOfTimeError
from metatensor.torch import TensorBlock
from metatomic.torch import System, load_atomistic_model, systems_to_torch
from metatrain.cli.train import train_model
from metatrain.pet import PET as PETModel  # noqa: N811
from metatrain.utils.architectures import get_default_hypers
from metatrain.utils.data import DatasetInfo
from metatrain.utils.data.target_info import get_energy_target_info
from metatrain.utils.evaluate_model import evaluate_model
from metatrain.utils.neighbor_lists import (
    get_requested_neighbor_lists,
    get_system_with_neighbor_lists,
)
from omegaconf import OmegaConf
from torch import Tensor, nn

ENERGY = {"quantity": "energy", "unit": "eV"}


def random_rotation() -> Tensor:
    """Uniform over the rotations: the sign-fixed Q of a Gaussian matrix."""
    q, r = torch.linalg.qr(torch.randn(3, 3))
    return q * r.diagonal().sign()


def rotated(system: System, rotation: Tensor) -> System:
    """The system and its neighbor vectors turned; reflections may be among the rotations."""
    turned = System(
        types=system.types,
        positions=system.positions @ rotation.T,
        cell=system.cell @ rotation.T,
        pbc=system.pbc,
    )
    for options in system.known_neighbor_lists():
        old = system.get_neighbor_list(options)
        values = (old.values.squeeze(-1) @ rotation.T).unsqueeze(-1)
        new = TensorBlock(values, old.samples, old.components, old.properties)
        turned.add_neighbor_list(options, new)
    return turned


class PET:
    """PET at d_pet = 64. It has to learn invariance, so every training frame is rotated."""

    packages = ("metatrain", "metatomic-torch", "metatensor-torch")
    learning_rate = 1e-4
    own_sources = (
        "docs.metatensor.org/metatrain: Architectures, PET, default hyperparameters",
        "metatrain/pet/documentation.py of metatrain 2026.4.1",
    )
    settings: ClassVar[dict[str, Any]] = {
        "cutoff": data.CUTOFF,
        "d_pet": 64,
        "d_head": 64,
        "d_node": 128,
        "d_feedforward": 128,
        "num_heads": 4,
    }
    scale = 1.0

    def __init__(self) -> None:
        self.target = get_energy_target_info("energy", OmegaConf.create(ENERGY), True)
        self.scale = data.facts()["force_rms"]
        self.lists = get_requested_neighbor_lists(self.build())

    def build(self) -> nn.Module:
        """Fresh weights, the same every time."""
        torch.manual_seed(0)
        hypers = get_default_hypers("pet")["model"] | self.settings
        info = DatasetInfo(
            length_unit="angstrom",
            atomic_types=list(data.NUMBERS),
            targets={"energy": self.target},
        )
        return PETModel(hypers, info)

    def prepare(self, frame: Atoms) -> System:
        """The model's own input, neighbor list included."""
        system = systems_to_torch(frame, dtype=torch.float32)
        return get_system_with_neighbor_lists(system, self.lists)

    def predict(self, model: nn.Module) -> common.Predict:
        """Energy and forces in eager mode."""

        def run(system: System, training: bool) -> common.Result:
            rotation = random_rotation() if training else torch.eye(3)
            turned = rotated(system, rotation) if training else system
            out = evaluate_model(model, [turned], {"energy": self.target}, is_training=training)
            block = out["energy"].block()
            forces = -block.gradient("positions").values.squeeze(-1) @ rotation
            return self.scale * block.values.squeeze(), self.scale * forces

        return run

    def variants(self) -> dict[str, Any]:
        """The accelerated ways, each with what it can do."""
        return {
            "infer:exported (TorchScript)": self.scripted,
            "infer:torch.compile of the backend": self.compiled,
        }

    def scripted(self, model: nn.Module, system: System) -> common.Fast:
        """What `mtt export` gives to engines."""
        file = Path(tempfile.mkdtemp()) / "model.pt"
        model.eval().export().save(str(file))
        fast = load_atomistic_model(str(file))
        return common.Fast(fast, self.predict(fast))

    def compiled(self, model: nn.Module, system: System) -> common.Fast:
        """The parts that metatrain keeps free of metatensor objects so that they compile."""
        backend = model.backend
        for part in ("preprocess", "calculate_features", "predict"):
            compiled = torch.compile(getattr(backend, part), dynamic=True)
            object.__setattr__(backend, part, compiled)
        return common.Fast(model, self.predict(model))

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """`mtt train` with its defaults; the cosine spans the budget instead of 1000 epochs."""
        self.scale = 1.0
        model: list[nn.Module] = []
        clock = Clock(
            marks[-1:], lambda seconds: common.save_predictions(self, model[0], seconds, out)
        )

        class Schedule(torch.optim.lr_scheduler.LambdaLR):
            """Warm-up over 1 % and half a cosine, as metatrain's, of the time instead of steps."""

            def __init__(self, optimizer: Any, hypers: Any, steps: int) -> None:
                warm = hypers["warmup_fraction"]

                def factor(_: int) -> float:
                    done = min(1.0, clock.seconds / clock.budget)
                    if done < warm:
                        return done / warm
                    return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

                super().__init__(optimizer, factor)

            def step(self, *args: Any) -> None:
                super().step(*args)
                if model:
                    clock.tick()
                    if clock.finished:
                        raise OutOfTimeError

        def watched(net: nn.Module, *args: Any, is_training: bool, **more: Any) -> Any:
            if is_training:
                model[:] = [net]
                clock.start()
                return evaluate_model(net, *args, is_training=True, **more)
            with clock.paused():
                return evaluate_model(net, *args, is_training=False, **more)

        before = trainer.get_scheduler, trainer.evaluate_model
        trainer.get_scheduler, trainer.evaluate_model = Schedule, watched
        folder = Path(tempfile.mkdtemp())
        try:
            with contextlib.chdir(folder), contextlib.suppress(OutOfTimeError):
                train_model(OmegaConf.create(self.options()), output=str(folder / "model.pt"))
        finally:
            trainer.get_scheduler, trainer.evaluate_model = before
        recipe = {
            "loss": "metatrain's mse on energy per atom and on forces, targets scaled",
            "optimizer": "Adam, gradient norm clipped at 1",
            "learning_rate": self.learning_rate,
            "schedule": "warm-up over 1 %, then half a cosine; over the budget's time instead of"
            " 1000 epochs, so there is one run per budget",
            "average": "none; the last weights predict",
            "batch": 16,
            "augmentation": "random rotations and reflections",
        }
        return {"recipe": recipe, "seconds": clock.reached, "steps": clock.steps_at}

    def options(self) -> dict[str, Any]:
        """What `mtt train` reads from its options file."""

        def part(split: str) -> dict[str, Any]:
            energy = ENERGY | {"key": "REF_energy", "forces": {"key": "REF_forces"}}
            file = str(data.FOLDER / f"{split}.extxyz")
            systems = {"read_from": file, "length_unit": "angstrom"}
            return {"systems": systems, "targets": {"energy": deepcopy(energy)}}

        return {
            "seed": 0,
            "device": "cpu",
            "base_precision": 32,
            "architecture": {
                "name": "pet",
                "model": self.settings,
                "training": {"num_workers": 0},
            },
            "training_set": part("train"),
            "validation_set": part("valid"),
            "test_set": part("valid"),
        }


if __name__ == "__main__":
    common.main(PET())
