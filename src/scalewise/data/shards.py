"""Shards: structures as arrays on disk that are mapped into memory, for data of any size.

A folder holds ``shards.json``, with a schema number and the hash of every array, and a folder for
each shard:

| array | shape | what |
|---|---|---|
| ``offsets`` | frames + 1 | first atom of each frame, and at the end the number of atoms |
| ``numbers``, ``positions`` | atoms; atoms, 3 | atomic numbers; Å |
| ``cells``, ``pbc`` | frames, 3, 3; frames, 3 | Å; periodicity |
| ``origins`` | frames, 2 | number of the source, and index in it |
| ``forces``, ``energies``, ``stresses`` | atoms, 3; frames; frames, 3, 3 | labels, eV and Å |
| ``molecules``, ``places`` | atoms | see :class:`~scalewise.data.structure.Structure` |
| ``info``, ``info_offsets`` | bytes; frames + 1 | all other frame keys, as JSON |

Labels that a frame lacks are NaN. Arrays that no frame of the shard needs are left out.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal, overload

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Int
from pydantic import Field, ValidationError

from scalewise.core.errors import InputError
from scalewise.core.files import read_text
from scalewise.core.settings import Settings
from scalewise.data.structure import Labels, Structure

NAME: Final = "shards.json"
#: Kind and shape of each array: of atoms, of frames, or of one more than frames.
_ARRAYS: Final[Mapping[str, tuple[str, str, tuple[int, ...]]]] = {
    "offsets": ("i", "ends", ()),
    "numbers": ("u", "atoms", ()),
    "positions": ("f", "atoms", (3,)),
    "cells": ("f", "frames", (3, 3)),
    "pbc": ("b", "frames", (3,)),
    "origins": ("i", "frames", (2,)),
    "forces": ("f", "atoms", (3,)),
    "energies": ("f", "frames", ()),
    "stresses": ("f", "frames", (3, 3)),
    "molecules": ("i", "atoms", ()),
    "places": ("U", "atoms", ()),
    "info": ("u", "bytes", ()),
    "info_offsets": ("i", "ends", ()),
}
#: Those that are always there.
_NEEDED: Final = ("offsets", "numbers", "positions", "cells", "pbc", "origins")
#: Labels, and the arrays that hold them.
LABEL_ARRAYS: Final = {"forces": "forces", "energy": "energies", "stress": "stresses"}
# np.load parses a literal, and in Python 3.11 two threads break that parser (CPython gh-106905).
_MAPPING: Final = Lock()
_REMEDY: Final = "Write the shards again from the file that they were made of."


class Shard(Settings):
    """One shard: how many frames it has, and the SHA-256 of its arrays by name."""

    frames: int = Field(ge=1)
    arrays: dict[str, str]


class ShardIndex(Settings):
    """What ``shards.json`` holds; ``made_from`` is whatever tells what the frames were made of."""

    kind: Literal["scalewise shards"] = "scalewise shards"
    schema_number: Literal[1] = 1
    made_from: str = ""
    sources: tuple[str, ...]
    shards: tuple[Shard, ...] = Field(min_length=1)


def is_shards(path: Path) -> bool:
    """Whether a folder holds shards."""
    return (path / NAME).is_file()


@dataclass(frozen=True, eq=False)
class ShardedStructures(Sequence[Structure]):
    """A sequence of the structures in a folder of shards; each is read when it is accessed.

    A pickled copy holds no data and opens the folder again.

    Attributes
    ----------
    path
        The folder.
    contents
        Contents of ``shards.json``.
    source
        ``source`` of all structures; none: the source that each structure had when it was written.
    members
        Numbers of the frames of the folder that belong to this sequence [members]; none: all.
    without
        Names of labels that are left out, of ``forces``, ``energy`` and ``stress``.
    """

    path: Path
    contents: ShardIndex
    source: str | None = None
    members: Int[np.ndarray, " members"] | None = None
    without: frozenset[str] = frozenset()
    _starts: list[int] = field(init=False, repr=False)
    _opened: dict[int, dict[str, np.ndarray]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        starts = [0, *accumulate(s.frames for s in self.contents.shards)]
        object.__setattr__(self, "_starts", starts)

    @classmethod
    def open(
        cls, path: Path, source: str | None = None, without: Iterable[str] = ()
    ) -> ShardedStructures:
        """Open a folder, after checks of the hash and the shape of every array.

        Raises
        ------
        InputError
            Another schema; an array that is missing, that was changed since it was written, or
            whose shape does not fit the other arrays.
        """
        found = cls(path, read_index(path), source, without=frozenset(without))
        for number, shard in enumerate(found.contents.shards):
            for name, digest in shard.arrays.items():
                file = array_file(path, number, name)
                if name not in _ARRAYS or not file.is_file() or digest_of(file) != digest:
                    raise InputError(str(file), "not the array that was written", _REMEDY)
            wrong = _misfit(found._arrays(number), shard.frames, len(found.contents.sources))
            if wrong is not None:
                raise InputError(
                    str(array_file(path, number, wrong)), "does not fit the other arrays", _REMEDY
                )
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is mapped into memory."""
        return {**self.__dict__, "_opened": {}}

    def __len__(self) -> int:
        """Number of structures."""
        return self._starts[-1] if self.members is None else len(self.members)

    @overload
    def __getitem__(self, key: int) -> Structure: ...
    @overload
    def __getitem__(self, key: slice) -> ShardedStructures: ...
    def __getitem__(self, key: int | slice) -> Structure | ShardedStructures:
        """Read one structure; of a slice, nothing is read yet."""
        if isinstance(key, slice):
            return self.take(np.arange(len(self))[key])
        return self._read(*self._find(key))

    def __iter__(self) -> Iterator[Structure]:
        """Read one structure after the other."""
        for arrays, members, start in self._by_shard():
            for k in members.tolist():
                yield self._read(arrays, k, start + k)

    def _read(self, arrays: dict[str, np.ndarray], k: int, frame: int) -> Structure:
        """Read structure k of a shard, which is one of the whole folder."""
        source, index = arrays["origins"][k].tolist()

        def part(name: str, at: slice | int) -> Any:
            return np.array(arrays[name][at]) if name in arrays else None

        atoms = slice(*arrays["offsets"][k : k + 2].tolist())
        places = part("places", atoms)
        return Structure(
            numbers=arrays["numbers"][atoms].astype(np.int64),
            positions=part("positions", atoms),
            cell=part("cells", k),
            pbc=part("pbc", k),
            molecule=part("molecules", atoms),
            source=self.contents.sources[source] if self.source is None else self.source,
            index=index if self.source is None else frame,
            info=_info(arrays, k),
            place=None if places is None or not places[0] else places,
            labels=self._labels(part("forces", atoms), part("energies", k), part("stresses", k)),
        )

    def _find(self, key: int) -> tuple[dict[str, np.ndarray], int, int]:
        """Arrays of the shard that has a structure, its number there, and that in the folder."""
        if not -len(self) <= key < len(self):
            raise IndexError(key)
        key %= len(self)
        frame = key if self.members is None else int(self.members[key])
        shard = bisect_right(self._starts, frame) - 1
        return self._arrays(shard), frame - self._starts[shard], frame

    def _labels(self, forces: Any, energy: Any, stress: Any) -> Labels:
        found = {"forces": forces, "energy": energy, "stress": stress}
        known = {
            name: value
            for name, value in found.items()
            if value is not None and name not in self.without and not np.isnan(value.flat[0])
        }
        if "energy" in known:
            known["energy"] = float(known["energy"])
        return Labels(**known)

    def _arrays(self, shard: int) -> dict[str, np.ndarray]:
        if shard not in self._opened:
            with _MAPPING:
                if shard not in self._opened:
                    self._opened[shard] = self._mapped(shard)
        return self._opened[shard]

    def _mapped(self, shard: int) -> dict[str, np.ndarray]:
        names = self.contents.shards[shard].arrays
        files = {name: array_file(self.path, shard, name) for name in names}
        try:
            return {k: np.load(f, mmap_mode="r").view(np.ndarray) for k, f in files.items()}
        except (OSError, ValueError) as error:
            raise InputError(str(self.path), f"damaged ({error})", _REMEDY) from None

    def take(self, numbers: Int[np.ndarray, " members"]) -> ShardedStructures:
        """Return the structures with these numbers [members], in this order."""
        members = np.asarray(numbers if self.members is None else self.members[numbers])
        taken = replace(self, members=members)
        object.__setattr__(taken, "_opened", self._opened)
        return taken

    def numbers(self) -> Iterator[np.ndarray]:
        """Yield the atomic numbers [atoms] of each structure; no other array is read."""
        for arrays, members, _ in self._by_shard():
            values, offsets = np.array(arrays["numbers"]), np.array(arrays["offsets"])
            ends = zip(offsets[members].tolist(), offsets[members + 1].tolist(), strict=True)
            yield from (values[start:end] for start, end in ends)

    def sizes(self) -> Int[np.ndarray, " frames"]:
        """Number of atoms of each structure [frames]."""
        parts = [np.diff(arrays["offsets"])[m] for arrays, m, _ in self._by_shard()]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts]).astype(np.int64)

    def column(self, name: str) -> np.ndarray:
        """Return one array for all structures [frames, ...] or all their atoms [atoms, ...].

        Labels that are missing are NaN. The names of the arrays are listed in
        :mod:`scalewise.data.shards`.
        """
        _, length, shape = _ARRAYS[name]
        left_out = name in {LABEL_ARRAYS[label] for label in self.without}
        first = self._arrays(0)
        parts = [first[name][:0] if name in first else np.zeros((0, *shape))]
        for arrays, members, _ in self._by_shard():
            rows = members if length == "frames" else _rows(arrays["offsets"], members)
            if left_out or name not in arrays:
                parts.append(np.full((len(rows), *shape), np.nan))
            elif len(rows) == len(arrays[name]) and (np.diff(rows) == 1).all():
                parts.append(arrays[name])
            else:
                parts.append(arrays[name][rows])
        return np.concatenate(parts)

    def labelled(self, label: str) -> Bool[np.ndarray, " frames"]:
        """Whether each structure has the label ``forces``, ``energy`` or ``stress`` [frames]."""
        name = LABEL_ARRAYS[label]
        found = []
        for arrays, members, _ in self._by_shard():
            if label in self.without or name not in arrays:
                found.append(np.zeros(len(members), dtype=bool))
                continue
            rows = members if _ARRAYS[name][1] == "frames" else arrays["offsets"][members]
            values = arrays[name][rows]
            found.append(~np.isnan(values.reshape(len(values), -1)[:, 0]))
        return np.concatenate([np.zeros(0, dtype=bool), *found])

    def infos(self) -> Iterator[dict[str, Any]]:
        """Yield the ``info`` of each structure; no other array is read."""
        for arrays, members, _ in self._by_shard():
            yield from (_info(arrays, k) for k in members.tolist())

    def _by_shard(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, int]]:
        """Arrays of one shard after the other, numbers there of members that follow, its start."""
        frames = np.arange(self._starts[-1]) if self.members is None else self.members
        shards = np.searchsorted(self._starts, frames, side="right") - 1
        for part in np.split(np.arange(len(frames)), np.flatnonzero(np.diff(shards)) + 1):
            if len(part):
                shard = int(shards[part[0]])
                start = self._starts[shard]
                yield self._arrays(shard), frames[part] - start, start


