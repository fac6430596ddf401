"""Shards: what was written is read, lazily; damage is noticed; files with many frames make them."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

from format_samples import structures
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data import reading, shard_writing, shards
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_or_shard, read_structures, write_structures
from scalewise.data.shard_writing import write_shards
from scalewise.data.shards import ShardedStructures
from scalewise.data.splits import make_split
from scalewise.data.splits.identity import identify
from scalewise.data.structure import Labels, Structure

INFO = {"config_type": "bulk", "total_charge": -1, "dipole": np.array([0.1, 0.2, 1 / 3]), "n": 2.5}


def unlike() -> list[Structure]:
    """Frames that differ in whatever they can: atoms, labels, periodicity, columns, keys."""
    frames = structures(6)
    bare = replace(frames[1], labels=Labels(), source="other.xyz", index=7)
    molecules = replace(
        frames[2], molecule=np.array([0, 1, 1, 2, 2, 2, 2][: len(frames[2].numbers)])
    )
    place = np.array(["surface"] * len(frames[3].numbers))
    isolated = replace(structures(1, periodic=False)[0], index=4)
    no_energy = replace(frames[5], labels=replace(frames[5].labels, energy=None))
    return [
        replace(frames[0], info=INFO),
        bare,
        molecules,
        replace(frames[3], place=place),
        isolated,
        no_energy,
    ]


def assert_same(found: Structure, wanted: Structure) -> None:
    assert (found.source, found.index) == (wanted.source, wanted.index)
    for name in ("numbers", "positions", "cell", "pbc", "molecule"):
        values = getattr(found, name)
        np.testing.assert_array_equal(values, getattr(wanted, name))
        assert values.dtype == getattr(wanted, name).dtype
        assert values.flags.writeable  # a copy, and not the file
    for name in ("forces", "energy", "stress"):
        label = getattr(wanted.labels, name)
        if label is None:
            assert getattr(found.labels, name) is None
        else:
            np.testing.assert_array_equal(getattr(found.labels, name), label)
    assert (found.place is None) == (wanted.place is None)
    assert found.info.keys() == wanted.info.keys()
    for key, value in wanted.info.items():
        np.testing.assert_array_equal(found.info[key], value)


@pytest.mark.parametrize("size", [2, 100])
def test_what_was_written_is_read(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writing, "FRAMES_PER_SHARD", size)
    frames = unlike()
    written = write_shards(tmp_path / "data", iter(frames))
    assert len(list((tmp_path / "data").glob("0*"))) == -(-len(frames) // size)
    for view in (written, ShardedStructures.open(tmp_path / "data")):
        assert len(view) == len(frames)
        for found, wanted in zip(view, frames, strict=True):
            assert_same(found, wanted)
    assert_same(view[-1], frames[-1])
    with pytest.raises(IndexError):
        view[len(frames)]
    for found, wanted in zip(view[1::2][1:], [frames[3], frames[5]], strict=True):
        assert_same(found, wanted)
    assert shards.elements_of(view) == shards.elements_of(frames) == [1, 8, 11]
    assert [len(n) for n in view.numbers()] == [len(f.numbers) for f in frames]


def test_a_view_is_pickled_as_a_path(tmp_path: Path) -> None:
    frames = structures(50)
    view = write_shards(tmp_path / "data", frames).take(np.array([4, 2]))
    assert_same(view[0], frames[4])  # its arrays are open now
    packed = pickle.dumps(view)
    assert len(packed) < 3000
    assert_same(pickle.loads(packed)[1], frames[2])


def test_every_command_reads_shards(tmp_path: Path) -> None:
    frames = unlike()
    write_shards(tmp_path / "data", frames)
    found = read_structures(tmp_path / "data", stress="REF_stress", check_units=False)
    for one, wanted in zip(found, frames, strict=True):
        np.testing.assert_array_equal(one.positions, wanted.positions)
        assert one.labels.energy == wanted.labels.energy
    assert identify(found).file == "data"


def test_threads_open_one_array_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser that reads the head of an array is broken by two threads in Python 3.11."""
    monkeypatch.setattr(shard_writing, "FRAMES_PER_SHARD", 2)
    view = write_shards(tmp_path / "shards", unlike())
    assert view[::2]._opened is view._opened
    busy = Lock()

    def load(*arguments: Any, **words: Any) -> np.ndarray:
        assert busy.acquire(blocking=False)
        time.sleep(0.001)
        found = original(*arguments, **words)
        busy.release()
        return found

    original = np.load
    monkeypatch.setattr(np, "load", load)
    fresh = pickle.loads(pickle.dumps(view))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(fresh.__getitem__, [0, 2, 4] * 4))
    assert [f.index for f in found] == [view[k].index for k in (0, 2, 4)] * 4


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_damaged_arrays_are_refused(damage: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "data", structures(3))
    file = tmp_path / "data" / "00000" / "positions.npy"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-8] if damage == "cut" else content[:-1] + b"\0")
    with pytest.raises(InputError, match=r"positions\.npy: not the array that was written"):
        read_structures(tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("offsets", lambda v: v[:-1]),
        ("offsets", lambda v: v * 2),
        ("offsets", lambda v: v[::-1].copy()),
        ("numbers", lambda v: v * 0),
        ("positions", lambda v: v[:, :2]),
        ("positions", lambda v: v.astype("U9")),
        ("cells", lambda v: v[1:]),
        ("origins", lambda v: v + 9),
        ("info_offsets", lambda v: v + 1),
        ("energies", lambda v: v[:2]),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(
    name: str, change: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    """Their hashes are right: a stranger can write what fits them."""
    write_shards(tmp_path / "data", [replace(f, info=INFO) for f in structures(3)])
    file, index = tmp_path / "data" / "00000" / f"{name}.npy", tmp_path / "data" / "shards.json"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    np.save(file, change(np.load(file)))
    after = hashlib.sha256(file.read_bytes()).hexdigest()
    index.write_text(index.read_text().replace(before, after))
    with pytest.raises(InputError, match=f"{name}.npy: does not fit the other arrays"):
        ShardedStructures.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_number": 2}, "schema_number"),
        ({"kind": "something else"}, "kind"),
        ({"shards": []}, "shards"),
        ({"more": 1}, "more"),
    ],
)
def test_foreign_indices_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "data", structures(2))
    path = tmp_path / "data" / "shards.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=f"not an index of shards.*{message}"):
        read_structures(tmp_path / "data")


