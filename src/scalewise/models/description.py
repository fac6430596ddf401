"""Descriptions of a model in reports, beyond the interface of models."""

from __future__ import annotations

from typing import Any

import torch

from scalewise.models.potential import Potential
from scalewise.models.protocol import InteratomicPotential


def describe_weights(model: InteratomicPotential) -> dict[str, Any]:
    """Number and type of the weights, where the model is a network of ours."""
    if not isinstance(model, Potential):
        return {"parameters": None, "dtype": None}
    return {
        "parameters": sum(w.numel() for w in model.network.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def ladder_of(model: InteratomicPotential) -> list[float | str]:
    """Scales that a model was trained for; empty where they are not known."""
    return list(model.ladder) if isinstance(model, Potential) else []


def machine(model: InteratomicPotential) -> dict[str, Any]:
    """Device and threads that a model computes with."""
    device = model.device.type if isinstance(model, Potential) else "cpu"
    return {"device": device, "threads": torch.get_num_threads()}
