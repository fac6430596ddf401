"""What training starts from: a pair potential, energies of compositions, the scale of forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from scalewise.data.references import is_isolated_atom
from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.pair_baseline import PairBaseline
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.potential import Potential

#: Atoms of the frames whose labels are compared with the pair potential, beside one frame of each
#: composition.
COMPARED_ATOMS = 50_000


@dataclass(frozen=True, eq=False)
class TrainingBaseline:
    """What the network corrects.

    Attributes
    ----------
    composition
        Energies of compositions; with the pair potential they explain most of the total energy.
    energy_scale
        The scale of the network's energies, eV: root mean square of what the pair potential leaves
        of a force component (per Å).
    coefficients
        Of the pair potential [elements, elements, num_bessel]; none: there is no such potential.
    shift
        Mean energy of an atom above compositions, eV: binding, where these are isolated atoms'.
        The network starts from it.
    """

    composition: CompositionModel
    energy_scale: float
    coefficients: Tensor | None = None
    shift: float = 0.0

    @classmethod
    def of(cls, potential: Potential) -> TrainingBaseline:
        """Take that of a trained potential."""
        network = potential.network
        pair = network.pair_baseline
        scale = float(network.energy_scale)
        return cls(potential.composition, scale, None if pair is None else pair.coefficients)


def fit_baseline(
    frames: Sequence[Structure], elements: Sequence[int], network: NetworkSettings
) -> TrainingBaseline:
    """Fit a pair potential to forces, then energies of compositions to what it leaves.

    Raises
    ------
    InputError
        As :func:`scalewise.data.neighbors.build`.
    """
    left, coefficients = frames, None
    if network.pair_baseline:
        pair = PairBaseline(elements, network.shortest_cutoff, network.num_bessel)
        pair.fit(frames, elements)
        left, coefficients = _left(_some(frames), pair, elements), pair.coefficients
    composition = CompositionModel.fit(left, elements)
    shift = _binding(left, composition)
    return TrainingBaseline(composition, _scale(left, composition), coefficients, shift)


def _binding(frames: Sequence[Structure], composition: CompositionModel) -> float:
    """Mean energy per atom above the composition model, eV, of what is no isolated atom."""
    found = [
        (f.labels.energy - composition.energy(f.numbers)) / len(f.numbers)
        for f in frames
        if f.labels.energy is not None and not is_isolated_atom(f)
    ]
    return float(np.mean(found)) if found else 0.0


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


def _scale(frames: Sequence[Structure], composition: CompositionModel) -> float:
    """The scale of the energies, eV: root mean square of a force component (per Å).

    Without forces, of energies above the composition model, or of virials, per atom as if atoms
    were independent: over the root of their number.
    """
    forces = [f.labels.forces for f in frames if f.labels.forces is not None]
    if forces:
        return float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) or 1.0
    energies = [
        (f.labels.energy - composition.energy(f.numbers)) / np.sqrt(len(f.numbers))
        for f in frames
        if f.labels.energy is not None
    ]
    virials = [
        f.labels.stress * f.volume / np.sqrt(len(f.numbers))
        for f in frames
        if f.labels.stress is not None and f.volume is not None
    ]
    found = np.sqrt(np.mean(np.square(energies))) if energies else 0.0
    # energies that their composition explains teach no scale
    if found < 1e-6 and virials:
        found = np.sqrt(np.mean(np.square(virials)))
    return float(found) if found >= 1e-6 else 1.0
