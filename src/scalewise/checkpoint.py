"""Potentials on disk: a folder with ``model.json`` and its weights as safetensors, never a pickle.

``model.json`` holds a schema number, the settings, the elements, the baseline and the SHA-256 of
the weights. An older schema is upgraded step by step when it is read; a newer one is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from scalewise.artifacts import replacing, write_json
from scalewise.data.frames import Frame
from scalewise.errors import InputError
from scalewise.potential.baseline import Baseline
from scalewise.potential.network import Network
from scalewise.potential.potential import Potential
from scalewise.potential.router import ScaleRouter
from scalewise.potential.settings import Network as NetworkSettings
from scalewise.potential.settings import Route

SCHEMA: Final = 4
KIND: Final = "scalewise potential"
MODEL: Final = "model.json"
ROUTER: Final = "router."


def _without_router(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 may hold a router; before, there was none."""
    return {**document, "router": None}


def _without_switch(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 3 fades neighbours over a width of its own; before, it was all of the cutoff."""
    return {**document, "network": {"switch": None, **document["network"]}}


def _without_inner(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 4 may have a first layer of its own range; before, all layers saw as far."""
    return {**document, "network": {"inner": None, **document["network"]}}


#: From schema n to n + 1, on the content of model.json.
UPGRADERS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    1: _without_router,
    2: _without_switch,
    3: _without_inner,
}
DTYPES: Final = {"float32": torch.float32, "float64": torch.float64}

#: eV; rounding differs between machines and devices, another network by far more.
PROBE_TOLERANCE: Final = 1e-2

_TRAIN_AGAIN = "Give the folder of a trained potential, written by `scalewise train`."


def write(folder: Path, potential: Potential) -> None:
    """Write a potential, weights first; a reader sees the old or the new one, never a mixture.

    The weights of another content have another name, so that replacing ``model.json`` is the one
    step that counts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in _state(potential).items()}
    content = save(state)
    digest = hashlib.sha256(content).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    with replacing(folder / name) as temporary:
        temporary.write_bytes(content)
    baseline = potential.baseline
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "weights": {"file": name, "sha256": digest},
        "dtype": str(potential.dtype).removeprefix("torch."),
        "network": potential.network.settings.model_dump(mode="json"),
        "elements": list(potential.network.elements),
        "router": potential.router and potential.router.settings.model_dump(mode="json"),
        "baseline": {"energies": baseline.energies.tolist(), "span": baseline.span.tolist()},
        "probe": _probe(potential),
        "info": potential.info,
    }
    write_json(folder / MODEL, document)
    for old in folder.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def locate(folder: Path) -> Path:
    """Return the folder that holds ``model.json``: this one, or ``model`` inside a run's."""
    inside = folder / "model"
    if not (folder / MODEL).is_file() and (inside / MODEL).is_file():
        return inside
    return folder


def read(folder: Path, *, device: torch.device | str = "cpu") -> Potential:
    """Read a potential.

    Raises
    ------
    InputError
        No such folder, a foreign or damaged file, a schema from the future.
    """
    document = _document(folder / MODEL)
    try:
        settings = NetworkSettings.model_validate(document["network"])
        network = Network(settings, document["elements"], DTYPES[document["dtype"]])
        router = None
        if document["router"] is not None:
            router = ScaleRouter.of(network, Route.model_validate(document["router"]))
        base = document["baseline"]
        baseline = Baseline(
            tuple(document["elements"]),
            np.array(base["energies"], dtype=float),
            np.array(base["span"], dtype=float).reshape(-1, len(document["elements"])),
        )
        weights, digest = folder / document["weights"]["file"], document["weights"]["sha256"]
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(str(folder / MODEL), f"damaged ({reason})", _TRAIN_AGAIN) from error
    potential = Potential(network, baseline, dict(document.get("info", {})), router=router)
    state = _weights(weights, digest, _state(potential))
    own = {k: v for k, v in state.items() if not k.startswith(ROUTER)}
    network.load_state_dict(own)
    if router is not None:
        router.load_state_dict({k.removeprefix(ROUTER): state[k] for k in state.keys() - own})
    potential = potential.to(device)
    expected, found = document.get("probe"), _probe(potential)
    if not (isinstance(expected, float) and abs(found - expected) < PROBE_TOLERANCE):
        raise InputError(
            str(folder / MODEL),
            f"this version finds {found:.6g} eV where {expected} eV was written: its network is "
            "not the one that was trained",
            "Use the version of scalewise that trained it, or train again.",
        )
    return potential


def _state(potential: Potential) -> dict[str, torch.Tensor]:
    """Weights of the network, and of the router under its own name."""
    state: dict[str, torch.Tensor] = dict(potential.network.state_dict())
    if potential.router is not None:
        state |= {ROUTER + k: v for k, v in potential.router.state_dict().items()}
    return state


def _probe(potential: Potential) -> float:
    """Energy of a small frame of all elements above the baseline, eV: tells networks apart."""
    elements = potential.network.elements
    steps = np.arange(2 * len(elements))[:, None]
    frame = Frame(
        numbers=np.array(elements * 2),
        positions=steps * np.array([0.9, 0.5, 0.3]) + np.sin(2.0 * steps + np.arange(3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        forces=np.zeros((len(steps), 3)),
        energy=None,
        molecule=steps[:, 0],
    )
    return potential.predict(frame).energy - potential.baseline.energy(frame.numbers)


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(str(path), "no such file", _TRAIN_AGAIN)
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(str(path), "not readable as JSON", _TRAIN_AGAIN) from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(str(path), "not a scalewise potential", _TRAIN_AGAIN)
    schema = document.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(
            str(path),
            f"schema {schema}, but this version reads up to {SCHEMA}",
            "Install a newer version of scalewise.",
        )
    while schema < SCHEMA:
        document = UPGRADERS[schema](document)
        schema += 1
    return document


def _weights(path: Path, digest: str, known: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), reason, "Copy the whole folder of the potential.") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(str(path), "not the bytes that model.json speaks of", _TRAIN_AGAIN)
    try:
        state = load(content)
    except SafetensorError as error:
        raise InputError(str(path), f"damaged ({error})", _TRAIN_AGAIN) from error
    expected = {k: v.shape for k, v in known.items()}
    found = {k: v.shape for k, v in state.items()}
    if expected != found:
        odd = sorted(set(expected.items()) ^ set(found.items()), key=str)[0][0]
        raise InputError(str(path), f"weights do not fit the network ('{odd}')", _TRAIN_AGAIN)
    return state
