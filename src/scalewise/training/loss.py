"""The loss that training minimises, and the errors that validation reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from scalewise.models.gradients import Derivatives
from scalewise.training.dataset import Batch
from scalewise.training.settings import LossSettings

#: Stress errors are counted in units of this, eV/Å³ (1.6 GPa), to weigh like forces.
STRESS_UNIT = 0.01
#: Energies per atom are about ten times smaller than forces: the Huber width is, too.
ENERGY_DELTA = 0.1
#: Weight of the energies over that of the end, in the first part of a training.
EARLY: Final = 0.1
#: Errors that no calculation resolves, eV/Å, eV per atom and eV/Å³: terms do not count as smaller.
RESOLVED = (1e-4, 1e-6, 1e-6)


def huber(error: Tensor, delta: float) -> Tensor:
    r"""Huber's loss over its width: :math:`e^2/2\delta` within, :math:`|e| - \delta/2` beyond."""
    size = error.abs()
    inner = torch.clamp(size, max=delta)
    return inner * (size - 0.5 * inner) / delta


def loss_terms(found: Derivatives, sample: Batch, delta: float) -> tuple[Tensor, Tensor]:
    """Huber losses of forces, energy per atom and stress, and of how many frames each is the mean.

    Parameters
    ----------
    found, sample
        What the network finds, and the labels.
    delta
        Width of the quadratic part: eV/Å, a tenth of it in eV per atom, and in ``STRESS_UNIT``.

    Returns
    -------
    tuple
        Means over the frames that have the label [3], zero where none has, and their numbers [3].
    """
    frame = sample.graph.system_index
    atoms = torch.bincount(frame, minlength=len(sample.energy)).to(sample.energy.dtype)
    components = huber(found.forces - sample.forces, delta).mean(dim=1)
    forces = torch.zeros_like(sample.energy).index_add(0, frame, components) / atoms
    energy = huber((found.energy - sample.energy) / atoms, ENERGY_DELTA * delta)
    scale = (STRESS_UNIT * sample.volume)[:, None, None]
    stress = huber((found.virial - sample.virial) / scale, delta).mean(dim=(1, 2))
    known = torch.stack([sample.has_forces, sample.has_energy, sample.has_stress])
    counts = known.sum(dim=1)
    sums = (torch.stack([forces, energy, stress]) * known).sum(dim=1)
    return sums / torch.clamp(counts, min=1.0), counts


@dataclass(frozen=True)
class LossBalance:
    r"""Factors that make the terms of the loss comparable, whatever their units and labels.

    Training minimises :math:`\sum_k w_k \log L_k` of the terms k = forces, energy, stress with
    the weights of the settings; beside forces, energies have a tenth of theirs at first, because a
    network learns them by heart while the rates are high, and forces suffer for it. Its gradient
    is that of :math:`\sum_k w_k (\bar L_1 / \bar L_k) L_k` with running means :math:`\bar L_k`; the
    first term that is in use keeps its own size. A term that is four times larger, by its unit or
    because the labels vary more, has the same influence as before.

    Attributes
    ----------
    weights
        Of the terms, in the end.
    energy_from
        Share of the budget after which energies have this weight.
    least
        Terms of errors of ``RESOLVED``: smaller ones count as these.
    """

    weights: tuple[float, float, float]
    energy_from: float
    least: tuple[float, float, float]

    @classmethod
    def of(cls, settings: LossSettings) -> LossBalance:
        """Take the weights, and what the terms are of errors that nothing resolves."""
        forces, energy, stress = torch.tensor(RESOLVED, dtype=torch.float64)
        least = (
            huber(forces, settings.delta),
            huber(energy, ENERGY_DELTA * settings.delta),
            huber(stress / STRESS_UNIT, settings.delta),
        )
        first, second, third = (float(v) for v in least)
        weights = (settings.forces, settings.energy, settings.stress)
        return cls(weights, settings.energy_from, (first, second, third))

    def factors(self, running: Sequence[float], done: float) -> list[float]:
        """Factors of the terms, from their running means; zero says that no label was seen.

        ``done``: share of the budget that is spent.
        """
        forces, energy, stress = self.weights
        early = done < self.energy_from and forces > 0 and running[0] > self.least[0]
        weights = (forces, energy * (EARLY if early else 1.0), stress)
        means = [max(m, least) for m, least in zip(running, self.least, strict=True)]
        used = [m > 0 and w > 0 for m, w in zip(running, weights, strict=True)]
        # where forces are zero by symmetry, their size is no measure
        larger = [u and m > least for u, m, least in zip(used, running, self.least, strict=True)]
        first = next((m for m, u in zip(means, larger, strict=True) if u), 1.0)
        return [w * first / m if u else 0.0 for w, m, u in zip(weights, means, used, strict=True)]

    def geometric_mean(self, terms: Sequence[float], counts: Sequence[float]) -> float:
        """What training minimises: the geometric mean of terms that have labels."""
        logs = [
            (w, w * math.log(max(t, least)))
            for t, n, w, least in zip(terms, counts, self.weights, self.least, strict=True)
            if w > 0 and n > 0
        ]
        total = sum(w for w, _ in logs)
        return math.exp(sum(v for _, v in logs) / total) if logs else 0.0


@dataclass
class ErrorSums:
    """Running sums of absolute errors; ``means`` gives meV/Å, meV/atom and meV/Å³."""

    sums: Tensor

    @classmethod
    def none(cls) -> ErrorSums:
        """Nothing seen yet."""
        return cls(torch.zeros(6, dtype=torch.float64))

    def add(self, found: Derivatives, sample: Batch) -> None:
        """Count one batch."""
        found = found.detach()
        atoms = torch.bincount(sample.graph.system_index, minlength=len(sample.energy))
        known = sample.has_forces[sample.graph.system_index]
        forces = (found.forces - sample.forces).abs() * known[:, None]
        energy = ((found.energy - sample.energy) / atoms).abs() * sample.has_energy
        stress = (found.virial - sample.virial).abs().mean(dim=(1, 2)) / sample.volume
        values = (
            *(forces.sum(), 3.0 * known.sum()),
            *(energy.sum(), sample.has_energy.sum()),
            *((stress * sample.has_stress).sum(), sample.has_stress.sum()),
        )
        self.sums = self.sums + torch.tensor([float(v) for v in values], dtype=torch.float64)

    def means(self) -> dict[str, float]:
        """Mean absolute errors of what has labels."""
        names = ("forces_mae", "energy_mae", "stress_mae")
        pairs = self.sums.reshape(3, 2).tolist()
        return {n: 1e3 * a / b for n, (a, b) in zip(names, pairs, strict=True) if b}
