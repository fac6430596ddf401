"""A model's own curve, beside the bound: at the range that it really sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scalewise import checkpoint
from scalewise.errors import InputError
from scalewise.potential.settings import Network


def force_reach(network: Network, cutoff: float) -> float:
    """How far from an atom others may be that its force depends on, Å.

    Examples
    --------
    >>> force_reach(Network(layers=2, cutoff=6.0, inner=3.5), 5.0), force_reach(Network(), 3.0)
    (17.0, 12.0)
    """
    first = cutoff if network.inner is None else min(network.inner, cutoff)
    return 2.0 * (first + (network.layers - 1) * cutoff)


def read_against(path: Path) -> dict[str, Any]:
    r"""Errors of a model without long range, by element, at the reach of its forces, Å.

    Each layer sees what its neighbours saw: the energy of an atom reaches :math:`L r` with L layers
    of cutoff r (less, if the first ends nearer). The force on an atom is made of the energies of
    all that reach it, and they look as far again: :math:`2 L r`. With long range a model sees
    everything, and no bound of this kind holds for it.

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
    network = checkpoint.read(checkpoint.locate(folder)).network.settings
    own = [k for k, s in enumerate(scales) if s["single"] is None and not s["long"]]
    if not own:
        raise InputError(
            str(path),
            "all its scales have long range, with which a model sees everything",
            "Train a ladder with and without: --ladder 3,6.5,long",
        )
    return {
        "model": str(folder),
        "layers": network.layers,
        "reach": [force_reach(network, scales[k]["cutoff"]) for k in own],
        "elements": {
            s["name"]: {
                "mae": [s["scales"][k]["mae"] for k in own],
                "mae_interval": [s["scales"][k]["mae_interval"] for k in own],
            }
            for s in subsets
            if s["kind"] == "element"
        },
    }
