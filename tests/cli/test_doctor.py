"""`scalewise doctor` as a user meets it."""

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

from schema_checks import check_document


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scalewise.cli", "doctor", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs of [odd] frames of argon and krypton, one of them with a strong force."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    images = []
    for k in range(24):
        atoms = ase.Atoms("Ar14Kr13", 4.0 * rng.permutation(grid), cell=[12.0] * 3, pbc=True)
        atoms.positions += 0.3 * rng.standard_normal((27, 3))
        atoms.new_array("REF_forces", 0.1 * rng.standard_normal((27, 3)))
        atoms.info["REF_energy"] = -1.0 + 0.01 * rng.standard_normal()
        atoms.info["[run]"] = f"[{k % 6}]"
        images.append(atoms)
    images[5].arrays["REF_forces"][3, 1] = 20.0
    path = tmp_path_factory.mktemp("data") / "[dft].xyz"
    ase.io.write(path, images, format="extxyz")
    return path


def test_everything_is_printed_and_written(data: Path, tmp_path: Path) -> None:
    found = call(data, "duplicate_distance=0.6", "--out", "out", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    for words in (
        "[dft].xyz",
        "rank 1 of 2: ",
        "Label noise from net forces",
        "largest force on Ar",
        "twin in train",
        "Neighbors within a cutoff",
        "Training on 18 frames",
        "6.5 (default)",
        "Findings: ",
        "extreme in frame 5",
    ):
        assert words in found.stdout, words
    assert max(len(line) for line in found.stdout.splitlines()) <= 80
    assert "\x1b" not in found.stdout
    diagnosis = json.loads((tmp_path / "out/doctor.json").read_text())
    assert (diagnosis["kind"], diagnosis["schema"]) == ("doctor", 3)
    check_document(diagnosis)
    assert diagnosis["body"]["forecast"]["default_cutoff"] == 6.5
    assert diagnosis["provenance"]["data"]["frames"] == 24
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    figures = {"figures/neighbors.png", "figures/neighbors.svg"}
    assert written == {"doctor.json", "doctor.txt", "split.json", *figures}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give one: scalewise doctor dft.xyz"),
        (["a.xyz", "b.xyz"], "2 files of structures given"),
        (["none.xyz", "split_kye=a"], "Did you mean 'split_key'"),
        (["none.xyz", "train=0.95"], "leaves nothing to test"),
    ],
)
def test_mistakes_end_with_code_two(tmp_path: Path, words: list[str], message: str) -> None:
    found = call(*words, cwd=tmp_path)
    assert found.returncode == 2
    assert message in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "runs").exists()
