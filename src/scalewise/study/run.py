"""Run a study from its settings to results.json, in stages whose results are kept on disk."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from scalewise.core.code import source_digest
from scalewise.core.errors import InputError
from scalewise.core.files import write_json
from scalewise.core.loading import explain
from scalewise.core.progress import SILENT, Progress
from scalewise.data.readers import hash_file
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.study.page.page import attach_page
from scalewise.study.settings import StudySettings
from scalewise.study.stage import read_stage, work_out
from scalewise.testbed.records import read_generated
from scalewise.testbed.solution import generate_solution

SCHEMA = 1
#: arXiv 2606.09480, abstract; the unit is not stated there and read as kJ/mol/nm here.
PAPER = {
    "reference": "arXiv 2606.09480",
    "unit": "kJ/mol/nm (not stated; our reading)",
    "baseline": 399.65,
    "hard_oracle": 382.67,
    "pool_oracle": 381.23,
    "continuous_oracle": 380.96,
    "close_contact_baseline": 327.22,
    "close_contact_continuous_oracle": 260.51,
    "pool": [0, 0.125, 0.25, 0.375, 0.5, 0.75, 1],
}


def run_study(settings: StudySettings, out: Path | str, *, progress: Progress = SILENT) -> Report:
    """Run the study and return its report, of the kind ``study``.

    Finished stages are kept below ``out`` under a hash of everything they depend on: the settings,
    the data and the code. What is unchanged is read back.

    Raises
    ------
    InputError
        Data, settings or the output folder cannot be used.
    """
    out = Path(out)
    if settings.predictions is not None:
        sources = _audit_sources(settings)
        tasks: dict[str, tuple[StudySettings, Path | None]] = {"predictions": (settings, None)}
        checks: list[dict[str, Any]] = []
    else:
        folder = _data(settings, out, progress)
        manifest = read_generated(folder)
        sources = _solution_sources(folder, manifest)
        tasks = dict.fromkeys(settings.views, (settings, folder))
        checks = manifest["checks"]
    sections = _sections(tasks, sources, out, progress)
    write_json(out / "settings.json", settings.model_dump(mode="json"))
    return Report.made(
        "study",
        _merge(checks, sections),
        settings=settings.model_dump(mode="json"),
        units={"mae": "as each row says", "scale": "from 0 to 1", "distance": "Å"},
        provenance=provenance(sources=_named(sources), settings_digest=settings.digest()),
    )


def audit_predictions(
    files: Sequence[Path | str],
    labels: Path | str | None = None,
    out: Path | str = "runs/study",
    *,
    progress: Progress = SILENT,
    **settings: Any,
) -> Report:
    """Audit existing predictions: compute the evidence of a study without training any branch.

    Parameters
    ----------
    files
        extxyz files with predicted forces (eV/Å) of the same structures, in the order from short to
        long scale.
    labels
        extxyz file with the labels; default: the first of ``files``, which then has labels, too.
    out
        Folder in which finished stages are kept.
    progress
        Receives messages and progress.
    settings
        Other settings of a study, such as ``seed``; settings of ``predictions`` as a dictionary.

    Returns
    -------
    Report
        Report of kind ``study``.

    Raises
    ------
    InputError
        Files that do not hold the same structures; a file without the column of the forces.
    """
    listed = (files,) if isinstance(files, str | Path) else tuple(files)
    given = {"files": listed, "labels": labels, **settings.pop("predictions", {})}
    try:
        checked = StudySettings.model_validate({**settings, "predictions": given})
    except ValidationError as error:
        raise explain(StudySettings, "audit_predictions", error) from None
    return attach_page(run_study(checked, out, progress=progress))


def run_command(request: Request) -> Report:
    """Run ``scalewise study``, and write its page beside the report."""
    return attach_page(run_study(request.settings, request.out, progress=request.progress))


def _data(settings: StudySettings, out: Path, progress: Progress) -> Path:
    if settings.data is not None:
        return settings.data
    folder = out / f"solution-{settings.solution.digest()}"
    progress.message(
        f"Data: {settings.solution.replicas} replicas of NaCl in {settings.solution.water}"
    )
    generate_solution(settings.solution, folder)
    return folder


def _solution_sources(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Hash every file; one that is not what was generated is refused."""
    sources = {}
    for replica in manifest["replicas"]:
        for name, digest in replica["files"].items():
            path = folder / name
            found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            if found != digest:
                raise InputError(
                    str(path),
                    "missing" if found is None else "changed since it was generated",
                    f"Run `scalewise generate` with the same settings and --out {folder}, or "
                    "restore the file.",
                )
            sources[name] = digest
    return sources


