"""Every command with data of other formats: folders, databases, files of other programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from format_samples import FORMATS
from scalewise.cli import app
from scalewise.data.readers import hash_file, read_file
from scalewise.data.reading import write_structures
from scalewise.data.structure import Labels, Structure
from support import salt_frame, untrained

SMALL = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2"),
    *("network.num_bessel=4", "network.layers=1", "device=cpu", "steps=3"),
)


@pytest.fixture(scope="module")
def frames() -> list[Structure]:
    """Twenty frames labelled by a potential with random weights."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    found = []
    for k in range(20):
        frame = salt_frame(seed=k, n=8, box=8.0, index=k)
        order = np.argsort(frame.numbers, kind="stable")
        frame = replace(frame, numbers=frame.numbers[order], positions=frame.positions[order])
        predicted = teacher.predict(frame)
        labels = Labels(predicted.forces, predicted.energy, predicted.stress)
        found.append(replace(frame, labels=labels))
    return found


def call(*words: str | Path) -> str:
    found = CliRunner().invoke(app, [str(w) for w in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code == 0, found.output
    return " ".join(found.output.split())


@pytest.mark.parametrize("name", ["db", "traj", "OUTCAR, gzip", "deepmd", "folder"])
def test_every_command(
    name: str, frames: list[Structure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, write, _, _ = FORMATS[name]
    path = Path(file)
    write(path, frames)
    call("doctor", path, "--out", "doctor")
    split = json.loads(Path("doctor/split.json").read_text())
    assert split["data"] == {"file": file, "sha256": hash_file(path), "frames": 20}
    call("train", path, *SMALL, "data.split=doctor/split.json", "--ladder", "3,4", "--out", "run")
    call("evaluate", "run", path, "bootstrap=100", "device=cpu", "--out", "scored")
    call("curve", "run", path, "bootstrap=100", "device=cpu", "--out", "curve")
    call("predict", "run", path, "device=cpu", "--out", "predicted.xyz")
    predicted = ase.io.read("predicted.xyz", ":")
    for image, frame in zip(predicted, read_file(path), strict=True):
        np.testing.assert_allclose(image.positions, frame.positions, atol=1e-7)
        np.testing.assert_array_equal(image.numbers, frame.numbers)
        assert image.get_forces().shape == (8, 3)
    scored = json.loads(Path("scored/evaluation.json").read_text())
    assert scored["body"]["roles"][0]["stress"]["mae"] > 0


def test_energies_without_forces(
    frames: list[Structure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = [replace(f, labels=Labels(energy=f.labels.energy)) for f in frames]
    write_structures(Path("a.xyz"), alone)
    found = CliRunner().invoke(app, ["doctor", "a.xyz"])
    assert found.exit_code == 2
    assert "forces_key=null" in " ".join(found.output.split())
    assert "No forces in 20 frames of 20" in call(
        "doctor", "a.xyz", "forces_key=null", "--out", "d"
    )
    call("train", "a.xyz", *SMALL, "network.cutoff=4", "data.forces_key=null", "--out", "run")
    words = ("forces_key=null", "role=all", "bootstrap=100", "device=cpu", "--out", "scored")
    said = call("evaluate", "run", "a.xyz", *words)
    assert "20 frames, 160 atoms: no labelled forces" in said
    assert "Energies of all" in said
    assert not list(Path("scored").rglob("parity*"))
    call("report", "scored")


def test_predictions_are_not_written_into_the_folder_that_is_read(
    frames: list[Structure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FORMATS["folder"][1](Path("runs"), frames[:2])
    untrained(seed=7, layers=1, cutoff=4.0).save("model")
    words = ["predict", "model", "runs", "--out", "runs/predicted.xyz"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    assert "in the folder that is read" in " ".join(found.output.split())
    assert not Path("runs/predicted.xyz").exists()


def test_a_folder_or_file_of_no_known_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("a.pdb").touch()
    known = {"empty": "no file in it that a reader", "a.pdb": "neither key=value, nor"}
    for word, message in known.items():
        found = CliRunner().invoke(app, ["doctor", word])
        assert found.exit_code == 2
        assert message in " ".join(found.output.split())