def test_shards_are_whole_or_absent(tmp_path: Path) -> None:
    def broken() -> object:
        yield structures(1)[0]
        raise InputError("frame 1", "broken", "Mend it.")

    with pytest.raises(InputError, match="broken"):
        write_shards(tmp_path / "data", broken())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="none"):
        write_shards(tmp_path / "data", [])
    write_shards(tmp_path / "data", structures(1))
    with pytest.raises(InputError, match="cannot be written"):
        write_shards(tmp_path / "data", structures(1))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven frames are many."""
    monkeypatch.setattr(reading, "LARGE", 6)
    monkeypatch.setattr(reading, "PART", 3)


@pytest.mark.usefixtures("few")
def test_many_frames_are_kept_in_shards(tmp_path: Path) -> None:
    keys, path, folder = LabelKeys(stress="REF_stress"), tmp_path / "dft.xyz", tmp_path / "data"
    write_structures(path, structures(6))
    assert isinstance(read_or_shard(path, keys, folder), list)
    assert not folder.exists()
    write_structures(path, structures(11))
    told: list[str] = []
    found = read_or_shard(path, keys, folder, progress=Messages(told.append))
    assert told == [f"more than 6 frames: they are kept in {folder}, and not in memory"]
    wanted = read_structures(path, keys)
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)
    made = make_split(found)
    assert made == make_split(wanted)
    before = (folder / "shards.json").stat().st_mtime_ns
    again = read_or_shard(path, keys, folder)
    assert (folder / "shards.json").stat().st_mtime_ns == before
    assert_same(again[10], wanted[10])
    with pytest.raises(InputError, match="frames of another file, or with other labels"):
        read_or_shard(path, LabelKeys(energy=None), folder)


@pytest.mark.usefixtures("few")
def test_labels_of_other_names_are_taken_in_every_part(tmp_path: Path) -> None:
    path = tmp_path / "dft.xyz"
    write_structures(path, structures(11, alike=True))
    path.write_text(path.read_text().replace("REF_", "dft_"))
    keys = LabelKeys(adopt=True)
    found = read_or_shard(path, keys, tmp_path / "data")
    for one, other in zip(found, read_structures(path, keys), strict=True):
        assert one.labels.energy == other.labels.energy is not None
        np.testing.assert_array_equal(one.labelled_forces, other.labelled_forces)


@pytest.mark.usefixtures("few")
def test_a_broken_frame_far_behind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dft.xyz"
    frames = structures(11)
    frames[9] = replace(frames[9], labels=Labels(np.full_like(frames[9].positions, np.nan), 0.0))
    write_structures(path, frames)
    with pytest.raises(InputError, match=r"frame 9, key 'REF_forces'"):
        read_or_shard(path, LabelKeys(), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_labels_of_shards_have_one_name(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", structures(3))
    without = read_or_shard(tmp_path / "data", LabelKeys(energy=None), tmp_path / "other")
    assert {f.labels.energy for f in without} == {None}
    with pytest.raises(InputError, match="shards hold the forces that they were written with"):
        read_or_shard(tmp_path / "data", LabelKeys(forces="force"), tmp_path / "other")
