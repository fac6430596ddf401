"""Features of a selector: smooth densities around an atom, from the geometry alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from scalewise.data import neighbors
from scalewise.data.structure import Structure

#: First shell of the densities and the distance between their centres, Å.
FIRST, STEP = 2.5, 0.75


def environment(
    frame: Structure, elements: Sequence[str], targets: Bool[np.ndarray, " atoms"], cutoff: float
) -> Float[np.ndarray, "targets features"]:
    r"""Element of each target atom, and the density of every element in soft shells around it.

    :math:`\rho_{ek} = \sum_{j \in e} \exp(-(r_{ij} - \mu_k)^2 / 2 w^2) f(r_{ij})`, with
    :math:`w` the distance of the centres and :math:`f(r) = (1 - (r / r_c)^2)^3`, which vanishes
    with two derivatives at the cutoff.
    """
    pairs = neighbors.build(frame, cutoff, full=True)
    pairs = pairs.select(targets[pairs.i])
    row = np.cumsum(targets) - 1
    centres = np.arange(FIRST, cutoff, STEP)
    shape = np.exp(-0.5 * ((pairs.distance[:, None] - centres) / STEP) ** 2)
    shape *= ((1.0 - (pairs.distance / cutoff) ** 2) ** 3)[:, None]
    columns = [np.stack([frame.mask([e])[targets] for e in elements], axis=1).astype(float)]
    for element in elements:
        density = np.zeros((int(targets.sum()), len(centres)))
        of_element = frame.mask([element])[pairs.j]
        np.add.at(density, row[pairs.i[of_element]], shape[of_element])
        columns.append(density)
    return np.concatenate(columns, axis=1)
