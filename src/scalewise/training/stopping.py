"""Signals that end a training before its budget is spent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from scalewise.core.running import USR1, Requeued, Terminated

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, *(() if USR1 is None else (USR1,)))


@dataclass
class Stop:
    """Remembers that the process was told to end, so that a step is finished and saved first.

    The same signal a second time ends it at once, and so does the first one while ``urgent``. With
    ``forward``, processes that were started for the training are told, too.
    """

    forward: bool = False
    urgent: bool = False
    seen: Counter[int] = field(default_factory=Counter)

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return bool(self.seen)

    @property
    def error(self) -> KeyboardInterrupt:
        """What to raise when all is saved."""
        if self.seen[signal.SIGTERM]:
            return Terminated()
        return Requeued() if USR1 is not None and self.seen[USR1] else KeyboardInterrupt()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take over the signals; in another thread than the main one nothing is changed."""
        try:
            before = [(s, signal.signal(s, self._handle)) for s in SIGNALS if not _ignored(s)]
        except ValueError:
            before = []
        try:
            yield self
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        self.seen[number] += 1
        if self.forward:
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    with contextlib.suppress(OSError):
                        os.kill(child.pid, signal.SIGTERM)
        if self.urgent or self.seen[number] > 1:
            raise self.error


def _ignored(number: int) -> bool:
    """Whether a signal is ignored, as interrupts are in a job of the background."""
    return signal.getsignal(number) is signal.SIG_IGN
