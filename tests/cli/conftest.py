"""Commands print into lines of one width, so that no sentence that a test reads is broken."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give subprocesses 200 columns: where 80 break a line depends on the digits before it."""
    monkeypatch.setenv("COLUMNS", "200")
