"""The one exception users meet: it names what was received, what was expected, and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, Final

#: Characters of a value that an error shows; what is longer is cut in its middle.
SHOWN: Final = 300
#: Control characters (C0, C1, delete) but line breaks and tabs, and marks that reorder text: a
#: terminal obeys them.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Replace what a terminal would obey by what it is: text of strangers is shown, not run.

    Examples
    --------
    >>> print(printable("Na\x1b[2JCl"))
    Na\x1b[2JCl
    """
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def shown(value: Any, most: int = SHOWN) -> str:
    """Show a value in an error message: on one line, and cut in its middle where it is long.

    Examples
    --------
    >>> shown("a" * 20, most=11)
    "'aa ... aa'"
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; more digits than Python prints
        text = f"a {type(value).__name__}"
    return cut(text, most)


def cut(text: str, most: int = SHOWN) -> str:
    """Cut a text in its middle where it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[: most - 5 - half]} ... {text[-half:]}"


class InputError(ValueError):
    """Error in the user's input; its message is one paragraph, and the exit code is 2.

    Parameters
    ----------
    where
        File, frame, setting or argument in which the problem was found.
    found
        What was found there.
    remedy
        What would be right, and what the user can do.

    Examples
    --------
    >>> str(InputError("frames.xyz, frame 3", "no forces", "Add a column 'forces'."))
    "frames.xyz, frame 3: no forces. Add a column 'forces'."
    """

    def __init__(self, where: str, found: str, remedy: str) -> None:
        where, found, remedy = (printable(cut(text, 4 * SHOWN)) for text in (where, found, remedy))
        super().__init__(f"{where}: {found.rstrip('.')}. {remedy}")
        self._parts = (where, found, remedy)

    @property
    def found(self) -> str:
        """What was found."""
        return self._parts[1]

    @property
    def remedy(self) -> str:
        """What the user can do."""
        return self._parts[2]

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Survive the way back from a worker process."""
        return InputError, self._parts


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty string.

    Examples
    --------
    >>> did_you_mean("concentrtion", ["concentration", "seed"])
    " Did you mean 'concentration'?"
    >>> did_you_mean("zzz", ["seed"])
    ''
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
