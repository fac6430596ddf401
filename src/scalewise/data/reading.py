"""Read structures from files and check every frame; errors name the file, the frame and the key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
from ase.data import chemical_symbols

from scalewise.core.errors import InputError, shown
from scalewise.core.files import replacing
from scalewise.core.progress import SILENT, Progress
from scalewise.core.quantities import MOLECULE_KEY, PLACE_KEY, STRESS_KEY
from scalewise.core.wording import count
from scalewise.data import units
from scalewise.data.keys import (
    LabelKeys,
    check_forces,
    check_present,
    frame_columns,
    frame_keys,
    frame_value,
)
from scalewise.data.label_names import DEFAULTS, PLURAL, LabelName, spells
from scalewise.data.placeholders import find_placeholders
from scalewise.data.readers import hash_file, iterate_file, read_file
from scalewise.data.readers.extxyz import write_images
from scalewise.data.readers.labels import CONVERGED
from scalewise.data.shard_writing import write_shards
from scalewise.data.shards import ShardedStructures, is_shards, reopen_shards
from scalewise.data.spellings import adopt, rename, voigt
from scalewise.data.structure import Labels, Structure, check_cell, check_positions, name_frame

#: Frames that are held in memory, at most, where shards can be kept instead: with their neighbor
#: lists, frames of 20 atoms take about a gigabyte.
LARGE: Final = 50_000
#: Frames that are checked together, of those that do not fit.
PART: Final = 10_000


def read_structures(
    path: Path | str,
    keys: LabelKeys | None = None,
    *,
    progress: Progress = SILENT,
    **changes: Any,
) -> list[Structure]:
    """Read every frame of a file and check it.

    Parameters
    ----------
    path
        A file whose format :mod:`scalewise.data.readers` recognises by its name, such as extxyz; or
        a folder of such files.
    keys
        Names of the columns and frame keys that hold the labels; default: ``REF_forces``,
        ``REF_energy`` and ``REF_stress``, or, if no frame has any of these, the names that common
        programs write (:mod:`scalewise.data.spellings`).
    progress
        Receives a message about labels that are read under other names, labels that the file seems
        to have under other names, and labels that some frames lack.
    changes
        Attributes of ``keys`` to replace, such as ``energy=None`` or ``check_units=False``.

    Raises
    ------
    InputError
        A missing, empty or malformed file; no frame with the column of forces; a key that was given
        and that no frame has; several names that may each hold the same label; values that are not
        finite; a cell without volume; units that look wrong, unless ``check_units`` is false.
    """
    keys = replace(keys or LabelKeys(stress=STRESS_KEY, adopt=True), **changes)
    return convert_images(read_file(path), str(path), keys, progress)


def read_or_shard(
    path: Path, keys: LabelKeys, folder: Path, *, progress: Progress = SILENT
) -> Sequence[Structure]:
    """Read every frame of a file and check it; of many frames, keep shards and no frame in memory.

    More frames than ``LARGE`` are written to a folder of shards while they are read, and read from
    there the next time. What is said of the file as a whole, such as which names its labels have,
    is judged by the first of them. A folder of shards is opened as it is.

    Parameters
    ----------
    path, keys
        As in :func:`read_structures`.
    folder
        Where the shards are kept.
    progress
        Told of labels, and of shards that are written.

    Raises
    ------
    InputError
        As :func:`read_structures`; shards of another file or other labels in the folder.
    """
    if is_shards(path):
        return _opened(path, keys)
    if is_shards(folder):
        kept = reopen_shards(folder, _made_from(path, keys), str(path))
        assert kept is not None  # they are there
        return kept
    images = iterate_file(path)
    head = list(islice(images, LARGE + 1))
    if len(head) <= LARGE:
        return convert_images(head, str(path), keys, progress)
    progress.message(f"more than {LARGE} frames: they are kept in {folder}, and not in memory")
    converted = _converted(head, images, str(path), keys, progress)
    written = write_shards(folder, converted, made_from=_made_from(path, keys))
    return replace(written, source=str(path))


def _opened(path: Path, keys: LabelKeys) -> ShardedStructures:
    """Open shards; their labels have one name only, or are not read."""
    without = []
    for name, default in DEFAULTS.items():
        key = getattr(keys, name)
        if key is None:
            without.append(name)
        elif key != default:
            raise InputError(
                f"{path}, key '{key}'",
                f"shards hold the {PLURAL[name]} that they were written with, as '{default}'",
                f"Leave {keys.options[name]} out, or give {keys.options[name]}=null for none.",
            )
    return ShardedStructures.open(path, str(path), without)


def _made_from(path: Path, keys: LabelKeys) -> str:
    words = (f"{name}={getattr(keys, name)}" for name in DEFAULTS)
    return " ".join((hash_file(path), *words))


def _converted(
    head: list[ase.Atoms],
    images: Iterator[ase.Atoms],
    source: str,
    keys: LabelKeys,
    progress: Progress,
) -> Iterator[Structure]:
    """Check and convert frames part by part; labels have the names that the first part has."""
    names = adopt(source, head, keys, progress) if keys.adopt else {}
    check_forces(source, head, keys)
    check_present(source, head, keys, progress)
    part, start, converged = head, 0, 0
    while part:
        if start:
            rename(part, names)
        kept = _converged(part, start, keys)
        converged += len(kept)
        frames = [_convert(image, source, k, keys, names) for k, image in kept]
        if keys.check_units:
            _refuse_units(frames, keys, names)
        if not start:
            _say_placeholders(frames, progress)
        yield from frames
        start += len(part)
        part = list(islice(images, PART))
    _say_unconverged(source, start - converged, start, progress)


def convert_images(
    images: Sequence[ase.Atoms],
    source: str,
    keys: LabelKeys,
    progress: Progress = SILENT,
    *,
    first: int = 0,
) -> list[Structure]:
    """Check frames that were read, and take their labels; see :func:`read_structures`.

    ``first`` is the number of the first of them in the file.
    """
    names = adopt(source, images, keys, progress) if keys.adopt else {}
    check_forces(source, images, keys)
    kept = _converged(images, first, keys)
    frames = [_convert(image, source, k, keys, names) for k, image in kept]
    _say_unconverged(source, len(images) - len(kept), len(images), progress)
    images = [image for _, image in kept]
    check_present(source, images, keys, progress)
    _say_missing(frames, images, keys, progress)
    _say_placeholders(frames, progress)
    if keys.check_units:
        _refuse_units(frames, keys, names)
    return frames


def _converged(
    images: Sequence[ase.Atoms], first: int, keys: LabelKeys
) -> list[tuple[int, ase.Atoms]]:
    """The frames, numbered, without those whose labels come from an unconverged calculation."""
    labels = any(key is not None for key in (keys.forces, keys.energy, keys.stress))
    return [
        (k, image)
        for k, image in enumerate(images, first)
        if not labels or not _is_false(image.info.get(CONVERGED))
    ]


def _is_false(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) and not value


def _say_unconverged(source: str, number: int, frames: int, progress: Progress) -> None:
    """Tell of frames that are left out.

    Raises
    ------
    InputError
        None is left.
    """
    if not number:
        return
    what = "the electronic iteration did not converge"
    if number == frames:
        raise InputError(
            source,
            f"{what} in any of {count(frames, 'frame')} (key '{CONVERGED}')",
            "Compute them again, with more electronic steps.",
        )
    progress.message(
        f"{number} of {count(frames, 'frame')} are left out: {what} (key '{CONVERGED}')"
    )


def _say_missing(
    frames: Sequence[Structure], images: Sequence[ase.Atoms], keys: LabelKeys, progress: Progress
) -> None:
    """Tell of labels that some frames have and others lack, and what these have in their place."""
    for name in DEFAULTS:
        lacking = [k for k, frame in enumerate(frames) if getattr(frame.labels, name) is None]
        if not 0 < len(lacking) < len(frames):
            continue
        without = [images[k] for k in lacking]
        known = frame_keys(without)
        if name == "forces":
            known = list(dict.fromkeys(c for image in without for c in frame_columns(image)))
        others = [repr(key) for key in known if spells(name, key) and key != getattr(keys, name)]
        also = f", but {' and '.join(others)}, which is not read" if others else ""
        progress.message(f"{len(lacking)} of {count(len(frames), 'frame')} have no {name}{also}")


def _say_placeholders(frames: Sequence[Structure], progress: Progress) -> None:
    """Tell of labels that seem not to be computed."""
    for one in find_placeholders(frames):
        progress.message(f"{one.label}: {one.found}")


def read_one(
    path: Path, index: int = -1, *, check_units: bool = True
) -> tuple[ase.Atoms, Structure]:
    """Read one frame of a file, without its labels: as ASE has it, and checked.

    Raises
    ------
    InputError
        No such frame; a file or a frame that cannot be read.
    """
    images = read_file(path)
    if not -len(images) <= index < len(images):
        raise InputError(
            "key 'index'",
            f"{index}, but {path.name} has {count(len(images), 'frame')}",
            f"Give {-len(images)} to {len(images) - 1}.",
        )
    number = index % len(images)
    keys = without_labels(check_units=check_units)
    (frame,) = convert_images([images[number]], str(path), keys, first=number)
    return images[number], frame


def without_labels(*, check_units: bool = True) -> LabelKeys:
    """Keys with which no label is read."""
    return LabelKeys(forces=None, energy=None, stress=None, check_units=check_units)


def _convert(
    image: ase.Atoms,
    source: str,
    index: int,
    keys: LabelKeys,
    names: Mapping[LabelName, Sequence[str]],
) -> Structure:
    """Check a frame and take its labels; of those that had other ``names``, errors say these."""
    said = {name: "' or '".join(names.get(name, [str(getattr(keys, name))])) for name in DEFAULTS}
    where = name_frame(source, index, image.info)
    if not len(image):
        raise InputError(where, "no atoms", "Remove the frame.")
    _check_geometry(image, where)
    labels = Labels(
        forces=None if keys.forces is None else _forces(image, where, keys.forces, said["forces"]),
        energy=None if keys.energy is None else _energy(image, where, keys.energy, said["energy"]),
        stress=None if keys.stress is None else _stress(image, where, keys.stress, said["stress"]),
    )
    return Structure(
        numbers=image.numbers.astype(np.int64),
        positions=image.positions,
        cell=np.asarray(image.cell),
        pbc=np.asarray(image.pbc),
        molecule=_molecules(image, where),
        source=source,
        index=index,
        info=dict(image.info),
        place=_place(image),
        labels=labels,
    )


def _check_geometry(image: ase.Atoms, where: str) -> None:
    unknown = np.flatnonzero((image.numbers < 1) | (image.numbers >= len(chemical_symbols)))
    if len(unknown):
        raise InputError(
            f"{where}, species",
            f"atom {unknown[0]} has the atomic number {image.numbers[unknown[0]]}",
            "Every atom must be of an element: remove dummy atoms.",
        )
    check_positions(_numbers(where, "positions", image.positions), where)
    check_cell(np.asarray(image.cell), np.asarray(image.pbc), where)


def _energy(image: ase.Atoms, where: str, key: str, said: str) -> float | None:
    found = frame_value(image, key)
    if found is None:
        return None
    values = _numbers(where, said, found)
    if values.size != 1:
        raise InputError(
            f"{where}, key '{said}'", f"{values.size} values", "An energy is one number."
        )
    return float(values.reshape(-1)[0])


def _molecules(image: ase.Atoms, where: str) -> np.ndarray:
    """The number of each atom's molecule; words are numbered, and without a column, atoms."""
    column = image.arrays.get(MOLECULE_KEY)
    if column is None:
        return np.arange(len(image))
    if column.dtype.kind in "UOb":
        return np.unique([str(word) for word in column], return_inverse=True)[1].astype(np.int64)
    return _numbers(where, MOLECULE_KEY, column).reshape(len(image), -1)[:, 0].astype(np.int64)


