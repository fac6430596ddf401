"""Reading frames: what is wrong is named with file, frame, key and remedy."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from scalewise.core.errors import InputError
from scalewise.data.reading import read_structures
from scalewise.data.structure import check_same_atoms
from support import salt_frame


def write(path: Path, frames: int = 3, forces: float = 0.3, key: str = "REF_forces", **changes):
    rng = np.random.default_rng(0)
    images = []
    for k in range(frames):
        f = salt_frame(k)
        atoms = ase.Atoms(f.numbers, f.positions, cell=f.cell, pbc=True)
        atoms.new_array(key, forces * rng.standard_normal((len(atoms), 3)))
        atoms.info["REF_energy"] = -1.5 * k
        for name, change in changes.items():
            if name == "edit":
                change(k, atoms)
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")
    return path


def test_values_come_back(tmp_path: Path) -> None:
    frames = read_structures(write(tmp_path / "a.xyz"))
    assert len(frames) == 3
    assert frames[2].labels.energy == -3.0
    assert frames[1].labelled_forces.shape == (8, 3)
    assert frames[0].symbols[:2] == ["Na", "Cl"]
    np.testing.assert_allclose(frames[0].positions, salt_frame(0).positions, atol=1e-7)


def test_forces_that_ase_takes_for_results_are_found(tmp_path: Path) -> None:
    f = salt_frame(0)
    atoms = ase.Atoms(f.numbers, f.positions, cell=f.cell, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0, forces=f.labelled_forces)
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    (frame,) = read_structures(tmp_path / "a.xyz", forces="forces", energy="energy")
    np.testing.assert_allclose(frame.labelled_forces, f.labelled_forces, atol=1e-7)
    assert frame.labels.energy == -2.0


def test_view_of_the_ions_leaves_the_water_out(tmp_path: Path) -> None:
    frame = salt_frame(0)
    ions = frame.only(["Na"])
    assert set(ions.symbols) == {"Na"}
    np.testing.assert_array_equal(ions.labelled_forces, frame.labelled_forces[::2])


def spoil_forces(k: int, atoms: ase.Atoms) -> None:
    if k == 1:
        atoms.arrays["REF_forces"][3, 0] = np.nan


def other_units(k: int, atoms: ase.Atoms) -> None:
    if k == 2:
        atoms.arrays["REF_forces"] *= 965.0


def flat_cell(k: int, atoms: ase.Atoms) -> None:
    atoms.cell[2] = atoms.cell[1]


def nanometres(k: int, atoms: ase.Atoms) -> None:
    atoms.positions /= 10
    atoms.cell /= 10


@pytest.mark.parametrize(
    ("options", "read_as", "message"),
    [
        ({}, "forces", r"frame 0, key 'forces': no such column.*'REF_forces'"),
        ({}, "REF_force", r"Did you mean 'REF_forces'"),
        ({"edit": spoil_forces}, "REF_forces", r"frame 1, key 'REF_forces': atom 3.*not finite"),
        ({"edit": other_units}, "REF_forces", r"frame 2, key 'REF_forces'.*units seem mixed"),
        ({"forces": 300.0}, "REF_forces", r"too large for eV/Å.*check_units=false"),
        ({"edit": flat_cell}, "REF_forces", r"key 'Lattice': periodic, but the cell has no volume"),
        ({"edit": nanometres}, "REF_forces", r"too many for Å|too close for Å"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path,
    options: dict,
    read_as: str,
    message: str,
) -> None:
    path = write(tmp_path / "bad.xyz", **options)
    with pytest.raises(InputError, match=message) as caught:
        read_structures(path, forces=read_as)
    assert "bad.xyz" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("energy=T", r"key 'energy': True where numbers belong"),
        ("energy=nan", r"key 'energy': a value that is not finite"),
        ("Energy=high", r"key 'Energy': .*high.* where numbers belong"),
    ],
)
def test_errors_name_the_key_of_the_file(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "one.xyz"
    path.write_text(f"1\nProperties=species:S:1:pos:R:3:forces:R:3 {line}\nAr 0 0 0 0 0 0\n")
    with pytest.raises(InputError, match=message):
        read_structures(path)


def test_units_are_believed_on_request(tmp_path: Path) -> None:
    assert len(read_structures(write(tmp_path / "a.xyz", forces=300.0), check_units=False)) == 3


@pytest.mark.parametrize("content", ["", "3\nnonsense\nNa 1 2\n", "\x00\x01"])
def test_malformed_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.xyz"
    path.write_text(content)
    with pytest.raises(
        InputError,
        match=r"bad\.xyz.*(not readable|no frames|3 atoms declared|where the number of atoms)",
    ):
        read_structures(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_structures(tmp_path / "none.xyz")


def swap(k: int, atoms: ase.Atoms) -> None:
    if k == 1:
        atoms.numbers[[0, 1]] = atoms.numbers[[1, 0]]


def shift(k: int, atoms: ase.Atoms) -> None:
    if k == 2:
        atoms.positions[4] += 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 2}, r"b\.xyz: 2 frames, but .*a\.xyz has 3"),
        ({"edit": swap}, r"b\.xyz, frame 1: atom 0 is Cl, but Na in .*a\.xyz"),
        ({"edit": shift}, r"b\.xyz, frame 2: an atom is 0\.866 Å from"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path: Path, options: dict, message: str) -> None:
    first, second = (
        read_structures(write(tmp_path / "a.xyz")),
        read_structures(write(tmp_path / "b.xyz", **options)),
    )
    with pytest.raises(InputError, match=message):
        check_same_atoms(first, second)


def test_wrapping_does_not_matter(tmp_path: Path) -> None:
    def wrapped(k: int, atoms: ase.Atoms) -> None:
        atoms.positions[3] += atoms.cell[0]

    check_same_atoms(
        read_structures(write(tmp_path / "a.xyz")),
        read_structures(write(tmp_path / "b.xyz", edit=wrapped)),
    )
