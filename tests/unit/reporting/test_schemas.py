"""A schema for every document: what is written keeps to it, and what does not is told apart."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from document_samples import MAKERS
from scalewise.reporting.experiments import DOCUMENTS
from scalewise.reporting.report import ENVELOPE, Report
from schema_checks import check_document, closed, schema, validator
from support import once

#: The documents are those of whole commands.
pytestmark = pytest.mark.whole

Documents = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Documents of a kind, read from the files that were written."""

    def made(kind: str) -> list[dict[str, Any]]:
        def write(folder: Path) -> None:
            for k, report in enumerate(MAKERS[kind](folder / "work")):
                report.save(folder / f"{k}")

        folder = once(tmp_path_factory, f"documents-{kind}", write)
        name = f"{DOCUMENTS[kind].file}.json"
        return [json.loads(p.read_text()) for p in sorted(folder.glob(f"[0-9]/{name}"))]

    return made


def test_every_kind_has_a_schema_and_samples() -> None:
    assert set(MAKERS) == set(DOCUMENTS)
    for kind in DOCUMENTS:
        found = schema(kind)
        assert found["properties"]["kind"] == {"const": kind}
        assert found["properties"]["schema"] == {"const": DOCUMENTS[kind].schema}
        assert set(found["required"]) == set(ENVELOPE)


@pytest.mark.parametrize("kind", MAKERS)
def test_documents_keep_to_their_schema_and_are_read(kind: str, documents: Documents) -> None:
    found = documents(kind)
    assert found
    for document in found:
        check_document(document)
        again = Report.from_json(document)
        assert again.to_json() == document
        assert again.table().strip()


@pytest.mark.parametrize("kind", [k for k in MAKERS if k != "study"])
def test_every_key_of_a_document_is_in_its_schema(kind: str, documents: Documents) -> None:
    """Settings are those of the command; what a study has more is in docs/results.md."""
    strict = validator(closed(schema(kind)))
    for document in documents(kind):
        assert [e.message for e in strict.iter_errors(document)] == []


@pytest.mark.parametrize("kind", MAKERS)
def test_a_document_without_what_is_shown_is_told_apart(kind: str, documents: Documents) -> None:
    good, found = documents(kind)[0], validator(schema(kind))
    for key in ENVELOPE:
        assert not found.is_valid({k: v for k, v in good.items() if k != key}), key
    for key in schema(kind)["properties"]["body"]["required"]:
        body = {k: v for k, v in good["body"].items() if k != key}
        assert not found.is_valid({**good, "body": body}), key
    assert not found.is_valid({**good, "schema": good["schema"] + 1})
    for change in _changes(good["body"]):
        assert not found.is_valid({**good, "body": change})


def _changes(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with a thing of another type in the place of each of its parts."""
    for key, value in body.items():
        if isinstance(value, dict | list):
            changed = copy.deepcopy(body)
            changed[key] = "a text"
            yield changed
