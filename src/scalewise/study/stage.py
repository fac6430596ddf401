"""One stage of a study: a view from its data to its section of results.json, kept on disk.

This module imports only what a stage depends on, since the key of a stage on disk is a hash of the
code of all imported modules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalewise.core.documents import read_kept
from scalewise.core.errors import InputError, shown
from scalewise.core.files import write_json
from scalewise.data.reading import read_structures
from scalewise.data.regimes import resolve
from scalewise.data.splits import Split, by_trajectory, identify
from scalewise.data.structure import Structure
from scalewise.reporting.numbers import to_json
from scalewise.study.analysis import analyse
from scalewise.study.audit import predictions_view
from scalewise.study.samples import StudyScene
from scalewise.study.settings import StudySettings
from scalewise.study.views import View, explicit_view, ion_view
from scalewise.testbed.records import read_generated


def work_out(name: str, settings: StudySettings, folder: Path | None, path: Path) -> None:
    """Work out one view and write it to ``path``.

    One thread: views run side by side, and small kernels gain nothing.

    Raises
    ------
    InputError
        Data or settings cannot be used; the file cannot be written.
    """
    torch.set_num_threads(1)
    if folder is None:
        view, error = predictions_view(settings), None
    else:
        view, error = solution_view(name, settings, folder)
    section = to_json(analyse(view, error, settings))
    write_json(path, {"sha256": _sha256(section), "section": section})


def read_stage(path: Path) -> dict[str, Any] | None:
    """Read a finished stage; a damaged or changed one counts as missing."""
    kept = read_kept(path) or {}
    section = kept.get("section")
    if not isinstance(section, dict) or kept.get("sha256") != _sha256(section):
        return None
    return section


@dataclass(frozen=True, eq=False)
class Solution:
    """What views of a generated solution are built from.

    Attributes
    ----------
    frames, split
        The frames of all replicas, and their roles.
    replicates
        For each frozen ion configuration of the test frames, its frames with other water.
    scene
        Elements, regimes and reach.
    label_error
        Numerical error of the labels, eV/Å.
    """

    frames: list[Structure]
    split: Split
    replicates: list[list[Structure]]
    scene: StudyScene
    label_error: float


def solution_view(name: str, settings: StudySettings, folder: Path) -> tuple[View, float]:
    """Read a generated solution, build one view of it; also the numerical error of its labels."""
    found = read_solution(settings, folder)
    if name == "ions":
        view = ion_view(found.frames, found.split, found.replicates, found.scene, settings)
    else:
        view = explicit_view(found.frames, found.split, found.scene, settings)
    return view, found.label_error


def read_solution(settings: StudySettings, folder: Path) -> Solution:
    """Read what ``scalewise generate`` wrote, and deal its replicas.

    Raises
    ------
    InputError
        The folder is not that of a generated solution, or is damaged.
    """
    manifest = read_generated(folder)
    files = [name for r in manifest["replicas"] for name in r["files"]]
    frames: list[Structure] = []
    replicates: list[list[Structure]] = []
    for file in sorted(files):
        found = read_structures(folder / file, check_units=settings.check_units)
        if file.startswith("replicates"):
            by_configuration: dict[int, list[Structure]] = {}
            for frame in found:
                by_configuration.setdefault(_integer(frame, "configuration"), []).append(frame)
            replicates += by_configuration.values()
        else:
            frames += found
    split = by_trajectory(
        [_integer(f, "replica") for f in frames],
        train=settings.split.train,
        tune=settings.split.tune,
        block=settings.split.block,
        data=identify(frames),
    )
    tested = {_origin(frames[k]) for k in split.members("test")}
    replicates = [r for r in replicates if _origin(r[0]) in tested]
    error = float(np.mean([r["label_error"] for r in manifest["replicas"]]))
    return Solution(frames, split, replicates, _scene(frames, settings), error)


def _origin(frame: Structure) -> tuple[int, int]:
    """Replica and frame number; solvent replicates carry those of the frame they come from."""
    return _integer(frame, "replica"), _integer(frame, "frame")


def _integer(frame: Structure, key: str) -> int:
    value = frame.info.get(key)
    if not isinstance(value, int | np.integer):
        raise InputError(
            f"{frame.where}, key '{key}'",
            f"got {shown(value)}",
            "Every frame of `scalewise generate` has an integer there: generate it again.",
        )
    return int(value)


def _scene(frames: list[Structure], settings: StudySettings) -> StudyScene:
    elements = tuple(sorted({e for f in frames for e in f.symbols}))
    targets = tuple(e for e in elements if e in settings.ions)
    regimes = resolve(settings.regimes, elements, settings.ions, targets)
    anchors = settings.anchors or (0.0, 1.0)
    if len(anchors) != 2:
        raise InputError(
            "key 'anchors'", f"{len(anchors)} scales", "The solution study has two branches."
        )
    return StudyScene(
        elements, targets, settings.ions, regimes, settings.selector.cutoff, anchors, settings.loss
    )


def _sha256(section: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(section).encode()).hexdigest()
