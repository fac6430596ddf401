"""What training will cost, from the number of atom-neighbor pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class CostModel:
    """Cost of one training step on one frame, linear in atoms and atom-neighbor pairs.

    Parameters
    ----------
    seconds_per_pair, seconds_per_atom
        Time of a step, forward and backward, forces included.
    bytes_per_pair
        Memory that a step holds at its peak.
    """

    seconds_per_pair: float
    seconds_per_atom: float
    bytes_per_pair: float


# medium preset, one thread, eager; benchmarks/speed.py
SECONDS_PER_PAIR: Final = 7.0e-6
SECONDS_PER_ATOM: Final = 5.0e-5
BYTES_PER_PAIR: Final = 9.0e3

MEASURED: Final = CostModel(SECONDS_PER_PAIR, SECONDS_PER_ATOM, BYTES_PER_PAIR)


@dataclass(frozen=True)
class Forecast:
    """Time of one epoch (s), of all epochs (min), and peak memory of one frame at a time (MB)."""

    seconds_per_epoch: float
    minutes: float
    peak_megabytes: float


def forecast(
    *,
    frames: int,
    atoms: float,
    pairs: float,
    most_pairs: float,
    epochs: int = 50,
    cost: CostModel = MEASURED,
) -> Forecast:
    """Forecast time and memory of training with one frame per step.

    ::

        t_epoch = frames (pairs t_pair + atoms t_atom),    memory = max pairs * b_pair

    Parameters
    ----------
    frames
        Training frames.
    atoms, pairs
        Mean number of atoms and of atom-neighbor pairs (each pair counts twice) of a frame.
    most_pairs
        Pairs of the largest frame.
    epochs
        How often every frame is seen.
    cost
        The cost model.

    Examples
    --------
    >>> cost = CostModel(seconds_per_pair=1e-5, seconds_per_atom=1e-4, bytes_per_pair=9e3)
    >>> made = forecast(frames=1000, atoms=200, pairs=1e4, most_pairs=2e4, cost=cost)
    >>> round(made.seconds_per_epoch)
    120
    """
    step = pairs * cost.seconds_per_pair + atoms * cost.seconds_per_atom
    seconds = frames * step
    return Forecast(seconds, seconds * epochs / 60, most_pairs * cost.bytes_per_pair / 1e6)
