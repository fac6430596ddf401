"""What training starts from: a pair potential, energies of compositions, the scale of forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.pair_baseline import PairBaseline
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.potential import Potential

#: Atoms of the frames whose labels are compared with the pair potential, beside one frame of each
#: composition.
COMPARED_ATOMS = 50_000


@dataclass(frozen=True, eq=False)
class Reference:
    """What the network corrects.

    Attributes
    ----------
    composition
        Energies of compositions; with the pair potential they explain most of the total energy.
    energy_scale
        Root mean square of what the pair potential leaves of a force component, eV/Å: the scale of
        the network's energies, in eV per Å.
    coefficients
        Of the pair potential [elements, elements, num_bessel]; none: there is no such potential.
    """

    composition: CompositionModel
    energy_scale: float
    coefficients: Tensor | None = None

    @classmethod
    def of(cls, potential: Potential) -> Reference:
        """Take that of a trained potential."""
        network = potential.network
        pair = network.pair_baseline
        scale = float(network.energy_scale)
        return cls(potential.composition, scale, None if pair is None else pair.coefficients)


def fit_reference(
    frames: Sequence[Structure], elements: Sequence[int], network: NetworkSettings
) -> Reference:
    """Fit a pair potential to forces, then energies of compositions to what it leaves.

    Raises
    ------
    InputError
        As :func:`scalewise.data.neighbors.build`.
    """
    if not network.pair_baseline:
        scale = _root_mean_square([f.labels.forces for f in frames if f.labels.forces is not None])
        return Reference(CompositionModel.fit(frames, elements), scale)
    pair = PairBaseline(elements, network.shortest_cutoff, network.num_bessel)
    pair.fit(frames, elements)
    left = _left(_some(frames), pair, elements)
    scale = _root_mean_square([f.labels.forces for f in left if f.labels.forces is not None])
    return Reference(CompositionModel.fit(left, elements), scale, pair.coefficients)


def _some(frames: Sequence[Structure]) -> list[Structure]:
    """Evenly spread frames, and the first of each composition."""
    atoms = sum(len(f.numbers) for f in frames)
    first = {np.sort(f.numbers).tobytes(): k for k, f in reversed(list(enumerate(frames)))}
    chosen = {*range(0, len(frames), max(1, -(-atoms // COMPARED_ATOMS))), *first.values()}
    return [frames[k] for k in sorted(chosen)]


def _left(
    frames: Sequence[Structure], pair: PairBaseline, elements: Sequence[int]
) -> list[Structure]:
    """Structures with what the pair potential leaves of their energies and forces."""
    found = []
    for frame, (energy, forces) in zip(frames, pair.evaluate(frames, elements), strict=True):
        labels = frame.labels
        left = replace(
            labels,
            energy=None if labels.energy is None else labels.energy - energy,
            forces=None if labels.forces is None else labels.forces - forces,
        )
        found.append(replace(frame, labels=left))
    return found


def _root_mean_square(forces: Sequence[np.ndarray]) -> float:
    if not forces:
        return 1.0
    return float(np.sqrt((np.concatenate(forces) ** 2).mean())) or 1.0
