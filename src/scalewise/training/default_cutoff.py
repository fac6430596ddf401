"""The default cutoff of a network: about as many neighbors as in water, between 5 and 6.5 Å."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from scalewise.data import neighbors
from scalewise.data.structure import Structure
from scalewise.models.density.settings import NetworkSettings
from scalewise.training.settings import TrainSettings

#: Neighbors that an atom of water has within the shortest default, and that other atoms get.
NEIGHBORS: Final = 50.0
#: Å, between which the default lies, and the steps that it comes in.
SHORTEST: Final = 5.0
LONGEST: Final = 6.5
STEP: Final = 0.5
#: Frames that are looked at, at most.
FRAMES: Final = 32
#: Where fewer than so many times the neighbors are within the longest default, the structure ends
#: before (a bulk has 2.2 times, a layer 1.7 times, aspirin 1.4 times), and more is no use.
GOES_ON: Final = 1.6


def default_cutoff(frames: Sequence[Structure]) -> float:
    r"""Cutoff (Å) within which an atom has about 50 neighbors, from 5 to 6.5 in steps of a half.

    :math:`r = 5 (50 / n)^{1/3}` with :math:`n = 2.5 \sum_j (1 - r_j^2 / 25)` over all atoms within
    5 Å, the atom itself too: how many there are at a uniform density, which the shells of a crystal
    hardly move. Silicon and lithium have half as many as water, and both learned better at 6 and
    6.5 Å (docs/findings.md). Molecules, which have few neighbors farther away, have no say: where
    there is nothing else, it is 5 Å.

    Parameters
    ----------
    frames
        Of which up to 32, evenly spread, are looked at.

    Raises
    ------
    InputError
        As :func:`scalewise.data.neighbors.build`.

    Examples
    --------
    >>> silicon = Structure(
    ...     np.array([14, 14]),
    ...     np.array([[0.0, 0.0, 0.0], [1.36, 1.36, 1.36]]),
    ...     2.72 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    ...     np.ones(3, dtype=bool),
    ... )
    >>> default_cutoff([silicon])
    6.0
    """
    around = _neighbors_around(frames)
    if around is None:
        return SHORTEST
    fair = SHORTEST * (NEIGHBORS / around) ** (1.0 / 3.0)
    return float(np.clip(STEP * round(fair / STEP), SHORTEST, LONGEST))


def _neighbors_around(frames: Sequence[Structure]) -> float | None:
    """Mean number of neighbors within 5 Å of structures that go on beyond; none without any."""
    atoms, near = 0, 0.0
    for k in range(0, len(frames), -(-len(frames) // FRAMES)):
        frame = frames[k]
        distance = neighbors.build(frame, LONGEST, full=True, images=True).distance
        within = _neighbors(distance, SHORTEST, len(frame.numbers))
        if _neighbors(distance, LONGEST, len(frame.numbers)) >= GOES_ON * within:
            atoms += len(frame.numbers)
            near += within
    return near / atoms if atoms else None


def _neighbors(distance: np.ndarray, within: float, atoms: int) -> float:
    """Neighbors of all atoms within a distance (Å), at the density there; an atom is its own."""
    return 2.5 * (atoms + float(np.maximum(0.0, 1.0 - (distance / within) ** 2).sum()))


def with_cutoff(settings: TrainSettings, frames: Sequence[Structure]) -> TrainSettings:
    """Settings whose network has the :func:`default_cutoff`, unless one or a ladder was given.

    Parameters
    ----------
    settings
        Of a training.
    frames
        To train on.
    """
    network = settings.network
    if network.ladder or "cutoff" in network.model_fields_set:
        return settings
    given = {"cutoff": default_cutoff(frames), **network.model_dump(exclude_unset=True)}
    return settings.model_copy(update={"network": NetworkSettings.model_validate(given)})
