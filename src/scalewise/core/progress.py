"""Progress of long computations: messages, progress over items, and progress of a training.

Every long function takes an argument ``progress``, an object that receives these. The default
ignores them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from scalewise.core.wording import duration

T = TypeVar("T")
#: Seconds between lines that say how far something is.
EVERY: Final = 30.0


class Progress(Protocol):
    """Receives messages and progress of a computation.

    Instances must be picklable, as trainings start processes.
    """

    def message(self, text: str) -> None:
        """Receive one sentence about what is done or was noticed."""

    def track(self, items: Collection[T], doing: str) -> Iterable[T]:
        """Iterate over items and show the progress; ``doing`` names the work."""

    def advance(self, fraction: float, report: Mapping[str, float]) -> None:
        """Receive the share of a training budget that is spent and, after a validation, errors."""

    def close(self) -> None:
        """End the display of :meth:`advance`."""


@dataclass(frozen=True)
class Silent:
    """Ignores messages and progress."""

    def message(self, text: str) -> None:
        """See :class:`Progress`."""

    def track(self, items: Collection[T], doing: str) -> Iterable[T]:
        """See :class:`Progress`."""
        return items

    def advance(self, fraction: float, report: Mapping[str, float]) -> None:
        """See :class:`Progress`."""

    def close(self) -> None:
        """See :class:`Progress`."""


@dataclass(frozen=True)
class Messages:
    """Passes messages to a function, by default ``print``, and ignores progress.

    Attributes
    ----------
    send
        Function that takes each message.
    """

    send: Callable[[str], None] = print

    def message(self, text: str) -> None:
        """See :class:`Progress`."""
        self.send(text)

    def track(self, items: Collection[T], doing: str) -> Iterable[T]:
        """See :class:`Progress`."""
        return items

    def advance(self, fraction: float, report: Mapping[str, float]) -> None:
        """See :class:`Progress`."""

    def close(self) -> None:
        """See :class:`Progress`."""


@dataclass
class Pace:
    """How fast something goes, from the share that was there when it began."""

    first: float = 0.0
    started: float = field(default_factory=lambda: time.monotonic())

    def left(self, fraction: float) -> str:
        """Say how long the rest takes at this pace; nothing before there is any."""
        done, rest = fraction - self.first, 1.0 - fraction
        if done <= 0.0 or rest <= 0.0:
            return ""
        return f", {duration((time.monotonic() - self.started) * rest / done)} left"


@dataclass
class ConsoleProgress:
    """Prints messages dimmed and shows bars, which vanish when done.

    Where nobody watches, in a file or a queue's log, lines say how far it is, and how long is left.
    """

    _pace: Pace | None = field(default=None, init=False, repr=False)
    _bar: Callable[[float], None] | None = field(default=None, init=False, repr=False)
    _end: Callable[[], None] | None = field(default=None, init=False, repr=False)
    _line: Callable[[str, str], None] | None = field(default=None, init=False, repr=False)

    def message(self, text: str) -> None:
        """See :class:`Progress`."""
        from scalewise.core.terminal import Console

        Console().print(text, style="dim", markup=False, highlight=False)

    def track(self, items: Collection[T], doing: str) -> Iterable[T]:
        """See :class:`Progress`."""
        from rich.progress import track

        from scalewise.core.terminal import Console

        console = Console()
        if not console.is_terminal:
            return self._told(items, doing)
        return track(items, doing, total=len(items), console=console, transient=True)

    def _told(self, items: Collection[T], doing: str) -> Iterator[T]:
        """Print a line now and then; what takes less than one is not told of.

        What is counted comes when it is done, other items before.
        """
        pace, told, early = Pace(), time.monotonic(), not isinstance(items, Counted)
        for k, item in enumerate(items, 0 if early else 1):
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                self.message(f"{doing}: {k} of {len(items)}{pace.left(k / len(items))}")
            yield item

    def advance(self, fraction: float, report: Mapping[str, float]) -> None:
        """See :class:`Progress`."""
        if self._bar is None:
            self._open(fraction)
        assert self._bar is not None  # just opened, all of them
        assert self._line is not None
        assert self._pace is not None
        self._bar(fraction)
        if report:
            forces, energy = report.get("forces_mae"), report.get("energy_mae")
            parts = [f"{100 * min(fraction, 1.0):3.0f} %"]
            parts += [f"forces {forces:.1f} meV/Å"] if forces is not None else []
            parts += [f"energy {energy:.2f} meV/atom"] if energy is not None else []
            self._line(f"valid at {', '.join(parts)}", self._pace.left(fraction))

    def close(self) -> None:
        """See :class:`Progress`."""
        if self._end is not None:
            self._end()
        self._bar = self._end = self._line = self._pace = None

    def _open(self, fraction: float) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        from scalewise.core.terminal import Console

        console = Console()
        bar = Bar(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        task = bar.add_task("training", total=1.0)
        bar.start()
        self._pace = Pace(fraction)
        self._bar = lambda fraction: bar.update(task, completed=min(fraction, 1.0))
        self._end = bar.stop
        # a bar says how long is left
        self._line = lambda text, left: console.print(
            text + left * (not console.is_terminal), markup=False, highlight=False
        )

    def __getstate__(self) -> dict[str, None]:
        """Bars stay in the process that opened them."""
        return {"_pace": None, "_bar": None, "_end": None, "_line": None}


@dataclass
class Quiet:
    """Shows how far it is, and no messages: of one training among many."""

    inner: Progress

    def message(self, text: str) -> None:
        """See :class:`Progress`."""

    def track(self, items: Collection[T], doing: str) -> Iterable[T]:
        """See :class:`Progress`."""
        return self.inner.track(items, doing)

    def advance(self, fraction: float, report: Mapping[str, float]) -> None:
        """See :class:`Progress`."""
        self.inner.advance(fraction, report)

    def close(self) -> None:
        """See :class:`Progress`."""
        self.inner.close()


@dataclass
class Counted(Collection[T]):
    """Items that are still to come, with their number: for :meth:`Progress.track`."""

    items: Iterator[T]
    count: int

    def __len__(self) -> int:
        """How many there will be."""
        return self.count

    def __iter__(self) -> Iterator[T]:
        """Go through them, once."""
        return self.items

    def __contains__(self, item: object) -> bool:
        """None is kept."""
        return False


#: Tells nobody: the default of every function.
SILENT: Final = Silent()


@contextmanager
def closing(progress: Progress) -> Iterator[Progress]:
    """End what a training shows, however the training ends."""
    try:
        yield progress
    finally:
        progress.close()
