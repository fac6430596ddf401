"""Every command on one file of crystals, slabs, wires and molecules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.data.reading import read_structures, write_structures
from scalewise.data.structure import Labels, Structure
from support import once, salt_frame, untrained

KINDS = ("TTT", "TTF", "FTF", "FFF")
NETWORK = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.num_bessel=4"),
    *("network.layers=1", "device=cpu", "epochs=2", "validations=2"),
)
FEW = ("bootstrap=100", "device=cpu")


def mixed() -> list[Structure]:
    """Frames of every kind, labelled by a random potential; cells lack vectors of open axes."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = []
    for k in range(32):
        frame = salt_frame(seed=k, n=8, box=8.5, index=k)
        pbc = np.array([c == "T" for c in KINDS[k % 4]])
        role = "train" if k < 16 else "valid" if k < 24 else "test"
        frame = replace(
            frame, cell=np.where(pbc[:, None], frame.cell, 0.0), pbc=pbc, info={"role": role}
        )
        found = teacher.predict(frame)
        labels = Labels(found.forces, found.energy, found.stress)
        frames.append(replace(frame, labels=labels))
    return frames


def call(*words: str | Path) -> str:
    found = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def document(path: Path) -> dict:
    return dict(json.loads(path.read_text())["body"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, and a run of a ladder that was trained on it."""

    def make(folder: Path) -> None:
        write_structures(folder / "dft.xyz", mixed())
        words = ("--ladder", "3,4,long", "data.split_key=role", "batch_size=4", *NETWORK)
        call("train", folder / "dft.xyz", *words, "--out", folder / "run")

    return once(tmp_path_factory, "periodicity", make)


def test_files_keep_the_periodicity(place: Path) -> None:
    read = read_structures(place / "dft.xyz")
    assert ["".join("FT"[int(p)] for p in f.pbc) for f in read[:4]] == list(KINDS)


def test_doctor(place: Path, tmp_path: Path) -> None:
    call("doctor", place / "dft.xyz", "--out", tmp_path)
    body = document(tmp_path / "doctor.json")
    assert body["cells"]["periodicity"] == dict.fromkeys(KINDS, 8)
    assert body["neighbors"]["frames"][0] == 32
    assert not [f for f in body["findings"] if f["severity"] == "error"]


def test_predict_and_evaluate(place: Path, tmp_path: Path) -> None:
    call("predict", place / "run", place / "dft.xyz", "--out", tmp_path / "predicted.xyz")
    assert len(read_structures(tmp_path / "predicted.xyz")) == 32
    words = ("split_key=role", "role=[test]", *FEW)
    call("evaluate", place / "run", place / "dft.xyz", *words, "--out", tmp_path / "one")
    # a file of predictions finds frames of every kind again
    files = (tmp_path / "predicted.xyz", place / "dft.xyz")
    call("evaluate", *files, *words, "--out", tmp_path / "other")


def test_curve(place: Path, tmp_path: Path) -> None:
    words = ("split_key=role", "points=2", *FEW)
    call("curve", place / "run", place / "dft.xyz", *words, "--out", tmp_path)


def test_refine(place: Path, tmp_path: Path) -> None:
    words = ("split_key=role", "steps=1", "penalties=1", "block=1", *FEW)
    call("refine", place / "run", place / "dft.xyz", *words, "--out", tmp_path)


def test_prove(place: Path, tmp_path: Path) -> None:
    words = ("--ladder", "3,4,long", "data.split_key=role", "points=2", "bootstrap=100", *NETWORK)
    call("prove", place / "dft.xyz", *words, "workers=1", "--out", tmp_path)


def test_locality(place: Path, tmp_path: Path) -> None:
    words = ("calculator=ase.calculators.lj:LennardJones", "arguments={sigma: 2.2, rc: 4.0}")
    few = ("radii=[3]", "atoms=3", "samples=4", "spacing=0.01", "settling=0.01", "bootstrap=100")
    call("locality", place / "dft.xyz", *words, *few, "timestep=1", "--out", tmp_path)


def test_study(place: Path, tmp_path: Path) -> None:
    """Predictions that others made, from short to long range."""
    for name, words in (("short", ("cutoff=3",)), ("long", ())):
        out = tmp_path / f"{name}.xyz"
        call("predict", place / "run", place / "dft.xyz", *words, "--out", out)
    files = (tmp_path / "short.xyz", tmp_path / "long.xyz")
    few = ("split.block=1", "evidence.bootstrap=100", "evidence.draws=10", "selector.steps=10")
    labels = f"predictions.labels={place / 'dft.xyz'}"
    call("study", *files, labels, *few, "--out", tmp_path / "study")
