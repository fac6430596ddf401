"""Documents that the program reads back, and what strangers, editors and disks make of them."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from report_samples import document, study
from scalewise.analysis import error_cache as kept
from scalewise.analysis.locality.against import read_against
from scalewise.analysis.locality.reference import SolutionReference, _atoms
from scalewise.core.documents import read_array
from scalewise.models import checkpoint
from scalewise.reporting.report import Report
from scalewise.study import run as study_run
from scalewise.study import stage as study_stage
from scalewise.testbed import solution
from scalewise.testbed.records import read_generated
from scalewise.testbed.replica import CUTOFFS
from scalewise.testbed.settings import SolutionSettings
from scalewise.training.log import COLUMNS, Log, read_lines
from scalewise.training.muon import Muon
from scalewise.training.state import State, TrainingProgress, check_state, read_progress
from support import untrained

ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**70, 10**400, 1e308, -1e308, 1e60, 1e-60, 5e-324, -0.0, 0.5),
    *(
        float("nan"),
        float("inf"),
        "",
        "x" * 1000,
        "\x1b[2J\u202e",
        "\ud800",
        "a\nb",
        "[/red]",
        "$^",
    ),
    *("../../etc/passwd", "/dev/zero", "\0", [], {}, [[]], [None], [1, [2, [3]]], {"": {"": []}}),
    *([0.5] * 2000, [[[]]] * 50, {str(k): k for k in range(100)}),
)


def mutated(document: Any, rng: random.Random) -> Any:
    """Return a copy with one to three keys, values or lists that nobody wrote."""
    found = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(found)
        if not places:
            return rng.choice(ODD)
        parent, key = rng.choice(places)
        other, place = rng.choice(places)
        kind = rng.randrange(10)
        if kind < 2:
            del parent[key]
        elif kind < 6:
            parent[key] = copy.deepcopy(rng.choice(ODD))
        elif kind == 6:
            # copies, or one within the other would make a circle
            values = json.loads(json.dumps([parent[key], other[place]]))
            other[place], parent[key] = values
        elif kind == 7 and isinstance(parent[key], list):
            parent[key] *= rng.choice((2, 3, 100))
        elif kind == 8 and isinstance(parent, dict):
            parent[rng.choice(("", "x" * 1000, "\x1b[2J", "all", "none", "[/red]"))] = parent.pop(
                key
            )
        else:
            for _ in range(rng.choice((3, 50, 200))):
                parent[key] = [parent[key]]
    return found


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: its container, and the key there; deep nests are not entered."""
    found: list[tuple[Any, Any]] = []
    left = [(tree, 0)]
    while left:
        item, depth = left.pop()
        keys = list(item) if isinstance(item, dict) else range(min(len(item), 50))
        for key in keys if isinstance(item, dict | list) else ():
            found.append((item, key))
            if depth < 20 and isinstance(item[key], dict | list):
                left.append((item[key], depth + 1))
    return found


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut it short, or change, insert, drop or repeat a few bytes."""
    if rng.randrange(4) == 0:
        return content[: rng.randrange(len(content) + 1)]
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(found) + 1)
        odd = bytes([rng.choice((0, 9, 10, 34, 44, 45, 49, 57, 91, 123, 255, rng.randrange(256)))])
        kind = rng.randrange(4)
        if kind == 0:
            found[at:at] = odd
        elif kind == 1:
            found[at : at + 1] = odd
        elif kind == 2:
            del found[at : at + rng.choice((1, 30))]
        else:
            found[at:at] = found[at : at + rng.choice((1, 30, 300))]
    return bytes(found)


@dataclass(frozen=True)
class Case:
    """A reader: the file it reads, what is good there, and the reading of it."""

    path: Path
    good: bytes
    read: Callable[[], Any]
    text: bool = True

    def write(self, rng: random.Random) -> None:
        """Put something odd in the place of the file."""
        if self.text and rng.randrange(5):
            text = json.dumps(mutated(json.loads(self.good), rng))
            if rng.randrange(100) == 0:
                text = rng.choice(("[", '{"a":')) * 100_000
            self.path.write_bytes(text.encode())
        else:
            self.path.write_bytes(damaged(self.good, rng))


def _case(path: Path, document: Any, read: Callable[[], Any]) -> Case:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Case(path, json.dumps(document, indent=1).encode(), read)


def cases(folder: Path) -> dict[str, Case]:
    """All readers of documents, each in a folder of its own below ``folder``."""
    found = {
        "results": _case(
            folder / "results.json",
            document(study(("ions",))),
            lambda: Report.load(folder / "results.json"),
        ),
        **_generated(folder / "solution"),
        **_curve(folder / "curve"),
        **_progress(folder / "progress"),
        **_arrays(folder / "arrays"),
        **_log(folder / "log"),
        **_state(folder / "state"),
    }
    stage = folder / "stage.json"
    section = study()["views"]
    good = {"sha256": study_stage._sha256(section), "section": section}
    found["stage"] = _case(stage, good, lambda: study_stage.read_stage(stage))
    for case in found.values():
        case.path.write_bytes(case.good)
        case.read()
    return found


# --------------------------------------------------------------------------- scalewise generate


def _generated(folder: Path) -> dict[str, Case]:
    folder.mkdir(parents=True)
    (folder / "replica-00.extxyz").write_text("frames")
    settings = SolutionSettings.model_validate(
        {"replicas": 1, "replicates": {"replicas": 0}, "law": "screened"}
    )
    files = {"replica-00.extxyz": hashlib.sha256(b"frames").hexdigest()}
    report = {
        "replica": 0,
        "seed": 1,
        "platform": "CPU",
        "ion_pairs": 9,
        "dissolved_pairs": 9,
        "waters": 200,
        "edge": 19.9,
        "cell": [19.9] * 3,
        "density": 1.0,
        "places": {},
        "temperature": 300.5,
        "temperature_error": 1.0,
        "label_error": 1e-6,
        "drift": 1e-5,
        "drift_error": 1e-5,
        "files": files,
        "beyond": {f"{c:g}": 0.1 for c in CUTOFFS},
    }
    record = {
        "schema": 1,
        "digest": settings.digest(),
        "versions": solution._versions(),
        "report": report,
    }
    path = folder / "replica-00.json"
    path.write_text(json.dumps(record))
    manifest = solution._manifest(settings, folder)

    def finish() -> None:
        path.write_text(json.dumps(record))
        solution.generate_solution(settings, folder, bar=False)

    def resume() -> None:
        if solution._finished(settings, folder, 0) is not None:
            solution.summary(json.loads(json.dumps(solution._manifest(settings, folder))))

    def use() -> None:
        found = read_generated(folder)
        study_run._solution_sources(folder, found)
        float(np.mean([r["label_error"] for r in found["replicas"]]))
        json.dumps(found["checks"], allow_nan=False)

    own = folder / "settings.json"
    words = settings.model_dump(mode="json")
    own.write_text(json.dumps(words))
    return {
        "record": _case(path, record, resume),
        "manifest": _case(folder / "manifest.json", manifest, use),
        "kept manifest": _case(folder / "manifest.json", manifest, finish),
        "settings": _case(own, words, lambda: solution._claim(settings, folder)),
        "reference": _case(
            folder / "reference/settings.json",
            words,
            lambda: _atoms(SolutionReference.read(folder / "reference").solution),
        ),
    }


# --------------------------------------------------------------------------- curves and samples


def _curve(folder: Path) -> dict[str, Case]:
    checkpoint.write(folder / "model", untrained(layers=1, ladder=(3.0, 4.0)))
    row = {"mae": 1.0, "mae_interval": [0.5, 1.5], "rmse": 2.0}
    body = {
        "model": {"folder": str(folder / "model"), "ladder": [3.0, 4.0]},
        "scales": [{"single": None, "long": False, "cutoff": c, "cost": 1.0} for c in (3.0, 4.0)],
        "subsets": [
            {"kind": "all", "name": "all", "scales": [row, row]},
            {"kind": "element", "name": "Na", "scales": [row, row]},
        ],
    }
    path = folder / "curve.json"
    found = Report("curve", body).to_json()
    return {"curve": _case(path, found, lambda: read_against(path))}


def _arrays(folder: Path) -> dict[str, Case]:
    folder.mkdir(parents=True)
    samples, errors = folder / "samples.npy", folder / "errors.safetensors"
    np.save(samples, np.ones((4, 3)))
    save_file({"errors": np.ones((2, 5))}, errors, metadata={"digest": "mine"})
    return {
        "samples": Case(samples, samples.read_bytes(), lambda: read_array(samples, 3, 4), False),
        "errors": Case(
            errors, errors.read_bytes(), lambda: kept._read(errors, "mine", (2, 5)), False
        ),
    }


# --------------------------------------------------------------------------- training


def _progress(folder: Path) -> dict[str, Case]:
    path = folder / "progress.json"

    def read() -> None:
        text = path.read_bytes().decode(errors="replace")
        read_progress(path, {"progress": text})

    return {"progress": _case(path, asdict(TrainingProgress(step=3, epoch=1)), read)}


def _log(folder: Path) -> dict[str, Case]:
    folder.mkdir(parents=True)
    path = folder / "log.csv"
    lines = [",".join([str(k), "1", *["0.5"] * (len(COLUMNS) - 3), ""]) for k in range(4)]
    good = "\r\n".join([",".join(COLUMNS), *lines, ""]).encode()

    def read() -> None:
        content = path.read_bytes()
        Log(folder, after=2)
        path.write_bytes(content)
        read_lines(path, "")

    return {"log": Case(path, good, read, False)}


def small_state() -> State:
    """Weights of both optimisers, with a step behind them."""
    weights = {k: torch.nn.Parameter(torch.ones(2, 3)) for k in ("a", "b")}
    average = {k: v.detach().clone() for k, v in weights.items()}
    optimizers = [Muon([weights["a"]], lr=0.1), torch.optim.Adam([weights["b"]], lr=0.1)]
    state = State(weights, average, optimizers)
    step(state)
    return state


def step(state: State) -> None:
    """Take one step, as training does after it has read a state."""
    for weight in state.weights.values():
        weight.grad = torch.ones_like(weight)
    for optimizer in state.optimizers:
        optimizer.step()


def _state(folder: Path) -> dict[str, Case]:
    folder.mkdir(parents=True)
    path = folder / "state.safetensors"
    small_state().write(path, "mine")

    def read() -> None:
        check_state(path, "mine")
        state = small_state()
        state.restore(path, "mine")
        step(state)

    return {"state": Case(path, path.read_bytes(), read, False)}
