"""Runs that are killed, told to end, started twice, or left without a place to write.

The slow ones kill each command ``SCALEWISE_KILLS`` times (default 20), at moments drawn between
its start and the time an undisturbed run takes: `pytest -m slow tests/cli/test_killed.py -s`.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.models import checkpoint
from support import salt_frame, untrained

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("SCALEWISE_KILLS", "20"))
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
#: What a folder holds while a run works in it.
LOCK = ".scalewise-run"
#: Tables that say how long something took.
TIMED = ("curve.txt", "refine.txt", "evaluation.txt")
#: Keys of JSON files that say how long something took, or where it lies.
TIMES = frozenset({"seconds", "microseconds", "cost", "elapsed", "reserve", "validated", "timing"})

NETWORK = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.num_bessel=4"),
    *("network.layers=1", "device=cpu", "data.split_key=role"),
)
SOLUTION = (
    *("box=16", "cutoff=7", "equilibration=0.2", "frames=6", "spacing=0.05", "replicas=3"),
    *("replicates.replicas=0", "platform=CPU"),
)


@dataclass(frozen=True)
class Case:
    """A command on a very small configuration; words that are names of inputs become paths."""

    name: str
    words: tuple[str, ...]
    out: str = "out"
    openmm: bool = False


CASES = {
    case.name: case
    for case in (
        Case("train", ("dft.xyz", *NETWORK, "network.cutoff=4", "steps=120", "validations=12")),
        Case(
            "prove",
            (
                *("dft.xyz", "--ladder", "3,4", *NETWORK, "steps=30", "validations=3"),
                *("points=2", "bootstrap=100"),
            ),
        ),
        Case(
            "curve",
            ("ladder", "dft.xyz", "split_key=role", "points=4", "bootstrap=200", "device=cpu"),
        ),
        Case(
            "refine",
            (
                *("ladder", "dft.xyz", "split_key=role", "penalties=2", "steps=3", "tolerance=0.5"),
                *("worst=0.5", "bootstrap=200", "device=cpu", "fit=train", "block=1"),
            ),
        ),
        Case(
            "study",
            (
                *("short.xyz", "long.xyz", "predictions.labels=labels.xyz", "split.block=1"),
                *("predictions.forces_keys=[predicted_forces]", "selector.steps=40"),
                *(
                    "selector.cutoff=7.0",
                    "evidence.draws=20",
                    "pool.max_scales=4",
                    "check_units=false",
                ),
            ),
        ),
        Case("generate", (*SOLUTION, "--workers", "1"), openmm=True),
        Case(
            "locality",
            (
                *("copper.xyz", "calculator=ase.calculators.emt:EMT", "radii=[3]", "atoms=4"),
                *("samples=4", "settling=0.02", "spacing=0.02", "bootstrap=100", "timestep=2"),
            ),
        ),
        Case("doctor", ("dft.xyz", "split_key=role", "neighbor_frames=4")),
        Case("evaluate", ("plain", "dft.xyz", "split_key=role", "device=cpu", "check_units=false")),
        Case(
            "predict", ("plain", "dft.xyz", "device=cpu", "check_units=false"), out="out/found.xyz"
        ),
    )
}
LONG = ("train", "prove", "curve", "refine", "study", "generate", "locality")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled frames, potentials, predictions to audit, and copper."""
    folder = tmp_path_factory.mktemp("inputs")
    spec = importlib.util.spec_from_file_location("e", ROOT / "examples/audit_two_models.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.write_files(folder)
    (folder / "dft.xyz").rename(folder / "labels.xyz")
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    images = []
    for k in range(26):
        frame = salt_frame(seed=k, n=8, box=8.0)
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        found = teacher.predict(frame)
        atoms.new_array("REF_forces", found.forces)
        atoms.info["REF_energy"] = found.energy
        atoms.info["role"] = "train" if k < 12 else "valid" if k < 16 else "test"
        images.append(atoms)
    ase.io.write(folder / "dft.xyz", images, format="extxyz")
    sizes = {"channels": 4, "hidden": 8, "layers": 1, "l_max": 2}
    checkpoint.write(folder / "plain/model", untrained(**sizes, cutoff=4.0))
    checkpoint.write(folder / "ladder/model", untrained(**sizes, ladder=[3.0, 4.0, "long"]))
    copper = []
    for k in range(3):
        atoms = ase.build.bulk("Cu", cubic=True) * (3, 3, 3)
        atoms.rattle(0.1, seed=k)
        copper.append(atoms)
    ase.io.write(folder / "copper.xyz", copper, format="extxyz")
    return folder


def command(case: Case, inputs: Path, *, out: str | None = None) -> list[str]:
    if case.openmm:
        pytest.importorskip("openmm")
    there = {p.name for p in inputs.iterdir()}

    def resolved(word: str) -> str:
        key, equals, value = word.rpartition("=")
        return f"{key}{equals}{inputs / value}" if value in there else word

    words = [resolved(w) for w in case.words]
    return [case.name, *words, "--out", out or case.out]


def start(words: list[str], folder: Path, **options: Any) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "scalewise.cli", *words],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run; what it said on stderr."""
    _, errors = process.communicate(timeout=600)
    return errors


def call(words: list[str], folder: Path, **options: Any) -> tuple[int, str]:
    process = start(words, folder, **options)
    errors = finish(process)
    return process.returncode, errors


def gone(process: subprocess.Popen[str]) -> bool:
    """Whether nobody of the run's session is left, its workers neither."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


