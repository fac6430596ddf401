"""Labels under other names than the default ones, which are used if they are unambiguous.

ASE writes ``energy``, ``forces`` and ``stress``; NEP and GPUMD write ``energy``, ``force`` and
``virial``, in upper or lower case. If no frame of a file has any of the default keys, these names
are used instead, with a message. If a file has one of the default keys, only these are used: other
columns and keys may be predictions, unless their names exclude this, as ``REF_virials`` does. In a
folder, this is decided for each file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import ase
import numpy as np

from scalewise.core.errors import InputError
from scalewise.core.progress import Progress
from scalewise.core.quantities import FILE_KEY
from scalewise.data.keys import LabelKeys, frame_columns, frame_keys, frame_value
from scalewise.data.label_names import DEFAULTS, PLURAL, LabelName, spells, spells_reference

#: Relative and absolute difference (eV, eV/Å, eV/Å³) up to which two keys hold the same: files
#: print four digits of a virial, and more of others.
_SAME: Final[dict[LabelName, tuple[float, float]]] = {
    "forces": (1e-6, 1e-6),
    "energy": (1e-9, 1e-6),
    "stress": (1e-3, 1e-5),
}


def adopt(
    source: str, images: Sequence[ase.Atoms], keys: LabelKeys, progress: Progress
) -> dict[LabelName, tuple[str, ...]]:
    """Put labels with other names under the default keys, where no frame has one of these.

    Returns
    -------
    dict
        The names that were found in their place: several, where frames differ in them.

    Raises
    ------
    InputError
        Several names for one label whose values differ in a frame: which one is meant, the user
        must say.
    """
    files: dict[str, list[ase.Atoms]] = {}
    for image in images:
        files.setdefault(str(image.info.get(FILE_KEY, "")), []).append(image)
    names: dict[LabelName, tuple[str, ...]] = {}
    said: dict[str, int] = {}
    for file, frames in files.items():
        found, what = _adopt(f"{source}/{file}" if file else source, frames, keys)
        names |= {n: tuple(dict.fromkeys((*names.get(n, ()), *found[n]))) for n in found}
        if what is not None:
            said[what] = said.get(what, 0) + 1
    for what, number in said.items():
        where = "" if number == len(files) else f" of {number} of {len(files)} files"
        progress.message(f"no frame{where} has {what}")
    return names


def _adopt(
    source: str, images: Sequence[ase.Atoms], keys: LabelKeys
) -> tuple[dict[LabelName, tuple[str, ...]], str | None]:
    """The same of one file: names, and which keys it lacks and what is read in their place."""
    columns = list(dict.fromkeys(k for image in images for k in frame_columns(image)))
    single = frame_keys(images)
    present = {*columns, *single} & {*DEFAULTS.values()}
    names: dict[LabelName, tuple[str, ...]] = {}
    taken = []
    for name, default in DEFAULTS.items():
        if getattr(keys, name) != default or name in keys.named or default in present:
            continue
        fits = spells_reference if present else spells
        found = [k for k in (columns if name == "forces" else single) if fits(name, k)]
        if found:
            _check_common(source, images, name, found, keys)
            names[name] = tuple(found)
            taken += _described(images, name, found)
    rename(images, names)
    if not taken:
        return names, None
    lacking = [key for key in DEFAULTS.values() if key not in present]
    return names, f"{' or '.join(lacking)}: read {', '.join(taken)}"


def _described(images: Sequence[ase.Atoms], name: LabelName, found: Sequence[str]) -> list[str]:
    """What is read of a label, where frames have it."""
    firsts = {_first(image, name, found) for image in images}
    used = [key for key in found if key in firsts]
    how = " (-virial / volume)" * any("virial" in key.lower() for key in used)
    return [f"{PLURAL[name]} from {' or '.join(map(repr, used))}{how}"] if used else []


def _first(image: ase.Atoms, name: LabelName, found: Sequence[str]) -> str | None:
    """The key under which a frame has a label."""
    return next((key for key in found if _value(image, name, key) is not None), None)


def rename(images: Sequence[ase.Atoms], names: Mapping[LabelName, Sequence[str]]) -> None:
    """Put labels that :func:`adopt` found under other names under the default keys.

    A frame that has a default key is of a file that follows them.
    """
    for image in images:
        follows = {*image.arrays, *image.info} & {*DEFAULTS.values()}
        for name, found in names.items():
            usable = [key for key in found if not follows or spells_reference(name, key)]
            key = _first(image, name, usable)
            if key is not None and DEFAULTS[name] not in follows:
                value = _value(image, name, key)
                (image.arrays if name == "forces" else image.info)[DEFAULTS[name]] = value


def _check_common(
    source: str, images: Sequence[ase.Atoms], name: LabelName, found: list[str], keys: LabelKeys
) -> None:
    """Assert that keys of one label hold the same wherever a frame has several of them."""
    relative, absolute = _SAME[name]
    for image in images:
        values = [v for key in found if (v := _value(image, name, key)) is not None]
        if not all(
            np.shape(other) == np.shape(values[0])
            and np.allclose(other, values[0], rtol=relative, atol=absolute)
            for other in values[1:]
        ):
            break
    else:
        return
    option = keys.options[name]
    usable = [key for key in found if "virial" not in key.lower()]
    hint = f", such as {option}={usable[-1]}" if usable else ""
    smeared = " (where electrons are smeared, forces belong to free_energy)"
    raise InputError(
        f"{source}, {PLURAL[name]}",
        f"no frame has '{DEFAULTS[name]}', and {', '.join(repr(k) for k in found)} differ",
        f"Say which one is meant with {option}{hint}"
        + smeared * ("free_energy" in found)
        + f", or {option}=null for none.",
    )


def _value(image: ase.Atoms, name: LabelName, key: str) -> Any:
    """What a frame has under a key, virials as stresses; as it is where that is not a number."""
    value = frame_columns(image).get(key) if name == "forces" else frame_value(image, key)
    if value is None or name != "stress":
        return value
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return value
    convert = _AS_MATRIX.get(numbers.size)
    matrix = numbers if convert is None else convert(numbers.reshape(-1))
    if "virial" not in key.lower():
        return matrix
    volume = abs(float(np.linalg.det(np.asarray(image.cell))))
    return -matrix / volume if image.pbc.any() and volume > 0 else None


def voigt(values: np.ndarray) -> np.ndarray:
    """The matrix [3, 3] of six values in the order xx, yy, zz, yz, xz, xy."""
    return values[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


_AS_MATRIX: Final[dict[int, Callable[[np.ndarray], np.ndarray]]] = {
    6: voigt,
    9: lambda values: values.reshape(3, 3),
}
