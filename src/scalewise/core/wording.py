"""Texts for numbers, which all messages share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Frame numbers that a sentence names before it says how many more there are.
NAMED: Final = 6


def count(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "frame"), count(3, "frame")
    ('1 frame', '3 frames')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def already(done: int) -> str:
    """Clause on trainings that exist already; empty if there are none.

    Examples
    --------
    >>> already(2), already(0)
    ('; 2 begun or finished, which are used', '')
    """
    return f"; {done} begun or finished, which {'is' if done == 1 else 'are'} used" if done else ""


def list_frames(numbers: Sequence[int]) -> str:
    """Name a few frames and say how many more there are.

    Examples
    --------
    >>> list_frames([4]), list_frames([1, 2]), list_frames(range(9))
    ('frame 4', 'frames 1, 2', 'frames 0, 1, 2, 3, 4, 5 and 3 more')
    """
    named = ", ".join(str(n) for n in numbers[:NAMED])
    rest = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"frame{'' if len(numbers) == 1 else 's'} {named}{rest}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    Examples
    --------
    >>> duration(0.4), duration(75), duration(600), duration(9000)
    ('1 s', '75 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
