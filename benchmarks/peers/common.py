"""What every peer shares: the command line, the timing and the common training loop.

A peer's module offers an object with the methods of `Model` below; `main` does the rest. Nothing
here knows the project's own model, so the same loop can train it too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch._functorch.config  # not every peer imports it
from ase import Atoms
from benchmarks.peers import data
from benchmarks.peers.clock import COUNTED, Clock, name, now
from torch import Tensor, nn

Result = tuple[Tensor, Tensor]
"""Energy of one frame in eV, shape () or (1,), and forces in eV/Å, shape (atoms, 3)."""
Predict = Callable[[Any, bool], Result]
"""From a prepared frame; True keeps the graph, so that a loss on forces can be differentiated."""
Call = Callable[[Atoms], tuple[float, np.ndarray]]
"""From a frame to its energy in eV and its forces in eV/Å: a trained model as it is used."""
SPLITS = data.SPLITS[1:]
"""Held out: predicted after training."""
FRAMES: list[int | None] = [None]
"""How many frames of a split are predicted; all but when trying out. Set by `main`."""


@dataclass(frozen=True)
class Fast:
    """An accelerated way to run a peer: the module that holds the weights, and its predictor.

    `batch` replaces the prepared frame where the way needs another input; `copies` says how many
    times that holds the frame, and times are then per frame.
    """

    module: nn.Module
    predict: Predict
    batch: Any = None
    copies: int = 1


PATIENCE_S = 12.0
"""Time for the repeats of one measurement: a median of at least five, more for fast models."""


class Program(Protocol):
    """A peer that is used as a whole: it trains with its own program and is called with frames.

    It has nothing that the timings of `speed` and `turns` or the common recipe could use.
    """

    packages: tuple[str, ...]
    settings: dict[str, Any]
    own_sources: tuple[str, ...]

    def train_own(self, clock_marks: list[float], out: Path) -> dict[str, Any]:
        """Train as the peer's documentation says and save predictions at the marks."""

    def open(self, folder: Path) -> Call:
        """The model that a training left there."""


class Model(Protocol):
    """A peer that is a module of PyTorch, seen from here."""

    packages: tuple[str, ...]
    settings: dict[str, Any]
    learning_rate: float
    own_sources: tuple[str, ...]

    def build(self) -> nn.Module:
        """Fresh weights, float32."""

    def prepare(self, frame: Atoms) -> Any:
        """The peer's own input for one frame, neighbor list included."""

    def predict(self, model: nn.Module) -> Predict:
        """Energy and forces in eager mode."""

    def variants(self) -> dict[str, Callable[[nn.Module, Any], Fast]]:
        """The peer's accelerated ways, by name, from a model and a prepared frame.

        A name starts with `infer:`, `train:` or `both:`, after what it can do.
        """

    def train_own(self, clock_marks: list[float], out: Path) -> dict[str, Any]:
        """Train as the peer's documentation says and save predictions at the marks."""


# --- timing ------------------------------------------------------------------------------------


def median_ms(work: Callable[[], object]) -> dict[str, float]:
    """Median of repeats after two warm-up calls; the first call is reported, it may compile."""
    start = time.perf_counter()
    work()
    first = time.perf_counter() - start
    work()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < PATIENCE_S and len(times) < 50):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return {
        "ms": 1e3 * statistics.median(times),
        "min_ms": 1e3 * min(times),
        "repeats": len(times),
        "first_call_s": first,
    }


def per_frame(times: dict[str, float], copies: int) -> dict[str, float]:
    if copies == 1:
        return times
    shared = {key: times[key] / copies for key in ("ms", "min_ms")}
    return times | shared | {"frames_per_step": copies}


def require_gradients(model: nn.Module, flag: bool) -> None:
    """As `requires_grad_`, which scripted modules lack."""
    for parameter in model.parameters():
        parameter.requires_grad_(flag)


def inference(fast: Fast) -> Callable[[], object]:
    """Energy and forces, once."""
    fast.module.eval()
    require_gradients(fast.module, False)
    return lambda: [out.detach() for out in fast.predict(fast.batch, False)]


def time_inference(fast: Fast) -> dict[str, float]:
    return per_frame(median_ms(inference(fast)), fast.copies)


def force_loss(fast: Fast, frame: Atoms) -> Tensor:
    target = torch.tensor(frame.arrays["REF_forces"], dtype=torch.float32)
    forces = fast.predict(fast.batch, True)[1]
    return (forces - target.repeat(fast.copies, 1)).abs().mean()


