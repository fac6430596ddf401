"""Write src/scalewise/reporting/schemas from documents: ``python docs/write_schemas.py``.

A schema is what documents of small analyses have in common, with the rules below for what a few
documents cannot tell: keys that are names of the user, numbers that may be missing, words. That of
a study is what reads it: :mod:`scalewise.study.page.schema`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import scalewise
from scalewise.reporting.experiments import DOCUMENTS
from scalewise.study.page.schema import ResultsRecord

FOLDER: Final = Path(scalewise.__file__).parent / "reporting" / "schemas"
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
TYPES: Final = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
#: Objects whose keys are names: of elements, formula units, kinds of cells, roles.
MAPS: Final = {
    "doctor": (
        "cells.periodicity",
        "charges.values_e",
        "energies.element_energies_minimum_norm",
        "energies.unit_energies",
        "neighbors.elements",
        "split.made",
    ),
    "locality": ("against.elements",),
    "simulation": ("cutoffs",),
    "trust": ("simulations[].shortest",),
    "evaluation": ("residuals[].components", "residuals[].counts"),
}
#: What may be null though numbers with a fraction always may.
NULLABLE: Final = {
    "doctor": (
        *("cells.density_atoms_per_cubic_angstrom", "cells.lowest_height_angstrom"),
        *("charges.key", "closest[].frame", "energies", "forecast.measured"),
        *("noise.hidden[].grid", "noise.hidden[].pairs", "split.roles[].twin_in_train"),
    ),
    "evaluation": (
        *("roles[].energy", "roles[].stress", "roles[].unbroken", "model.elements"),
        *("roles[].kinds[].energy", "roles[].kinds[].stress", "roles[].kinds[].forces"),
        *("model.parameters", "model.dtype"),
    ),
    "curve": ("learning.steps", "scales[].single", "frame"),
    "refine": ("chosen",),
    "forks": ("training.shorter_steps", "learning.steps", "subsets[].learning.steps"),
    "prove": (
        *("learning.steps", "subsets[].limit", "subsets[].learning.steps"),
        *("subsets[].forecasts.frames", "subsets[].forecasts.steps"),
    ),
    "locality": ("against",),
    "simulation": (
        *("ended", "cutoffs", "drift", "temperature", "potential", "pressure", "volume"),
        "thermostat",
        *("distances.pairs[].g", "distances.pairs[].coordination"),
    ),
    "trust": ("uncertainty.level", "uncertainty.made_with"),
    "distillation": ("probes[].drift", "probes[].reason"),
}
#: Keys that a document need not have.
OPTIONAL: Final = {
    "curve": ("model.folder",),
    "prove": ("questions.long", "questions.routing", "questions.size", "questions.cutoff"),
}
#: Items of lists that may be empty in all documents.
ITEMS: Final = {"warnings": "string", "missing": "integer"}
#: Key of what is like the object that it is in, of fewer frames.
SUBSET: Final = "unbroken"
#: Words that are all there are, by key.
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "answer": ("needed", "not needed", "cannot tell"),
    "severity": ("error", "warning", "note"),
}
_DATA: Final = {
    "type": ["object", "null"],
    "properties": {
        "file": {"type": "string"},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "frames": {"type": "integer", "minimum": 1},
    },
    "required": ["file", "sha256", "frames"],
}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def schema_of(kind: str, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a kind of document."""
    known = DOCUMENTS[kind]
    provenance = {"data": _DATA, "versions": _TEXTS}
    needed = ["data", "versions"]
    if kind == "study":
        body, more = _study()
        needed = ["versions", "sources", "settings_digest"]
        provenance = {
            "versions": _TEXTS,
            "sources": _TEXTS,
            "settings_digest": {"type": "string"},
        }
    else:
        units = dict(pair for d in documents for pair in d["units"].items())
        body, more = _Bodies(kind, units).infer([d["body"] for d in documents], ""), {}
    return {
        "$schema": DRAFT,
        "title": f"{known.file}.json of scalewise",
        "type": "object",
        "properties": {
            "kind": {"const": kind},
            "schema": {"const": known.schema},
            "scalewise": {"type": "string"},
            "settings": {"type": "object", "description": "all settings of the analysis"},
            "provenance": {"type": "object", "properties": provenance, "required": needed},
            "units": _TEXTS,
            "body": body,
        },
        "required": ["kind", "schema", "scalewise", "settings", "provenance", "units", "body"],
        "additionalProperties": False,
        **more,
    }


