"""Write structures as shards; :mod:`scalewise.data.shards` describes the format and reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from scalewise.core.errors import InputError
from scalewise.core.files import new_folder, write_json
from scalewise.data.shards import (
    LABEL_ARRAYS,
    NAME,
    Shard,
    ShardedStructures,
    ShardIndex,
    array_file,
    digest_of,
)
from scalewise.data.structure import Structure

#: Frames and atoms of a shard, at most, but for its last frame: about 100 MB of arrays.
FRAMES_PER_SHARD: Final = 65_536
ATOMS_PER_SHARD: Final = 2_000_000


def write_shards(
    folder: Path, frames: Iterable[Structure], *, made_from: str = ""
) -> ShardedStructures:
    """Write structures to a folder of shards and open it; a failed write leaves no folder.

    Parameters
    ----------
    folder
        Folder to write, which must not exist yet.
    frames
        The structures, read one after the other. Only the structures of one shard are in memory at
        a time.
    made_from
        Text that identifies the source of the structures, such as the hash of a file.

    Raises
    ------
    InputError
        No structures; the folder exists already, or cannot be written.
    """
    sources: dict[str, int] = {}
    with new_folder(folder) as temporary:
        shards = [
            _write(temporary, number, part, sources) for number, part in enumerate(_parts(frames))
        ]
        if not shards:
            raise InputError("structures", "none", "Give one structure at least.")
        index = ShardIndex(made_from=made_from, sources=tuple(sources), shards=tuple(shards))
        write_json(temporary / NAME, index.model_dump(mode="json"))
    return ShardedStructures(folder, index)


def _parts(frames: Iterable[Structure]) -> Iterator[list[Structure]]:
    part: list[Structure] = []
    atoms = 0
    for frame in frames:
        part.append(frame)
        atoms += len(frame.numbers)
        if len(part) >= FRAMES_PER_SHARD or atoms >= ATOMS_PER_SHARD:
            yield part
            part, atoms = [], 0
    if part:
        yield part


def _write(folder: Path, number: int, part: list[Structure], sources: dict[str, int]) -> Shard:
    digests = {}
    (folder / f"{number:05d}").mkdir()
    for name, values in _collected(part, sources).items():
        file = array_file(folder, number, name)
        np.save(file, values, allow_pickle=False)
        digests[name] = digest_of(file)
    return Shard(frames=len(part), arrays=digests)


def _collected(part: list[Structure], sources: dict[str, int]) -> dict[str, np.ndarray]:
    """The arrays of a shard."""
    origins = [(sources.setdefault(f.source, len(sources)), f.index) for f in part]
    found = {
        "offsets": np.cumsum([0, *(len(f.numbers) for f in part)]),
        "numbers": np.concatenate([f.numbers for f in part]).astype(np.uint8),
        "positions": np.concatenate([f.positions for f in part]).astype(float),
        "cells": np.stack([f.cell for f in part]).astype(float),
        "pbc": np.stack([f.pbc for f in part]).astype(bool),
        "origins": np.array(origins, dtype=np.int64),
    }
    for name, array in LABEL_ARRAYS.items():
        values = [getattr(f.labels, name) for f in part]
        if any(v is not None for v in values):
            found[array] = _with_gaps(values, name, part)
    if any((f.molecule != np.arange(len(f.numbers))).any() for f in part):
        found["molecules"] = np.concatenate([f.molecule for f in part]).astype(np.int64)
    if any(f.place is not None for f in part):
        nowhere = [np.full(len(f.numbers), "") if f.place is None else f.place for f in part]
        found["places"] = np.concatenate(nowhere).astype(str)
    if any(f.info for f in part):
        texts = [json.dumps(f.info, default=_plain).encode() if f.info else b"" for f in part]
        found["info"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
        found["info_offsets"] = np.cumsum([0, *(len(t) for t in texts)])
    return found


def _with_gaps(values: list[Any], name: str, part: list[Structure]) -> np.ndarray:
    """Labels of all frames in one array, not numbers where there are none."""
    if name == "energy":
        return np.array([np.nan if v is None else v for v in values], dtype=float)
    if name == "stress":
        return np.stack([np.full((3, 3), np.nan) if v is None else v for v in values])
    filled = [
        np.full((len(f.numbers), 3), np.nan) if v is None else v
        for v, f in zip(values, part, strict=True)
    ]
    return np.concatenate(filled).astype(float)


def _plain(value: Any) -> Any:
    """What JSON has for a value of a frame."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
