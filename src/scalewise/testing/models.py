"""Requirements of models: :class:`scalewise.models.protocol.InteratomicPotential`."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from scalewise.data.structure import Labels, Structure
from scalewise.models.protocol import (
    InteratomicPotential,
    LongRange,
    Prediction,
    Preparable,
    Scale,
    knows_long_range,
)
from scalewise.testing.refusing import check_refused
from scalewise.testing.smoothness import check_crossing, check_gradient, check_reach, check_strain

#: Parts of a prediction, with the axes along which each turns with the structure.
PARTS: Final = {"forces": 1, "energy": 0, "energies": 0, "stress": 2, "charges": 0, "cutoffs": 0}
#: Those with an entry per atom.
OF_ATOMS: Final = ("forces", "energies", "charges", "cutoffs")
#: eV/Å: forces smaller than this are no measure of what counts.
SMALLEST: Final = 1e-3


def check_potential(
    model: InteratomicPotential,
    structures: Sequence[Structure],
    *,
    tolerance: float = 1e-6,
    stored: bool = False,
) -> None:
    """Check the requirements of a model, at its own scale and at scales of its cutoff range.

    - The model has all attributes of the interface, of the right types, which agree with each
      other.
    - Results have the right shapes and are finite, and a second call gives the same results. The
      results of a structure do not depend on the other structures or on their order. Structures are
      not changed, and labels are not read.
    - The model refuses unknown elements, invalid structures, and scales that it does not have.
    - Results are invariant or equivariant under translations, rotations, periodic images and
      permutations of atoms, and do not depend on lattice vectors of axes without periodicity.
      Forces sum to zero.
    - Forces and stress are derivatives of the energy. Energy and forces are continuous as an atom
      crosses a cutoff. No atom beyond the receptive field changes a force.

    Parameters
    ----------
    model
        The model, in double precision if possible.
    structures
        At least two structures of elements that the model knows, the first with at least two atoms.
        They should be small, since each is evaluated some hundred times, and include crystals,
        slabs, wires and molecules if the model can predict all of these.
    tolerance
        Largest error, relative to the largest force, of results in eV/Å, eV, eV/Å³, e and Å.
    stored
        Whether the model can predict only these structures, like a file of predictions: checks that
        need other structures are left out.

    Raises
    ------
    AssertionError
        A requirement that is not met.
    """
    assert len(structures) > 1, "two structures at least"
    assert len(structures[0].numbers) > 1, "two atoms at least in the first structure"
    check_metadata(model, structures)
    for scale in scales_of(model):
        found = _check_results(model, structures, scale)
        size = max(SMALLEST, *(float(np.abs(p.forces).max()) for p in found))
        found = _check_repeatable(model, structures, scale, found, tolerance * size)
        if stored:
            continue
        for structure, prediction in zip(structures, found, strict=True):
            _check_invariances(model, structure, scale, prediction, tolerance * size)
            total = prediction.forces.sum(axis=0)
            count = len(structure.numbers)
            assert np.abs(total).max() <= count * tolerance * size, "forces sum to zero"
            if prediction.energy is not None:
                check_gradient(model, structure, scale, prediction, tolerance * size)
                if prediction.stress is not None:
                    check_strain(model, structure, scale, prediction, tolerance * size)
        check_crossing(model, structures[0], scale, tolerance * size)
        check_reach(model, structures[0], scale, tolerance * size)
    _check_structures_refused(model, structures)
    _check_scales_refused(model, structures)


def scales_of(model: InteratomicPotential) -> list[Scale]:
    """The model's own scale; the ends and the middle of its cutoff range; without long range."""
    found = [Scale()]
    if model.cutoff_range is not None:
        shortest, longest = model.cutoff_range
        cutoffs = sorted({shortest, 0.5 * (shortest + longest), longest})
        found += [Scale(cutoff=c) for c in cutoffs]
    if model.long_range is LongRange.OPTIONAL:
        found.append(replace(found[-1], long_range=False))
    return found


