"""A CUDA device gives what the CPU gives: predictions, derivatives of a loss, training, MD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from scalewise.core.loading import load
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models import checkpoint
from scalewise.models.composition import CompositionModel
from scalewise.models.gradients import Evaluator
from scalewise.models.opening import open_potential
from scalewise.models.protocol import Prediction
from scalewise.training.baseline import TrainingBaseline
from scalewise.training.dataset import prepare
from scalewise.training.distributed import run
from scalewise.training.job import Job
from scalewise.training.settings import TrainSettings
from support import salt_frame, untrained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
LADDER = (3.0, 5.0, "long")
KINDS: dict[str, dict[str, Any]] = {
    "local": {"charges": False},
    "long range": {"charges": True},
    "ladder": {"ladder": LADDER},
    "routed": {"ladder": LADDER, "adaptive_cutoff": {"by": "environment"}},
}


def same(a: Prediction, b: Prediction, tolerance: float) -> None:
    assert a.energy == pytest.approx(b.energy, abs=tolerance * len(b.forces))
    for name in ("energies", "forces", "charges", "stress", "cutoffs"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_cpu(kind: str) -> None:
    potential = untrained(**KINDS[kind])
    frame = salt_frame(seed=3, n=20, box=10.0)
    same(potential.to("cuda").predict(frame), potential.predict(frame), 1e-9)
    single = potential.to(dtype=torch.float32)
    same(single.to("cuda").predict(frame), single.predict(frame), 1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, in the compiler
@pytest.mark.parametrize("compiled", [False, True])
def test_derivatives_of_a_loss_are_those_of_the_cpu(compiled: bool) -> None:
    potential = untrained(charges=True)
    found = {}
    for device in ("cpu", "cuda"):
        there = potential.to(device)
        named = there.network.named_parameters()
        weights = {k: torch.nn.Parameter(v.detach().clone()) for k, v in named}
        differentiate = Evaluator(there.network, compiled=compiled and device == "cuda")
        for seed in (3, 4, 5):  # what is compiled for one shape must hold for others
            frame = salt_frame(seed=seed, n=2 * seed + 10, box=10.0)
            graph = there.graph(frame)
            positions = torch.as_tensor(frame.positions, device=device)
            differentiate(graph, positions, weights=weights).forces.square().mean().backward()
        found[device] = {k: v.grad for k, v in weights.items()}
    for name, gradient in found["cpu"].items():
        other = found["cuda"][name]
        assert (gradient is None) == (other is None), name
        if gradient is not None and other is not None:
            torch.testing.assert_close(other.cpu(), gradient, rtol=1e-7, atol=1e-9)


def test_training_there_is_training_here(tmp_path: Path) -> None:
    words = (
        *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.num_bessel=4"),
        *("network.ladder=[3,4.5,long]", "epochs=3", "validations=1", "learning_rate=0.002"),
    )
    frames = [salt_frame(seed=k, n=8, box=8.0, index=k) for k in range(12)]
    found = {}
    for device in ("cpu", "cuda"):
        settings = load(TrainSettings, None, [*words, f"device={device}"])
        baseline = CompositionModel.fit(frames, (11, 17))
        samples = prepare(frames, baseline, settings.network, torch.float32)
        out = tmp_path / device
        run(
            Job(
                settings,
                samples[:8],
                samples[8:],
                TrainingBaseline(baseline, 1.0),
                "digest",
                out,
                batch_size=settings.batch_size or 1,
            )
        )
        found[device] = checkpoint.read(out / "model").network.state_dict()
    for name, weight in found["cpu"].items():
        torch.testing.assert_close(found["cuda"][name], weight, rtol=0, atol=0.02)
    opened = open_potential(tmp_path / "cuda", device="cuda")
    assert opened.device.type == "cuda"


def test_the_calculator_runs_there() -> None:
    potential = untrained(charges=True)
    frame = salt_frame(seed=3, n=20, box=10.0)
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    forces = []
    for device in ("cpu", "cuda"):
        atoms.calc = ScalewiseCalculator(potential, device=device)
        forces.append(atoms.get_forces())
    np.testing.assert_allclose(forces[1], forces[0], rtol=0, atol=1e-9)
