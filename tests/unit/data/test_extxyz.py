"""Reading extxyz: every frame, or the line at which reading stopped."""

from __future__ import annotations

import os
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from scalewise.core.errors import InputError
from scalewise.data.readers.extxyz import read_images, write_images
from scalewise.data.reading import read_structures


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("frames") / "a.xyz"
    images = [bulk("Cu", cubic=True, a=3.6 + 0.01 * k) for k in range(6)]
    ase.io.write(path, images, format="extxyz")
    return path.read_text()


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@pytest.mark.parametrize("gap", ["\n", "\n\n", "  \t\n"])
def test_empty_lines_between_frames_hide_none(tmp_path: Path, text: str, gap: str) -> None:
    lines, path = lines_of(text), tmp_path / "a.xyz"
    path.write_text(gap.join("".join(lines[k : k + 6]) for k in range(0, 36, 6)) + gap)
    assert len(read_images(path)) == 6


def test_two_files_in_one_are_all_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text + "\n" + text.replace("\n", "\r\n"))
    assert len(read_images(path)) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("4\n", "3\n", 1), r"line 6: 'Cu.* where the number of atoms of frame"),
        (lambda t: t.replace("4\n", "5\n", 1), r"line 7: 1 columns for atom 4 of frame 0"),
        (lambda t: t[:-40], r"line 36: \d columns for atom|line 31: 4 atoms declared"),
        (lambda t: t + "99999999999\n\n", r"line 37: 99999999999 atoms declared"),
        (lambda t: t + "9" * 5000 + "\n", r"line 37: '9+ \.\.\. 9+' where the number of atoms"),
        (lambda t: t.replace("pos:R:3", "pos:R:4", 1), r"line 3: 4 columns .* 5 are declared"),
        (lambda t: t.replace("pos:R:3", "pos:R:999999999", 1), r"line 2: Properties="),
        (lambda t: t.replace("pos:R:3", "pos:R", 1), r"line 2: Properties="),
        (lambda t: "not a frame\n", r"line 1: 'not a frame' where"),
        (lambda t: "", "no frames"),
        (lambda t: "\n\n", "no frames"),
    ],
)
def test_what_stops_reading_is_named(tmp_path: Path, text: str, change, message: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(change(text))
    with pytest.raises(InputError, match=message):
        read_images(path)


def test_pipes_folders_and_other_encodings_are_refused(tmp_path: Path, text: str) -> None:
    os.mkfifo(tmp_path / "pipe.xyz")
    with pytest.raises(InputError, match="a pipe or a device"):
        read_images(tmp_path / "pipe.xyz")
    with pytest.raises(InputError, match="a folder"):
        read_images(tmp_path)
    path = tmp_path / "a.xyz"
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="UTF-8"):
        read_images(path)


def test_names_that_mean_something_to_ase_are_names(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run@3:a=b.xyz"
    path.write_text(text)
    assert len(read_images(path)) == 6


def written(path: Path, comment: str, *rows: str) -> Path:
    """One frame: by default a cell of 8 Å with OH."""
    rows = rows or ("H 1 2 3 0.1 0.2 0.3", "O 1.97 2 3 -0.1 -0.2 -0.3")
    path.write_text("\n".join([str(len(rows)), comment, *rows, ""]))
    return path


CELL = 'Lattice="8 0 0 0 8 0 0 0 8"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("TTF", "TTF"),
        ('"FFF"', "FFF"),
        ("T,F,F", "TFF"),
        ("110", "TTF"),
        ('"T T F"', "TTF"),
        ('"1 0 1"', "TFT"),
        ("[T, T, F]", "TTF"),
        ("false", "FFF"),
        ("1", "TTT"),
        ("T", "TTT"),
    ],
)
def test_periodicity_is_what_is_written(tmp_path: Path, value: str, meant: str) -> None:
    (image,) = read_images(written(tmp_path / "a.xyz", f"{CELL} {COLUMNS} pbc={value}"))
    assert "".join("FT"[int(p)] for p in image.pbc) == meant


@pytest.mark.parametrize("value", ["xy", "yes", '"T T"', '"2 0 0"', '""'])
def test_periodicity_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    path = written(tmp_path / "a.xyz", f"{CELL} {COLUMNS} pbc={value}")
    with pytest.raises(InputError, match=r"line 2, key 'pbc': .* pbc=\"T T F\""):
        read_images(path)


