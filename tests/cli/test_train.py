"""`scalewise train` as a user meets it: a run, a mistake, a kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import pytest
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.models import checkpoint
from support import salt_frame, untrained

SMALL = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.cutoff=4"),
    *("network.num_bessel=4", "network.layers=1", "device=cpu"),
)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "scalewise.cli", "train", *map(str, words)]


ENVIRONMENT = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"}


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames labelled by a potential with random weights."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    images = []
    for k in range(20):
        frame = salt_frame(seed=k, n=8, box=8.0)
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        found = teacher.predict(frame)
        atoms.new_array("REF_forces", found.forces)
        atoms.info["REF_energy"] = found.energy
        images.append(atoms)
    path = tmp_path_factory.mktemp("data") / "dft.xyz"
    ase.io.write(path, images, format="extxyz")
    return path


def steps(folder: Path) -> list[int]:
    with (folder / "log.csv").open(newline="") as stream:
        return [int(row["step"]) for row in csv.DictReader(stream)]


def test_a_run_says_what_it_does_and_leaves_a_model(data: Path, tmp_path: Path) -> None:
    found = call(data, *SMALL, "epochs=4", "validations=2", "--out", "out", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "frames to train" in found.stdout
    assert "valid at  50 %, forces " in found.stdout
    assert "Written: out/model, out/log.csv" in found.stdout
    assert checkpoint.read(tmp_path / "out" / "model").network.elements == (11, 17)
    for name in ("log.csv", "settings.json", "split.json", "state.safetensors"):
        assert (tmp_path / "out" / name).is_file()


def test_a_killed_run_loses_at_most_one_epoch(data: Path, tmp_path: Path) -> None:
    words = (data, *SMALL, "epochs=12", "validations=12", "--out", "out")
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    log = tmp_path / "out" / "log.csv"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (log.is_file() and len(steps(log.parent)) >= 3):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = steps(tmp_path / "out")
    checkpoint.read(tmp_path / "out" / "model")  # what is there can be used
    again = call(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = steps(tmp_path / "out")
    per_epoch = after[0]
    assert after == sorted(set(after))
    assert after[-1] == 12 * per_epoch
    assert len(after) == 12
    assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.xyz"], "no such file"),
        ([], "0 files of structures given"),
        (["DATA", "network.cutof=4"], "Did you mean 'cutoff'?"),
        (["DATA", "data.forces_key=force"], "no such column"),
        (["DATA", "data.split_key=role"], "no such frame key"),
        (["DATA", "network.cutoff=2.5", "network.smearing=1"], "below 3 smearing"),
        (["DATA", "batch_size=50", "epochs=1"], "frames to train"),
    ],
)
def test_mistakes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(data) if w == "DATA" else w for w in words]
    found = CliRunner().invoke(app, ["train", *words])
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())
    assert not (tmp_path / "runs/train/model").exists()


def test_other_settings_in_the_same_folder_are_refused(data: Path, tmp_path: Path) -> None:
    words = ["train", str(data), *SMALL, "epochs=1", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 0
    before = (tmp_path / "out" / "settings.json").read_bytes()
    found = CliRunner().invoke(app, [*words, "seed=1"])
    assert (tmp_path / "out" / "settings.json").read_bytes() == before
    assert found.exit_code == 2
    assert "other settings or other data" in " ".join(found.output.split())