def _audit_sources(settings: StudySettings) -> dict[str, str]:
    audit = settings.predictions
    assert audit is not None
    paths = [*audit.files, *(audit.replicate_files or ())]
    if audit.labels is not None:
        paths.append(audit.labels)
    sources = {}
    for path in paths:
        if not path.exists():
            raise InputError(str(path), "no such file", "Give the path of a file of predictions.")
        sources[str(path)] = hash_file(path)
    return sources


def _sections(
    tasks: Mapping[str, tuple[StudySettings, Path | None]],
    sources: Mapping[str, str],
    out: Path,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Read back finished views and work out the others, one process each where cores allow."""
    paths = {}
    code = source_digest(work_out.__module__)
    for name, (settings, _) in tasks.items():
        kept = settings.model_dump(mode="json", exclude={"solution", "views", "data"})
        versions = [np.__version__, torch.__version__, SCHEMA]
        key = json.dumps([name, kept, dict(sources), code, versions], sort_keys=True)
        paths[name] = (
            out / "stages" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
        )
    missing = [name for name in tasks if read_stage(paths[name]) is None]
    if missing:
        progress.message(f"Study: {' and '.join(missing)}, a minute or two each")
    if len(missing) < 2 or (os.cpu_count() or 1) < 2:
        for name in missing:
            work_out(name, *tasks[name], paths[name])
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(missing), mp_context=context) as pool:
            futures = [pool.submit(work_out, n, *tasks[n], paths[n]) for n in missing]
            for future in futures:
                future.result()
    found = {name: read_stage(path) for name, path in paths.items()}
    for name, path in paths.items():
        if found[name] is None:
            raise InputError(
                str(path),
                "changed while it was in use, or a name in it that cannot be printed",
                "Run again; names of regimes and files must have no control characters.",
            )
    return {name: section for name, section in found.items() if section is not None}


def _merge(checks: list[dict[str, Any]], sections: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Join the views; `pool` and `pool_held_out` show the first view and, below it, all of them."""
    first = next(iter(sections))
    names = ("branches", "anchors", "regimes", "atoms", "complementarity", "updates", "selectors")
    return {
        "paper": PAPER,
        "checks": checks,
        "views": {view: {n: section[n] for n in names} for view, section in sections.items()},
        "noise_floor": {view: section["noise_floor"] for view, section in sections.items()},
        "pool": {
            "view": first,
            "unit_of_choice": "ion",
            **sections[first]["pool"]["ion"],
            "by_view": {view: section["pool"] for view, section in sections.items()},
        },
        "pool_held_out": {
            "view": first,
            "unit_of_choice": "ion",
            **sections[first]["pool_held_out"],
            "by_view": {view: section["pool_held_out"] for view, section in sections.items()},
        },
        "verdict": {view: section["verdict"] for view, section in sections.items()},
        "loss_curves": {view: section["loss_curves"] for view, section in sections.items()},
        "scale_histograms": {
            view: section["scale_histograms"] for view, section in sections.items()
        },
        "rows": [row for section in sections.values() for row in section["rows"]],
    }


def _named(sources: Mapping[str, str]) -> dict[str, str]:
    """File names without folders, so that results do not depend on them, unless two are equal."""
    names = [Path(path).name for path in sources]
    unique = len(set(names)) == len(names)
    return {Path(path).name if unique else path: digest for path, digest in sources.items()}
