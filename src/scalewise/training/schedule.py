"""The learning-rate schedule, and the time that a training has run."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


def rate(fraction: float, warmup: float) -> float:
    """Learning rate over its largest: a linear rise, then half a cosine down to zero.

    Examples
    --------
    >>> [round(rate(x, 0.1), 3) for x in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if fraction < warmup:
        return max(fraction / warmup, 1e-3)
    left = (min(fraction, 1.0) - warmup) / (1.0 - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * left))


@dataclass
class Clock:
    """Seconds that a training has run, in this session and in earlier ones."""

    before: float = 0.0
    started: float = 0.0

    @classmethod
    def running(cls, before: float) -> Clock:
        """Start now."""
        return cls(before, time.monotonic())

    @property
    def seconds(self) -> float:
        """Of this and of earlier sessions."""
        return self.before + time.monotonic() - self.started
