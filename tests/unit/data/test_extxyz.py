"""Reading extxyz: every frame, or the line at which reading stopped."""

from __future__ import annotations

import os
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from scalewise.core.errors import InputError
from scalewise.data.readers.extxyz import read_images


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
