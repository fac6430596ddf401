r"""Extrapolate learning curves: the error with more frames or with more steps.

Trainings that differ only in the number n of frames or steps have errors e(n). The logarithm of
the error falls by :math:`\sigma` with each doubling of n, and :math:`\sigma` becomes smaller: on
learning curves that were followed to their end, it changed by a factor r with each doubling. From
the last two sizes, which are :math:`\Delta` doublings apart, the fall over D further doublings is

.. math:: \log\frac{e(n)}{e(2^D n)} = \sigma\, r^{\Delta / 2} \int_0^D r^u\, du
   = \sigma\, r^{\Delta / 2}\, \frac{r^D - 1}{\log r}

The factor r is drawn from the distribution that it had on these learning curves. The errors at both
sizes and at the end are drawn with the variance between replicas; as this variance is estimated
from few replicas, it is drawn, too (from a :math:`\chi^2` distribution). No forecast is below the
noise of the labels (``benchmarks/forecasts.py``; docs/findings.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

#: Mean and spread of r with steps and with frames.
BEND: Final = {"steps": (0.8, 0.15), "frames": (0.7, 0.2)}
#: Lowest and highest r that is drawn.
ENDS: Final = (0.2, 1.3)
DRAWS: Final = 4096
#: Probability that an interval holds the error.
LEVEL: Final = 0.9


@dataclass(frozen=True)
class ErrorForecast:
    """Share of the error that a larger size saves, with an interval of 90 %."""

    size: float
    gain: float
    low: float
    high: float

    def record(self) -> dict[str, float]:
        """As a document has it."""
        return {"to": self.size, "gain": self.gain, "low": self.low, "high": self.high}


def extend(
    kind: str,
    sizes: Sequence[float],
    errors: Float[np.ndarray, "replicas sizes"],
    to: float,
    *,
    luck: float | None = None,
    freedom: int | None = None,
    floor: float = 0.0,
) -> ErrorForecast | None:
    """Extend a learning curve; none where an error is zero, or the last two sizes are equal.

    Parameters
    ----------
    kind
        ``frames`` or ``steps``.
    sizes, errors
        Rising sizes, and the errors there of each replica.
    to
        The size that is asked about, above the last.
    luck
        Standard deviation of the logarithm of an error between replicas; default: that of these.
    freedom
        Degrees of freedom of ``luck``: replicas less sizes that it was estimated from. A variance
        of so few is uncertain, which widens the interval as Student's t does. None: it is known.
    floor
        Noise of the labels, in the units of the errors.

    Examples
    --------
    >>> errors = np.array([[40.0, 20.0], [40.0, 20.0]])  # halved by four times the steps
    >>> found = extend("steps", [100, 400], errors, 800)
    >>> [round(v, 2) for v in (found.gain, found.low, found.high)]
    [0.22, 0.14, 0.31]
    """
    if sizes[-1] <= sizes[-2] or not (errors > 0).all():
        return None
    rng = np.random.default_rng(0)
    bend, first, second, last = rng.standard_normal((4, DRAWS))
    logs, replicas = np.log(errors), len(errors)
    if luck is None:
        luck = float(np.sqrt(logs.var(axis=0, ddof=1).mean())) if replicas > 1 else 0.0
        freedom = logs.shape[1] * (replicas - 1)
    apart, more = np.log2(sizes[-1] / sizes[-2]), np.log2(to / sizes[-1])
    share = np.full(DRAWS, luck / np.sqrt(replicas))
    if freedom:
        share *= np.sqrt(freedom / rng.chisquare(freedom, DRAWS))
    now, before = logs[:, -1].mean() + share * first, logs[:, -2].mean() + share * second
    slope = np.maximum((before - now) / apart, 0.0)
    middle, spread = BEND[kind]
    r = np.log(np.clip(middle + spread * bend, *ENDS))
    r = np.where(np.abs(r) < 1e-6, 1e-6, r)
    fall = slope * np.exp(r * apart / 2.0) * np.expm1(r * more) / r
    reached = logs[:, -1].mean()
    # an estimate of the noise may be above what was reached
    lowest = min(np.log(max(floor, 1e-300)), reached)
    ends = np.maximum(now - fall + share * last, lowest)
    gains = 1.0 - np.exp(ends - reached)
    tail = 0.5 * (1.0 - LEVEL)
    low, gain, high = (float(q) for q in np.quantile(gains, [tail, 0.5, 1.0 - tail]))
    return ErrorForecast(float(to), gain, low, high)
