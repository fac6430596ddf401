"""Jobs on the workers of a Dask scheduler, all of which may die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalewise.core import cluster
from scalewise.core.errors import InputError
from scalewise.core.jobs import run_jobs

pytest.importorskip("distributed")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def dask(*words: str) -> subprocess.Popen[bytes]:
    """A command of Dask whose workers find the functions of this module."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def killed(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def scheduler(port: int) -> subprocess.Popen[bytes]:
    return dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")


def workers(address: str, count: int = 2, threads: int = 1) -> subprocess.Popen[bytes]:
    words = ("--nworkers", str(count), "--nthreads", str(threads), "--no-dashboard")
    return dask("worker", address, *words, "--death-timeout", "60")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    running = [scheduler(port), workers(address)]
    yield address
    for process in running:
        killed(process)


def squared(shared: int, job: int) -> int:
    return shared + job**2


def complaining(shared: int, job: int) -> int:
    raise InputError("job", str(job), "Do not.")


def dying(shared: str, job: int) -> int:
    """Die twice at every job, and for good at a negative one."""
    marks = [Path(shared) / f"{job}-{k}" for k in range(2)]
    mark = next((m for m in marks if not m.exists()), None)
    if job < 0 or mark is not None:
        if mark is not None:
            mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def slow(shared: float, job: int) -> int:
    time.sleep(shared)
    return job


def test_workers_find_what_this_process_does(address: str) -> None:
    assert dict(run_jobs(squared, 3, [1, 2, 5], 1, address)) == {0: 4, 1: 7, 2: 28}
    with pytest.raises(InputError, match="Do not"):
        list(run_jobs(complaining, 3, [1], 1, address))


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWERS", 0.5)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        list(run_jobs(squared, 3, [1], 1, nobody))
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        list(run_jobs(squared, 3, [1], 1, "nonsense://here"))


@pytest.mark.slow
def test_workers_die_and_jobs_are_done(address: str, tmp_path: Path) -> None:
    found = dict(run_jobs(dying, str(tmp_path), list(range(5)), 1, address))  # ten deaths
    assert found == {k: k for k in range(5)}
    assert len(list(tmp_path.iterdir())) == 10


@pytest.mark.slow
def test_a_job_of_which_every_worker_dies(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="die again and again"):
        list(run_jobs(dying, str(tmp_path), [-1], 1, address))


@pytest.mark.slow
def test_the_scheduler_dies_and_another_takes_its_place() -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    running = [scheduler(port), workers(address)]
    try:
        found = {}
        for k, result in run_jobs(slow, 0.5, list(range(6)), 1, address):
            found[k] = result
            if len(found) == 2:
                for process in running:
                    killed(process)
                running = [scheduler(port), workers(address)]
        assert found == {k: k for k in range(6)}
    finally:
        for process in running:
            killed(process)


@pytest.mark.slow
def test_workers_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    running = [scheduler(port)]
    try:
        monkeypatch.setattr(cluster, "COMES", 1.0)
        with pytest.raises(InputError, match="no worker came"):
            list(run_jobs(squared, 3, [1], 1, address))
        monkeypatch.setattr(cluster, "COMES", 60.0)
        running.append(workers(address, 1, threads=2))
        with pytest.raises(InputError, match="2 threads"):
            list(run_jobs(squared, 3, [1], 1, address))
        killed(running.pop())
        running.append(workers(address, 1))
        monkeypatch.setattr(cluster, "_version", lambda name: "0.0.0")
        with pytest.raises(InputError, match=r"there, 0\.0\.0 here"):
            list(run_jobs(squared, 3, [1], 1, address))
    finally:
        for process in running:
            killed(process)
