"""What used to go wrong without a word, as a user would meet it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner, Result

from scalewise.cli import app

SMALL = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.num_bessel=4"),
    *("network.layers=1", "network.cutoff=4", "steps=2", "device=cpu"),
)


def call(*words: object, cwd: Path) -> Result:
    """Run a command in this process: most of the time of another one would be its imports."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, [str(word) for word in words])


def said(found: Result) -> str:
    return " ".join((found.stdout + found.stderr).split())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alloys with results of ASE's, with labels of ours, and with a gap between frames."""
    folder = tmp_path_factory.mktemp("silent")
    results, labels = [], []
    rng = np.random.default_rng(0)
    for k in range(14):
        atoms = bulk("Cu", cubic=True, a=rng.uniform(3.6, 3.9)) * (2, 1, 1)
        atoms.numbers[rng.random(len(atoms)) < 0.4] = 79
        if k == 5:
            atoms.numbers[0] = 78
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        forces, energy = atoms.get_forces(), atoms.get_potential_energy()
        atoms.info["part"] = k
        plain = atoms.copy()
        plain.arrays["REF_forces"] = forces
        plain.info["REF_energy"] = energy
        labels.append(plain)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=energy,
            free_energy=energy - 0.3,
            forces=forces,
            stress=atoms.get_stress(),
            dipole=np.array([1.0, 2.0, 3.0]),
        )
        results.append(atoms)
    ase.io.write(folder / "results.xyz", results, format="extxyz")
    ase.io.write(folder / "labels.xyz", labels, format="extxyz")
    lines = (folder / "labels.xyz").read_text().split("\n")
    (folder / "gap.xyz").write_text("\n".join([*lines[:40], "", *lines[40:]]))
    found = call("train", "labels.xyz", *SMALL, "data.group_key=part", "--out", "run", cwd=folder)
    assert found.exit_code == 0, found.stderr
    return folder


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["data.energy_key=dft_energy"], 2, r"key 'dft_energy': no frame has it; frame keys: "),
        (["data.energy_key=Energy"], 2, "Did you mean 'energy'?"),
        (["data.energy_key=energy", "data.stress_key=streess"], 2, "Correct data.stress_key"),
        ([], 2, "'energy', 'free_energy' differ. Say which one is meant with data.energy_key"),
        (["data.energy_key=energy"], 0, "'stress'"),
        (
            ["data.energy_key=energy", "data.forces_key=force"],
            2,
            "Name the column that holds the forces with data.forces_key",
        ),
    ],
)
def test_labels_are_not_lost_in_silence(
    files: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    base = ["data.forces_key=forces", "data.group_key=part", *SMALL]
    found = call("train", files / "results.xyz", *base, *words, "--out", "out", cwd=tmp_path)
    assert found.exit_code == code, found.stderr
    assert message in said(found)


def test_evaluate_names_its_own_keys(files: Path, tmp_path: Path) -> None:
    words = ("role=all", "energy_key=nothing")
    found = call("evaluate", files / "run", files / "labels.xyz", *words, cwd=tmp_path)
    assert found.exit_code == 2
    assert "Correct energy_key, or leave it out" in said(found)


def test_frames_behind_an_empty_line_are_read(files: Path, tmp_path: Path) -> None:
    found = call("predict", files / "run", files / "gap.xyz", "--out", "p.xyz", cwd=tmp_path)
    assert found.exit_code == 0, found.stderr
    assert len(ase.io.read(tmp_path / "p.xyz", ":")) == 14


def test_predictions_are_the_only_results(files: Path, tmp_path: Path) -> None:
    found = call("predict", files / "run", files / "results.xyz", "--out", "p=@1.xyz", cwd=tmp_path)
    assert found.exit_code == 0, found.stderr
    assert "kept in p=@1.xyz as input_dipole, input_energy, input_forces" in said(found)
    (tmp_path / "p=@1.xyz").rename(tmp_path / "p.xyz")
    image = ase.io.read(tmp_path / "p.xyz", 0)
    energy = image.get_potential_energy()
    assert image.get_potential_energy(force_consistent=True) == energy
    assert image.info["input_free_energy"] == pytest.approx(image.info["input_energy"] - 0.3)
    assert set(image.calc.results) == {
        *("energy", "free_energy", "energies", "forces", "stress", "charges")
    }
    np.testing.assert_allclose(image.info["input_dipole"], [1, 2, 3])


def test_names_with_signs_are_names(files: Path, tmp_path: Path) -> None:
    for name in ("a=b.xyz", "run@3.xyz", "x y=1.xyz"):
        (tmp_path / name).write_text((files / "labels.xyz").read_text())
        found = call("predict", files / "run", name, "--out", "p.xyz", cwd=tmp_path)
        assert found.exit_code == 0, found.stderr


def test_an_element_of_one_frame_is_trained_on(files: Path) -> None:
    found = call("predict", "run", "labels.xyz", "--out", "all.xyz", cwd=files)
    assert found.exit_code == 0, found.stderr


def test_a_closed_pipe_ends_quietly(files: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "scalewise.cli", "doctor", str(files / "labels.xyz")]
    command = ["bash", "-c", '"$@" | head -c 1 > /dev/null', "-", *program]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "Traceback" not in found.stderr
    assert "Broken" not in found.stderr


def test_what_a_file_says_is_not_obeyed(files: Path, tmp_path: Path) -> None:
    text = (files / "labels.xyz").read_text().replace("part=3", 'part="\x1b[31m3"')
    (tmp_path / "a.xyz").write_text(text)
    words = ("split_key=part", "--out", "d")
    found = call("doctor", "a.xyz", *words, cwd=tmp_path)
    assert "\x1b" not in found.stdout + found.stderr
