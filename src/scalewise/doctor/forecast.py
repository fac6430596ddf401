"""Forecast of the time and memory of a training, from its numbers of atoms and neighbor pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class CostModel:
    """Cost of one training step, linear in its atoms and atom-neighbor pairs.

    Parameters
    ----------
    seconds_per_step, seconds_per_atom, seconds_per_pair
        Time of a step, and its increase with each atom and each atom-neighbor pair, s. Forward and
        backward pass, forces and optimiser are included.
    bytes_per_pair
        Peak memory of a step for each atom-neighbor pair, bytes.
    """

    seconds_per_step: float
    seconds_per_atom: float
    seconds_per_pair: float
    bytes_per_pair: float

    def seconds(self, atoms: float, pairs: float) -> float:
        """Time of a step with these numbers of atoms and pairs, s."""
        return self.seconds_per_step + atoms * self.seconds_per_atom + pairs * self.seconds_per_pair

    def on_machine(self, seconds: float, atoms: float, pairs: float) -> CostModel:
        """Return the model with all times scaled such that it gives the time of a measured step.

        Examples
        --------
        >>> MEASURED.on_machine(0.5, 200, 1e4).seconds(200, 1e4)
        0.5
        """
        return self.scaled(seconds / self.seconds(atoms, pairs))

    def scaled(self, factor: float) -> CostModel:
        """Return the model with all times multiplied by a factor."""
        return replace(
            self,
            seconds_per_step=factor * self.seconds_per_step,
            seconds_per_atom=factor * self.seconds_per_atom,
            seconds_per_pair=factor * self.seconds_per_pair,
        )


# medium preset, one thread, kernels; benchmarks/step_cost.py
SECONDS_PER_STEP: Final = 1.0e-2
SECONDS_PER_ATOM: Final = 6.0e-5
SECONDS_PER_PAIR: Final = 1.1e-6
# added to the peak by salt water of 5 Å, with kernels, and with PyTorch's operations alone
BYTES_PER_PAIR: Final = 3.2e3
BYTES_WITHOUT_KERNELS: Final = 9.3e3

#: Time of a step with programs, which long trainings compile, over that with kernels alone
#: (benchmarks/training_step.py: 0.55 to 0.62 on four sets).
WITH_PROGRAMS: Final = 0.57

MEASURED: Final = CostModel(SECONDS_PER_STEP, SECONDS_PER_ATOM, SECONDS_PER_PAIR, BYTES_PER_PAIR)


@dataclass(frozen=True)
class Forecast:
    """Time of one epoch (s), of all epochs (min), and peak memory of the largest step (MB)."""

    seconds_per_epoch: float
    minutes: float
    peak_megabytes: float


def forecast(
    *,
    frames: int,
    batch_size: int,
    atoms: float,
    pairs: float,
    most_pairs: float,
    epochs: int = 100,
    cost: CostModel = MEASURED,
) -> Forecast:
    """Forecast time and memory of training in one process.

    ::

        t_epoch = frames / batch (t_step + batch (atoms t_atom + pairs t_pair))
        memory = batch max pairs * b_pair

    Parameters
    ----------
    frames
        Training frames.
    batch_size
        Frames of a step.
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
    >>> cost = CostModel(0.02, seconds_per_atom=1e-4, seconds_per_pair=1e-5, bytes_per_pair=9e3)
    >>> made = forecast(frames=1000, batch_size=2, atoms=200, pairs=1e4, most_pairs=2e4, cost=cost)
    >>> round(made.seconds_per_epoch)
    130
    """
    steps = frames // batch_size
    seconds = steps * cost.seconds(batch_size * atoms, batch_size * pairs)
    peak = batch_size * most_pairs * cost.bytes_per_pair / 1e6
    return Forecast(seconds, seconds * epochs / 60, peak)
