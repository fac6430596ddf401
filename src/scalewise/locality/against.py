"""A model's own curve, beside the bound: at the range that it really sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scalewise import checkpoint
from scalewise.errors import InputError


def read_against(path: Path) -> dict[str, Any]:
    """Errors of a model without long range, by element, at the range of all its layers, Å.

    Each layer sees what its neighbours saw: with L layers, a cutoff r reaches L r. With long range
    a model sees everything, and no bound of this kind holds for it.

    Raises
    ------
    InputError
        Not a curve.json, or one whose model is no longer there; no scale without long range.
    """
    try:
        curve = json.loads(path.read_text(encoding="utf-8"))
        scales, subsets = curve["scales"], curve["subsets"]
        folder = Path(curve["model"]["folder"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            str(path), "not a curve.json", "Give one that `scalewise curve` wrote."
        ) from error
    layers = checkpoint.read(checkpoint.locate(folder)).network.settings.layers
    own = [k for k, s in enumerate(scales) if s["single"] is None and not s["long"]]
    if not own:
        raise InputError(
            str(path),
            "all its scales have long range, with which a model sees everything",
            "Train a ladder with and without: --ladder 3,6.5,long",
        )
    return {
        "model": str(folder),
        "layers": layers,
        "reach": [layers * scales[k]["cutoff"] for k in own],
        "elements": {
            s["name"]: {
                "mae": [s["scales"][k]["mae"] for k in own],
                "mae_interval": [s["scales"][k]["mae_interval"] for k in own],
            }
            for s in subsets
            if s["kind"] == "element"
        },
    }
