r"""Errors of predictions, each with its interval over groups of frames.

Over the atoms (or frames) k of a subset, with :math:`\Delta` predicted minus labelled,

.. math:: \mathrm{MAE} = \langle |\Delta_k| \rangle, \qquad
   \mathrm{RMSE} = \langle \Delta_k^2 \rangle^{1/2}, \qquad
   R^2 = 1 - \frac{\sum_k \Delta_k^2}{\sum_k (y_k - \bar y)^2}

with means over components too. Intervals are those of :mod:`scalewise.statistics.bootstrap`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from scalewise.statistics.bootstrap import Resampling


def score(
    error: Float[np.ndarray, "units components"],
    block: Int[np.ndarray, " units"],
    resampling: Resampling,
    unit: float = 1e3,
) -> dict[str, Any]:
    """MAE and RMSE with their intervals.

    Parameters
    ----------
    error
        Predicted minus labelled.
    block
        Group of each unit.
    resampling
        Of the groups.
    unit
        Factor to the unit that is reported: 1000 for milli.
    """
    counts = np.full(len(error), error.shape[1])
    absolute, square = np.abs(error).sum(axis=1), (error**2).sum(axis=1)
    linear = resampling.mean(absolute, counts, block)
    squared = resampling.mean(square, counts, block)
    return {
        "mae": unit * float(absolute.sum() / counts.sum()),
        "mae_interval": None
        if linear is None
        else [unit * max(linear.low, 0.0), unit * linear.high],
        "rmse": unit * float(np.sqrt(square.sum() / counts.sum())),
        "rmse_interval": None
        if squared is None
        else [unit * float(np.sqrt(max(end, 0.0))) for end in (squared.low, squared.high)],
    }


def explain(
    error: Float[np.ndarray, "units 3"],
    label: Float[np.ndarray, "units 3"],
    block: Int[np.ndarray, " units"],
    resampling: Resampling,
) -> dict[str, Any]:
    """Share of the labels' variance that is explained; null where the labels do not vary."""
    centred = ((label - label.mean(axis=0)) ** 2).sum(axis=1)
    square = (error**2).sum(axis=1)
    if centred.sum() == 0.0:
        return {"explained": None, "explained_interval": None}
    left = resampling.ratio(square, centred, block)
    return {
        "explained": 1.0 - float(square.sum() / centred.sum()),
        "explained_interval": None if left is None else [1.0 - left.high, 1.0 - left.low],
    }


def score_energies(
    error: Float[np.ndarray, " frames"], block: Int[np.ndarray, " frames"], resampling: Resampling
) -> dict[str, Any]:
    """Errors of energies per atom (eV), as they are and without their mean over the frames.

    The mean is an offset that no difference of energies shows.
    """
    offset = float(error.mean())
    return {
        "frames": len(error),
        "total": score(error[:, None], block, resampling),
        "offset": 1e3 * offset,
        "without_offset": score(error[:, None] - offset, block, resampling),
    }