@pytest.mark.parametrize(
    "empty", ["config_type=", 'config_type=""', "config_type=''", "config_type={}", 'a=  b=""']
)
@pytest.mark.parametrize("last", [True, False])
def test_a_key_without_a_value_takes_nothing_from_the_next(
    tmp_path: Path, empty: str, last: bool
) -> None:
    others = f'{CELL} {COLUMNS} REF_energy=-1.5 note="x= y=2" pbc="T T F"'
    comment = f"{others} {empty}" if last else f"{empty} {others}"
    (image,) = read_images(written(tmp_path / "a.xyz", comment))
    assert image.info == {"REF_energy": -1.5, "note": "x= y=2"}
    assert image.pbc.tolist() == [True, True, False]


def test_a_key_with_two_values_is_refused(tmp_path: Path) -> None:
    twice = f'{CELL} {COLUMNS} REF_energy=-1.5 note="REF_energy=3 x" REF_energy='
    path = written(tmp_path / "a.xyz", f"{twice}-2.5")
    with pytest.raises(InputError, match=r"line 2, key 'REF_energy': '-1.5' and '-2.5'"):
        read_images(path)
    (image,) = read_images(written(tmp_path / "b.xyz", f"{twice}-1.5"))
    assert image.info["REF_energy"] == -1.5


def test_words_that_cannot_be_written_are_written_as_they_can(tmp_path: Path) -> None:
    image = read_images(written(tmp_path / "a.xyz", f"{CELL} {COLUMNS} REF_energy=-1.5"))[0]
    image.info = {"name": "", "comment": "two\nlines\r\nand one", **image.info}
    before = dict(image.info)
    with (tmp_path / "b.xyz").open("w") as stream:
        write_images(stream, [image])
    assert image.info == before
    (again,) = read_images(tmp_path / "b.xyz")
    assert again.info == {"comment": "two lines and one", "REF_energy": -1.5}
    np.testing.assert_allclose(again.positions, image.positions)


def test_six_components_are_in_the_order_of_voigt(tmp_path: Path) -> None:
    for key, quotes in {"stress": '""', "virial": "''", "STRESS": "{}"}.items():
        value = f"{quotes[0]}1 2 3 4 5 6{quotes[1]}"
        path = written(tmp_path / "a.xyz", f"{CELL} {COLUMNS} {key}={value} energy=-1.5")
        (frame,) = read_structures(path, stress="REF_stress", check_units=False)
        meant = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])
        scale = -1 / 8**3 if key == "virial" else 1.0
        np.testing.assert_allclose(frame.labels.stress, scale * meant)


@pytest.mark.parametrize(
    "properties",
    [
        "PROPERTIES=SPECIES:S:1:POS:R:3:FORCE:R:3",
        'Properties="Species:S:1:Pos:R:3:forces:R:3"',
        "properties=species:S:1:positions:R:3:Forces:R:3",
        "Properties=symbols:S:1:pos:R:3:force:R:3",
    ],
)
def test_columns_in_other_cases(tmp_path: Path, properties: str) -> None:
    (frame,) = read_structures(written(tmp_path / "a.xyz", f"{CELL} {properties} Energy=-1.5"))
    assert frame.symbols == ["H", "O"]
    np.testing.assert_allclose(frame.positions[1], [1.97, 2, 3])
    np.testing.assert_allclose(frame.labels.forces[1], [-0.1, -0.2, -0.3])
    assert frame.labels.energy == -1.5


def test_columns_in_another_order(tmp_path: Path) -> None:
    comment = f"{CELL} Properties=id:I:1:forces:R:3:Z:I:1:pos:R:3"
    (frame,) = read_structures(written(tmp_path / "a.xyz", comment, "7 .1 .2 .3 8 1 2 3"))
    assert frame.symbols == ["O"]
    np.testing.assert_allclose(frame.positions, [[1, 2, 3]])
    np.testing.assert_allclose(frame.labels.forces, [[0.1, 0.2, 0.3]])


@pytest.mark.parametrize("names", ["species:S:1:position:R:3", "element:S:1:pos:R:3"])
def test_columns_without_which_atoms_would_lie_at_the_origin_are_asked_for(
    tmp_path: Path, names: str
) -> None:
    path = written(tmp_path / "a.xyz", f"{CELL} Properties={names}:forces:R:3")
    with pytest.raises(InputError, match=r"line 2: .* without .*Call their column (pos|species)"):
        read_images(path)


@pytest.mark.parametrize("name", ["D", "H1", "Na+", "1", "Du"])
def test_names_that_are_no_elements_are_said(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.xyz", f"{CELL} {COLUMNS}", f"{name} 1 2 3 0.1 0.2 0.3")
    with pytest.raises(InputError, match=rf"an atom called '{re.escape(name)}'.* write H for deut"):
        read_images(path)
