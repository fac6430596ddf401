"""The inputs of a training: data, settings, baseline, and the initial network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from scalewise.models.adaptive_cutoff import AdaptiveCutoff, AdaptiveNetwork
from scalewise.models.density.network import DensityNetwork
from scalewise.training.baseline import TrainingBaseline
from scalewise.training.dataset import TrainingSamples
from scalewise.training.settings import TrainSettings


@dataclass(frozen=True, eq=False)
class Job:
    """What every process of a training is given.

    Attributes
    ----------
    settings
        Of the training.
    train, valid
        Frames to train on, and to validate on.
    baseline
        What the network corrects.
    digest
        Names settings and data: a state of another one is refused.
    out
        Folder of the run.
    initial_weights
        Of a potential to start from; none: fresh ones.
    batch_size
        Frames of each step of a process.
    """

    settings: TrainSettings
    train: TrainingSamples
    valid: TrainingSamples
    baseline: TrainingBaseline
    digest: str
    out: Path
    initial_weights: dict[str, Tensor] | None = None
    batch_size: int = 1


def build_network(job: Job) -> tuple[DensityNetwork, DensityNetwork | AdaptiveNetwork]:
    """Make a network with fresh weights; the second has the adaptive cutoff around it, if any."""
    network = DensityNetwork(job.settings.network, job.baseline.composition.elements)
    route = job.settings.adaptive_cutoff
    if route is None:
        return network, network
    return network, AdaptiveNetwork(network, AdaptiveCutoff.of(network, route.adaptive_cutoff))