# -- what a run leaves -----------------------------------------------------------------------------


def content(out: Path) -> dict[str, Any]:
    """What is below a folder, without times; figures by name, for some draw times."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        if not path.name.startswith("."):
            found[name] = _content(path)
    return found


def leftovers(out: Path) -> list[str]:
    """Temporary files: begun, and never renamed."""
    return sorted(str(p.relative_to(out)) for p in out.rglob(".*") if p.is_file())


def _content(path: Path) -> Any:
    if "figures" in path.parts or path.suffix == ".html" or path.name in TIMED:
        return None
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return [_timeless(row) for row in csv.DictReader(stream)]
    if path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            tensors = {k: file.get_tensor(k) for k in sorted(file.keys())}
            progress = json.loads((file.metadata() or {}).get("progress", "{}"))
        bits = {k: (str(v.dtype), v.shape, v.tobytes()) for k, v in tensors.items()}
        return {"bits": bits, "progress": _timeless(progress)}
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        return [_timeless(v) for v in value]
    return value


def differing(first: Any, second: Any, place: str = "") -> list[str]:
    """Where two contents differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        found = []
        for key in sorted(first.keys() | second.keys()):
            if key not in first or key not in second:
                found.append(f"{place}/{key}: only in {'one' if key in first else 'the other'}")
            else:
                found += differing(first[key], second[key], f"{place}/{key}")
        return found
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return [
            d for k in range(len(first)) for d in differing(first[k], second[k], f"{place}/{k}")
        ]
    if isinstance(first, np.ndarray) or first == second:
        return []
    return [f"{place}: {str(first)[:80]} | {str(second)[:80]}"]


@dataclass(frozen=True)
class Undisturbed:
    """The run that others are compared with."""

    content: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(
    inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Undisturbed]:
    kept: dict[str, Undisturbed] = {}

    def of(name: str) -> Undisturbed:
        if name not in kept:
            case, folder = CASES[name], tmp_path_factory.mktemp(name)
            began = time.monotonic()
            code, errors = call(command(case, inputs), folder)
            assert code == 0, errors
            assert leftovers(folder / "out") == []
            kept[name] = Undisturbed(content(folder / "out"), time.monotonic() - began)
        return kept[name]

    return of


