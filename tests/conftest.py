"""Shared by all tests: one thread, and small solutions made without a simulation."""

from __future__ import annotations

import os

import pytest
import torch

from scalewise.data.structure import Structure
from support import salt_frame

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is compiled is shared by all processes of the tests, and is not the user's."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # of one worker, below what is of all
        base = base.parent
    os.environ.setdefault("SCALEWISE_CACHE", str(base / "cache"))


@pytest.fixture
def salt() -> Structure:
    return salt_frame()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of commands and of pages run whole programs."""
    for item in items:
        if item.path.parent.name in ("cli", "browser"):
            item.add_marker(pytest.mark.whole)