def _place(image: ase.Atoms) -> np.ndarray | None:
    """The words of the column, if it holds words: a column of numbers is something else."""
    column = image.arrays.get(PLACE_KEY)
    if column is None or not all(isinstance(word, str) for word in column):
        return None
    return np.asarray(column, dtype=str)


def _forces(image: ase.Atoms, where: str, key: str, said: str) -> np.ndarray | None:
    found = frame_columns(image).get(key)
    if found is None:
        return None
    forces, shape = _numbers(where, said, found), (len(image), 3)
    if forces.shape != shape:
        raise InputError(
            f"{where}, key '{said}'",
            f"shape {forces.shape} for {len(image)} atoms",
            "Forces have three components per atom.",
        )
    return forces


def _stress(image: ase.Atoms, where: str, key: str, said: str) -> np.ndarray | None:
    """The stress as a symmetric matrix, from nine values or from six in Voigt's order."""
    found = frame_value(image, key)
    if found is None:
        return None
    values = _numbers(where, said, found).reshape(-1)
    if values.size == 6:
        return voigt(values)
    if values.size != 9:
        raise InputError(
            f"{where}, key '{said}'",
            f"{values.size} values",
            "A stress has nine values, or six in the order xx, yy, zz, yz, xz, xy.",
        )
    matrix = values.reshape(3, 3)
    return 0.5 * (matrix + matrix.T)