def check_metadata(model: Any, structures: Sequence[Structure]) -> None:
    """Assert that a model says of what it is, in the protocol's types."""
    assert isinstance(model, InteratomicPotential), "it lacks members of InteratomicPotential"
    assert isinstance(model.name, str), "the name is a word"
    assert model.name.strip(), "the name is not empty"
    elements = model.elements
    if elements is not None:
        assert isinstance(elements, tuple), "elements are a tuple"
        assert all(type(z) is int and 1 <= z <= 118 for z in elements), "atomic numbers"
        assert len(set(elements)) == len(elements) > 0, "each element once"
        odd = {z for s in structures for z in s.numbers.tolist()} - set(elements)
        assert not odd, f"structures have elements that it does not know: {sorted(odd)}"
    if model.cutoff_range is not None:
        assert isinstance(model.cutoff_range, tuple), "cutoff_range is a tuple"
        shortest, longest = model.cutoff_range
        assert 0 < shortest <= longest < math.inf, "cutoff_range: from a cutoff to a longer one"
    assert isinstance(model.long_range, LongRange), "long_range is a LongRange"
    for scale in scales_of(model):
        field = model.receptive_field(scale)
        assert field is None or field > 0, "receptive_field is a length"
        acts = knows_long_range(model, scale)
        if field is not None and model.long_range is not LongRange.UNKNOWN:
            assert math.isinf(field) == acts, "receptive_field is infinite where long range acts"
    for structure in structures:
        assert type(model.knows_energy(structure)) is bool, "knows_energy is true or false"


def _check_results(
    model: InteratomicPotential, structures: Sequence[Structure], scale: Scale
) -> list[Prediction]:
    """Evaluate structures, and look at each result by itself."""
    assert list(model.evaluate([], scale)) == [], "no structures, no results"
    found = model.evaluate(structures, scale)
    assert isinstance(found, list), "a list of results"
    assert len(found) == len(structures), "one result per structure"
    for structure, p in zip(structures, found, strict=True):
        assert isinstance(p, Prediction), "results are Prediction"
        n = len(structure.numbers)
        shapes = {"forces": (n, 3), "energy": (), "stress": (3, 3)}
        for part in PARTS:
            value = getattr(p, part)
            if value is None:
                assert part != "forces", "there are forces"
                continue
            shape = shapes.get(part, (n,))
            assert np.shape(value) == shape, f"{part} of shape {shape}, not {np.shape(value)}"
            assert np.isfinite(value).all(), f"{part} are finite"
        if p.stress is not None:
            assert structure.volume is not None, "stress is none where there is no volume"
            largest = float(np.abs(p.stress).max())
            assert np.abs(p.stress - p.stress.T).max() <= 1e-6 * largest, "stress is symmetric"
        if p.energies is not None:
            assert p.energy is not None, "energies of atoms have a sum"
            close = math.isclose(float(p.energies.sum()), p.energy, rel_tol=1e-6, abs_tol=1e-6)
            assert close, "energies of atoms sum to the energy"
        if p.cutoffs is not None and scale.cutoff is not None:
            wanted = np.broadcast_to(np.asarray(scale.cutoff, dtype=float), (n,))
            np.testing.assert_allclose(p.cutoffs, wanted, rtol=1e-6, err_msg="cutoffs as asked for")
    return found


def _check_repeatable(
    model: InteratomicPotential,
    structures: Sequence[Structure],
    scale: Scale,
    found: Sequence[Prediction],
    atol: float,
) -> list[Prediction]:
    """Evaluate structures again in several ways, and return copies of the first results."""
    before = [_content(s) for s in structures]
    kept = copy.deepcopy(list(found))
    for p in found:  # what was given out is the caller's: writing to it must change nothing
        if p.forces.flags.writeable:
            p.forces[...] = np.nan
    for a, b in zip(model.evaluate(structures, scale), kept, strict=True):
        _compare(a, b, 0.0, "same structures, same results")
    backwards = model.evaluate(structures[::-1], scale)[::-1]
    for a, b in zip(backwards, kept, strict=True):
        _compare(a, b, atol, "order of structures")
    for structure, b in zip(structures, kept, strict=True):
        _compare(model.evaluate([structure], scale)[0], b, atol, "a structure alone")
        if isinstance(model, Preparable):
            _compare(model.prepare(structure)(scale), b, atol, "a structure that was prepared")
        n = len(structure.numbers)
        other = Labels(np.ones((n, 3)), 1.0, np.eye(3))
        for labels in (Labels(), other):
            relabelled = replace(structure, labels=labels)
            _compare(model.evaluate([relabelled], scale)[0], b, atol, "labels were looked at")
    for structure, was in zip(structures, before, strict=True):
        for name, value in _content(structure).items():
            same = (value is None and was[name] is None) or np.array_equal(value, was[name])
            assert same, f"{name} of a structure were changed"
    return kept


def _content(structure: Structure) -> dict[str, Any]:
    """Copies of what a structure holds."""
    names = ("numbers", "positions", "cell", "pbc", "molecule", "place")
    content = {name: getattr(structure, name) for name in names}
    labels = structure.labels
    content |= {"forces": labels.forces, "energy": labels.energy, "stress": labels.stress}
    content["info"] = repr(sorted(structure.info.items(), key=lambda item: str(item[0])))
    return copy.deepcopy(content)


