"""Independent jobs, one after the other and in processes that may die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from scalewise.core.errors import InputError
from scalewise.core.jobs import run_jobs


def squared(shared: int, job: int) -> int:
    return shared + job**2


def dying(shared: Path, job: int) -> int:
    """Die once at every job, and for good at a negative one."""
    mark = shared / str(job)
    if job < 0 or not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def test_jobs_give_the_same_whoever_does_them() -> None:
    for workers in (1, 2):
        assert dict(run_jobs(squared, 3, [1, 2, 5], workers)) == {0: 4, 1: 7, 2: 28}


def test_jobs_survive_the_death_of_their_processes(tmp_path: Path) -> None:
    assert dict(run_jobs(dying, tmp_path, [1, 2], 2)) == {0: 1, 1: 2}
    with pytest.raises(InputError, match="die again and again"):
        list(run_jobs(dying, tmp_path, [-1, -2], 2))
