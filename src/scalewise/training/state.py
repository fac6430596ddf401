"""Everything a killed run needs to go on: one safetensors file, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from scalewise.artifacts import replacing
from scalewise.errors import InputError

SCHEMA: Final = 1

Weights = dict[str, Tensor]


@dataclass
class Progress:
    """Where a run is; ``best`` is the lowest validation loss so far.

    ``epoch`` counts finished passes, ``elapsed`` seconds over all sessions of the run, ``stale``
    validations since the best one, ``validations`` all of them, ``reserve`` seconds of one,
    ``validated`` when the last one ended. Of a router, ``price`` is the relative loss it may pay
    for all neighbours of the longest scale, ``excess`` its running relative loss over that scale.
    """

    step: int = 0
    epoch: int = 0
    elapsed: float = 0.0
    best: float = float("inf")
    stale: int = 0
    validations: int = 0
    reserve: float = 0.0
    validated: float = 0.0
    price: float = 0.05
    excess: float = 0.0
    finished: bool = False


def check_state(path: Path, digest: str) -> dict[str, str]:
    """Return the header of a state; refuse one that does not belong to the settings and data.

    Raises
    ------
    InputError
        A damaged file, another schema, or the state of other settings or data.
    """
    remedy = "Give another --out, or delete the folder to start again."
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(str(path), f"damaged ({error})", remedy) from error
    if header.get("schema") != str(SCHEMA):
        raise InputError(str(path), f"schema {header.get('schema')}", remedy)
    if header.get("digest") != digest:
        raise InputError(str(path), "a run with other settings or other data", remedy)
    return header


@dataclass
class State:
    """Weights, their running average, and the memory of the optimisers, by weight name."""

    weights: Weights
    average: Weights
    optimizers: list[torch.optim.Optimizer]
    progress: Progress = field(default_factory=Progress)

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
            save_file(tensors, temporary, metadata=header)

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
        header = check_state(path, digest)
        tensors = load_file(path)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight:{name}"])
                self.average[name].copy_(tensors[f"average:{name}"])
        memory: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("memory:"):
                _, kind, name = key.split(":", 2)
                memory.setdefault(name, {})[kind] = value
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    name = next(k for k, v in self.weights.items() if v is weight)
                    if name in memory:
                        place = weight.device
                        optimizer.state[weight] = {
                            k: v if k == "step" else v.to(place) for k, v in memory[name].items()
                        }
        self.progress = Progress(**json.loads(header["progress"]))
