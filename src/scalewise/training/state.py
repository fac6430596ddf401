"""The state from which a killed training continues: one safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Final

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from scalewise.core.errors import InputError, shown
from scalewise.core.files import check_regular, replacing
from scalewise.training.muon import Muon

SCHEMA: Final = 1
#: What Adam remembers of each weight.
ADAM: Final = ("step", "exp_avg", "exp_avg_sq")

Weights = dict[str, Tensor]
_Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
_Term = Annotated[float, Field(ge=0.0, le=1e30)]
_Seconds = Annotated[float, Field(strict=True, ge=0.0, le=1e12)]
#: Share of a step in the running means of the loss's terms: they follow within about fifty steps.
MEMORY: Final = 0.02
#: What is said of the state of another training.
OTHER: Final = "a run with other settings or other data"
_REMEDY: Final = "Give another --out, or delete the folder to start again."


@dataclass
class TrainingProgress:
    """Where a run is; ``best`` is the lowest validation loss so far.

    ``epoch`` counts finished passes, ``elapsed`` seconds over all sessions of the run, ``stale``
    validations since the best one, ``validations`` all of them, ``reserve`` seconds of one,
    ``validated`` when the last one ended. Of an adaptive cutoff, ``multiplier`` is the relative
    loss that all neighbors of the longest scale may save, ``excess`` its running relative loss over
    that scale. ``terms`` are running means of the loss's terms, zero where
    no label was seen yet. ``loss_sum``, ``norm_sum`` and
    ``counted`` are of the steps since the last line of the log.
    """

    step: _Count = 0
    epoch: _Count = 0
    elapsed: _Seconds = 0.0
    best: Annotated[float, Field(strict=True, ge=0.0)] = float("inf")
    stale: _Count = 0
    validations: _Count = 0
    reserve: _Seconds = 0.0
    validated: _Seconds = 0.0
    multiplier: Annotated[float, Field(strict=True, ge=0.0, le=1e12)] = 0.05
    excess: Annotated[float, Field(strict=True, ge=-1e12, le=1e12)] = 0.0
    terms: tuple[_Term, _Term, _Term] = (0.0, 0.0, 0.0)
    finished: Annotated[bool, Field(strict=True)] = False
    loss_sum: Annotated[float, Field(strict=True)] = 0.0
    norm_sum: Annotated[float, Field(strict=True)] = 0.0
    counted: _Count = 0

    def count(self, loss: float, gradient_norm: float) -> None:
        """Count one step's loss and gradient norm into the means of the next line of the log."""
        self.loss_sum += loss
        self.norm_sum += gradient_norm
        self.counted += 1

    def count_terms(self, terms: Sequence[float]) -> None:
        """Move the running means of the loss's terms towards those of a step.

        Terms of a step without such labels are zero, and move nothing. Early on means forget
        faster: an untrained network is no measure of what follows.
        """
        share = max(MEMORY, 1.0 / (self.step + 1))
        first, second, third = (
            (old + share * (new - old) if old > 0 else new) if new > 0 else old
            for old, new in zip(self.terms, terms, strict=True)
        )
        self.terms = (first, second, third)

    def take_means(self) -> tuple[float, float]:
        """Means of loss and gradient norm since the last call."""
        steps = max(self.counted, 1)
        means = self.loss_sum / steps, self.norm_sum / steps
        self.loss_sum, self.norm_sum, self.counted = 0.0, 0.0, 0
        return means


def check_state(path: Path, digest: str) -> dict[str, str]:
    """Return the header of a state; refuse one that does not belong to the settings and data.

    Raises
    ------
    InputError
        A damaged file, another schema, or the state of other settings or data.
    """
    check_regular(path, _REMEDY)
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(str(path), f"damaged ({error})", _REMEDY) from error
    if header.get("schema") != str(SCHEMA):
        raise InputError(str(path), f"schema {shown(header.get('schema'))}", _REMEDY)
    if header.get("digest") != digest:
        raise InputError(str(path), OTHER, _REMEDY)
    return header


