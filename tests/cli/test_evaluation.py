"""`scalewise predict` and `scalewise evaluate` as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.models import checkpoint
from schema_checks import check_document
from support import salt_frame, untrained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model and, beside it, labelled frames in two parts."""
    folder = tmp_path_factory.mktemp("place")
    potential = untrained((11, 17), channels=4, hidden=8, layers=1, l_max=2, cutoff=4.0)
    checkpoint.write(folder / "run/model", potential)
    rng = np.random.default_rng(0)
    images = []
    for k in range(24):
        frame = salt_frame(k, n=12)
        found = potential.predict(frame)
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        atoms.arrays["REF_forces"] = found.forces + 0.02 * rng.standard_normal((12, 3))
        atoms.info |= {"REF_energy": found.energy + 0.01, "part": ("test", "[ood]")[k % 2]}
        images.append(atoms)
    ase.io.write(folder / "[dft].xyz", images, format="extxyz")
    return folder


def run_in_process(*words: str | Path) -> tuple[int, str]:
    found = CliRunner().invoke(app, [str(w) for w in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, " ".join(found.stderr.split())


def test_evaluate_prints_and_writes_everything(place: Path) -> None:
    words = ["evaluate", "run", "[dft].xyz", "split_key=part", "role=[test,'[ood]']"]
    found = subprocess.run(
        [sys.executable, "-m", "scalewise.cli", *words, "check_units=false", "--out", "out"],
        cwd=place,
        env={**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    for part in (
        "Forces of test: 12 frames, 144 atoms",
        "Forces of [ood]: 12 frames",
        "close contact",
        "Energies of [ood]",
        "Na to Cl",
        "µs per atom (cpu, 1 thread",
        "blocks of 5 frames",
    ):
        assert part in found.stdout.replace("\n", " ") or part in found.stdout, part
    assert max(len(line) for line in found.stdout.splitlines()) <= 80
    assert "\x1b" not in found.stdout
    assert "…" not in found.stdout
    document = json.loads((place / "out/evaluation.json").read_text())
    assert (document["kind"], document["schema"]) == ("evaluation", 3)
    check_document(document)
    results = document["body"]
    assert [r["role"] for r in results["roles"]] == ["test", "[ood]"]
    assert results["roles"][0]["energy"]["offset"] == pytest.approx(-10 / 12, abs=1e-3)


def test_predict_writes_where_it_is_told(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.xyz"
    code, _ = run_in_process("predict", place / "run/model", place / "[dft].xyz", "--out", out)
    assert code == 0
    assert len(ase.io.read(out, index=":")) == 24


def written(path: Path, atoms: ase.Atoms) -> Path:
    ase.io.write(path, atoms, format="extxyz")
    return path


def test_bad_frames_end_with_code_two_and_no_file(place: Path, tmp_path: Path) -> None:
    cell = {"cell": [9.0] * 3, "pbc": True}
    bad = {
        "the element(s) K": ase.Atoms("NaClK", 3.0 * np.eye(3), **cell),
        "the nearest atom is 0.1": ase.Atoms("NaCl", [[0.0, 0, 0], [0.1, 0, 0]], **cell),
        "no volume": ase.Atoms("NaCl", [[0.0, 0, 0], [3, 0, 0]], cell=[9.0, 9, 0], pbc=True),
    }
    for k, (message, atoms) in enumerate(bad.items()):
        data = written(tmp_path / f"{k}.xyz", atoms)
        out = tmp_path / "out" / "p.xyz"
        code, said = run_in_process("predict", place / "run", data, "--out", out)
        assert code == 2
        assert message in said
        assert not out.parent.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "run"], "0 files of structures given"),
        (["predict", "none", "[dft].xyz"], "Give the folder of a trained potential"),
        (["predict", "run", "[dft].xyz", "cutof=3"], "Did you mean 'cutoff'"),
        (["predict", "run", "[dft].xyz", "cutoff=4.2"], "trained with 4 Å"),
        (["predict", "run", "[dft].xyz", "forces_key=REF_forces"], "something else"),
        (["evaluate", "run", "[dft].xyz", "split_key=part", "role=tset"], "mean 'test'"),
        (["evaluate", "run", "[dft].xyz", "split=a.json", "split_key=b"], "not both"),
        (["evaluate", "run", "[dft].xyz", "role=[test,test]"], "each once"),
    ],
)
def test_mistakes_end_with_code_two(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(place)
    code, said = run_in_process(*words)
    assert code == 2
    assert message in said
    assert not (place / "runs").exists()
    assert not (place / "predictions.xyz").exists()