def _numbers(where: str, key: str, values: Any) -> np.ndarray:
    """The values as numbers, finite and of a size that squares do not overflow."""
    try:
        numbers = np.asarray(values, dtype=float)
        if np.asarray(values).dtype == bool:  # T or F in a file
            raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}, key '{key}'",
            f"{shown(values, 60)} where numbers belong",
            "Write numbers, or another key.",
        ) from None
    sane = np.atleast_1d(np.isfinite(numbers) & (np.abs(numbers) < 1e30))
    if not sane.all():
        place = f"atom {int(np.argwhere(~sane)[0][0])} holds a value" if numbers.ndim else "a value"
        raise InputError(
            f"{where}, key '{key}'",
            f"{place} that is not finite, or beyond 1e30",
            "Remove the frame or recompute it.",
        )
    return numbers


def _refuse_units(
    frames: Sequence[Structure], keys: LabelKeys, names: Mapping[LabelName, Sequence[str]]
) -> None:
    """Refuse the first thing about units that looks wrong."""
    named: dict[str, str | None] = {
        "positions": "positions",
        "forces": keys.forces,
        "energy": keys.energy,
        "stress": keys.stress,
        **{str(name): "' or '".join(found) for name, found in names.items()},
    }
    found = units.suspicions(frames, keys.stress) if keys.any else units.suspect_lengths(frames)
    for one in found:
        at = frames[0].source if one.frame is None else frames[one.frame].where
        raise InputError(
            f"{at}, key '{named[one.label]}'",
            one.found,
            f"Convert to eV and Å, or set {keys.units_option}=false if the values are right.",
        )


def write_structures(path: Path | str, structures: Sequence[Structure]) -> None:
    """Write structures with their labels to an extxyz file; a failed write leaves no partial file.

    Forces (eV/Å) are written to the column ``REF_forces``, energy (eV) and stress (eV/Å³) to the
    frame keys ``REF_energy`` and ``REF_stress``, where :func:`read_structures` finds them.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as stream:
        write_images(stream, [s.to_ase() for s in structures])
