"""Shared by all tests: one thread, and small solutions made without a simulation."""

from __future__ import annotations

import pytest
import torch

from scalewise.data.structure import Structure
from support import salt_frame

torch.set_num_threads(1)


@pytest.fixture
def salt() -> Structure:
    return salt_frame()
