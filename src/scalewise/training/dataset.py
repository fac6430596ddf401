"""Frames ready to be trained on: graph, positions and labels as tensors, dealt out by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.graph import Graph, build
from scalewise.models.graph_operations import batch

#: Atoms of a step: one of 15 costs what one of 60 does (benchmarks/speed.py), and larger batches
#: make fewer steps.
ATOMS_PER_STEP = 100
#: Steps of an epoch at least, before batches get smaller.
STEPS_PER_EPOCH = 4


@dataclass(frozen=True, eq=False)
class Batch:
    """One frame or a batch of them; labels that are missing have a weight of zero.

    Attributes
    ----------
    graph, positions, forces
        The input, positions in double precision, and the label of every atom [atoms, 3].
    has_forces
        Whether the forces of a frame are known [frames].
    energy, has_energy
        Total energy above that of the composition model, eV, and whether it is known [frames].
    virial, has_stress
        Volume times stress, eV [frames, 3, 3], and whether it is known [frames].
    volume
        Å³, or one where a frame has none [frames].
    names
        File and number of each frame.
    """

    graph: Graph
    positions: Tensor
    forces: Tensor
    has_forces: Tensor
    energy: Tensor
    has_energy: Tensor
    virial: Tensor
    has_stress: Tensor
    volume: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> Batch:
        """Move to a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, graph=self.graph.to(device), **moved)


_TENSORS = (
    *("positions", "forces", "has_forces", "energy", "has_energy", "virial", "has_stress"),
    "volume",
)


def prepare(
    frames: Sequence[Structure],
    composition: CompositionModel,
    network: NetworkSettings,
    dtype: torch.dtype,
) -> list[Batch]:
    """List neighbors and convert labels.

    Raises
    ------
    InputError
        As :func:`scalewise.models.graph.build`.
    """
    smearing = network.smearing if network.charges else 0.0
    return [
        _sample(
            frame,
            build(
                frame,
                composition.elements,
                network.cutoff,
                smearing=smearing,
                near=network.first_layer_cutoff,
            ).to(dtype=dtype),
            composition,
            dtype,
        )
        for frame in frames
    ]


def _sample(
    frame: Structure, graph: Graph, composition: CompositionModel, dtype: torch.dtype
) -> Batch:
    energy = (
        0.0
        if frame.labels.energy is None
        else frame.labels.energy - composition.energy(frame.numbers)
    )
    volume, stress = frame.volume, frame.labels.stress
    known = stress is not None and volume is not None
    virial = np.zeros((3, 3)) if stress is None or volume is None else stress * volume

    forces = frame.labels.forces

    def number(value: float) -> Tensor:
        return torch.tensor([value], dtype=dtype)

    return Batch(
        graph=graph,
        # vectors between neighbors are formed in double precision, then rounded
        positions=torch.as_tensor(frame.positions, dtype=torch.float64),
        forces=torch.as_tensor(
            np.zeros_like(frame.positions) if forces is None else forces, dtype=dtype
        ),
        has_forces=number(float(forces is not None)),
        energy=number(energy),
        has_energy=number(float(frame.labels.energy is not None)),
        virial=torch.as_tensor(virial, dtype=dtype)[None],
        has_stress=number(float(known)),
        volume=number(1.0 if volume is None else volume),
        names=(frame.where,),
    )


def frames_per_step(frames: Sequence[Structure], processes: int) -> int:
    """Frames that make a step of about ``ATOMS_PER_STEP`` atoms in each process.

    Few frames make smaller steps, ``STEPS_PER_EPOCH`` of them in an epoch at least.

    Examples
    --------
    >>> water = Structure(np.array([8, 1, 1]), np.eye(3), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    >>> frames_per_step([water] * 1000, 1), frames_per_step([water] * 24, 2)
    (33, 3)
    """
    atoms = sum(len(f.numbers) for f in frames) / len(frames)
    most = len(frames) // (STEPS_PER_EPOCH * processes)
    return max(1, min(round(ATOMS_PER_STEP / atoms), most))


def join(samples: Sequence[Batch]) -> Batch:
    """Make one batch of several samples."""
    if len(samples) == 1:
        return samples[0]
    joined = {name: torch.cat([getattr(s, name) for s in samples]) for name in _TENSORS}
    names = tuple(n for s in samples for n in s.names)
    return replace(samples[0], graph=batch([s.graph for s in samples]), names=names, **joined)


def epoch_batches(
    count: int, *, seed: int, epoch: int, batch_size: int, rank: int = 0, processes: int = 1
) -> Iterator[list[int]]:
    """Yield the samples of each step of one epoch for one process.

    The order depends on seed and epoch alone. A step takes ``batch_size * processes`` samples, so
    n processes see together what one process sees with an n times larger batch. What does not
    fill the last step is left out, another part in every epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    whole = min(batch_size * processes, count)
    for start in range(0, count - whole + 1, whole):
        share = order[start : start + whole][rank::processes]
        if len(share):
            yield share.tolist()
