"""Labels under the names that programs use, and when they are not taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest

from format_samples import structures, virial, with_results
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_structures
from scalewise.training.settings import DataSettings

KEYS = LabelKeys.of(DataSettings(), "data.")


def nep(path: Path, energy_key: str, virial_key: str, force_key: str) -> None:
    """As GPUMD's tools write: its own spelling of keys, nine values of a virial."""
    lines = []
    for s in structures():
        cell = " ".join(f"{v:.10f}" for v in s.cell.reshape(9))
        nine = " ".join(f"{v:.8f}" for v in virial(s).reshape(9))
        lines.append(str(len(s.numbers)))
        lines.append(
            f'{energy_key}={s.labels.energy:.10f} lattice="{cell}" {virial_key}="{nine}" '
            f"config_type=a properties=species:S:1:pos:R:3:{force_key}:R:3"
        )
        for symbol, row in zip(s.symbols, np.hstack([s.positions, s.labelled_forces]), strict=True):
            lines.append(" ".join([symbol, *(f"{v:.10f}" for v in row)]))
    path.write_text("\n".join(lines) + "\n")


def check(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    found = read_structures(path, KEYS, check_units=False, progress=Messages())
    for read, meant in zip(found, structures(), strict=True):
        np.testing.assert_allclose(read.cell, meant.cell, atol=1e-9)
        assert read.pbc.all()
        assert read.labels.energy == pytest.approx(meant.labels.energy)
        np.testing.assert_allclose(read.labels.forces, meant.labels.forces, atol=1e-8)
        np.testing.assert_allclose(read.labels.stress, meant.labels.stress, atol=1e-7)
    said = " ".join(capsys.readouterr().out.split())
    assert "no frame has REF_forces or REF_energy or REF_stress" in said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "words",
    [
        ("Energy", "Virial", "force"),
        ("energy", "virial", "forces"),
        ("ENERGY", "virials", "Forces"),
        ("total_energy", "VIRIAL", "dft_forces"),
        ("energy_ev", "virials", "forces_eV_A"),
        ("E_tot", "ref_virials", "reference_force"),
    ],
)
def test_the_spelling_of_nep(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nep(tmp_path / "train.xyz", *words)
    energy, virial, force = words
    check(
        tmp_path / "train.xyz",
        capsys,
        f"forces from '{force}'",
        f"energies from '{energy}'",
        f"stresses from '{virial}' (-virial / volume)",
    )


def test_virials_beside_reference_forces_are_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nep(tmp_path / "a.xyz", "REF_energy", "REF_virials", "REF_forces")
    found = read_structures(tmp_path / "a.xyz", KEYS, check_units=False, progress=Messages())
    for read, meant in zip(found, structures(), strict=True):
        np.testing.assert_allclose(read.labels.stress, meant.labels.stress, atol=1e-7)
    said = " ".join(capsys.readouterr().out.split())
    assert "no frame has REF_stress: read stresses from 'REF_virials' (-virial / volume)" in said


def test_frames_may_differ_in_the_names_of_their_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ""
    for k, words in enumerate([("Energy", "virial", "force"), ("energy", "virials", "forces")]):
        nep(tmp_path / f"{k}.xyz", *words)
        text += (tmp_path / f"{k}.xyz").read_text()
    (tmp_path / "a.xyz").write_text(text)
    found = read_structures(tmp_path / "a.xyz", KEYS, check_units=False, progress=Messages())
    for read, meant in zip(found, structures() * 2, strict=True):
        assert read.labels.energy == pytest.approx(meant.labels.energy)
        np.testing.assert_allclose(read.labels.forces, meant.labels.forces, atol=1e-8)
        np.testing.assert_allclose(read.labels.stress, meant.labels.stress, atol=1e-7)
    said = " ".join(capsys.readouterr().out.split())
    assert "forces from 'force' or 'forces', energies from 'Energy' or 'energy'" in said


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("energy_Ha", "has 'energy_Ha'; if it is what is meant, in eV, give data.energy_key="),
        ("MACE_energy", "has 'MACE_energy'; if it"),
        ("U0", "has 'U0'; if it"),
    ],
)
def test_energies_that_are_not_read_are_said(
    key: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nep(tmp_path / "a.xyz", key, "stress_GPa", "forces")
    found = read_structures(tmp_path / "a.xyz", KEYS, check_units=False, progress=Messages())
    assert all(f.labels.energy is None and f.labels.stress is None for f in found)
    said = " ".join(capsys.readouterr().out.split())
    assert message in said
    assert "has 'stress_GPa'; if it is what is meant, in eV/Å³, give data.stress_key=" in said


def test_labels_of_other_names_beside_default_keys_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nep(tmp_path / "0.xyz", "energy", "virial", "forces")
    nep(tmp_path / "1.xyz", "REF_energy", "virial", "REF_forces")
    text = "".join((tmp_path / f"{k}.xyz").read_text() for k in range(2))
    (tmp_path / "a.xyz").write_text(text)
    found = read_structures(tmp_path / "a.xyz", KEYS, check_units=False, progress=Messages())
    assert [f.labels.energy is None for f in found] == 3 * [True] + 3 * [False]
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 6 frames have no forces, but 'forces', which is not read" in said
    assert "3 of 6 frames have no energy, but 'energy', which is not read" in said


def of_ase(path: Path, free: float = 0.0) -> None:
    images = [with_results(s) for s in structures()]
    for image in images:
        image.calc.results["energy"] = image.calc.results["free_energy"] + free
    ase.io.write(path, images, format="extxyz")


def test_the_spelling_of_ase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_ase(tmp_path / "a.xyz")
    check(tmp_path / "a.xyz", capsys, "stresses from 'stress'")


def test_energies_that_differ_are_for_the_user_to_choose(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    of_ase(path, free=0.01)
    message = r"'energy', 'free_energy' differ.*data\.energy_key=free_energy"
    with pytest.raises(InputError, match=message):
        read_structures(path, KEYS)
    keys = LabelKeys.of(DataSettings(energy_key="free_energy"), "data.")
    found = read_structures(path, keys, check_units=False)
    assert found[0].labels.energy == pytest.approx(structures()[0].labels.energy)
    assert found[0].labels.stress is not None
    keys = LabelKeys.of(DataSettings(energy_key=None), "data.")
    assert read_structures(path, keys, check_units=False)[0].labels.energy is None


def test_several_columns_of_forces_are_refused(tmp_path: Path) -> None:
    images = [with_results(s) for s in structures()]
    for image in images:
        del image.calc.results["free_energy"]
        image.arrays["dft_forces"] = 1.1 * image.calc.results["forces"]
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    with pytest.raises(InputError, match=r"'dft_forces', 'forces' differ.*data\.forces_key="):
        read_structures(tmp_path / "a.xyz", KEYS)


def test_a_file_with_a_default_key_follows_it(tmp_path: Path) -> None:
    # what else such a file holds may be predictions
    images = [with_results(s) for s in structures()]
    for image in images:
        image.arrays["REF_forces"] = 2.0 * image.calc.results["forces"]
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    (first, *_) = read_structures(tmp_path / "a.xyz", KEYS, check_units=False)
    assert first.labels.energy is None
    assert first.labels.stress is None


def test_a_virial_beside_its_stress_is_no_contradiction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [with_results(s) for s in structures()]
    for image, s in zip(images, structures(), strict=True):
        del image.calc.results["free_energy"]
        image.calc.results["energy"] = s.labels.energy
        image.info["virial"] = virial(s)
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    check(tmp_path / "a.xyz", capsys, "stresses from 'stress'")
    for image in images:
        image.info["virial"] = -image.info["virial"]
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    with pytest.raises(InputError, match=r"'stress', 'virial' differ.*data\.stress_key=stress"):
        read_structures(tmp_path / "a.xyz", KEYS)


def test_each_file_of_a_folder_has_its_own_names(tmp_path: Path) -> None:
    """One has our names, one those of ASE: neither takes the other's away."""
    of_ase(tmp_path / "a.xyz")
    ase.io.write(tmp_path / "b.traj", [with_results(s) for s in structures()])
    predicted = [with_results(s) for s in structures()]
    for image in predicted:
        image.arrays["REF_forces"] = 2.0 * image.calc.results["forces"]
    ase.io.write(tmp_path / "c.xyz", predicted, format="extxyz")
    messages = Messages()
    found = read_structures(tmp_path, KEYS, check_units=False, progress=messages)
    meant = structures()
    for k, frame in enumerate(found):
        of = meant[k % len(meant)].labels
        follows = frame.info["source_file"] == "c.xyz"
        assert frame.labels.forces == pytest.approx((1.0 + follows) * of.forces, abs=1e-6)
        assert (frame.labels.energy is None) == follows
        assert (frame.labels.stress is None) == (follows or of.stress is None)


def test_a_virial_of_a_molecule_is_no_stress(tmp_path: Path) -> None:
    images = [with_results(s) for s in structures(periodic=False)]
    for image in images:
        del image.calc.results["free_energy"]
        image.info["virial"] = np.eye(3)
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    (first, *_) = read_structures(tmp_path / "a.xyz", KEYS, check_units=False)
    assert first.labels.stress is None
    assert first.labels.forces is not None


def test_a_wrong_unit_is_said_of_the_key_in_the_file(tmp_path: Path) -> None:
    images = [with_results(s) for s in structures(12, alike=True)]
    for image in images:
        image.calc.results = {"forces": image.calc.results["forces"], "stress": 50.0 * np.ones(6)}
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    keys = replace(KEYS, forces=None, energy=None)
    with pytest.raises(InputError, match=r"key 'stress': the median frame has a stress of 50"):
        read_structures(tmp_path / "a.xyz", keys)