class _Bodies:
    """What bodies of one kind have in common."""

    def __init__(self, kind: str, units: Mapping[str, str]) -> None:
        self.maps, self.nullable, self.optional = (
            rules.get(kind, ()) for rules in (MAPS, NULLABLE, OPTIONAL)
        )
        self.units = {key: unit for names, unit in units.items() for key in names.split(", ")}

    def infer(self, values: Sequence[Any], path: str) -> dict[str, Any]:
        """Return the schema that values at a path share."""
        types = {TYPES[type(v)] for v in values}
        if "number" in types:
            types.discard("integer")
            types.add("null")  # what is not a number is null
        if path in self.nullable or path.endswith("interval"):
            types.add("null")
        if not types - {"null"}:
            raise SystemExit(f"{path}: nothing but null in any document; give one that has it")
        order = [t for t in TYPES.values() if t in types]
        key = path.rsplit(".", 1)[-1]
        found: dict[str, Any] = {"type": order[0] if len(order) == 1 else order}
        if (unit := self.units.get(key)) is not None:
            found["description"] = unit
        if key in WORDS:
            found["enum"] = list(WORDS[key])
        if "object" in types:
            found |= self._object([v for v in values if isinstance(v, dict)], path)
        if "array" in types:
            found |= self._array([v for v in values if isinstance(v, list)], path)
        return found

    def _object(self, values: Sequence[dict[str, Any]], path: str) -> dict[str, Any]:
        if path in self.maps:
            inner = [v for value in values for v in value.values()]
            return {"additionalProperties": self.infer(inner, f"{path}.*")}
        keys = list(dict.fromkeys(k for value in values for k in value))
        below = {k: f"{path}.{k}".removeprefix(".") for k in keys}
        needed = [k for k in keys if all(k in v for v in values) and below[k] not in self.optional]
        parts = {k: [v[k] for v in values if k in v] for k in keys}
        if inner := [v for v in parts.get(SUBSET, ()) if v]:
            # no list is empty in all of the larger sets
            parts[SUBSET] += [{k: v[k] for k in inner[0]} for v in values]
        return {
            "properties": {k: self.infer(parts[k], below[k]) for k in keys},
            "required": needed,
        }

    def _array(self, values: Sequence[list[Any]], path: str) -> dict[str, Any]:
        items = [item for value in values for item in value]
        if not items:
            if (name := path.rsplit(".", 1)[-1]) in ITEMS:
                return {"items": {"type": ITEMS[name]}}
            raise SystemExit(f"{path}: empty in every document; give one that has it")
        pair = path.endswith("interval")
        size = {"minItems": 2, "maxItems": 2} if pair else {}
        return {"items": self.infer(items, f"{path}[]"), **size}


def _study() -> tuple[dict[str, Any], dict[str, Any]]:
    """Body of a study as it is read, and the definitions that it refers to."""
    body = ResultsRecord.model_json_schema()
    definitions = body.pop("$defs")
    body["properties"].pop("provenance")
    definitions.pop("Provenance")
    body.pop("title")
    return body, {"$defs": definitions}


def write(documents: Iterable[Mapping[str, Any]]) -> None:
    """Write a schema for each kind among documents."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    FOLDER.mkdir(exist_ok=True)
    for kind, found in by_kind.items():
        text = json.dumps(schema_of(kind, found), indent=2, ensure_ascii=False)
        path = FOLDER / f"{DOCUMENTS[kind].file}.schema.json"
        path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from document_samples import MAKERS

    with tempfile.TemporaryDirectory() as scratch:
        write(
            report.to_json()
            for kind, make in MAKERS.items()
            for report in make(Path(scratch) / kind)
        )
