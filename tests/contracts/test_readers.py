"""Every reader through the one shared suite, and how a reader is found."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import ase
import numpy as np
import pytest

from format_samples import FORMATS, structures
from scalewise.core.errors import InputError
from scalewise.data import readers
from scalewise.data.readers import extxyz, read_file, reader_for, register_reader
from scalewise.data.reading import read_structures, write_structures
from scalewise.data.structure import Labels, Structure
from scalewise.testing import check_reader
from support import salt_frame


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(readers, "READERS", dict(readers.READERS))


def labelled() -> list[Structure]:
    salt = [salt_frame(seed, index=seed) for seed in range(3)]
    stresses = (None, np.eye(3), None)
    energies = (1.0, -2.0, None)
    return [
        replace(s, labels=Labels(s.labels.forces, energy, stress))
        for s, energy, stress in zip(salt, energies, stresses, strict=True)
    ]


def plain(folder: Path) -> Path:
    path = folder / "frames.xyz"
    write_structures(path, labelled())
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_reader(name: str, tmp_path: Path) -> None:
    file, write, options, tolerance = FORMATS[name]
    path, frames = tmp_path / file, structures(**options)
    write(path, frames)
    check_reader(reader_for(path), path, frames, tolerance=tolerance)
    bare = [replace(s, labels=Labels()) for s in frames]
    check_reader(reader_for(path), path, bare, tolerance=tolerance)


def test_labels_that_only_some_frames_have(tmp_path: Path) -> None:
    path = plain(tmp_path)
    check_reader(reader_for(path), path, labelled())


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_compressed_file_that_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    file, write, _, _ = FORMATS[name]
    path = tmp_path / file
    write(path, structures())
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match="damaged"):
        read_structures(path)
    path.write_bytes(b"8\n")
    with pytest.raises(
        InputError, match=r"not compressed by gzip|Invalid data|damaged|not supported"
    ):
        read_structures(path)


def test_a_compressed_frame_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz.gz"
    path.write_bytes(gzip.compress(b"8\nProperties=species:S:1:pos:R:3\nNa 0 0 0\n"))
    with pytest.raises(InputError, match="8 atoms declared for frame 0"):
        read_structures(path)


def changed(change: Callable[[list[ase.Atoms]], list[ase.Atoms]]) -> readers.Reader:
    return lambda path: change(extxyz.read_images(path))


def shifted(images: list[ase.Atoms]) -> list[ase.Atoms]:
    images[1].positions += 1e-3
    return images


def scaled(images: list[ase.Atoms]) -> list[ase.Atoms]:
    images[0].arrays["REF_forces"] *= 51.4
    return images


def without_energy(images: list[ase.Atoms]) -> list[ase.Atoms]:
    del images[0].info["REF_energy"]
    return images


def isolated(images: list[ase.Atoms]) -> list[ase.Atoms]:
    images[2].pbc = False
    return images


def lenient(path: Path) -> list[ase.Atoms]:
    return extxyz.read_images(path) if path.is_file() and path.stat().st_size else []


def emptying(path: Path) -> list[ase.Atoms]:
    images = extxyz.read_images(path)
    path.touch()
    path.write_text(path.read_text() + "\n")
    return images


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (changed(lambda images: images[1:]), "3 frames, not 2"),
        (changed(lambda images: images[::-1]), "frame 0"),
        (changed(shifted), "frame 1: positions"),
        (changed(scaled), "frame 0: forces"),
        (changed(without_energy), "frame 0: no energy"),
        (changed(isolated), "frame 2: periodicity"),
        (lambda path: iter(extxyz.read_images(path)), "a list of frames"),
        (lenient, "a missing file: accepted"),
        (emptying, "the file was changed"),
    ],
)
def test_the_suite_finds(broken: readers.Reader, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        check_reader(broken, plain(tmp_path), labelled())


# -- how a reader is found -------------------------------------------------------------------------


def one(path: Path) -> list[ase.Atoms]:
    return [ase.Atoms("He", info={"reader": path.name})]


def test_a_reader_is_found_by_the_longest_suffix_or_the_whole_name(tmp_path: Path) -> None:
    register_reader([".one", "OUTCAR"], one)
    register_reader(".two.one", lambda path: [*one(path), *one(path)])
    assert [len(read_file(tmp_path / n)) for n in ("a.ONE", "a.two.one", "OUTCAR")] == [1, 2, 1]
    assert reader_for("a.pdb") is extxyz.read_images
    assert reader_for("notes.old") is extxyz.read_images
    for name in ("OUTCAR.old", "outcar_12", "run1.OUTCAR", "OUTCAR.gz", "OUTCAR_3.bz2"):
        assert reader_for(name) is one
    assert reader_for("OUTCAR.xyz") is extxyz.read_images
    with pytest.raises(InputError, match=r"such as '\.xyz'"):
        register_reader(["."], one)
    with pytest.raises(InputError, match="function of a path"):
        register_reader(".a", 3)  # type: ignore[arg-type]


def test_readers_of_other_packages_are_found_and_imported_when_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> readers.Reader:
        raise ImportError("no such module")

    entries = [
        SimpleNamespace(name=".three", value="a:b", group=readers.GROUP, load=lambda: one),
        SimpleNamespace(name=".bad", value="a:c", group=readers.GROUP, load=broken),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    assert reader_for(Path("x.THREE")) is one
    assert reader_for("x.xyz") is extxyz.read_images
    with pytest.raises(InputError, match=r"'.bad' of scalewise.readers: a:c cannot be imported"):
        reader_for("x.bad")


def test_what_a_reader_raises_is_an_input_error(tmp_path: Path) -> None:
    register_reader(".zero", lambda path: [1 / 0])
    register_reader(".none", lambda path: [])
    with pytest.raises(InputError, match=r"a.zero: not readable \(ZeroDivisionError"):
        read_structures(tmp_path / "a.zero")
    with pytest.raises(InputError, match="no frames"):
        read_structures(tmp_path / "a.none")
