"""Documents that the program wrote and reads again, checked like any untrusted input.

The contents of a document either fit its model, and code that reads them cannot fail, or raise an
:class:`InputError`. Numbers are bounded such that no conversion of units, no ratio of two of them
and no axis of a figure overflows.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scalewise.core.errors import InputError, printable
from scalewise.core.files import check_regular, read_json

#: Bytes of the largest document; results of the largest study have a few million.
LARGEST: Final = 64 << 20
#: Levels of nesting, and characters of one text; documents of ours have a third, and a few hundred.
DEEPEST, LONGEST = 30, 100_000


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("a name must be on one line")
    return text


Number = Annotated[float, Field(ge=-1e60, le=1e60)]
Size = Annotated[float, Field(ge=0.0, le=1e60)]
Count = Annotated[int, Field(ge=0, le=10**12)]
#: What may be a branch is named after a folder and a file, of 255 bytes each.
Name = Annotated[str, Field(min_length=1, max_length=520), AfterValidator(_one_line)]
Text = Annotated[str, Field(max_length=4000)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
#: Of a file in the folder of the document, and in no other.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=200)]


class Record(BaseModel):
    """Base of all documents: nothing is converted, and what is unknown is kept."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


M = TypeVar("M", bound=Record)


# -- reading ---------------------------------------------------------------------------------------


def read_plain(path: Path, remedy: str) -> Any:
    """Read JSON that can be compared, printed and written again whatever it holds.

    Raises
    ------
    InputError
        Not a regular file or not JSON; nested too deeply, a number that is not finite, a text that
        is too long or that a terminal or a file cannot hold.
    """
    value = read_json(path, remedy, largest=LARGEST)
    reason = _untame(value)
    if reason:
        raise InputError(str(path), reason, remedy)
    return value


def _untame(value: Any) -> str | None:
    left = [(value, 0)]
    while left:
        item, depth = left.pop()
        if depth > DEEPEST:
            return "nested too deeply"
        if isinstance(item, dict):
            left += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            left += [(part, depth + 1) for part in item]
        elif isinstance(item, str):
            if len(item) > LONGEST or printable(item) != item:
                return "a text that is too long, or that has control characters"
        elif isinstance(item, int):
            if item.bit_length() > 1000:
                return "a number that is too large"
        elif isinstance(item, float) and not math.isfinite(item):
            return "a number that is not finite"
    return None


def checked(model: type[M], value: Any, where: str, remedy: str) -> M:
    """Check a value against its model.

    Raises
    ------
    InputError
        It does not fit; the message names the first key that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        place = f"{where}, key '{key}'" if key else where
        raise InputError(place, first["msg"], remedy) from None


def read_kept(path: Path, model: type[Record] | None = None) -> dict[str, Any] | None:
    """Read a document that can be made again: what is missing or damaged is None."""
    with contextlib.suppress(InputError):
        value = read_plain(path, "")
        if model is not None:
            checked(model, value, str(path), "")
        if isinstance(value, dict):
            return value
    return None


def read_array(path: Path, columns: int, rows: int) -> np.ndarray | None:
    """Read a .npy file of finite numbers in this shape: any other, and a missing one, is None."""
    try:
        check_regular(path, "")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a header that only just can be read
            # mapped, so that a shape that the file is too short for allocates nothing
            found = np.lib.format.open_memmap(path, mode="r")
        if found.shape != (rows, columns) or found.dtype.kind != "f":
            return None
        kept = np.array(found)
    except Exception:  # NumPy raises a dozen kinds for a damaged header
        return None
    return kept if np.isfinite(kept).all() else None
