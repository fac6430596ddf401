"""Independent jobs, one after the other and in processes that may die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from scalewise.core.errors import InputError
from scalewise.core.jobs import run_jobs
from scalewise.training.stopping import Stop


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


def test_a_process_that_dies_while_others_start_is_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor then closes pipes that the next process was to get: an OSError of submit."""
    submit, failed = ProcessPoolExecutor.submit, []

    def once(pool: ProcessPoolExecutor, *words: object) -> object:
        if not failed:
            failed.append(True)
            raise OSError(9, "Bad file descriptor")
        return submit(pool, *words)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", once)
    assert dict(run_jobs(squared, 3, [1, 2], 2)) == {0: 4, 1: 7}


def told(shared: Path, job: float) -> float:
    """Work for some seconds; told to end, save for half a second, as a training does."""
    with Stop().listening() as stop:
        (shared / str(job)).touch()
        end = time.monotonic() + job
        while time.monotonic() < end:
            time.sleep(0.01)
            if stop.asked:
                time.sleep(0.5)
                raise stop.error
    return job


def test_a_run_that_is_told_to_end_ends_though_one_process_is_idle(tmp_path: Path) -> None:
    """The idle one dies with the queue in its hands: the other must not ask for more."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "from pathlib import Path; from test_jobs import told; "
        "from scalewise.core.jobs import run_jobs; "
        "from scalewise.core.running import terminable\n"
        "    with terminable():\n"
        f"        for _ in run_jobs(told, Path({str(tmp_path)!r}), [0.1, 60.0], 2): "
        "print('done', flush=True)"
    )
    script = tmp_path / "start.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    while not (tmp_path / "60.0").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    process.terminate()
    with process.stdout:
        assert process.wait(timeout=20) != 0


def waiting(shared: Path, job: int) -> None:
    (shared / str(os.getpid())).touch()
    time.sleep(60.0)


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "from pathlib import Path; from test_jobs import waiting; "
        "from scalewise.core.jobs import run_jobs; "
        f"list(run_jobs(waiting, Path({str(tmp_path)!r}), [1, 2], 2))"
    )
    script = tmp_path / "start.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    begun: list[int] = []
    deadline = time.monotonic() + 60
    while len(begun) < 2 and time.monotonic() < deadline:
        begun = [int(p.name) for p in tmp_path.iterdir() if p.name.isdecimal()]
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, begun)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(begun) == 2
    assert not any(map(alive, begun))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
