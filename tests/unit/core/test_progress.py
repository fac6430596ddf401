"""What a log shows of a long computation, where nobody watches."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from scalewise.core import progress
from scalewise.core.progress import ConsoleProgress, Counted, Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed, which tests set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_what_is_left_is_told_at_the_pace_since_it_began(clock: list[float]) -> None:
    pace = Pace(0.5)  # a training that goes on
    assert pace.left(0.5) == ""
    clock[0] = 60.0
    assert pace.left(0.6) == ", 4 min left"
    assert pace.left(1.0) == ""


def test_a_log_has_a_line_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in ConsoleProgress().track(range(10), "Predicting"):
        clock[0] += 16.0
    found = capsys.readouterr().out.splitlines()
    assert found == [
        "Predicting: 2 of 10, 2 min left",
        "Predicting: 4 of 10, 2 min left",
        "Predicting: 6 of 10, 64 s left",
        "Predicting: 8 of 10, 32 s left",
    ]
    for _ in ConsoleProgress().track(range(10), "Predicting"):
        clock[0] += 1.0
    assert capsys.readouterr().out == ""


def test_jobs_are_told_of_when_they_are_done(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def jobs() -> Iterator[int]:
        for k in range(2):
            clock[0] += 3600.0
            yield k

    for _ in ConsoleProgress().track(Counted(jobs(), 2), "Training"):
        pass
    found = capsys.readouterr().out.splitlines()
    assert found == ["Training: 1 of 2, 60 min left", "Training: 2 of 2"]


def test_a_training_says_how_long_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ConsoleProgress()
    shown.advance(0.0, {})
    clock[0] = 20.0
    shown.advance(0.25, {"forces_mae": 12.34, "energy_mae": 1.5})
    assert len(pickle.dumps(shown)) < 1000  # trainings are told of in other processes
    clock[0] = 120.0
    shown.advance(1.0, {"forces_mae": 10.0})
    shown.close()
    lines = [line for line in capsys.readouterr().out.splitlines() if re.search(r"\S", line)]
    assert lines == [
        "valid at  25 %, forces 12.3 meV/Å, energy 1.50 meV/atom, 60 s left",
        "valid at 100 %, forces 10.0 meV/Å",
    ]
