"""The one exception users meet: it names what was received, what was expected, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one paragraph, the exit code 2.

    Parameters
    ----------
    where
        File, frame, configuration key or argument the problem was found in.
    found
        What is there.
    remedy
        What would have been right, and what to do now.

    Examples
    --------
    >>> str(InputError("frames.xyz, frame 3", "no forces", "Add a column 'forces'."))
    "frames.xyz, frame 3: no forces. Add a column 'forces'."
    """

    def __init__(self, where: str, found: str, remedy: str) -> None:
        super().__init__(f"{where}: {found.rstrip('.')}. {remedy}")
        self._parts = (where, found, remedy)

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
