"""Findings of the doctor, with their severity and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


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
