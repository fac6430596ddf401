"""The training loop of one process, the same whether it trains alone or with others."""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress
from scalewise.data.shards import ShardedStructures
from scalewise.models import checkpoint
from scalewise.models.adaptive_cutoff import AdaptiveCutoff, AdaptiveNetwork
from scalewise.models.density.network import DensityNetwork
from scalewise.models.gradients import Derivatives, Evaluator, Weights
from scalewise.models.potential import Potential
from scalewise.training.cutoff_penalty import neighbors_cost, update_multiplier
from scalewise.training.dataset import (
    Batch,
    epoch_batches,
    in_batches,
    prefetched,
)
from scalewise.training.job import Job, build_network
from scalewise.training.log import Log
from scalewise.training.loss import ErrorSums, LossBalance, loss_terms
from scalewise.training.muon import Muon
from scalewise.training.optimizers import make_optimizers
from scalewise.training.scale_sampler import ScaleDraw, at_scale, draw_scale, validation_scales
from scalewise.training.schedule import Clock, rate
from scalewise.training.state import State
from scalewise.training.step_compiler import StepCompiler
from scalewise.training.stopping import SIGNALS, Stop
from scalewise.training.together import raise_together, reduced, step_together

# Fabric announces every process on the terminal, where the progress bar is
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

MODEL, STATE = "model", "state.safetensors"
#: Validations of a short training: fewer do not show how its error fell.
FEWEST_VALIDATIONS = 6
#: Frames with a label, in the mean over processes, that are none: only keeps 0/0 away.
TINY = 1e-6


