"""MACE: 64x0e, two layers; trained by its run_train in its own recipe."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from benchmarks.peers import common, data
from benchmarks.peers.clock import Clock, OutOfTimeError
from mace import modules
from mace.cli.run_train import run
from mace.data import AtomicData, config_from_atoms
from mace.tools import AtomicNumberTable, build_default_arg_parser, torch_geometric
from mace.tools.compile import prepare
from mace.tools.scripts_utils import extract_model
from torch import nn

# `mace.tools.train` names a function too, so the module has to be asked for.
trainer = importlib.import_module("mace.tools.train")

OWN = {
    "model": "MACE",
    "num_channels": 64,
    "max_L": 0,
    "r_max": data.CUTOFF,
    "E0s": "average",
    "energy_key": "REF_energy",
    "forces_key": "REF_forces",
    "batch_size": 10,
    "valid_batch_size": 10,
    "max_num_epochs": 1500,
    "ema_decay": 0.99,
    "default_dtype": "float32",
    "device": "cpu",
    "num_workers": 0,
    "seed": 0,
}
FLAGS = ["--ema", "--amsgrad"]


class MACE:
    """Every choice that the study's table leaves open is run_train's default."""

    packages = ("mace-torch", "e3nn")
    learning_rate = 0.01
    own_sources = (
        "github.com/ACEsuit/mace: README.md, section Training",
        "mace_run_train --help: defaults of mace-torch 0.3.16",
    )
    settings: ClassVar[dict[str, Any]] = {
        "r_max": data.CUTOFF,
        "num_bessel": 8,
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "num_interactions": 2,
        "hidden_irreps": "64x0e",
        "MLP_irreps": "16x0e",
        "correlation": 3,
        "radial_MLP": [64, 64, 64],
    }

    def __init__(self) -> None:
        torch.set_default_dtype(torch.float32)
        self.table = AtomicNumberTable(list(data.NUMBERS))

    def build(self) -> nn.Module:
        """Fresh weights, the same every time."""
        from e3nn import o3  # imported after mace, which lifts torch.load's restriction for it

        facts = data.facts()
        torch.manual_seed(0)
        block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
        irreps = {k: o3.Irreps(self.settings[k]) for k in ("hidden_irreps", "MLP_irreps")}
        return modules.ScaleShiftMACE(
            **(self.settings | irreps),
            interaction_cls=block,
            interaction_cls_first=block,
            num_elements=len(self.table),
            atomic_energies=np.zeros((1, len(self.table))),
            atomic_numbers=list(data.NUMBERS),
            avg_num_neighbors=facts["neighbors"],
            gate=torch.nn.functional.silu,
            atomic_inter_scale=facts["force_rms"],
            atomic_inter_shift=0.0,
        )

    def prepare(self, frame: Atoms) -> dict[str, torch.Tensor]:
        """The model's own input, neighbor list included."""
        item = AtomicData.from_config(
            config_from_atoms(frame), z_table=self.table, cutoff=data.CUTOFF
        )
        return torch_geometric.Batch.from_data_list([item]).to_dict()

    def predict(self, model: nn.Module) -> common.Predict:
        """Energy and forces in eager mode."""

        def run_model(batch: dict[str, torch.Tensor], training: bool) -> common.Result:
            out = model(dict(batch), training=training, compute_force=True)
            return out["energy"], out["forces"]

        return run_model

    def variants(self) -> dict[str, Any]:
        """The accelerated ways, each with what it can do."""
        return {"both:torch.compile after mace.tools.compile.prepare": self.compiled}

    def compiled(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> common.Fast:
        """As MACECalculator's `compile_mode` does; its graph always keeps what training needs."""
        ready = prepare(extract_model)(model=model, map_location="cpu")
        fast = torch.compile(ready, mode="default", fullgraph=False)

        def run_model(batch: dict[str, torch.Tensor], training: bool) -> common.Result:
            inputs = dict(batch)
            inputs["positions"] = inputs["positions"].detach().requires_grad_(True)
            inputs["node_attrs"] = inputs["node_attrs"].detach().requires_grad_(True)
            out = fast(inputs, training=True, compute_force=True)
            return out["energy"], out["forces"]

        return common.Fast(ready, run_model)

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """README's command with defaults; stopped at the budget, long before its stage two."""
        clock = Clock(marks, lambda seconds: None)
        take_step, evaluate = trainer.take_step, trainer.evaluate

        def clocked_step(model: nn.Module, ema: Any, **more: Any) -> Any:
            def mark(seconds: float) -> None:
                with ema.average_parameters():
                    common.save_predictions(self, model, seconds, out)

            clock.mark = mark
            clock.start()
            result = take_step(model=model, ema=ema, **more)
            clock.tick()
            if clock.finished:
                raise OutOfTimeError
            return result

        def uncounted_evaluate(*args: Any, **more: Any) -> Any:
            with clock.paused():
                return evaluate(*args, **more)

        trainer.take_step, trainer.evaluate = clocked_step, uncounted_evaluate
        try:
            run(build_default_arg_parser().parse_args(self.arguments()))
        except OutOfTimeError:
            pass
        finally:
            trainer.take_step, trainer.evaluate = take_step, evaluate
        recipe = {
            "command": OWN | {"flags": FLAGS},
            "loss": "weighted: 1 x energy per atom squared + 100 x force squared",
            "schedule": "learning rate 0.01, reduced on plateau (0.8, patience 50 epochs)",
            "average": "exponential, 0.99; the averaged weights predict",
            "left_out": "stage two (--swa): it starts after 1200 epochs",
        }
        return {"recipe": recipe, "seconds": clock.reached, "steps": clock.steps_at}

    def arguments(self) -> list[str]:
        """What the builder or the command wants."""
        folder = tempfile.mkdtemp()
        places = {f"{kind}_dir": folder for kind in ("log", "model", "checkpoints", "results")}
        files = {f"{s}_file": str(data.FOLDER / f"{s}.extxyz") for s in ("train", "valid")}
        values = {"name": "peer", "work_dir": folder} | places | files | OWN
        return [f"--{key}={value}" for key, value in values.items()] + FLAGS


if __name__ == "__main__":
    common.main(MACE())
