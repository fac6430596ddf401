"""Collect the documents in the folders of runs, and the settings of trained potentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scalewise.core.errors import InputError
from scalewise.core.files import read_json
from scalewise.models import checkpoint
from scalewise.reporting.experiments import DOCUMENTS
from scalewise.reporting.report import Report

#: Kinds of documents in the order of a project.
ORDER: Final = (
    *(
        "doctor",
        "locality",
        "curve",
        "forks",
        "prove",
        "refine",
        "evaluation",
        "distillation",
        "simulation",
        "trust",
    ),
    "study",
)


@dataclass(frozen=True, eq=False)
class Run:
    """A folder: its documents, and what its potential knows of its training.

    Attributes
    ----------
    name
        What the page calls it.
    reports
        In the order of a project.
    info
        Of the potential; none where there is none.
    path
        Its folder or document, as it was given.
    """

    name: str
    reports: tuple[Report, ...]
    info: Mapping[str, Any] | None = None
    path: Path = Path()


def collect(paths: Sequence[Path]) -> list[Run]:
    """Read folders of runs, and documents.

    Raises
    ------
    InputError
        A path that is none; a folder without a document and without a potential; a document that
        is damaged or of another schema.
    """
    paths = list({path.resolve(): path for path in paths}.values())
    names = _names(paths)
    found = [_run(path, name) for path, name in zip(paths, names, strict=True)]
    for path, run in zip(paths, found, strict=True):
        if not run.reports and run.info is None:
            raise InputError(
                str(path),
                "no document of scalewise and no potential in it",
                "Give folders that scalewise commands wrote with --out.",
            )
    return found


def _run(path: Path, name: str) -> Run:
    if path.is_file():
        return Run(name, (Report.load(path),), path=path)
    if not path.is_dir():
        raise InputError(str(path), "no such folder", "Give the --out of a command that ran.")
    documents = [path / f"{DOCUMENTS[kind].file}.json" for kind in ORDER]
    reports = tuple(Report.load(document) for document in documents if document.is_file())
    model = checkpoint.locate(path) / checkpoint.MODEL
    info = None
    if model.is_file():
        document = read_json(model, "Give the folder of a run.", largest=checkpoint.LARGEST)
        kept = document.get("info") if isinstance(document, dict) else None
        info = kept if isinstance(kept, dict) else {}
        if "distilled" in info and reports:  # its training is no training of the system's potential
            info = None
    return Run(name, reports, info, path)


def _names(paths: Sequence[Path]) -> list[str]:
    """Last parts of paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max((len(p) for p in parts), default=1) + 1):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