def read_progress(path: Path, header: dict[str, str]) -> TrainingProgress:
    """Where the run is whose state has this header.

    Raises
    ------
    InputError
        The header is damaged.
    """
    try:
        return TypeAdapter(TrainingProgress).validate_python(json.loads(header["progress"]))
    except (KeyError, ValueError, RecursionError) as error:
        what = error.errors()[0]["loc"] if isinstance(error, ValidationError) else str(error)
        raise InputError(str(path), f"damaged (its progress: {what})", _REMEDY) from None


@dataclass
class State:
    """Weights, their running average, and the memory of the optimisers, by weight name."""

    weights: Weights
    average: Weights
    optimizers: list[torch.optim.Optimizer]
    progress: TrainingProgress = field(default_factory=TrainingProgress)

    def update_average(self, decay: float) -> None:
        """Move the average towards the weights; early on it forgets faster."""
        decay = min(decay, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.values()), list(self.weights.values()), 1.0 - decay
            )

    def write(self, path: Path, digest: str) -> None:
        """Write everything; ``digest`` names the settings and the data it belongs to."""
        tensors = {f"weight:{k}": v.detach() for k, v in self.weights.items()}
        tensors |= {f"average:{k}": v.detach() for k, v in self.average.items()}
        for name, key, value in self._memory():
            tensors[f"memory:{key}:{name}"] = value
        header = {
            "schema": str(SCHEMA),
            "digest": digest,
            "progress": json.dumps(asdict(self.progress)),
        }
        tensors = {k: v.contiguous().cpu().clone() for k, v in tensors.items()}
        with replacing(path) as temporary:
            # safetensors' own writing has errors of its own for a full disk
            temporary.write_bytes(save(tensors, metadata=header))

    def _memory(self) -> list[tuple[str, str, Tensor]]:
        names = {id(v): k for k, v in self.weights.items()}
        return [
            (names[id(weight)], key, value)
            for optimizer in self.optimizers
            for weight, memory in optimizer.state.items()
            for key, value in memory.items()
        ]

    def restore(self, path: Path, digest: str) -> None:
        """Take everything from a file that :meth:`write` made.

        Raises
        ------
        InputError
            A damaged file, another schema, or the state of other settings or data.
        """
        progress = read_progress(path, check_state(path, digest))
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(str(path), f"damaged ({error})", _REMEDY) from error
        memory = self._checked(path, tensors)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight:{name}"])
                self.average[name].copy_(tensors[f"average:{name}"])
        for optimizer, name, weight in self._moved():
            if name in memory:
                optimizer.state[weight] = {
                    k: v if k == "step" else v.to(weight.device) for k, v in memory[name].items()
                }
        self.progress = progress

    def _moved(self) -> list[tuple[torch.optim.Optimizer, str, Tensor]]:
        """Every weight that is trained, with its optimiser and its name."""
        names = {id(v): k for k, v in self.weights.items()}
        return [
            (optimizer, names[id(weight)], weight)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for weight in group["params"]
        ]

    def _checked(self, path: Path, tensors: Weights) -> dict[str, Weights]:
        """Assert that tensors fit the weights; return what optimisers remember, by weight name.

        An optimiser remembers nothing of a weight that has had no gradient yet, or all of it.
        """
        like = {f"{part}:{k}": v for part in ("weight", "average") for k, v in self.weights.items()}
        memory: dict[str, Weights] = {}
        for optimizer, name, weight in self._moved():
            kinds = ("momentum_buffer",) if isinstance(optimizer, Muon) else ADAM
            keys = {kind: f"memory:{kind}:{name}" for kind in kinds}
            if any(key in tensors for key in keys.values()):
                single = weight.new_zeros((), dtype=torch.float32)
                like |= {key: single if kind == "step" else weight for kind, key in keys.items()}
                memory[name] = {kind: tensors[key] for kind, key in keys.items() if key in tensors}
        for key in tensors.keys() | like.keys():
            found = None if key not in tensors else (tensors[key].shape, tensors[key].dtype)
            if key not in like or found != (like[key].shape, like[key].dtype):
                raise InputError(str(path), f"damaged (its '{key}')", _REMEDY)
            if key.startswith("memory:step:") and not 0.0 <= float(tensors[key]) < 1e12:
                raise InputError(str(path), f"damaged (its '{key}')", _REMEDY)
        return memory
