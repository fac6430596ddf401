"""Numbers in documents: plain Python numbers, rounded to significant digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

#: Significant digits: what is beyond is rounding, which differs between machines.
DIGITS: Final = 10


def to_json(value: Any) -> Any:
    """Return Python's numbers with ten significant digits, and null for what is not a number.

    Examples
    --------
    >>> to_json({"a": np.float32(0.5), "b": [np.int64(2), float("nan")], "c": np.True_})
    {'a': 0.5, 'b': [2, None], 'c': True}
    """
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, str):  # of an enumeration, too
        return str(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}") if np.isfinite(value) else None
    return value