def _compare(
    actual: Prediction,
    desired: Prediction,
    atol: float,
    what: str,
    *,
    turn: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> None:
    """Assert that two predictions are equal, after a rotation and a reordering of the second."""
    for part, axes in PARTS.items():
        a, b = getattr(actual, part), getattr(desired, part)
        assert (a is None) == (b is None), f"{what}: {part} is there only once"
        if b is None:
            continue
        if order is not None and part in OF_ATOMS:
            b = b[order]
        if turn is not None and axes:
            b = b @ turn if axes == 1 else turn.T @ b @ turn
        rtol = 1e-9 if atol else 0.0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"{what}: {part}")


def _check_invariances(
    model: InteratomicPotential,
    structure: Structure,
    scale: Scale,
    first: Prediction,
    atol: float,
) -> None:
    rng = np.random.default_rng(0)
    n = len(structure.numbers)

    def predicted(changed: Structure) -> Prediction:
        return model.evaluate([changed], scale)[0]

    moved = replace(structure, positions=structure.positions + rng.uniform(-3, 3, 3))
    _compare(predicted(moved), first, atol, "translation")
    steps = rng.integers(-1, 2, (n, 3)) * structure.pbc
    imaged = replace(structure, positions=structure.positions + steps @ structure.cell)
    _compare(predicted(imaged), first, atol, "periodic images")
    if not structure.pbc.all():
        cell = structure.cell.copy()
        cell[~structure.pbc] = rng.uniform(20.0, 40.0) * structure.lattice[~structure.pbc]
        rewritten = predicted(replace(structure, cell=cell))
        _compare(replace(rewritten, stress=first.stress), first, atol, "vectors of open axes")
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.linalg.det(turn)  # a rotation, not a reflection
    turned = replace(structure, positions=structure.positions @ turn, cell=structure.cell @ turn)
    _compare(predicted(turned), first, atol, "rotation", turn=turn)
    order = rng.permutation(n)
    _compare(predicted(_reordered(structure, order)), first, atol, "order of atoms", order=order)


def _reordered(structure: Structure, order: np.ndarray) -> Structure:
    labels, place = structure.labels, structure.place
    return replace(
        structure,
        numbers=structure.numbers[order],
        positions=structure.positions[order],
        molecule=structure.molecule[order],
        place=None if place is None else place[order],
        labels=replace(labels, forces=None if labels.forces is None else labels.forces[order]),
    )


def _check_structures_refused(model: InteratomicPotential, structures: Sequence[Structure]) -> None:
    structure = structures[0]
    unknown = [] if model.elements is None else sorted(set(range(1, 119)) - set(model.elements))
    numbers = structure.numbers.copy()
    if unknown:
        numbers[0] = unknown[0]
    upon, far = structure.positions.copy(), structure.positions.copy()
    upon[1], far[0] = upon[0], np.nan
    flat = replace(structure, cell=np.zeros((3, 3)), pbc=np.ones(3, dtype=bool))
    odd = {
        "atoms upon each other": replace(structure, positions=upon),
        "a position that is not finite": replace(structure, positions=far),
        "a periodic cell without volume": flat,
    }
    if unknown:
        odd["an unknown element"] = replace(structure, numbers=numbers)
    for what, wrong in odd.items():
        check_refused(lambda wrong=wrong: model.evaluate([wrong], Scale()), what)  # type: ignore[misc]


def _check_scales_refused(model: InteratomicPotential, structures: Sequence[Structure]) -> None:
    structure = structures[0]
    n = len(structure.numbers)

    def evaluated(scale: Scale) -> Prediction:
        return model.evaluate([structure], scale)[0]

    if model.long_range in (LongRange.ALWAYS, LongRange.UNKNOWN):
        check_refused(lambda: evaluated(Scale(long_range=False)), "long range turned off")
    if model.cutoff_range is None:
        check_refused(lambda: evaluated(Scale(cutoff=5.0)), "a cutoff of a model without")
        return
    longest = model.cutoff_range[1]
    check_refused(lambda: evaluated(Scale(cutoff=1.01 * longest)), "a cutoff that is too long")
    check_refused(lambda: evaluated(Scale(cutoff=0.0)), "a cutoff of zero")
    check_refused(lambda: evaluated(Scale(cutoff=math.nan)), "a cutoff that is no number")
    too_many = Scale(cutoff=np.full(n + 1, longest))
    check_refused(lambda: evaluated(too_many), "more cutoffs than atoms")
    each = evaluated(Scale(cutoff=np.full(n, longest)))
    size = max(SMALLEST, float(np.abs(each.forces).max()))
    _compare(evaluated(Scale(cutoff=longest)), each, 1e-6 * size, "a cutoff of each atom")
