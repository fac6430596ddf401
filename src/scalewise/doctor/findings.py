"""What the doctor found, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
#: Frame numbers that a sentence names before it says how many more there are.
NAMED: Final = 6


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing.

    Parameters
    ----------
    severity
        ``error``: a model trained on this would be wrong; ``warning``: look before training;
        ``note``: good to know.
    subject
        The section of ``doctor.json`` that it comes from.
    found, remedy
        What is there, and what to do about it; one sentence each.
    """

    severity: Severity
    subject: str
    found: str
    remedy: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as ``doctor.json`` has them."""
        return asdict(self)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Order findings, worst first, otherwise as they were made."""
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def count(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "frame"), count(3, "frame")
    ('1 frame', '3 frames')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
