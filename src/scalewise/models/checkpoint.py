"""Potentials on disk: a folder with ``model.json`` and the weights as safetensors, not pickled.

``model.json`` holds a schema number, the settings, the elements, the composition model and the
SHA-256 of the weights. An older schema is upgraded step by step when it is read; a newer one is
refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from scalewise.core.errors import InputError, cut, shown
from scalewise.core.files import check_regular, read_json, replacing, write_json
from scalewise.data.structure import Structure
from scalewise.models.adaptive_cutoff import AdaptiveCutoff
from scalewise.models.composition import CompositionModel
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import AdaptiveCutoffSettings, NetworkSettings
from scalewise.models.potential import Potential

SCHEMA: Final = 8
KIND: Final = "scalewise potential"
MODEL: Final = "model.json"
#: Folder beside it with the programs of an exported potential.
PROGRAMS: Final = "programs"
#: Before the names of the weights of an adaptive cutoff.
ADAPTIVE: Final = "adaptive_cutoff."


def _without_adaptive_cutoff(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 may hold an adaptive cutoff; before, there was none."""
    return {**document, "router": None}


def _without_switch(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 3 fades neighbors over a width of its own; before, it was all of the cutoff."""
    return {**document, "network": {"switch": None, **document["network"]}}


def _without_inner(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 4 may have a first layer of its own range; before, all layers saw as far."""
    return {**document, "network": {"inner": None, **document["network"]}}


#: Names of settings and of weights before schema 5.
OLD_SETTINGS: Final = {
    "switch": "cutoff_width",
    "inner": "first_layer_cutoff",
    "degree": "l_max",
    "radial": "num_bessel",
}
OLD_WEIGHTS: Final = {
    "scale": "energy_scale",
    "told_bias": "conditioning_bias",
    "told_radial": "conditioning_radial",
    "router": "adaptive_cutoff",
}


def _with_old_names(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 5 has the field's names for settings and weights."""
    kept = {k: v for k, v in document.items() if k not in ("router", "baseline")}
    network = {OLD_SETTINGS.get(k, k): v for k, v in document["network"].items()}
    return {
        **kept,
        "network": network,
        "adaptive_cutoff": document["router"],
        "composition": document["baseline"],
        "old_names": True,
    }


def _without_pair_baseline(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 6 may have a pair potential that the network corrects; before, there was none."""
    return {**document, "network": {"pair_baseline": False, **document["network"]}}


def _without_smoothness(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 7 may damp the shorter waves of its radial functions; before, none were."""
    return {**document, "network": {"radial_smoothness": 0.0, **document["network"]}}


def _with_equal_bessel(document: dict[str, Any]) -> dict[str, Any]:
    """Schema 8 counts the functions of the pair potential; before, they were the network's."""
    network = document["network"]
    return {**document, "network": {"pair_bessel": network["num_bessel"], **network}}


#: From schema n to n + 1, on the content of model.json.
UPGRADERS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    1: _without_adaptive_cutoff,
    2: _without_switch,
    3: _without_inner,
    4: _with_old_names,
    5: _without_pair_baseline,
    6: _without_smoothness,
    7: _with_equal_bessel,
}
DTYPES: Final = {"float32": torch.float32, "float64": torch.float64}

#: Bytes of the largest model.json that is read.
LARGEST: Final = 64 << 20

#: eV; rounding differs between machines and devices, another network by far more.
PROBE_TOLERANCE: Final = 1e-2

_TRAIN_AGAIN = "Give the folder of a trained potential, written by `scalewise train`."


def write(folder: Path, potential: Potential) -> None:
    """Write a potential, weights first; a reader sees the old or the new one, never a mixture.

    The weights of another content have another name, so that replacing ``model.json`` is the one
    step that counts.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in _state(potential).items()}
    odd = [k for k, v in state.items() if not v.isfinite().all()]
    if odd:
        raise InputError(
            str(folder), f"weights that are not finite ('{odd[0]}')", "They are not written."
        )
    content = save(state)
    digest = hashlib.sha256(content).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    with replacing(folder / name) as temporary:
        temporary.write_bytes(content)
    composition = potential.composition
    adaptive = potential.adaptive_cutoff
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "weights": {"file": name, "sha256": digest},
        "dtype": str(potential.dtype).removeprefix("torch."),
        "network": potential.network.settings.model_dump(mode="json"),
        "elements": list(potential.network.elements),
        "adaptive_cutoff": adaptive and adaptive.settings.model_dump(mode="json"),
        "composition": {
            "energies": composition.energies.tolist(),
            "span": composition.span.tolist(),
        },
        "probe": _probe(potential),
        "info": potential.info,
    }
    write_json(folder / MODEL, document)
    for old in folder.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def save_below(potential: Potential, folder: Path) -> Path:
    """Write a potential to the folder ``model`` of a run, and return it."""
    write(folder / "model", potential)
    return folder / "model"


def locate(folder: Path) -> Path:
    """Return the folder that holds ``model.json``: this one, or ``model`` inside a run's."""
    inside = folder / "model"
    if not (folder / MODEL).is_file() and (inside / MODEL).is_file():
        return inside
    return folder


class _WeightsFile(BaseModel):
    """Name and SHA-256 of the weights: a bare name, so that no other file is ever opened."""

    file: str = Field(pattern=r"^weights-[0-9a-f]{4,64}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _CompositionTable(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    energies: list[float]
    span: list[list[float]]


class _Document(BaseModel):
    """The content of ``model.json``, whoever wrote it."""

    model_config = ConfigDict(allow_inf_nan=False)

    weights: _WeightsFile
    dtype: Literal["float32", "float64"]
    network: NetworkSettings
    elements: list[Annotated[int, Field(ge=1, le=len(chemical_symbols) - 1)]] = Field(min_length=1)
    adaptive_cutoff: AdaptiveCutoffSettings | None
    composition: _CompositionTable
    probe: float
    info: dict[str, Any] = Field(default_factory=dict)
    #: Whether its weights have the names of schemas before 5.
    old_names: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> _Document:
        kinds = len(self.elements)
        if self.elements != sorted(set(self.elements)):
            raise ValueError("elements must increase strictly")
        if len(self.composition.energies) != kinds or len(self.composition.span) > kinds:
            raise ValueError(
                f"the composition model must have one energy for each of {kinds} elements"
            )
        if any(len(row) != kinds for row in self.composition.span):
            raise ValueError(f"the rows of composition.span must have {kinds} entries")
        return self


def read(folder: Path, *, device: torch.device | str = "cpu") -> Potential:
    """Read a potential; nothing in its folder is trusted.

    Sizes are compared with those of the weights before a network is made.

    Raises
    ------
    InputError
        No such folder, a foreign or damaged file, a schema from the future.
    """
    document = _document(folder / MODEL)
    if not (folder / document.weights.file).exists():
        document = _document(folder / MODEL)  # a training has just written the next ones
    weights = folder / document.weights.file
    _check_sizes(weights, document)
    network = DensityNetwork(document.network, document.elements, DTYPES[document.dtype])
    chosen = document.adaptive_cutoff
    adaptive = None if chosen is None else AdaptiveCutoff.of(network, chosen)
    composition = CompositionModel(
        tuple(document.elements),
        np.array(document.composition.energies, dtype=float),
        np.array(document.composition.span, dtype=float).reshape(-1, len(document.elements)),
    )
    programs = folder / PROGRAMS if (folder / PROGRAMS).is_dir() else None
    potential = Potential(
        network,
        composition,
        dict(document.info),
        compiled=False,
        adaptive_cutoff=adaptive,
        programs=programs,
    )
    state = _weights(weights, document, _state(potential))
    own = {k: v for k, v in state.items() if not k.startswith(ADAPTIVE)}
    network.load_state_dict(own)
    if adaptive is not None:
        adaptive.load_state_dict({k.removeprefix(ADAPTIVE): state[k] for k in state.keys() - own})
    potential = potential.to(device)
    found = _probe(potential)
    if not abs(found - document.probe) < PROBE_TOLERANCE:
        raise InputError(
            str(folder / MODEL),
            f"this version finds {found:.6g} eV where {document.probe:.6g} eV was written: its "
            "network is not the one that was trained",
            "Use the version of scalewise that trained it, or train again.",
        )
    # what was compiled for the processor is not for another device
    return potential.to(compiled=programs is not None and potential.device.type == "cpu")


def _state(potential: Potential) -> dict[str, torch.Tensor]:
    """Weights of the network, and of the adaptive cutoff under its own name."""
    state: dict[str, torch.Tensor] = dict(potential.network.state_dict())
    if potential.adaptive_cutoff is not None:
        state |= {ADAPTIVE + k: v for k, v in potential.adaptive_cutoff.state_dict().items()}
    return state


def _probe(potential: Potential) -> float:
    """Energy of a small structure of all elements, eV, without that of the composition."""
    elements = potential.network.elements
    steps = np.arange(2 * len(elements))[:, None]
    frame = Structure(
        numbers=np.array(elements * 2),
        positions=steps * np.array([0.9, 0.5, 0.3]) + np.sin(2.0 * steps + np.arange(3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        molecule=steps[:, 0],
    )
    energies = potential.predict(frame).energies
    assert energies is not None
    return float(energies.sum()) - potential.composition.energy(frame.numbers)


def _document(path: Path) -> _Document:
    document = read_json(path, _TRAIN_AGAIN, largest=LARGEST)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(str(path), "not a scalewise potential", _TRAIN_AGAIN)
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(
            str(path),
            f"schema {shown(schema)}, but this version reads up to {SCHEMA}",
            "Install a newer version of scalewise.",
        )
    try:
        for step in range(_first_schema(schema), SCHEMA):
            document = UPGRADERS[step](document)
        return _Document.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = f"key '{cut(key, 80)}': {first['msg']}"
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = cut(" ".join(str(error).split()) or type(error).__name__, 200)
    raise InputError(str(path), f"damaged ({reason})", _TRAIN_AGAIN)


def _first_schema(schema: Any) -> int:
    if type(schema) is not int or schema not in (*UPGRADERS, SCHEMA):
        raise ValueError(f"schema {shown(schema, 40)}")
    return schema


def _check_sizes(path: Path, document: _Document) -> None:
    """Assert that the weights are those of a network of these settings, without making one."""
    check_regular(path, "Copy the whole folder of the potential.")
    try:
        with safe_open(path, framework="numpy") as file:
            found = {
                _current_name(name, document): tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError) as error:
        raise InputError(str(path), f"damaged ({error})", _TRAIN_AGAIN) from error
    odd = next((k for k, v in _telling(document).items() if found.get(k) != v), None)
    if odd is not None:
        raise InputError(str(path), f"weights do not fit the network ('{odd}')", _TRAIN_AGAIN)


def _telling(document: _Document) -> dict[str, tuple[int, ...] | None]:
    """Shapes of weights that hold every size of a network; none: there must be no such weight.

    A file holds what its shapes say: a network with these is as large as its weights. All other
    shapes are compared when it is made.
    """
    s, kinds = document.network, len(document.elements)
    found: dict[str, tuple[int, ...] | None] = {
        "source": (kinds, s.channels),
        "bias.0": (kinds, s.hidden),
        "products.0.mix.weight": (s.l_max + 1, s.channels, 2 * s.channels),
        f"radial.{s.layers - 1}": (s.num_bessel, s.channels),
        f"radial.{s.layers}": None,
    }
    if s.pair_baseline:
        found["pair_baseline.coefficients"] = (kinds, kinds, s.pair_bessel)
    if document.adaptive_cutoff is not None and document.adaptive_cutoff.by == "environment":
        found[f"{ADAPTIVE}first.weight"] = (document.adaptive_cutoff.hidden, s.hidden)
    return found


def _current_name(name: str, document: _Document) -> str:
    """Name of a weight in this schema."""
    first, dot, rest = name.partition(".")
    return (OLD_WEIGHTS.get(first, first) if document.old_names else first) + dot + rest


def _weights(
    path: Path, document: _Document, known: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Weights of the bytes that were meant, all of them numbers, and of the shapes of ``known``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), reason, "Copy the whole folder of the potential.") from error
    if hashlib.sha256(content).hexdigest() != document.weights.sha256:
        raise InputError(str(path), "not the bytes that model.json speaks of", _TRAIN_AGAIN)
    try:
        state = {_current_name(k, document): v for k, v in load(content).items()}
    except SafetensorError as error:
        raise InputError(str(path), f"damaged ({error})", _TRAIN_AGAIN) from error
    shapes = [{k: tuple(v.shape) for k, v in part.items()} for part in (known, state)]
    if shapes[0] != shapes[1]:
        differ = sorted(set(shapes[0].items()) ^ set(shapes[1].items()), key=str)[0][0]
        raise InputError(
            str(path), f"weights do not fit the network ('{cut(differ, 80)}')", _TRAIN_AGAIN
        )
    odd = [k for k, v in state.items() if not (v.is_floating_point() and v.isfinite().all())]
    if odd:
        raise InputError(str(path), f"'{cut(odd[0], 80)}' is not finite", _TRAIN_AGAIN)
    return state