@dataclass
class Trainer:
    """One process of a training run; see :func:`scalewise.training.distributed.run`."""

    fabric: Fabric
    job: Job
    progress: Progress = SILENT
    stop: Stop = field(default_factory=Stop)
    network: DensityNetwork | AdaptiveNetwork = field(init=False)
    state: State = field(init=False)
    log: Log | None = field(init=False, default=None)
    balance: LossBalance = field(init=False)
    _stopping: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        settings, job = self.job.settings, self.job
        # a network that stays learns nothing by heart
        late = {"energy_from": 0.0} if settings.freeze else {}
        self.balance = LossBalance.of(settings.loss.model_copy(update=late))
        _seed(settings.seed)
        network, self.network = build_network(job)
        network.energy_scale.fill_(job.baseline.energy_scale)
        if network.pair_baseline is not None and job.baseline.coefficients is not None:
            network.pair_baseline.coefficients.copy_(job.baseline.coefficients)
        network.start_from(job.baseline.shift)
        if job.initial_weights is not None:
            network.load_state_dict(job.initial_weights)
        matrices = network.matrices()
        if settings.adaptive_cutoff is not None:
            matrices = [f"network.{name}" for name in matrices]
        self.network.to(self.fabric.device)
        # weights and averages are parameters, and none is the network's own: compiled code looks
        # at both, and would be compiled again for the other
        weights, average = (_copies(self.network) for _ in range(2))
        if settings.freeze:
            for name, weight in weights.items():
                weight.requires_grad_(name.startswith("adaptive_cutoff."))
        optimizers = make_optimizers(weights, matrices, settings)
        self.state = State(weights, average, optimizers)
        self.evaluator = Evaluator(self.network)
        if (job.out / STATE).is_file():
            self.state.restore(job.out / STATE, job.digest)
        if settings.adaptive_cutoff is not None and settings.adaptive_cutoff.penalty is not None:
            self.state.progress.multiplier = settings.adaptive_cutoff.penalty
        self.clock = Clock.running(self.state.progress.elapsed)
        if self.fabric.is_global_zero:
            self.log = Log(job.out, after=self.state.progress.step, events=settings.tensorboard)

    def run(self) -> None:
        """Train until the budget is spent, or nothing gets better.

        Raises
        ------
        KeyboardInterrupt
            The run was told to end; its state is saved.
        """
        progress = self.state.progress
        if not progress.finished:
            self._compile()
        # a batch that the program is not for is one step: it would take minutes to compile for it
        with torch.compiler.set_stance("eager_on_recompile"):
            self._train()
        if self.stop.asked:  # in the last step: what comes after the training is not begun
            raise self.stop.error

    def _train(self) -> None:
        progress = self.state.progress
        while not progress.finished:
            batches = prefetched(self.job.train, self._deal(progress.epoch))
            # frames in memory were looked at before
            sharded = isinstance(self.job.train.frames, ShardedStructures)
            for whole in step_together(self.fabric, batches) if sharded else batches:
                self._step(whole)
                spent = self._fraction() >= 1.0  # the last validation may be quicker than foreseen
                if self._due():
                    self._validate()
                if spent:
                    progress.finished = True
                if self._stopping and not progress.finished:
                    self._save()
                    raise self._told()
                if progress.finished:
                    break
            else:
                progress.epoch += 1
                self._save()
        self._save()

    def _told(self) -> KeyboardInterrupt:
        """What to raise where any process was told to end; all wait until the state is saved."""
        if self.fabric.world_size > 1:
            seen = torch.tensor([float(self.stop.seen[s]) for s in SIGNALS])
            counts = reduced(self.fabric, seen, "sum").tolist()
            self.stop.seen.update({s: int(n) for s, n in zip(SIGNALS, counts, strict=True)})
        return self.stop.error

    def _compile(self) -> None:
        """Compute with compiled code from now on, if that pays and every process can."""
        self.stop.urgent = True
        compiler = StepCompiler(self.fabric, self.job, self.network, self.state.weights, self.clock)
        self.evaluator = compiler.evaluator() or self.evaluator
        for weight in self.state.weights.values():
            weight.grad = None
        self.stop.urgent = False

    def _deal(self, epoch: int) -> list[list[int]]:
        """The steps of an epoch that are left to this process."""
        done = self.state.progress.step - epoch * self._steps_per_epoch
        batches = epoch_batches(
            len(self.job.train),
            seed=self.job.settings.seed,
            epoch=epoch,
            batch_size=self.job.batch_size,
            rank=self.fabric.global_rank,
            processes=self.fabric.world_size,
        )
        return list(batches)[max(done, 0) :]

    @property
    def _steps_per_epoch(self) -> int:
        return len(self.job.train) // (self.job.batch_size * self.fabric.world_size)

    def _fraction(self) -> float:
        """Share of the budget that is spent, the same in every process."""
        settings, progress = self.job.settings, self.state.progress
        if settings.minutes is None:
            return progress.step / (settings.steps or settings.epochs * self._steps_per_epoch)
        return progress.elapsed / max(60.0 * settings.minutes - progress.reserve, 1e-9)

    def _step(self, whole: Batch) -> None:
        settings, progress = self.job.settings, self.state.progress
        whole = whole.to(self.fabric.device)
        drawn = draw_scale(settings, progress.step)
        sample, found = self._found(whole, drawn, self.state.weights, self.fabric.global_rank)
        terms, counts = loss_terms(found, sample, settings.loss.delta)
        share = self._count_terms(terms, counts)
        done = self._fraction()
        factors = terms.new_tensor(self.balance.factors(progress.terms, done)) * share
        value = total = factors @ terms
        longest = torch.zeros_like(value)
        if drawn.adaptive:
            with torch.no_grad():
                one_scale = replace(drawn, adaptive=False)
                _, reference = self._found(whole, one_scale, self.state.weights)
                longest = factors @ loss_terms(reference, whole, settings.loss.delta)[0]
            cost = neighbors_cost(sample.graph, sample.positions, found.cutoffs)
            total = value + progress.multiplier * longest * cost
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        gradients = [w.grad for w in self.state.weights.values() if w.grad is not None]
        shared = self._shared(gradients, value, longest)
        size, mean, progress.elapsed = self._checked(shared, sample)
        if (
            drawn.adaptive
            and settings.adaptive_cutoff is not None
            and settings.adaptive_cutoff.penalty is None
        ):
            update_multiplier(progress, mean, float(shared[-3]), settings.adaptive_cutoff.tolerance)
        torch._foreach_mul_(gradients, min(1.0, settings.grad_clip_norm / (size + 1e-12)))
        factor = rate(self._fraction(), settings.warmup)
        for optimizer in self.state.optimizers:
            muon = isinstance(optimizer, Muon)
            base = settings.learning_rate if muon else settings.adam_rate
            for group in optimizer.param_groups:
                group["lr"] = base * factor * group.get("share", 1.0)
            optimizer.step()
            optimizer.zero_grad()
        progress.step += 1
        self.state.update_average(settings.ema)
        progress.count(mean, size)
        self.progress.advance(self._fraction(), {})

    def _found(
        self, sample: Batch, drawn: ScaleDraw, weights: Weights, rank: int = 0
    ) -> tuple[Batch, Derivatives]:
        """The sample at a scale, and what the network finds there."""
        there, scale = at_scale(sample, drawn, self.job.settings.network, rank)
        return there, self.evaluator(there.graph, there.positions, scale=scale, weights=weights)

    def _count_terms(self, terms: Tensor, counts: Tensor) -> Tensor:
        """Count the terms of a step, of all processes; return weights of this one's terms [3].

        With them, the mean over processes is the mean over the frames that have the label.
        """
        sums = torch.cat([terms.detach() * counts, counts])
        if self.fabric.world_size > 1:
            sums = reduced(self.fabric, sums, "mean")
        found, mean = sums.chunk(2)
        self.state.progress.count_terms((found / mean.clamp(min=TINY)).tolist())
        return counts / mean.clamp(min=TINY)

    def _shared(self, gradients: list[Tensor], value: Tensor, longest: Tensor) -> Tensor:
        """All gradients, losses, clock and whether to stop in one vector, mean over processes."""
        losses = [float(v.detach()) for v in (value, longest)]
        place = value.new_tensor([*losses, self.clock.seconds, float(self.stop.asked)])
        flat = torch.cat([*(g.reshape(-1) for g in gradients), place])
        if self.fabric.world_size > 1:
            flat = reduced(self.fabric, flat, "mean")
            parts = torch.split(flat[:-4], [g.numel() for g in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.reshape(gradient.shape))
        return flat

    def _checked(self, shared: Tensor, sample: Batch) -> tuple[float, float, float]:
        size = float(torch.linalg.vector_norm(shared[:-4]))
        mean, _, seconds, stopping = (float(v) for v in shared[-4:])
        self._stopping = stopping > 0
        if not (math.isfinite(size) and math.isfinite(mean)):
            raise InputError(
                f"training, step {self.state.progress.step}",
                f"a loss or gradient that is not finite on {', '.join(sample.names)}"
                + " (or on the frames of the other processes)" * (self.fabric.world_size > 1),
                f"The last good potential is in {self.job.out / MODEL}. "
                * self._validated
                + "Look at these frames, or lower learning_rate and adam_rate and give another "
                "--out.",
            )
        return size, mean, seconds

    @property
    def _validated(self) -> bool:
        return (self.job.out / MODEL / checkpoint.MODEL).is_file()

    @property
    def _validations(self) -> int:
        """Validations over the whole budget.

        Those of a budget in steps look at no more frames, at all scales together, than are trained
        on; there are ``FEWEST_VALIDATIONS`` even so.
        """
        settings = self.job.settings
        if settings.minutes is not None:
            return settings.validations
        steps = settings.steps or settings.epochs * self._steps_per_epoch
        trained_on = steps * self.job.batch_size * self.fabric.world_size
        each = len(self.job.valid) * len(validation_scales(settings))
        most = max(FEWEST_VALIDATIONS, trained_on // max(each, 1))
        return min(settings.validations, most)

    def _due(self) -> bool:
        """Whether to validate: evenly spaced, at the end, and never for long.

        Validations together may take a tenth of a budget in minutes; a budget in epochs or
        steps is the same whatever the machine, and so are its validations.
        """
        progress, fraction = self.state.progress, self._fraction()
        spaced = fraction * self._validations >= progress.validations + 1
        rested = progress.elapsed - progress.validated >= 9.0 * progress.reserve
        timed = self.job.settings.minutes is not None
        return fraction >= 1.0 or (spaced and (rested or not timed))

    def _validate(self) -> None:
        settings, progress = self.job.settings, self.state.progress
        scales = validation_scales(settings)
        errors = [ErrorSums.none() for _ in scales]
        # sums of the terms, numbers of frames with each label, seconds and cost of the cutoffs
        total = torch.zeros(8, dtype=torch.float64)
        started, wrong = self.clock.seconds, None
        # what was compiled for training would be compiled again for use without gradients
        with torch.set_grad_enabled(self.evaluator.compiled):
            try:
                for sample in prefetched(self.job.valid, self._validated_here()):
                    for drawn, seen in zip(scales.values(), errors, strict=True):
                        total += self._measured(sample, drawn, seen)
            except InputError as error:
                wrong = error
        raise_together(self.fabric, wrong)
        total[6] = (self.clock.seconds - started) / self.fabric.world_size
        if self.fabric.world_size > 1:
            errors = [ErrorSums(reduced(self.fabric, e.sums, "sum")) for e in errors]
            total = reduced(self.fabric, total, "sum")
        # the same in every process, or one would validate while another trains
        progress.reserve = float(total[6])
        progress.validated = progress.elapsed + progress.reserve
        frames = total[3:6].clamp(min=1.0)
        value = self.balance.geometric_mean((total[:3] / frames).tolist(), total[3:6].tolist())
        progress.validations = max(
            int(self._fraction() * self._validations), progress.validations + 1
        )
        progress.stale += 1
        better = value < progress.best
        if better:
            progress.best, progress.stale = value, 0
        if better or settings.adaptive_cutoff is not None:
            # of an adaptive cutoff the last weights count: the loss would keep the dearest ones
            self._write_model(errors[0].means())
        if settings.patience is not None and progress.stale >= settings.patience:
            progress.finished = True
        report = {"valid_loss": value, **errors[0].means()}
        for name, seen in zip(scales, errors, strict=True):
            if "forces_mae" in (means := seen.means()):
                report[f"forces_mae{name}"] = means["forces_mae"]
        if settings.adaptive_cutoff is not None:
            report["cost_adaptive"] = float(total[7]) / len(self.job.valid)
            report["multiplier"] = progress.multiplier
        if self.log is not None:
            self.log.write(progress, self.state.optimizers[0].param_groups[0]["lr"], report)
        self.progress.advance(self._fraction(), report)
        self._save()

    def _validated_here(self) -> list[list[int]]:
        """Batches of this process's share of the validation frames."""
        share = range(self.fabric.global_rank, len(self.job.valid), self.fabric.world_size)
        # as those of the steps: molecules one by one take three times as long, and compiled code
        # is for no other
        return in_batches(share, self.job.batch_size)

    def _measured(self, sample: Batch, drawn: ScaleDraw, seen: ErrorSums) -> Tensor:
        """Add up errors of some frames; return what else a validation adds up [8]."""
        moved = sample.to(self.fabric.device)
        there, found = self._found(moved, drawn, self.state.average)
        seen.add(found, there)
        terms, counts = loss_terms(found, there, self.job.settings.loss.delta)
        cost = 0.0
        if drawn.adaptive:
            at = found.cutoffs.detach()
            cost = len(there.names) * float(neighbors_cost(there.graph, there.positions, at))
        sums = (terms.detach() * counts).tolist()
        return torch.tensor([*sums, *counts.tolist(), 0.0, cost], dtype=torch.float64)

    def _write_model(self, errors: dict[str, float]) -> None:
        if not self.fabric.is_global_zero:
            return
        network, whole = build_network(self.job)
        state = {**self.network.state_dict(), **self.state.average}
        whole.load_state_dict({k: v.detach().cpu() for k, v in state.items()})
        info = {
            "settings": self.job.settings.model_dump(mode="json"),
            "step": self.state.progress.step,
            "batch_size": self.job.batch_size,
            "seconds": round(self.state.progress.elapsed, 1),
            "valid": errors,
        }
        adaptive = whole.adaptive_cutoff if isinstance(whole, AdaptiveNetwork) else None
        assert adaptive is None or isinstance(adaptive, AdaptiveCutoff)
        potential = Potential(
            network, self.job.baseline.composition, info, adaptive_cutoff=adaptive
        )
        checkpoint.write(self.job.out / MODEL, potential)

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            self.state.write(self.job.out / STATE, self.job.digest)


def _copies(network: nn.Module) -> dict[str, Tensor]:
    return {k: nn.Parameter(w.detach().clone()) for k, w in network.named_parameters()}


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
