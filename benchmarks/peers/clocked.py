"""A Lightning callback that keeps the clock: three peers train with Lightning.

Both names of that package are in use (`lightning` and `pytorch_lightning`) and their callbacks do
not mix, so the base class is passed in.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.clock import Clock, now


def clocked(base: type, clock: Clock) -> Any:
    """A callback of this Lightning's `Callback` class: counts batches, pauses in validation."""

    class Clocked(base):
        def on_train_batch_start(self, *_: Any) -> None:
            clock.start()

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            clock.tick()
            trainer.should_stop = clock.finished

        def on_validation_start(self, *_: Any) -> None:
            self._since = now()

        def on_validation_end(self, *_: Any) -> None:
            clock.skip(now() - self._since)

    return Clocked()
