"""Measure the time of a training step on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch

from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.models.compiler import compiler_found
from scalewise.models.composition import CompositionModel
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.density.network import DensityNetwork
from scalewise.models.directional import Directional
from scalewise.models.gradients import Evaluator
from scalewise.training.dataset import frames_per_step, join, prepare
from scalewise.training.default_cutoff import with_cutoff
from scalewise.training.loss import loss_terms
from scalewise.training.optimizers import make_optimizers
from scalewise.training.settings import TrainSettings

#: Steps that are timed, of which the shortest counts: other programs only make them longer.
STEPS: Final = 4


class StepTime(NamedTuple):
    """Seconds of a training step, and the atoms and atom-neighbor pairs that it had."""

    seconds: float
    atoms: int
    pairs: int


def time_step(frames: Sequence[Structure], settings: TrainSettings | None = None) -> StepTime:
    """Time training steps of a new network on the CPU, with kernels where there is a compiler.

    Parameters
    ----------
    frames
        Evenly spread ones make the batch.
    settings
        Of the training; default: those of :class:`scalewise.TrainSettings`.

    Raises
    ------
    InputError
        As :func:`scalewise.training.dataset.prepare`.
    """
    settings = with_cutoff(settings or TrainSettings(), frames)
    batch_size = settings.batch_size or frames_per_step(frames, settings.processes)
    chosen = list(frames[:: max(1, len(frames) // batch_size)])[:batch_size]
    elements = sorted({z for f in chosen for z in f.numbers.tolist()})
    composition = CompositionModel.fit(chosen, elements)
    batch = join(prepare(chosen, composition, settings.network, torch.float32))
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        network = DensityNetwork(settings.network, elements)
    weights = dict(network.named_parameters())
    optimizers = make_optimizers(weights, network.matrices(), settings)
    evaluator = Evaluator(network, directional=_with_kernels(network, settings))
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        terms, _ = loss_terms(
            evaluator(batch.graph, batch.positions, weights=weights), batch, settings.loss.delta
        )
        terms.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return StepTime(min(seconds), len(batch.positions), int(batch.graph.mask.sum()))


def _with_kernels(network: DensityNetwork, settings: TrainSettings) -> Directional | None:
    if settings.compile == "never" or not compiler_found():
        return None
    try:
        return Directional(network, kernel_library(network.settings, torch.float32))
    except (InputError, OSError):  # a training says so, and goes on without
        return None
