"""Extensions by other packages, found by the entry points that they declare.

A package declares entry points of a group, such as ``scalewise.readers``, in its
``pyproject.toml``. An entry point is imported when it is used, not before.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from scalewise.core.errors import InputError, cut


def declared(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """Entry points of a group by name, in the order of their names; nothing is imported."""
    found = importlib.metadata.entry_points(group=group)
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


def imported(entry: importlib.metadata.EntryPoint) -> Any:
    """Import what an entry point names.

    Raises
    ------
    InputError
        The import fails.
    """
    try:
        return entry.load()
    except Exception as error:  # whatever the import of other people's code raises
        raise InputError(
            f"entry point '{entry.name}' of {entry.group}",
            f"{entry.value} cannot be imported ({reason(error)})",
            "Install the package that declares it again, or remove it.",
        ) from error


def reason(error: BaseException, most: int = 300) -> str:
    """Kind and message of an exception on one line.

    Examples
    --------
    >>> reason(KeyError("x"))
    "KeyError: 'x'"
    """
    return cut(" ".join(f"{type(error).__name__}: {error}".split()), most)
