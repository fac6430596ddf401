"""NequIP: l = 1, 64 features, two layers; trained by nequip-train in its own recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from ase import Atoms
from benchmarks.peers import common, data
from benchmarks.peers.clock import Clock
from benchmarks.peers.clocked import clocked
from lightning.pytorch import Callback, Trainer
from nequip.data import AtomicDataDict, from_ase
from nequip.data.datamodule import ASEDataModule
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.train import EMALightningModule
from nequip.utils.aot import aot_export_model
from nequip.utils.global_state import set_global_state
from torch import nn

ELEMENTS = list(data.ELEMENTS)
MONITOR = "val0_epoch/weighted_sum"
ERRORS = {"total_energy_mae": 1.0, "forces_mae": 1.0}
PLATEAU = {"factor": 0.6, "patience": 5, "threshold": 0.2, "min_lr": 1e-6}
KEYS = {"REF_energy": "total_energy", "REF_forces": "forces"}


def metrics(kind: str, coefficients: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"_target_": f"nequip.train.{kind}", "coeffs": coefficients, **more}


class NequIP:
    """The architecture of the study's table, with the tutorial's other choices."""

    packages = ("nequip", "e3nn", "lightning")
    learning_rate = 0.01
    own_sources = ("github.com/mir-group/nequip: configs/tutorial.yaml",)
    settings: ClassVar[dict[str, Any]] = {
        "r_max": data.CUTOFF,
        "l_max": 1,
        "parity": True,
        "num_layers": 2,
        "num_features": 64,
        "num_bessels": 8,
        "polynomial_cutoff_p": 6,
        "radial_mlp_depth": 2,
        "radial_mlp_width": 64,
    }

    def __init__(self) -> None:
        set_global_state()
        self.to_types = ChemicalSpeciesToAtomTypeMapper(model_type_names=ELEMENTS)
        self.add_edges = NeighborListTransform(r_max=data.CUTOFF)

    def arguments(self) -> dict[str, Any]:
        """What the builder wants: the settings and the statistics of the training frames."""
        facts = data.facts()
        return self.settings | {
            "seed": 0,
            "model_dtype": "float32",
            "type_names": ELEMENTS,
            "avg_num_neighbors": facts["neighbors"],
            "per_type_energy_scales": facts["force_rms_by_element"],
            "per_type_energy_shifts": dict.fromkeys(ELEMENTS, 0.0),
        }

    def build(self, **more: Any) -> nn.Module:
        """Fresh weights, the same every time."""
        return NequIPGNNModel(**self.arguments(), **more)

    def prepare(self, frame: Atoms) -> dict[str, torch.Tensor]:
        """The model's own input, neighbor list included."""
        with torch.no_grad():
            return self._float(self.add_edges(self.to_types(from_ase(frame))))

    @staticmethod
    def _float(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}

    def predict(self, model: nn.Module) -> common.Predict:
        """Energy and forces in eager mode."""

        def run(batch: dict[str, torch.Tensor], training: bool) -> common.Result:
            model.train(training)
            out = model(batch.copy())
            return out[AtomicDataDict.TOTAL_ENERGY_KEY], out[AtomicDataDict.FORCE_KEY]

        return run

    def variants(self) -> dict[str, Any]:
        """The accelerated ways, each with what it can do."""
        return {
            "infer:nequip-compile (AOTInductor, target ase)": self.compile_inference,
            "train:compile_mode=compile (batch of two)": self.compile_training,
        }

    def compile_inference(self, model: nn.Module, batch: dict[str, Any]) -> common.Fast:
        """What the `nequip-compile --mode aotinductor --target ase` command does."""
        target = COMPILE_TARGET_DICT["ase"]
        shapes = {k: torch.export.Dim(f"num_{k}s", min=2) for k in ("node", "edge")}
        shapes["graph"] = torch.export.Dim.STATIC
        single = target["data_settings"](batch.copy())
        file = Path(tempfile.mkdtemp()) / "model.nequip.pt2"
        aot_export_model(
            model=model.eval(),
            device="cpu",
            input_fields=target["input"],
            output_fields=target["output"],
            data=single,
            batch_map=shapes,
            output_path=str(file),
        )
        compiled = torch._inductor.aoti_load_package(str(file))
        energy, forces = (target["output"].index(k) for k in ("total_energy", "forces"))

        def run(batch: dict[str, Any], training: bool) -> common.Result:
            with torch.inference_mode():
                out = compiled([batch[k] for k in target["input"]])
            return out[energy], out[forces]

        return common.Fast(model, run)

    def compile_training(self, model: nn.Module, batch: dict[str, Any]) -> common.Fast:
        """Train-time compilation; with a batch of one frame it falls back to eager, so two."""
        compiled = self.build(compile_mode="compile")
        compiled.load_state_dict(model.state_dict())
        two = AtomicDataDict.batched_from_list([batch, batch])
        return common.Fast(compiled, self.predict(compiled), two, copies=2)

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """tutorial.yaml: Adam 0.01, plateau schedule, EMA 0.999, batches of five, both losses."""
        torch.manual_seed(0)
        module = EMALightningModule(
            num_datasets={"train": 1, "val": 1, "test": 0, "predict": 0},
            ema_decay=0.999,
            model={"_target_": "nequip.model.NequIPGNNModel"} | self.arguments(),
            loss=metrics(
                "EnergyForceLoss", {"total_energy": 1.0, "forces": 1.0}, per_atom_energy=True
            ),
            val_metrics=metrics("EnergyForceMetrics", ERRORS),
            optimizer={"_target_": "torch.optim.Adam", "lr": self.learning_rate},
            lr_scheduler={
                "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"} | PLATEAU,
                "monitor": MONITOR,
                "interval": "epoch",
                "frequency": 1,
            },
        )
        copy = self.build()

        def mark(seconds: float) -> None:
            module.ema.swap_parameters(module.model)
            copy.load_state_dict(module.model["sole_model"].state_dict())
            module.ema.swap_parameters(module.model)
            common.save_predictions(self, copy, seconds, out)

        clock = Clock(marks, mark)
        trainer = Trainer(
            max_epochs=1000,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            inference_mode=False,
            callbacks=[clocked(Callback, clock)],
        )
        trainer.fit(module, datamodule=self.own_data())
        return {
            "recipe": {
                "loss": "mean squared force error + mean squared energy-per-atom error",
                "optimizer": "Adam",
                "learning_rate": self.learning_rate,
                "schedule": f"reduce on plateau {PLATEAU}, monitored every epoch",
                "average": "exponential, 0.999; the averaged weights predict",
                "batch": 5,
                "left_out": "ZBL pair potential; isolated-atom energies (not published)",
            },
            "seconds": clock.reached,
            "steps": clock.steps_at,
        }

    def own_data(self) -> ASEDataModule:
        """Frames as the peer's own trainer wants them."""
        loader = {"_target_": "torch.utils.data.DataLoader", "num_workers": 0}
        place = "nequip.data.transforms."
        return ASEDataModule(
            seed=456,
            train_file_path=str(data.FOLDER / "train.extxyz"),
            val_file_path=str(data.FOLDER / "valid.extxyz"),
            key_mapping=KEYS,
            transforms=[
                {
                    "_target_": place + "ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": ELEMENTS,
                },
                {"_target_": place + "NeighborListTransform", "r_max": data.CUTOFF},
            ],
            train_dataloader=loader | {"batch_size": 5, "shuffle": True},
            val_dataloader=loader | {"batch_size": 10},
        )


if __name__ == "__main__":
    common.main(NequIP())