def gradient(fast: Fast, frame: Atoms) -> Tensor:
    """Of the loss on forces with respect to all weights, by name, as one vector."""
    torch.manual_seed(0)  # PET turns the frame at random
    fast.module.train()
    require_gradients(fast.module, True)
    fast.module.zero_grad(set_to_none=True)
    force_loss(fast, frame).backward()
    named = sorted(fast.module.named_parameters())
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for _, p in named]
    return torch.cat([part.flatten().clone() for part in parts])


def training(fast: Fast, frame: Atoms) -> Callable[[], object]:
    """Forward, forces, loss on forces, backward through them, Adam, once."""
    fast.module.train()
    require_gradients(fast.module, True)
    optimizer = torch.optim.Adam(trainable(fast.module), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        force_loss(fast, frame).backward()
        optimizer.step()

    return step


def time_training(fast: Fast, frame: Atoms, eager: Fast) -> dict[str, float]:
    """The step of `training`.

    Before that the gradient is compared with the eager one of the same weights: some ways to
    compile lose terms of the second derivative without a word.
    """
    start = time.perf_counter()
    found = gradient(fast, frame)
    ready = time.perf_counter() - start
    expected = gradient(eager, frame)
    times = per_frame(median_ms(training(fast, frame)), fast.copies) | {"first_call_s": ready}
    if found.shape == expected.shape:
        times["gradient_difference"] = float((found - expected).norm() / expected.norm())
    return times


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result, or the error's own words: a peer that cannot compile is a finding."""
    try:
        return work()
    except Exception as error:
        lines = traceback.format_exception_only(error)
        return {"error": "".join(lines).strip()[-1500:]}


def time_variant(peer: Model, kind: str, make: Callable[..., Fast], frame: Atoms) -> dict:
    """One accelerated way, and how far its forces are from the eager ones of the same weights."""
    model, batch = peer.build(), peer.prepare(frame)
    eager = peer.predict(model.eval())(batch, False)[1].detach()
    result: dict[str, Any] = {}
    start = time.perf_counter()
    fast = make(model, batch)
    if fast.batch is None:
        fast = replace(fast, batch=batch)
    if kind in ("infer", "both"):
        forces = fast.predict(fast.batch, False)[1].detach()
        result["largest_force_difference"] = float((forces[: len(frame)] - eager).abs().max())
        result["ready_s"] = time.perf_counter() - start
        result["inference"] = attempt(lambda: time_inference(fast))
    if kind in ("train", "both"):
        own = Fast(model, peer.predict(model), batch)
        result["training"] = attempt(lambda: time_training(fast, frame, own))
    return result


def ways(peer: Model) -> dict[str, Callable[[nn.Module, Any], Fast]]:
    """Eager, then the peer's accelerated ways."""
    eager = {"both:eager": lambda model, batch: Fast(model, peer.predict(model))}
    return eager | peer.variants()


ANSWER = "@@"
"""Begins the lines of `serve`: libraries print lines of their own."""


def serve(peer: Model | Program, trained: Path | None) -> None:
    """Do one prediction or training step whenever its name is read, and print its milliseconds.

    With the folder of a training, predictions only: of that model where the peer can be called
    with frames, else of one with fresh weights, which takes as long.
    """
    torch._functorch.config.donated_buffer = False
    frame = data.frames("speed")[0]
    if trained and hasattr(peer, "open"):
        work = {"inference, trained": (moving(peer.open(trained), frame), 1)}
    else:
        work = dict(ready(peer, frame, ("inference",) if trained else ("inference", "training")))
    for call, _ in work.values():
        call()
        call()
    print(ANSWER + json.dumps(list(work)), flush=True)
    for line in sys.stdin:
        call, copies = work[line.strip()]
        start = now()
        call()
        print(f"{ANSWER}{1e3 * (now() - start) / copies}", flush=True)


Work = Iterator[tuple[str, tuple[Callable[[], object], int]]]
"""Names, what to call, and for how many copies of the frame at once."""


def ready(peer: Model, frame: Atoms, wanted: tuple[str, ...]) -> Work:
    """Every way of running the peer that works."""
    for full_name, make in ways(peer).items():
        kind, _, short = full_name.partition(":")
        for what in wanted:
            if kind not in ("both", {"inference": "infer", "training": "train"}[what]):
                continue
            torch._dynamo.reset()
            model, batch = peer.build(), peer.prepare(frame)
            try:
                fast = make(model.eval(), batch)
                fast = fast if fast.batch is not None else replace(fast, batch=batch)
                call = inference(fast) if what == "inference" else training(fast, frame)
                call()
            except Exception as error:  # a peer that cannot compile is a finding
                print(f"{short}, {what}: {traceback.format_exception_only(error)[-1]}", flush=True)
                continue
            yield f"{what}, {short}", (call, fast.copies)


STEP = 0.01
"""Å that atoms move from call to call, as in dynamics: nobody calls twice with one frame."""


def moving(call: Call, frame: Atoms) -> Callable[[], object]:
    """Energy and forces of the frame, whose atoms walk."""
    rng, frame = np.random.default_rng(0), frame.copy()

    def work() -> object:
        frame.positions += STEP * rng.standard_normal(frame.positions.shape)
        return call(frame)

    return work


def speed(peer: Model, save: Callable[[dict[str, Any]], None]) -> None:
    """Every way of running the peer on the frame for timing; saved way by way, some take long."""
    # Otherwise a compiled graph refuses its second backward pass with a message about this
    # setting, which hides whether it could have been differentiated twice.
    torch._functorch.config.donated_buffer = False
    frame = data.frames("speed")[0]
    found: dict[str, Any] = {
        "atoms": len(frame),
        "edges": data.facts()["speed"]["edges"],
        "parameters": sum(p.numel() for p in trainable(peer.build())),
        "ways": {},
    }
    for full_name, make in ways(peer).items():
        kind, _, short = full_name.partition(":")
        torch._dynamo.reset()
        found["ways"][short] = attempt(lambda k=kind, m=make: time_variant(peer, k, m, frame))
        found["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        save(found)


# --- the common recipe -------------------------------------------------------------------------

ENERGY_WEIGHT = 0.05
WARM_UP = 0.02
DECAY = 0.999
CLIP = 10.0
COMMON = {
    "loss": "mean |dF| in eV/Å + 0.05 |dE| / atoms in eV",
    "optimizer": "Adam, gradient norm clipped at 10",
    "schedule": "linear over the first 2 % of the budget, then half a cosine to zero at its end",
    "average": "exponential, decay min(0.999, (1 + n) / (10 + n)); the averaged weights predict",
    "batch": "one frame, drawn without replacement epoch by epoch",
    "validation": "none during training",
}


class Average:
    """Exponential moving average of the trainable weights."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = [p.detach().clone() for p in trainable(model)]
        self.steps = 0

    def update(self, model: nn.Module) -> None:
        """After a step."""
        self.steps += 1
        decay = min(DECAY, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.weights, [p.detach() for p in trainable(model)], 1 - decay)

    def store(self, model: nn.Module) -> None:
        """Overwrite the model's weights by their average."""
        with torch.no_grad():
            for own, mean in zip(trainable(model), self.weights, strict=True):
                own.copy_(mean)


def factor(seconds: float, budget: float) -> float:
    """The learning rate over its largest value."""
    done = min(1.0, seconds / budget)
    if done < WARM_UP:
        return max(0.01, done / WARM_UP)
    return half_cosine((done - WARM_UP) / (1 - WARM_UP))


def half_cosine(done: float) -> float:
    """From one to zero."""
    return 0.5 * (1 + math.cos(math.pi * done))


def force_energy_loss(result: Result, target: Result) -> Tensor:
    atoms = target[1].shape[0]
    energy = (result[0].reshape(()) - target[0]).abs() / atoms
    return (result[1] - target[1]).abs().mean() + ENERGY_WEIGHT * energy


def labels(frame: Atoms) -> Result:
    energy = torch.tensor(frame.info["REF_energy"], dtype=torch.float32)
    return energy, torch.tensor(frame.arrays["REF_forces"], dtype=torch.float32)


def train_common(peer: Model, budget: float, rate: float, seed: int, out: Path) -> dict[str, Any]:
    """The same loop for everyone; the schedule ends with the budget, so one run per budget."""
    torch.manual_seed(seed)
    model, frames = peer.build().train(), data.frames("train")
    predict, average = peer.predict(model), Average(model)
    optimizer = torch.optim.Adam(trainable(model), lr=rate)
    clock = Clock([budget], lambda seconds: None)
    prepared: dict[int, tuple[Any, Result]] = {}
    losses: list[tuple[float, float]] = []
    rng, recent = np.random.default_rng(seed), []
    clock.start()
    while not clock.finished:
        for index in rng.permutation(len(frames)).tolist():
            if index not in prepared:
                prepared[index] = peer.prepare(frames[index]), labels(frames[index])
            batch, target = prepared[index]
            for group in optimizer.param_groups:
                group["lr"] = rate * factor(clock.seconds, budget)
            optimizer.zero_grad(set_to_none=True)
            loss = force_energy_loss(predict(batch, True), target)
            loss.backward()
            nn.utils.clip_grad_norm_(trainable(model), CLIP)
            optimizer.step()
            average.update(model)
            recent.append(loss.detach())
            clock.tick()
            if clock.finished or len(recent) == 100:
                losses.append((clock.seconds, float(torch.stack(recent).mean())))
                recent.clear()
            if clock.finished:
                break
    average.store(model)
    seconds, steps = clock.seconds, clock.steps
    save_predictions(peer, model, budget, out)
    recipe = COMMON | {"learning_rate": rate, "seed": seed}
    return {
        "recipe": recipe,
        "seconds": {name(budget): seconds},
        "steps": {name(budget): steps},
        "loss_curve": losses,
    }


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients of weights, and back: some snapshots are mid-training."""
    training, flags = model.training, [p.requires_grad for p in model.parameters()]
    model.eval()
    require_gradients(model, False)
    try:
        yield
    finally:
        model.train(training)
        for parameter, flag in zip(model.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)


def save_predictions(peer: Model, model: nn.Module, moment: float, out: Path) -> None:
    """Energy and forces of the held-out splits from these weights."""
    predict = peer.predict(model)
    for split in SPLITS:
        with frozen(model):
            frames = data.frames(split)[: FRAMES[0]]
            results = [predict(peer.prepare(frame), False) for frame in frames]
        write_predictions(
            out / f"{split}@{name(moment)}.npz",
            [float(energy.detach().reshape(())) for energy, _ in results],
            [forces.detach().numpy() for _, forces in results],
        )


def save_called(call: Call, moment: float, out: Path) -> None:
    """The same of a trained model that is called with frames."""
    for split in SPLITS:
        found = [call(frame) for frame in data.frames(split)[: FRAMES[0]]]
        write_predictions(
            out / f"{split}@{name(moment)}.npz", [e for e, _ in found], [f for _, f in found]
        )


def write_predictions(file: Path, energy: list[float], forces: list[np.ndarray]) -> None:
    np.savez_compressed(
        file, energy=np.asarray(energy), forces=np.concatenate(forces).astype(np.float32)
    )


# --- the command line --------------------------------------------------------------------------


def about(peer: Model | Program, threads: int) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in ("torch", *peer.packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return {
        "versions": versions,
        "threads": threads,
        "settings": peer.settings,
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in ("serve", "speed", "train"):
        sub = kinds.add_parser(kind)
        sub.add_argument("--threads", type=int, default=1)
        if kind == "serve":
            sub.add_argument("--trained", type=Path, help="folder of a training: predictions only")
        else:
            sub.add_argument("--out", type=Path, required=True)
        if kind == "train":
            sub.add_argument("--recipe", choices=("common", "own"), required=True)
            sub.add_argument("--seconds", type=float, nargs="+", required=True)
            sub.add_argument("--rate", type=float, help="instead of the peer's own")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--frames", type=int, help="of every held-out split, for trying out")
    return parser.parse_args()


def train(peer: Model | Program, options: argparse.Namespace) -> dict[str, Any]:
    options.out.mkdir(parents=True, exist_ok=True)
    if options.recipe == "own":
        torch.manual_seed(options.seed)
        found = peer.train_own(options.seconds, options.out)
        found["recipe"]["sources"] = list(peer.own_sources)
    else:
        rate = options.rate or peer.learning_rate
        found = train_common(peer, max(options.seconds), rate, options.seed, options.out)
    return found | {"counted": COUNTED}


def main(peer: Model | Program) -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.kind == "serve":
        serve(peer, options.trained)
        return
    if not hasattr(peer, "build") and vars(options).get("recipe") != "own":
        raise SystemExit("a program: it has its own recipe only, and is timed by `race`")
    found = about(peer, options.threads)
    if options.kind == "speed":
        speed(peer, lambda part: options.out.write_text(json.dumps(found | part, indent=1)))
    else:
        FRAMES[0] = options.frames
        found |= train(peer, options)
        (options.out / "run.json").write_text(json.dumps(found, indent=1))
