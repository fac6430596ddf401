"""TorchMD-Net TensorNet: width 64, two layers; trained by torchmd-train's parts in its recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import lightning
import numpy as np
import torch
from ase import Atoms
from benchmarks.peers import common, data
from benchmarks.peers.clock import Clock
from benchmarks.peers.clocked import clocked
from torch import nn
from torch_geometric.data import Data
from torchmdnet.data import DataModule
from torchmdnet.models.model import create_model
from torchmdnet.module import LNNP
from torchmdnet.scripts.train import get_argparse

OWN = {
    "batch_size": 8,
    "inference_batch_size": 8,
    "lr": 1e-3,
    "lr_factor": 0.8,
    "lr_min": 1e-8,
    "lr_patience": 25,
    "lr_warmup_steps": 500,
    "gradient_clipping": 40.0,
    "y_weight": 0.5,
    "neg_dy_weight": 0.5,
    "ema_alpha_y": 0.01,
    "ema_alpha_neg_dy": 1.0,
    "weight_decay": 0.0,
    "precision": 32,
    "num_workers": 0,
    "num_epochs": 10000,
    "standardize": False,
    "test_interval": -1,
    "derivative": True,
}


class TensorNet:
    """Radial functions, group and activation as in the repository's examples."""

    packages = ("torchmd-net", "torch-geometric", "warp-lang", "lightning")
    learning_rate = 1e-3
    own_sources = ("github.com/torchmd/torchmd-net: examples/TensorNet-rMD17.yaml",)
    settings: ClassVar[dict[str, Any]] = {
        "model": "tensornet",
        "embedding_dimension": 64,
        "num_layers": 2,
        "num_rbf": 32,
        "rbf_type": "expnorm",
        "trainable_rbf": False,
        "activation": "silu",
        "cutoff_lower": 0.0,
        "cutoff_upper": data.CUTOFF,
        "max_num_neighbors": 128,
        "max_z": 100,
        "equivariance_invariance_group": "O(3)",
        "static_shapes": False,
    }

    def arguments(self) -> dict[str, Any]:
        """What the builder or the command wants."""
        defaults = vars(get_argparse().parse_args([]))
        return defaults | OWN | self.settings

    def build(self) -> nn.Module:
        """Fresh weights, the same every time."""
        torch.manual_seed(0)
        return create_model(self.arguments())

    def prepare(self, frame: Atoms) -> Data:
        """The model's own input, neighbor list included."""
        return Data(
            z=torch.tensor(frame.numbers, dtype=torch.long),
            pos=torch.tensor(frame.positions, dtype=torch.float32),
            box=torch.tensor(frame.cell.array, dtype=torch.float32)[None],
            y=torch.tensor([[frame.info["REF_energy"]]], dtype=torch.float32),
            neg_dy=torch.tensor(frame.arrays["REF_forces"], dtype=torch.float32),
            batch=torch.zeros(len(frame), dtype=torch.long),
        )

    def predict(self, model: nn.Module) -> common.Predict:
        """Energy and forces in eager mode."""

        def run(batch: Data, training: bool) -> common.Result:
            model.train(training)
            pos = batch.pos.detach().clone()
            return model(batch.z, pos, batch=batch.batch, box=batch.box, num_systems=1)

        return run

    def variants(self) -> dict[str, Any]:
        """The accelerated ways, each with what it can do."""
        return {
            "both:torch.compile": self.compiled,
            "infer:TMDNETCalculator(compile=True)": self.calculator_way,
        }

    def compiled(self, model: nn.Module, batch: Data) -> common.Fast:
        """torch.compile on the whole model, forces included, in both modes."""
        fast = torch.compile(model)

        def run(batch: Data, training: bool) -> common.Result:
            model.train(training)
            pos = batch.pos.detach().clone()
            return fast(batch.z, pos, batch=batch.batch, box=batch.box, num_systems=1)

        return common.Fast(model, run)

    def calculator_way(self, model: nn.Module, batch: Data) -> common.Fast:
        """As the calculator does: static shapes, the energy compiled, autograd outside."""
        static = create_model(self.arguments() | {"static_shapes": True, "derivative": False})
        static.load_state_dict(model.state_dict())
        static.eval()
        fast = torch.compile(static, backend="inductor", dynamic=False, fullgraph=True)

        def run(batch: Data, training: bool) -> common.Result:
            pos = batch.pos.detach().clone().requires_grad_(True)
            energy, _ = fast(batch.z, pos, batch=batch.batch, box=batch.box, num_systems=1)
            return energy, -torch.autograd.grad(energy.sum(), pos)[0]

        return common.Fast(static, run)

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """TensorNet-rMD17.yaml: AdamW 0.001, 500 warm-up steps, plateau, batches of eight."""
        folder = tempfile.mkdtemp()
        options = self.arguments() | {"log_dir": folder, "redirect": False}
        module = LNNP(options)
        clock = Clock(
            marks, lambda seconds: common.save_predictions(self, module.model, seconds, out)
        )
        trainer = lightning.Trainer(
            max_epochs=OWN["num_epochs"],
            accelerator="cpu",
            precision=OWN["precision"],
            gradient_clip_val=OWN["gradient_clipping"],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            inference_mode=False,
            callbacks=[clocked(lightning.pytorch.Callback, clock)],
        )
        trainer.fit(module, self.own_data(options, Path(folder)))
        return {
            "recipe": OWN
            | {
                "optimizer": "AdamW",
                "schedule": "500 warm-up steps, then reduce on plateau, monitored every epoch",
                "average": "none (the example averages the energy loss, not the weights)",
            },
            "seconds": clock.reached,
            "steps": clock.steps_at,
        }

    def own_data(self, options: dict[str, Any], folder: Path) -> DataModule:
        """Frames as the peer's own trainer wants them."""
        items = [self.prepare(f) for split in ("train", "valid") for f in data.frames(split)]
        for item in items:
            del item.batch
        train, total = len(data.frames("train")), len(items)
        splits = folder / "given.npz"
        indices = {"idx_train": np.arange(train), "idx_val": np.arange(train, total)}
        np.savez(splits, **indices, idx_test=np.arange(0))
        return DataModule(options | {"splits": str(splits)}, dataset=Frames(items))


class Frames(torch.utils.data.Dataset):
    """A list with the interface that a loader wants."""

    def __init__(self, items: list[Data]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Data:
        return self.items[index].clone()


if __name__ == "__main__":
    common.main(TensorNet())