def _rows(offsets: np.ndarray, members: np.ndarray) -> Int[np.ndarray, " atoms"]:
    """Rows of the atoms of some frames of a shard, one frame after the other."""
    starts, ends = offsets[members], offsets[members + 1]
    sizes = ends - starts
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows: np.ndarray = np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()))
    return rows


def take(frames: Sequence[Structure], numbers: np.ndarray) -> Sequence[Structure]:
    """Some of the structures, by number; of shards, nothing is read yet."""
    if isinstance(frames, ShardedStructures):
        return frames.take(numbers)
    return [frames[k] for k in numbers.tolist()]


def numbers_of(frames: Sequence[Structure]) -> Iterator[np.ndarray]:
    """Atomic numbers of one structure after the other."""
    return (
        frames.numbers() if isinstance(frames, ShardedStructures) else (f.numbers for f in frames)
    )


def infos_of(frames: Sequence[Structure]) -> Iterator[Mapping[str, Any]]:
    """``info`` of one structure after the other."""
    return frames.infos() if isinstance(frames, ShardedStructures) else (f.info for f in frames)


def elements_of(frames: Sequence[Structure]) -> list[int]:
    """Atomic numbers of all structures together, sorted.

    Examples
    --------
    >>> water = Structure(np.array([8, 1, 1]), np.eye(3), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    >>> elements_of([water, water])
    [1, 8]
    """
    if isinstance(frames, ShardedStructures):
        return np.flatnonzero(np.bincount(frames.column("numbers"))).tolist()
    distinct = {(n.dtype.str, n.tobytes()) for n in numbers_of(frames)}
    return sorted({z for kind, n in distinct for z in np.frombuffer(n, dtype=kind).tolist()})


