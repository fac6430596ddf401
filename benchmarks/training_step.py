"""Time of a training step and error of its gradient: PyTorch alone, with kernels, with programs.

python benchmarks/training_step.py FILE...

One thread. For each labelled file, a step of the default training of one process: loss, gradient,
optimisers. The three take turns, call by call; ratios are to PyTorch alone in the same turn, with
quartiles. The gradient's error is that of the first step, relative to double precision without
kernels. Programs are compiled beforehand, or come from the user's cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import scalewise
from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.density.network import DensityNetwork
from scalewise.models.directional import Directional
from scalewise.models.gradients import Evaluator
from scalewise.models.programs.training import TrainingPrograms
from scalewise.models.scale import ResolvedScale
from scalewise.training.dataset import Batch, frames_per_step, join, prepare
from scalewise.training.default_cutoff import with_cutoff
from scalewise.training.loss import loss_terms
from scalewise.training.optimizers import make_optimizers
from scalewise.training.settings import TrainSettings

TURNS = 25


def sample(frames: list[Structure], settings: TrainSettings, dtype: torch.dtype) -> Batch:
    """The batch of a step, evenly spread over the frames."""
    size = frames_per_step(frames, 1)
    chosen = frames[:: max(1, len(frames) // size)][:size]
    elements = sorted({z for f in frames for z in f.numbers.tolist()})
    composition = CompositionModel.fit(chosen, elements)
    return join(list(prepare(chosen, composition, settings.network, dtype)))


def gradient(run: Evaluator, batch: Batch, weights: dict[str, Tensor], delta: float) -> Tensor:
    """Of the loss, by all weights in one vector."""
    own = batch.forces.new_ones(len(batch.positions))
    longest = run.network.settings.cutoff
    scale = ResolvedScale(longest * own, own if run.network.settings.charges else None)
    found = run(batch.graph, batch.positions, scale=scale, weights=weights)
    loss_terms(found, batch, delta)[0].sum().backward()
    return torch.cat(
        [
            (torch.zeros_like(w) if w.grad is None else w.grad).flatten().double()
            for w in weights.values()
        ]
    )


def stepping(
    run: Evaluator, batch: Batch, network: DensityNetwork, settings: TrainSettings
) -> Callable[[], None]:
    weights = {n: torch.nn.Parameter(w.detach().clone()) for n, w in network.named_parameters()}
    optimizers = make_optimizers(weights, network.matrices(), settings)

    def step() -> None:
        gradient(run, batch, weights, settings.loss.delta)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def compare(path: Path) -> None:
    frames = scalewise.read_structures(path)[:400]
    settings = with_cutoff(TrainSettings(), frames)
    torch.manual_seed(0)
    batch = sample(frames, settings, torch.float32)
    elements = sorted({z for f in frames for z in f.numbers.tolist()})
    network = DensityNetwork(settings.network, elements)
    library = kernel_library(settings.network, torch.float32)
    own = batch.forces.new_ones(len(batch.positions))
    share = own if settings.network.charges else None
    programs = TrainingPrograms(network)
    programs.prepare(batch.graph, ResolvedScale(settings.network.cutoff * own, share))
    runs = {
        "PyTorch": Evaluator(network),
        "kernels": Evaluator(network, directional=Directional(network, library)),
        "programs": Evaluator(network, directional=Directional(network, library, programs)),
    }
    double = network.converted(torch.float64)
    exact = gradient(
        Evaluator(double),
        sample(frames, settings, torch.float64),
        {n: w.detach().requires_grad_(True) for n, w in double.named_parameters()},
        settings.loss.delta,
    )
    steps = {name: stepping(run, batch, network, settings) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    print(f"{'/'.join(path.parts[-2:])}: {len(own)} atoms, {int(batch.graph.mask.sum())} pairs")
    for name, run in runs.items():
        weights = {n: w.detach().requires_grad_(True) for n, w in network.named_parameters()}
        off = gradient(run, batch, weights, settings.loss.delta) - exact
        ratio = np.quantile(np.array(times[name]) / np.array(times["PyTorch"]), (0.25, 0.5, 0.75))
        print(
            f"  {name:10s}{np.median(times[name]):7.1f} ms   {ratio[1]:.2f} "
            f"({ratio[0]:.2f} to {ratio[2]:.2f})   gradient off by {off.norm() / exact.norm():.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    torch.set_num_threads(1)
    for path in parser.parse_args().files:
        compare(path)


if __name__ == "__main__":
    main()
