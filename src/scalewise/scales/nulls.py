r"""Nulls: residuals of the same size without anything to route, on which oracles are scored, too.

An oracle chooses for every unit the prediction that is closer to the label. With two equally good
models whose errors are not perfectly correlated, it gains several per cent, although the geometry
does not tell which model to choose. The gain of an oracle on a null measures this effect for the
data at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from scalewise.scales.blend import Residuals


def permutation_null(
    residuals: Residuals, stratum: Int[np.ndarray, " units"], rng: np.random.Generator
) -> Residuals:
    r"""Permute, within strata, the error that no fixed combination of the branches explains.

    :math:`b = \sum_k w_k e_k` with :math:`\sum_k w_k = 1` and the least squares :math:`w`
    (negative weights allowed) is uncorrelated with every difference :math:`d_k = e_k - b`, which
    is a difference of predictions: geometry, no label. The null is :math:`e'_k = d_k + b_\pi`:
    every unit keeps its predictions and receives the error of another unit of its stratum. Sizes
    and tails of errors and differences stay, stratum by stratum; whatever else linked the error of
    a unit to its differences is gone.
    """
    base = unexplained(residuals)
    order = permuted_within(stratum, rng)
    return residuals.replace_values(residuals.values - base + base[order])


def whole_frames_null(
    residuals: Residuals, frame: Int[np.ndarray, " units"], rng: np.random.Generator
) -> Residuals:
    """As :func:`permutation_null`, but frames swap all their errors at once.

    For the choice of one scale per frame: errors that the atoms of a frame share stay together.
    Frames swap with frames of as many atoms, atom by atom in their order.
    """
    base = unexplained(residuals)
    _, index, sizes = np.unique(frame, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(sizes)[:-1])
    order = np.arange(residuals.n_units)
    for into, source in enumerate(permuted_within(sizes, rng)):
        order[members[into]] = members[source]
    return residuals.replace_values(residuals.values - base + base[order])


def unexplained(residuals: Residuals) -> Float[np.ndarray, "units components"]:
    """Least-squares error of the branches' combination with weights that sum to one."""
    first = residuals.values[0]
    differences = (residuals.values[1:] - first).reshape(len(residuals.anchors) - 1, -1).T
    weights = np.linalg.lstsq(differences, -first.ravel(), rcond=None)[0]
    return first + (differences @ weights).reshape(first.shape)


def permuted_within(
    stratum: Int[np.ndarray, " units"], rng: np.random.Generator
) -> Int[np.ndarray, " units"]:
    """A permutation that keeps every unit in its stratum."""
    order = np.arange(len(stratum))
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        order[members] = rng.permutation(members)
    return order


def gaussian_null(
    residuals: Residuals, stratum: Int[np.ndarray, " units"], rng: np.random.Generator
) -> Residuals:
    r"""Draw exchangeable branches: equal variance and equal correlation, stratum by stratum.

    :math:`e'_k = \sigma \bigl(\sqrt{1 - \rho}\,(z_k - \bar z) + \sqrt{(1 + (K - 1) \rho) / K}\, z
    \bigr)` with the mean variance and the mean pairwise correlation of the K branches in the
    stratum. No branch is better anywhere.
    """
    k, n, c = residuals.values.shape
    sigma, rho = np.empty(n), np.empty(n)
    for value in np.unique(stratum):
        members = stratum == value
        e = residuals.values[:, members].reshape(k, -1)
        cross = e @ e.T / residuals.counts[members].sum()
        variance = float(np.trace(cross)) / k
        covariance = float(cross.sum() - np.trace(cross)) / (k * (k - 1))
        sigma[members] = np.sqrt(variance)
        rho[members] = covariance / variance if variance > 0 else 1.0
    rho = np.clip(rho, -1.0 / (k - 1), 1.0)
    real = np.arange(c) < residuals.counts[:, None]
    shared = rng.standard_normal((n, c)) * np.sqrt((1.0 + (k - 1) * rho) / k)[:, None]
    own = rng.standard_normal((k, n, c))
    own = (own - own.mean(axis=0)) * np.sqrt(1.0 - rho)[:, None]
    return residuals.replace_values((shared + own) * sigma[:, None] * real)


def band(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Central band of null draws: their quantiles at (1 - level) / 2 and (1 + level) / 2."""
    tail = 0.5 - level / 2
    low, high = np.quantile(np.asarray(values), [tail, 1.0 - tail])
    return float(low), float(high)