def reopen_shards(
    folder: Path, made_from: str, source: str | None = None
) -> ShardedStructures | None:
    """Open shards that were kept in the folder of a run; none where there are none.

    Raises
    ------
    InputError
        They were made of something else; as :meth:`ShardedStructures.open`.
    """
    if not is_shards(folder):
        return None
    if read_index(folder).made_from != made_from:
        raise InputError(
            str(folder),
            "frames of another file, or with other labels",
            "Give another --out, or delete the folder.",
        )
    return ShardedStructures.open(folder, source)


def read_index(path: Path) -> ShardIndex:
    """Read ``shards.json`` of a folder.

    Raises
    ------
    InputError
        Missing, damaged, or of another schema.
    """
    try:
        return ShardIndex.model_validate_json(read_text(path / NAME, _REMEDY))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"key '{key}': {first['msg']}" if key else first["msg"]
        raise InputError(str(path / NAME), f"not an index of shards ({what})", _REMEDY) from None


def _misfit(arrays: Mapping[str, np.ndarray], frames: int, sources: int) -> str | None:
    """An array that is missing, or of another kind or shape than the others ask for."""
    for name in _NEEDED:
        if name not in arrays:
            return name
    sizes = {"frames": frames, "ends": frames + 1, "atoms": len(arrays["numbers"])}
    sizes["bytes"] = arrays["info"].size if "info" in arrays else 0
    for name, values in arrays.items():
        kind, of, rest = _ARRAYS[name]
        if values.dtype.kind != kind or values.shape != (sizes[of], *rest):
            return name
    if not _divides(arrays["offsets"], sizes["atoms"], 1):
        return "offsets"
    if ("info" in arrays) != ("info_offsets" in arrays):
        return "info"
    if "info" in arrays and not _divides(arrays["info_offsets"], sizes["bytes"], 0):
        return "info_offsets"
    if not ((arrays["numbers"] >= 1) & (arrays["numbers"] < len(chemical_symbols))).all():
        return "numbers"
    number = arrays["origins"][:, 0]
    return None if ((number >= 0) & (number < sources)).all() else "origins"


def _divides(ends: np.ndarray, size: int, least: int) -> bool:
    """Whether parts of a least size that end so make up the whole."""
    return ends[0] == 0 and ends[-1] == size and bool((np.diff(ends) >= least).all())


def _info(arrays: Mapping[str, np.ndarray], k: int) -> dict[str, Any]:
    if "info" not in arrays:
        return {}
    start, end = arrays["info_offsets"][k : k + 2]
    if start == end:
        return {}
    found = _parsed(arrays["info"][start:end].tobytes())
    return {key: np.array(v) if isinstance(v, list) else v for key, v in found.items()}


@lru_cache(maxsize=1024)
def _parsed(text: bytes) -> Mapping[str, Any]:
    """Read what json.dumps has written: few words, the same in many frames."""
    found: dict[str, Any] = json.loads(text)
    return found


def array_file(folder: Path, shard: int, name: str) -> Path:
    """Where an array of a shard is."""
    return folder / f"{shard:05d}" / f"{name}.npy"


def digest_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
