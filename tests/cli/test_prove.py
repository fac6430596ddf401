"""`scalewise prove` as a user meets it: a run, a kill, a second run, a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import pytest
from typer.testing import CliRunner, Result

from scalewise.cli import app
from schema_checks import check_document
from support import salt_frame, untrained

WORDS = (
    *("--ladder", "3,4", "network.channels=4", "network.hidden=8", "network.l_max=2"),
    *("network.num_bessel=4", "network.layers=1", "device=cpu", "epochs=2", "validations=2"),
    *("data.split_key=role", "points=2", "bootstrap=100", "workers=1"),
)
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames labelled by a potential with random weights."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    images = []
    for k in range(16):
        frame = salt_frame(seed=k, n=8, box=8.0)
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        found = teacher.predict(frame)
        atoms.new_array("REF_forces", found.forces)
        atoms.info["REF_energy"] = found.energy
        atoms.info["role"] = "train" if k < 8 else "valid" if k < 11 else "test"
        images.append(atoms)
    path = tmp_path_factory.mktemp("data") / "dft.xyz"
    ase.io.write(path, images, format="extxyz")
    return path


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "scalewise.cli", "prove", *map(str, words)]


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


def call_here(*words: str | Path) -> Result:
    """The same without a process, which would take seconds to import PyTorch again."""
    return CliRunner().invoke(app, ["prove", *map(str, words)])


def test_a_killed_proof_goes_on_and_a_finished_one_is_used_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (data, *WORDS, "--out", "out")
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    third = tmp_path / "out/trainings/narrow-0/state.safetensors"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not third.is_file():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = tmp_path / "out/trainings/whole-0/state.safetensors"
    before = first.stat().st_mtime_ns
    found = call(*words, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "1 of 10" not in found.stdout
    assert "twice the frames, 8 instead of 4" in found.stdout
    assert first.stat().st_mtime_ns == before
    results = json.loads((tmp_path / "out/prove.json").read_text())
    assert len(results["body"]["trainings"]) == 10
    check_document(results)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    again = call_here(*words)
    assert again.exit_code == 0, again.stderr
    assert "10 begun or finished, which are used" in again.stdout
    assert " of 10:" not in again.stdout
    assert json.loads((tmp_path / "out/prove.json").read_text()) == results
    other = call_here(*words, "seed=5")
    assert other.exit_code == 2
    assert "other settings or other data" in " ".join(other.stderr.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.xyz", "--ladder", "3,4"], "no such file"),
        (["--ladder", "3,4"], "0 files of structures given"),
        (["DATA"], "needs a ladder"),
        (["DATA", "--ladder", "3,4", "min_gian=0.1"], "Did you mean 'min_gain'?"),
        (["DATA", "--ladder", "3,4", "--minutes", "1", "steps=9"], "give minutes or steps"),
    ],
)
def test_mistakes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["prove", *[str(data) if w == "DATA" else w for w in words]])
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())
    assert not (tmp_path / "runs/prove/trainings").exists()
