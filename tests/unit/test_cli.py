"""What the command line sets before anything heavy is imported."""

from __future__ import annotations

import os

import pytest

from scalewise import cli


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, cli.PATIENT),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_threads_that_wait_sleep_soon(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, a thread that waits would keep the core of the one that it waits for."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "restored after the test")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen: list[str | None] = []
    monkeypatch.setattr(cli, "app", lambda: seen.append(os.environ.get("GOMP_SPINCOUNT")))
    cli.main()
    assert seen == [expected]
