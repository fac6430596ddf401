"""The data that a split belongs to: a file, or structures in memory, identified by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import Field

from scalewise.core.errors import InputError
from scalewise.core.settings import Settings
from scalewise.data.readers import hash_file, read_file
from scalewise.data.shards import ShardedStructures
from scalewise.data.structure import Structure

#: Name of data that no file holds.
MEMORY: Final = "memory"


class DataFile(Settings):
    """Name, hash and number of frames of the data that a split belongs to.

    Attributes
    ----------
    file
        Name of the file without its folder; "memory" if no file holds the structures.
    sha256
        SHA-256 of the file or folder, or of the structures in memory, as 64 hex digits.
    frames
        Number of structures.
    """

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    frames: int = Field(ge=1)

    @classmethod
    def of(cls, path: Path, frames: int) -> DataFile:
        """Identify a file by its name and hash; ``frames`` is the number of its frames.

        Raises
        ------
        InputError
            The file cannot be read.
        """
        return cls(file=path.name or path.resolve().name, sha256=hash_file(path), frames=frames)


def identify(structures: Sequence[Structure]) -> DataFile:
    """Return name, hash and number of frames of the data that the structures are.

    Structures that are all frames of one file, in the order of the file and with its atoms, cells
    and positions, have the name and hash of the file, which is read again to check this. All other
    structures have the name "memory" and a hash of their numbers, positions, cells, periodicity and
    labels.

    Raises
    ------
    InputError
        No structures.

    Examples
    --------
    >>> argon = Structure(np.array([18]), np.eye(1, 3), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    >>> identify([argon, argon]).file
    'memory'
    """
    if not structures:
        raise InputError("structures", "none", "Give one structure at least.")
    if isinstance(structures, ShardedStructures) and structures.members is None:
        # read once, when the shards were written
        given = Path(structures.source or structures.contents.sources[0])
        return DataFile.of(given if given.exists() else structures.path, len(structures))
    path = _common_file(structures)
    if path is not None:
        return DataFile.of(path, len(structures))
    return DataFile(file=MEMORY, sha256=_hash_structures(structures), frames=len(structures))


def _common_file(structures: Sequence[Structure]) -> Path | None:
    """The file that holds these structures and no others; None without one."""
    path = Path(structures[0].source)
    if any(s.source != structures[0].source or s.index != k for k, s in enumerate(structures)):
        return None
    try:
        images = read_file(path)
    except InputError:  # no such file: structures may have any source
        return None
    same = len(images) == len(structures) and all(
        np.array_equal(image.numbers, s.numbers)
        and np.array_equal(image.positions, s.positions)
        and np.array_equal(image.cell, s.cell)
        and np.array_equal(image.pbc, s.pbc)
        for image, s in zip(images, structures, strict=True)
    )
    return path if same else None


def _hash_structures(structures: Sequence[Structure]) -> str:
    found = hashlib.sha256()
    for s in structures:
        parts = {
            "numbers": np.asarray(s.numbers, dtype="<i8"),
            "positions": np.asarray(s.positions, dtype="<f8"),
            "cell": np.asarray(s.cell, dtype="<f8"),
            "pbc": np.asarray(s.pbc, dtype="u1"),
        }
        for name in ("forces", "energy", "stress"):
            label = getattr(s.labels, name)
            if label is not None:
                parts[name] = np.asarray(label, dtype="<f8")
        for name, values in parts.items():
            found.update(f"{name} {values.shape}\n".encode())  # so that no two lists are alike
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()
