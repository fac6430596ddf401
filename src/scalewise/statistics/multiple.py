"""Several tests at once: one error rate for all of them together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Return Holm's step-down adjusted p-values: any false rejection has probability <= alpha.

    With the m values in rising order, :math:`\tilde p_{(i)} = \min\bigl(1, \max_{j \le i}\,
    (m - j + 1)\, p_{(j)}\bigr)`; they come back in the order given, rounded to twelve decimals.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return [round(float(p), 12) for p in adjusted]


def adjust_known(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted values of those that are known; the others stay None and do not count.

    Examples
    --------
    >>> adjust_known([0.01, None, 0.03])
    [0.02, None, 0.03]
    """
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]