# -- killed ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "study", "prove", "generate", "curve", "refine"])
def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_happened(
    name: str,
    inputs: Path,
    undisturbed: Callable[[str], Undisturbed],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    words = command(case, inputs)
    whole = undisturbed(name)
    seed = int(os.environ.get("SCALEWISE_SEED", time.time_ns() % 10**6))
    rng = random.Random(f"{seed} {name}")
    kills = ended = folders = left = 0
    wrong: list[str] = []
    while kills < KILLS:
        folder = tmp_path / f"{folders}"
        folders += 1
        over = False
        for _ in range(rng.randint(1, 4)):
            moment = rng.uniform(0.0, whole.seconds)
            process = start(words, folder)
            try:
                code = process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                # workers that outlive their parent for a moment are a danger of their own
                alone = rng.random() < 0.5
                (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
                kills += 1
            else:
                over = True
                ended += 1
                assert code == 0, finish(process)
            finish(process)
            if over or kills >= KILLS:
                break
        if not over:
            code, errors = call(words, folder)
            if code != 0:
                wrong.append(f"folder {folder}: exit {code}, {errors[-600:]}")
                continue
        left += len(leftovers(folder / "out"))
        found = differing(whole.content, content(folder / "out"))
        wrong += [f"folder {folder}: {line}" for line in found[:5]]
    with capsys.disabled():
        print(
            f"\n{name}: {kills} kills within {whole.seconds:.1f} s (seed {seed}), {folders} runs "
            f"to the end of which {ended} came before the kill, {len(wrong)} differences, {left} "
            "temporary files left"
        )
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_run_told_to_end_does(
    name: str, inputs: Path, undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    words = command(CASES[name], inputs)
    process = working(name, words, tmp_path)
    process.send_signal(signal.SIGTERM)
    errors = finish(process)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    assert "Terminated" in errors
    assert gone(process)
    out = tmp_path / "out"
    assert leftovers(out) == []
    if name == "train":
        assert (out / "state.safetensors").is_file()
    code, errors = call(words, tmp_path)
    assert code == 0, errors
    assert differing(undisturbed(name).content, content(out)) == []


def working(name: str, words: list[str], folder: Path) -> subprocess.Popen[str]:
    """A run that has just begun its work: it holds its folder, or has written something."""
    signs = {
        "train": "out/log.csv",
        "generate": "out/replica-00.json",
        "prove": "out/trainings/whole-0/log.csv",
    }
    sign = folder / signs.get(name, f"out/{LOCK}")
    process = start(words, folder)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (sign.is_file() and _begun(sign)):
        assert process.poll() is None, f"it ended before it could be disturbed: {finish(process)}"
        time.sleep(0.01)
    return process


def _begun(sign: Path) -> bool:
    return sign.suffix != ".csv" or len(sign.read_text().splitlines()) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LONG, "doctor", "evaluate"])
def test_a_second_run_in_the_same_folder_is_refused(
    name: str, inputs: Path, undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    words = command(CASES[name], inputs)
    first = working(name, words, tmp_path)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        code, errors = call(words, tmp_path)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert code == 2, errors
    assert "another run" in " ".join(errors.split())
    errors = finish(first)
    assert first.returncode == 0, errors
    assert leftovers(tmp_path / "out") == []
    assert differing(undisturbed(name).content, content(tmp_path / "out")) == []


# -- no place to write -----------------------------------------------------------------------------


def paragraph(errors: str) -> str:
    """The one paragraph of an error, on one line; what a run said before it does not count."""
    assert "Traceback" not in errors, errors
    *_, last = errors.partition("error: ")
    assert last, errors
    assert "\n\n" not in last.strip()
    return " ".join(last.split())


@pytest.mark.parametrize("name", list(CASES))
def test_an_out_folder_that_cannot_be_made_is_said(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere: a path below a file stands in for a folder that is read only."""
    (tmp_path / "file").write_text("kept")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = command(CASES[name], inputs, out=f"file/{CASES[name].out}")
    found = CliRunner().invoke(app, words)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code == 2, found.output
    assert "cannot be written" in paragraph(found.stderr)
    assert (tmp_path / "file").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize("most", [16, 100, 4096])
@pytest.mark.parametrize("name", list(CASES))
def test_a_full_disk_leaves_nothing_half_written(
    name: str, most: int, inputs: Path, tmp_path: Path
) -> None:
    """A limit on file size stands in for a full disk: both end in the same OSError."""

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    code, errors = call(command(CASES[name], inputs), tmp_path, preexec_fn=small_files)
    assert code == 2, errors
    assert "cannot be written" in paragraph(errors)
    assert leftovers(tmp_path) == []
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        _content(path)  # what is there can be read
        assert 0 < path.stat().st_size <= most
