"""`scalewise md` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import pytest
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.core.running import alone_in
from schema_checks import check_document
from support import untrained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("md")
    untrained((11, 17), layers=1, cutoff=4.0).save(folder / "run/model")
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    ase.io.write(folder / "start.extxyz", [ase.build.bulk("Cu"), atoms])
    return folder


def md(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scalewise.cli", "md", "run", "start.extxyz", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_errors_name_the_file_and_what_is_there(place: Path) -> None:
    atoms = ase.io.read(place / "start.extxyz", index=-1)
    atoms.positions[1] = atoms.positions[0]
    ase.io.write(place / "overlap.extxyz", atoms)
    for words, message in (
        (
            ["md", "run", "overlap.extxyz"],
            "overlap.extxyz, frame 0, key 'positions': atoms 0 and 1",
        ),
        (["distill", "run", "overlap.extxyz"], "overlap.extxyz, frame 0, key 'positions': atoms 0"),
        (["md", "ase.calculators.emt:EMT", "start.extxyz"], "model of another program"),
        (["md", "start.extxyz", "start.extxyz"], "a file, not the folder of a potential"),
        (["md", "run", "pw.out"], "Formats are known by the name: .cif, .db"),
    ):
        found = CliRunner().invoke(
            app,
            [
                *words[:1],
                *(str(place / w) if (place / w).exists() else w for w in words[1:]),
                "--out",
                str(place / "errors"),
            ],
        )
        assert found.exit_code == 2, found.output
        assert message in " ".join(found.output.split())
        assert "simulating" not in found.output


def test_md_writes_everything_and_goes_on(place: Path) -> None:
    words = ("save_every=1", "log_every=1", "reach=5", "--out", "out")
    found = md(place, "picoseconds=0.02", *words)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    out = place / "out"
    for name in ("trajectory.extxyz", "log.csv", "restart.npz", "simulation.json"):
        assert (out / name).is_file()
    assert (out / "figures/distances.png").is_file()
    document = json.loads((out / "simulation.json").read_text())
    check_document(document)
    assert document["body"]["steps"] == 40
    assert "Na4Cl4" in found.stdout or "Cl4Na4" in found.stdout
    again = md(place, "picoseconds=0.02", *words)
    assert "nothing left to simulate" in again.stdout
    longer = md(place, "picoseconds=0.03", *words)
    assert "goes on after 0.02 ps" in longer.stdout
    assert len(ase.io.read(out / "trajectory.extxyz", index=":")) == 31


def test_a_broken_simulation_is_an_error_and_written(place: Path) -> None:
    words = ["run", "start.extxyz", "ensemble=nve", "timestep=20", "temperature=2000"]
    words += ["picoseconds=2", "--out", "hot.run"]
    found = subprocess.run(
        [sys.executable, "-m", "scalewise.cli", "md", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 2
    text = " ".join(found.stderr.split())
    assert "the simulation broke after" in text
    assert (place / "hot.run/last.extxyz").is_file()
    document = json.loads((place / "hot.run/simulation.json").read_text())
    assert document["body"]["ended"] is not None
    check_document(document)


def test_a_folder_with_a_dot_is_locked_like_any_other(place: Path) -> None:
    with alone_in(place / "run.5"):
        found = md(place, "picoseconds=0.01", "--out", "run.5")
    assert found.returncode == 2
    assert "another" in found.stderr


def test_words_that_cannot_be_are_explained(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process: each would read PyTorch again."""
    monkeypatch.chdir(place)
    for words, part in (
        (("index=0",), "Cu"),
        (("index=7",), "-2 to 1"),
        (("thermostat_time=1",), "5 steps"),
        (("velocities=file",), "no momenta"),
        (("long_range=false",), "key 'long_range'"),
        (("cutoff=6",), "4"),
        (("timestep=500",), "timestep"),
        (("temprature=300",), "temperature"),
    ):
        found = CliRunner().invoke(app, ["md", "run", "start.extxyz", *words, "--out", "never"])
        assert found.exit_code == 2
        assert part in found.stderr
    assert not (place / "never/log.csv").exists()
