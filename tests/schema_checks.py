"""Documents against the schemas that are shipped with the library."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import jsonschema

from scalewise.reporting.experiments import DOCUMENTS


def schema(kind: str) -> dict[str, Any]:
    """Read the schema of a kind of document."""
    folder = resources.files("scalewise.reporting") / "schemas"
    text = (folder / f"{DOCUMENTS[kind].file}.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def closed(node: Any) -> Any:
    """The same schema, with no other keys than it lists where it lists any."""
    if isinstance(node, list):
        return [closed(part) for part in node]
    if not isinstance(node, dict):
        return node
    found = {key: closed(part) for key, part in node.items()}
    if isinstance(node.get("properties"), dict) and "type" in node:
        found.setdefault("additionalProperties", False)
    return found


def validator(found: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """Whatever checks documents against a schema."""
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def check_document(document: dict[str, Any]) -> None:
    """Assert that a document keeps to the schema of its kind."""
    found = copy.deepcopy(schema(document["kind"]))
    errors = [f"{e.json_path}: {e.message[:200]}" for e in validator(found).iter_errors(document)]
    assert errors == []
