"""What training starts from: a pair potential, energies of compositions, the scale of forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from torch import Tensor

from scalewise.data.references import is_isolated_atom
from scalewise.data.shards import numbers_of
from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.pair_baseline import PairBaseline
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.potential import Potential

#: Forces over energies (per Å), root mean squares, up to which frames are crystals whose atoms no
#: force moves: of liquids, molecules and rattled crystals it is 0.35 and more.
NO_FORCES: Final = 1e-3
#: Atoms of the frames whose labels are compared with the pair potential, beside one frame of each
#: composition.
COMPARED_ATOMS = 50_000
#: Frames that the reference is fitted to, at most, and as many again where compositions differ.
FITTED_FRAMES = 50_000


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

    Of many frames, about ``FITTED_FRAMES`` are looked at: evenly spread ones, and those that
    determine compositions.

    Raises
    ------
    InputError
        As :func:`scalewise.data.neighbors.build`.
    """
    frames = _fitted(frames)
    left, coefficients = frames, None
    if network.pair_baseline:
        pair = PairBaseline(elements, network.shortest_cutoff, network.num_bessel)
        pair.fit(frames, elements)
        left, coefficients = _left(_some(frames), pair, elements), pair.coefficients
    composition = CompositionModel.fit(left, elements)
    shift = _binding(left, composition)
    return TrainingBaseline(composition, _scale(left, composition, shift), coefficients, shift)


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
    atoms = sum(len(numbers) for numbers in numbers_of(frames))
    chosen = {*range(0, len(frames), max(1, -(-atoms // COMPARED_ATOMS))), *_first(frames)}
    return [frames[k] for k in sorted(chosen)]


def _fitted(frames: Sequence[Structure]) -> Sequence[Structure]:
    """All frames or, of many, evenly spread ones and the first of each composition."""
    if len(frames) <= FITTED_FRAMES:
        return frames
    first = _first(frames)
    # all frames may differ in their composition
    first = first[:: -(-len(first) // FITTED_FRAMES)]
    chosen = {*range(0, len(frames), -(-len(frames) // FITTED_FRAMES)), *first}
    chosen |= set(_first_of_elements(frames))
    return [frames[k] for k in sorted(chosen)]


def _first(frames: Sequence[Structure]) -> list[int]:
    """The first frame of each composition."""
    found: dict[bytes, int] = {}
    for k, numbers in enumerate(numbers_of(frames)):
        found.setdefault(np.sort(numbers).tobytes(), k)
    return list(found.values())


def _first_of_elements(frames: Sequence[Structure]) -> list[int]:
    """The first frame of each element, and all that are of one atom: their energies are exact."""
    found: dict[int, int] = {}
    single: list[int] = []
    seen: set[bytes] = set()
    for k, numbers in enumerate(numbers_of(frames)):
        if (kind := numbers.tobytes()) not in seen:
            seen.add(kind)
            for z in numbers.tolist():
                found.setdefault(z, k)
        if len(numbers) == 1 and len(single) < FITTED_FRAMES:
            single.append(k)
    return [*found.values(), *single]


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


def _scale(frames: Sequence[Structure], composition: CompositionModel, shift: float) -> float:
    """The scale of the energies, eV: root mean square of a force component (per Å).

    Without forces, or where symmetry leaves none of them, of energies above the composition model
    and the mean binding energy, or of virials, per atom as if atoms were independent: over the root
    of their number.
    """
    forces = [f.labels.forces.ravel() for f in frames if f.labels.forces is not None]
    pushed = _root_mean_square(forces)
    energies = [
        np.atleast_1d(
            (f.labels.energy - composition.energy(f.numbers)) / np.sqrt(len(f.numbers))
            - shift * np.sqrt(len(f.numbers))
        )
        for f in frames
        if f.labels.energy is not None and not is_isolated_atom(f)
    ]
    virials = [
        f.labels.stress.ravel() * f.volume / np.sqrt(len(f.numbers))
        for f in frames
        if f.labels.stress is not None and f.volume is not None
    ]
    other = _root_mean_square(energies)
    # energies that their composition explains teach no scale
    if other < 1e-6:
        other = _root_mean_square(virials)
    found = pushed if pushed > NO_FORCES * other else other
    return found if found >= 1e-6 else 1.0


def _root_mean_square(values: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(values) ** 2))) if values else 0.0
