"""Training time, counted the same way for every peer."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CPU = os.environ.get("PEERS_CLOCK") == "cpu"
COUNTED = (
    f"{'CPU' if CPU else 'wall'} time of the training loop from its first batch: neighbor lists of"
    " frames seen for the first time, compilation, optimizer and averaging included; imports,"
    " reading the files, building the model, validation, saving and the final predictions excluded"
)


def now() -> float:
    """Seconds: wall time, or with $PEERS_CLOCK=cpu that of the CPU, on a machine that is shared.

    The latter counts this process and those that it has waited for.
    """
    if not CPU:
        return time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class OutOfTimeError(BaseException):
    """Raised inside a peer's own trainer to leave it at the end of the budget.

    Not an Exception, because trainers wrap those into errors of their own.
    """


class Clock:
    """Counts training seconds, pauses for what is not training, and calls `mark` at each mark.

    The last mark is the budget. `started` is None until the first `tick` or `start`.
    """

    def __init__(self, marks: list[float], mark: Callable[[float], None]) -> None:
        self.marks = sorted(marks)
        self.budget = self.marks[-1]
        self.mark = mark
        self.reached: dict[str, float] = {}
        self.steps_at: dict[str, int] = {}
        self.steps = 0
        self._started: float | None = None
        self._paused = 0.0

    def start(self) -> None:
        """Begin to count; later calls do nothing."""
        if self._started is None:
            self._started = now()

    @property
    def seconds(self) -> float:
        """Training time so far."""
        if self._started is None:
            return 0.0
        return now() - self._started - self._paused

    def skip(self, seconds: float) -> None:
        """Take off time that went into something else than training."""
        if self._started is not None:
            self._paused += seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside."""
        start = now()
        try:
            yield
        finally:
            self.skip(now() - start)

    @property
    def finished(self) -> bool:
        """Whether the last mark was reached."""
        return len(self.reached) == len(self.marks)

    def tick(self) -> None:
        """After a training step: take the snapshots that are due."""
        self.start()
        self.steps += 1
        seconds = self.seconds
        due = [m for m in self.marks if seconds >= m and name(m) not in self.reached]
        with self.paused():
            for moment in due:
                self.mark(moment)
                self.reached[name(moment)] = seconds
                self.steps_at[name(moment)] = self.steps


def name(seconds: float) -> str:
    """How a mark is written in file names and keys."""
    return f"{seconds:g}"
