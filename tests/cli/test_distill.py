"""`scalewise distill` as a user meets it, and `scalewise md` with what it made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io

from schema_checks import check_document
from support import untrained

WORDS = ("frames=20", "picoseconds=0.06", "timestep=1", "steps=10", "channels=2", "l_max=1")
MORE = ("cutoff=3.5", "probe=0.1", "multiples=[2]", "drift=1", "compile=never", "device=cpu")


def run(place: Path, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scalewise.cli", command, "run", "start.extxyz", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_an_inner_potential_is_made_and_used(tmp_path: Path) -> None:
    untrained((11, 17), layers=1, cutoff=4.0).save(tmp_path / "run/model")
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    ase.io.write(tmp_path / "start.extxyz", atoms)
    found = run(tmp_path, "distill", *WORDS, *MORE, "--out", "inner")
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    assert "stiffness left" in found.stdout
    document = json.loads((tmp_path / "inner/distillation.json").read_text())
    check_document(document)
    assert (tmp_path / "inner/figures/steps.png").is_file()
    words = ("inner=inner", "timestep=5", "picoseconds=0.1", "compile=never", "device=cpu")
    simulated = run(tmp_path, "md", *words, "--out", "out")
    assert simulated.returncode == 0, simulated.stderr
    assert json.loads((tmp_path / "out/simulation.json").read_text())["body"]["steps"] == 20
    refused = run(tmp_path, "distill", *WORDS, *MORE, "multiples=[3,2]", "--out", "other")
    assert refused.returncode == 2
    assert "multiples=[3, 2] must rise" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
