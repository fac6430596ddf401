"""Baseline that training starts from: pair potential, energies of elements, size of forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from scalewise.data import columns
from scalewise.data.references import is_isolated_atom
from scalewise.data.shards import numbers_of
from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.pair_baseline import PairBaseline
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.potential import Potential

#: Atoms of the frames whose labels are compared with the pair potential, of each kind of label.
COMPARED_ATOMS = 50_000
#: eV: what forces (per Å) and energies of an atom below this have is rounding and no scale.
LEAST_SCALE = 1e-3
#: Frames, and atoms in them, whose energies say how far all of them are off after a training.
OFFSET_FRAMES, OFFSET_ATOMS = 64, 20_000
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
        Of the pair potential [elements, elements, pair_bessel]; none: there is no such potential.
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

    Of many frames, about ``FITTED_FRAMES`` are looked at, and those that determine compositions.

    Parameters
    ----------
    frames
        With any labels.
    elements
        Atomic numbers, in the network's order.
    network
        Says whether there is a pair potential, and how long and fine it is.

    Raises
    ------
    InputError
        As :func:`scalewise.models.graph.build`.
    """
    frames = _fitted(frames)
    left, coefficients = frames, None
    if network.pair_baseline:
        pair = PairBaseline(elements, network.shortest_cutoff, network.pair_bessel)
        pair.fit(frames, elements)
        left, coefficients = _left(_some(frames), pair, elements), pair.coefficients
    composition = CompositionModel.fit(left, elements)
    shift = _binding(left, composition)
    return TrainingBaseline(composition, _scale(left, composition, shift), coefficients, shift)


def energy_offset(potential: Potential, frames: Sequence[Structure]) -> float:
    r"""Offset of predicted energies, eV per atom, over evenly spread labelled frames k.

    .. math:: \delta = \operatorname{median}_k \, \bigl(E_k - \hat E_k\bigr) / n_k

    with labelled energies E, predicted ones :math:`\hat E` and numbers of atoms n. A constant
    energy per atom exerts no force, so that it drifts while forces are fitted. The median does not
    follow a few frames with other errors.

    Parameters
    ----------
    potential
        After its training.
    frames
        Those it was trained on; at most ``OFFSET_FRAMES`` of them are predicted, and about
        ``OFFSET_ATOMS`` atoms.

    Returns
    -------
    float
        What is to be added to the energy of each atom; zero without labelled energies, and where
        isolated atoms define the zero of energy.
    """
    sizes, labelled = columns.sizes(frames), columns.labelled(frames, "energy")
    single = np.flatnonzero((sizes == 1) & labelled).tolist()
    members = np.flatnonzero(labelled & (sizes > 0))
    if not len(members) or any(is_isolated_atom(frames[k]) for k in single):
        return 0.0
    most = min(OFFSET_FRAMES, max(1, int(OFFSET_ATOMS / sizes[members].mean())), len(members))
    found = []
    for k in members[np.linspace(0, len(members) - 1, most).astype(int)].tolist():
        energy, frame = potential.predict(frames[k]).energy, frames[k]
        if energy is not None and frame.labels.energy is not None:
            found.append((frame.labels.energy - energy) / len(frame.numbers))
    return float(np.median(found)) if found else 0.0


def _binding(frames: Sequence[Structure], composition: CompositionModel) -> float:
    """Mean energy per atom above the composition model, eV, of what is no isolated atom."""
    found = [
        (f.labels.energy - composition.energy(f.numbers)) / len(f.numbers)
        for f in frames
        if f.labels.energy is not None and not is_isolated_atom(f)
    ]
    return float(np.mean(found)) if found else 0.0


def _some(frames: Sequence[Structure]) -> list[Structure]:
    """Frames of about ``COMPARED_ATOMS`` atoms with each label; what determines compositions.

    The latter are isolated atoms, whose energies are exact, and a frame of each composition that
    has an energy.
    """
    atoms = np.array([len(numbers) for numbers in numbers_of(frames)])
    order = np.random.default_rng(0).permutation(len(frames)).tolist()
    seen: set[bytes] = set()
    room = dict.fromkeys(("forces", "energy", "stress"), COMPARED_ATOMS)
    chosen = {int(k) for k in np.flatnonzero(atoms == 1)}
    for k in order:
        frame = frames[k]
        for label in room:
            if room[label] > 0 and getattr(frame.labels, label) is not None:
                room[label] -= int(atoms[k])
                chosen.add(k)
        if frame.labels.energy is not None:
            kind = np.sort(frame.numbers).tobytes()
            if kind not in seen:
                seen.add(kind)
                chosen.add(k)
    return [frames[k] for k in sorted(chosen)]


def _fitted(frames: Sequence[Structure]) -> Sequence[Structure]:
    """All frames or, of many, some taken at random, and what has an element or one atom alone."""
    if len(frames) <= FITTED_FRAMES:
        return frames
    taken = np.random.default_rng(0).choice(len(frames), FITTED_FRAMES, replace=False)
    first = _first_of_compositions(frames)
    # all frames may differ in their composition
    first = first[:: -(-len(first) // FITTED_FRAMES)]
    chosen = {*taken.tolist(), *first, *_first_of_elements(frames)}
    return [frames[k] for k in sorted(chosen)]


def _first_of_compositions(frames: Sequence[Structure]) -> list[int]:
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

    Where forces are missing or zero, as those of symmetric crystals are but for rounding, of
    energies above the composition model and the mean, or of virials, per atom as if atoms were
    independent: over the root of their number.
    """
    forces = [f.labels.forces.ravel() for f in frames if f.labels.forces is not None]
    energies = [
        (f.labels.energy - composition.energy(f.numbers)) / np.sqrt(len(f.numbers))
        - shift * np.sqrt(len(f.numbers))
        for f in frames
        if f.labels.energy is not None and not is_isolated_atom(f)
    ]
    virials = [
        (f.labels.stress * f.volume / np.sqrt(len(f.numbers))).ravel()
        for f in frames
        if f.labels.stress is not None and f.volume is not None
    ]
    for values in (forces, [np.array(energies)], virials):
        joined = np.concatenate([np.zeros(0), *values])
        size = float(np.sqrt(np.mean(joined**2))) if len(joined) else 0.0
        if size >= LEAST_SCALE:
            return size
    return 1.0
