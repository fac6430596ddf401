"""What training minimises, and what validation reports."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise.models.gradients import Derivatives
from scalewise.training.dataset import Batch
from scalewise.training.settings import LossSettings

#: Stress errors are counted in units of this, eV/Å³ (1.6 GPa), to weigh like forces.
STRESS_UNIT = 0.01
#: Energies per atom are about ten times smaller than forces: the Huber width is, too.
ENERGY_DELTA = 0.1


def huber(error: Tensor, delta: float) -> Tensor:
    r"""Huber's loss over its width: :math:`e^2/2\delta` within, :math:`|e| - \delta/2` beyond."""
    size = error.abs()
    inner = torch.clamp(size, max=delta)
    return inner * (size - 0.5 * inner) / delta


def loss(found: Derivatives, sample: Batch, settings: LossSettings) -> Tensor:
    """Mean over frames of the weighted Huber losses of forces, energy per atom and stress.

    What a frame has no label of counts as zero, and moves nothing.
    """
    frame = sample.graph.system_index
    frames = len(sample.energy)
    atoms = torch.zeros_like(sample.energy).index_add(
        0, frame, torch.ones_like(sample.forces[:, 0])
    )
    components = huber(found.forces - sample.forces, settings.delta).mean(dim=1)
    forces = torch.zeros_like(sample.energy).index_add(0, frame, components) / atoms
    forces = forces * sample.has_forces
    delta = ENERGY_DELTA * settings.delta
    energy = huber((found.energy - sample.energy) / atoms, delta) * sample.has_energy
    scale = (STRESS_UNIT * sample.volume)[:, None, None]
    stress = huber((found.virial - sample.virial) / scale, settings.delta).mean(dim=(1, 2))
    total = settings.forces * forces + settings.energy * energy
    return (total + settings.stress * stress * sample.has_stress).sum() / frames


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
