"""SchNetPack PaiNN: 64 features, two interactions; trained by SchNetPack in its own recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.utils.data.dataloader as dataloader
from ase import Atoms
from torch import nn

# SchNetPack 2.1.1 imports this name, which newer torch keeps elsewhere.
vars(dataloader).setdefault("T_co", TypeVar("T_co", covariant=True))

import pytorch_lightning as lightning  # noqa: E402
import schnetpack as spk  # noqa: E402
import torchmetrics  # noqa: E402
from benchmarks.peers import common, data  # noqa: E402
from benchmarks.peers.clock import Clock  # noqa: E402
from benchmarks.peers.clocked import clocked  # noqa: E402
from schnetpack import transform  # noqa: E402
from schnetpack.data import ASEAtomsData, AtomsDataModule  # noqa: E402
from schnetpack.interfaces import AtomsConverter  # noqa: E402
from schnetpack.train import ExponentialMovingAverage  # noqa: E402

PLATEAU = {"mode": "min", "factor": 0.5, "patience": 75, "threshold": 0.0, "cooldown": 10}
WEIGHTS = {"energy": 0.01, "forces": 0.99}
BASES = 20


class PaiNN:
    """SchNetPack's PaiNN. Its default has 128 features and three interactions."""

    packages = ("schnetpack", "pytorch-lightning")
    learning_rate = 1e-3
    own_sources = (
        "SchNetPack: configs/experiment/md17.yaml and configs/{callbacks,task} of 2.1.1",
        "schnetpack.readthedocs.io: tutorial on force models",
    )
    settings: ClassVar[dict[str, Any]] = {
        "n_atom_basis": 64,
        "n_interactions": 2,
        "radial_basis": f"{BASES} Gaussians",
        "cutoff": data.CUTOFF,
    }

    def __init__(self) -> None:
        self.convert = AtomsConverter(
            neighbor_list=transform.MatScipyNeighborList(cutoff=data.CUTOFF), dtype=torch.float32
        )

    def build(self) -> nn.Module:
        """Fresh weights, the same every time."""
        torch.manual_seed(0)
        width = self.settings["n_atom_basis"]
        return spk.model.NeuralNetworkPotential(
            representation=spk.representation.PaiNN(
                n_atom_basis=width,
                n_interactions=self.settings["n_interactions"],
                radial_basis=spk.nn.GaussianRBF(n_rbf=BASES, cutoff=data.CUTOFF),
                cutoff_fn=spk.nn.CosineCutoff(data.CUTOFF),
            ),
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[
                spk.atomistic.Atomwise(n_in=width, output_key="energy"),
                spk.atomistic.Forces(),
            ],
        )

    def prepare(self, frame: Atoms) -> dict[str, torch.Tensor]:
        """The model's own input, neighbor list included."""
        return self.convert(Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True))

    def predict(self, model: nn.Module) -> common.Predict:
        """Energy and forces in eager mode."""

        def run(batch: dict[str, torch.Tensor], training: bool) -> common.Result:
            model.train(training)
            inputs = batch | {"_positions": batch["_positions"].detach()}
            out = model(inputs)
            return out["energy"], out["forces"]

        return run

    def variants(self) -> dict[str, Any]:
        """The accelerated ways, each with what it can do."""
        return {"both:TorchScript": self.scripted, "both:torch.compile": self.compiled}

    def scripted(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> common.Fast:
        """SchNetPack deploys by scripting; a scripted model differentiates twice too."""
        fast = torch.jit.script(model)
        return common.Fast(fast, self.predict(fast))

    def compiled(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> common.Fast:
        """Not documented by SchNetPack: torch.compile on the model as it is."""
        fast = torch.compile(model)
        return common.Fast(model, self.predict(fast))

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """md17.yaml: AdamW 0.001, energy 0.01 and forces 0.99, plateau, EMA 0.995, batch 10."""
        average = ExponentialMovingAverage(decay=0.995)
        task = spk.task.AtomisticTask(
            model=self.build(),
            outputs=[self.output(name, weight) for name, weight in WEIGHTS.items()],
            optimizer_cls=torch.optim.AdamW,
            optimizer_args={"lr": self.learning_rate, "weight_decay": 0.0},
            # SchNetPack's own class passes `verbose`, which torch dropped; without smoothing,
            # its default, it is torch's.
            scheduler_cls=torch.optim.lr_scheduler.ReduceLROnPlateau,
            scheduler_args=PLATEAU,
            scheduler_monitor="val_loss",
        )

        def mark(seconds: float) -> None:
            with average.ema.average_parameters():
                common.save_predictions(self, task.model, seconds, out)

        clock = Clock(marks, mark)
        trainer = lightning.Trainer(
            max_epochs=100000,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            inference_mode=False,
            callbacks=[average, clocked(lightning.Callback, clock)],
        )
        trainer.fit(task, datamodule=self.own_data())
        return {
            "recipe": {
                "loss": f"mean squared errors, weights {WEIGHTS}",
                "optimizer": "AdamW",
                "learning_rate": self.learning_rate,
                "schedule": f"reduce on plateau {PLATEAU} in epochs",
                "average": "exponential, 0.995; the averaged weights predict",
                "batch": 10,
            },
            "seconds": clock.reached,
            "steps": clock.steps_at,
        }

    @staticmethod
    def output(name: str, weight: float) -> Any:
        """One term of the loss."""
        return spk.task.ModelOutput(
            name=name,
            loss_fn=nn.MSELoss(),
            loss_weight=weight,
            metrics={"mae": torchmetrics.MeanAbsoluteError()},
        )

    def own_data(self) -> AtomsDataModule:
        """Frames as the peer's own trainer wants them."""
        folder = Path(tempfile.mkdtemp())
        parts = [data.frames(split) for split in ("train", "valid")]
        units = {"energy": "eV", "forces": "eV/Ang"}
        base = ASEAtomsData.create(
            str(folder / "frames.db"), distance_unit="Ang", property_unit_dict=units
        )
        frames = [frame for part in parts for frame in part]
        base.add_systems(
            [
                {
                    "energy": np.array([frame.info["REF_energy"]]),
                    "forces": frame.arrays["REF_forces"],
                }
                for frame in frames
            ],
            [Atoms(f.numbers, f.positions, cell=f.cell, pbc=True) for f in frames],
        )
        first = len(parts[0])
        split = {"train_idx": np.arange(first), "val_idx": np.arange(first, len(frames))}
        np.savez(folder / "split.npz", **split, test_idx=np.arange(0))
        return AtomsDataModule(
            str(folder / "frames.db"),
            batch_size=10,
            num_train=first,
            num_val=len(parts[1]),
            split_file=str(folder / "split.npz"),
            transforms=[
                transform.MatScipyNeighborList(cutoff=data.CUTOFF),
                transform.CastTo32(),
            ],
            property_units=units,
            num_workers=0,
        )


if __name__ == "__main__":
    common.main(PaiNN())
