r"""Nulls: residuals of the same size with nothing to route, to score the same oracles on.

An oracle takes, unit by unit, whatever happens to lie closer to the label. Two equally good models
whose errors are not perfectly correlated let it gain several per cent although no geometry could
tell which to choose. The gain on a null is the size of that effect on *these* data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Int

from scalewise.scales.residuals import Residuals

Null = Callable[[Residuals, Int[np.ndarray, " units"], float, np.random.Generator], Residuals]


def permutation_null(
    residuals: Residuals,
    stratum: Int[np.ndarray, " units"],
    scale: float,
    rng: np.random.Generator,
) -> Residuals:
    r"""Permute, within strata, what the best single scale leaves unexplained.

    With :math:`d_k = e_k - e(s^*)` (differences of predictions: geometry, no label), the null is
    :math:`e'_k = d_k + e_{\pi}(s^*)`: every unit keeps its predictions and receives the error of
    another unit of its stratum. Sizes and tails of the errors stay; the link between error and
    branch difference, which is all that routing could use, is gone.
    """
    base = residuals.at(scale)
    order = np.arange(residuals.n_units)
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        order[members] = rng.permutation(members)
    return residuals.replace_values(residuals.values - base + base[order])


def gaussian_null(
    residuals: Residuals,
    stratum: Int[np.ndarray, " units"],
    scale: float,
    rng: np.random.Generator,
) -> Residuals:
    r"""Draw exchangeable branches: equal variance and equal correlation, stratum by stratum.

    :math:`e'_k = \sigma (\sqrt{\rho}\, z + \sqrt{1 - \rho}\, z_k)` with the mean variance and the
    mean pairwise correlation of the branches in the stratum. No branch is better anywhere.
    """
    del scale
    k, n, c = residuals.values.shape
    sigma, rho = np.empty(n), np.empty(n)
    for value in np.unique(stratum):
        members = stratum == value
        e = residuals.values[:, members].reshape(k, -1)
        cross = e @ e.T / residuals.counts[members].sum()
        variance = float(np.trace(cross)) / k
        covariance = float(cross.sum() - np.trace(cross)) / (k * (k - 1))
        sigma[members] = np.sqrt(variance)
        rho[members] = np.clip(covariance / variance, 0.0, 1.0) if variance > 0 else 1.0
    real = np.arange(c) < residuals.counts[:, None]
    shared = rng.standard_normal((n, c)) * np.sqrt(rho)[:, None]
    own = rng.standard_normal((k, n, c)) * np.sqrt(1.0 - rho)[:, None]
    return residuals.replace_values((shared + own) * sigma[:, None] * real)


NULLS: Final[dict[str, Null]] = {"permutation": permutation_null, "gaussian": gaussian_null}
