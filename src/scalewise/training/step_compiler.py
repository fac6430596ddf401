"""Compile the code that computes training steps, in every process of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from lightning_fabric import Fabric

from scalewise.models.adaptive_cutoff import AdaptiveNetwork
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.density.network import DensityNetwork
from scalewise.models.directional import Directional
from scalewise.models.gradients import Evaluator, Weights
from scalewise.models.graph import Graph
from scalewise.models.programs.training import BatchKind, TrainingPrograms
from scalewise.models.scale import ResolvedScale
from scalewise.training.compiling import COMPILE_SHARE, Compiled, compiled_by_all, compiles
from scalewise.training.dataset import epoch_batches, join
from scalewise.training.job import Job
from scalewise.training.loss import loss_terms
from scalewise.training.scale_sampler import at_scale, draw_scale
from scalewise.training.schedule import Clock

#: Steps whose scales, and whose frames, are looked at for the kinds of batches that there will be.
DRAWN: Final = 100
LOOKED_AT: Final = 12


@dataclass(frozen=True)
class StepCompiler:
    """Compiles for a training, if that pays and every process can.

    Attributes
    ----------
    fabric
        The processes.
    job
        The training.
    network, weights
        What is evaluated, and with which weights.
    clock
        Seconds that the training has taken: compiling has a share of a budget in minutes.
    """

    fabric: Fabric
    job: Job
    network: DensityNetwork | AdaptiveNetwork
    weights: Weights
    clock: Clock

    def evaluator(self) -> Evaluator | None:
        """What evaluates the network with compiled code; none: nothing was compiled."""
        fabric, settings = self.fabric, self.job.settings
        # one process decides: on others there may be no compiler
        asked = fabric.broadcast(Compiled.of(self.job, fabric.device, fabric.world_size))
        if asked >= Compiled.KERNELS:
            return self._with_kernels(asked)
        if fabric.broadcast(compiles(settings, fabric.device)):
            evaluator = Evaluator(self.network, compiled=True)
            if self._compiled(partial(self._first_gradient, evaluator), "torch.compile"):
                return evaluator
        return None

    def _with_kernels(self, asked: Compiled) -> Evaluator | None:
        network, made = self.network, list[Directional]()
        assert isinstance(network, DensityNetwork)
        dtype = next(iter(self.weights.values())).dtype

        def kernels() -> None:
            made.append(Directional(network, kernel_library(network.settings, dtype)))

        if not self._compiled(kernels, "kernels"):
            return None
        if asked >= Compiled.PROGRAMS:
            made[0].programs = programs = TrainingPrograms(network)
            for graph, scale in self.common_kinds():
                if not self._compiled(partial(programs.prepare, graph, scale), "programs"):
                    break
        return Evaluator(network, directional=made[0])

    def common_kinds(self) -> list[tuple[Graph, ResolvedScale]]:
        """An example of each kind of batches that the first steps have, common ones first.

        They are those of the first process in every process, which compile one after the other,
        and those of the first epoch in every session.
        """
        job = self.job
        drawn = [draw_scale(job.settings, step) for step in range(DRAWN)]
        scales = {draw.long_range: draw for draw in drawn}.values()
        found: dict[BatchKind, list[tuple[Graph, ResolvedScale]]] = {}
        epoch = epoch_batches(
            len(job.train),
            seed=job.settings.seed,
            epoch=0,
            batch_size=job.batch_size,
            rank=0,
            processes=self.fabric.world_size,
        )
        steps = list(epoch)[:LOOKED_AT]
        for members in steps:
            whole = join([job.train[k] for k in members])
            for draw in scales:
                sample, scale = at_scale(whole, draw, job.settings.network)
                assert isinstance(scale, ResolvedScale)
                if (kind := BatchKind.of(sample.graph, scale)) is not None:
                    found.setdefault(kind, []).append((sample.graph, scale))
        common = sorted(found.values(), key=len, reverse=True)
        return [examples[0] for examples in common if 4 * len(examples) >= len(steps)]

    def _compiled(self, work: Callable[[], None], what: str) -> bool:
        """Compile in what is left of the share of the budget that compiling has."""
        minutes, left = self.job.settings.minutes, None
        if minutes is not None:
            left = max(60.0 * minutes * COMPILE_SHARE - self.clock.seconds, 1.0)
        return compiled_by_all(self.fabric, work, left, what)

    def _first_gradient(self, evaluator: Evaluator) -> None:
        """Of a batch as those of the steps: one frame alone would be another program."""
        sample = join([self.job.train[k] for k in range(self.job.batch_size)])
        sample = sample.to(self.fabric.device)
        found = evaluator(sample.graph, sample.positions, weights=self.weights)
        terms, _ = loss_terms(found, sample, self.job.settings.loss.delta)
        terms.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
