"""Checks of derivatives, continuity and receptive field of a model's energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from scalewise.data.structure import Structure
from scalewise.models.protocol import InteratomicPotential, Prediction, Scale

#: Å between the points of central differences.
STEP: Final = 1e-4
#: Atoms whose forces are compared with differences of the energy.
ATOMS: Final = 2
#: Distance from a cutoff at which energy and forces must be what they are beyond it, and one at
#: which forces may differ: both as shares of the cutoff.
CLOSE: Final = 1e-4
FAR: Final = 0.05
#: Largest share of the difference of forces at FAR that may be left at CLOSE; where forces are
#: continuous it is near CLOSE / FAR, or smaller.
LEFT: Final = 0.05


def check_gradient(
    model: InteratomicPotential,
    structure: Structure,
    scale: Scale,
    found: Prediction,
    atol: float,
) -> None:
    r"""Assert :math:`F = -\partial E / \partial r` of a few atoms, by central differences."""
    rng = np.random.default_rng(0)
    n = len(structure.numbers)
    for atom in rng.choice(n, size=min(n, ATOMS), replace=False):
        for axis in range(3):

            def moved(step: float, atom: int = int(atom), axis: int = axis) -> Structure:
                positions = structure.positions.copy()
                positions[atom, axis] += step
                return replace(structure, positions=positions)

            slope = _slope(model, moved, scale)
            np.testing.assert_allclose(
                -slope, found.forces[atom, axis], rtol=0, atol=atol, err_msg="gradient of energy"
            )


def check_strain(
    model: InteratomicPotential,
    structure: Structure,
    scale: Scale,
    found: Prediction,
    atol: float,
) -> None:
    r"""Assert :math:`V \sigma : S = \partial E / \partial \lambda` under a strain λ S."""
    assert found.stress is not None
    rng = np.random.default_rng(1)
    volume = structure.volume
    assert volume is not None, "stress is none where the structure has no volume"
    for _ in range(2):
        shape = rng.standard_normal((3, 3))
        shape += shape.T
        shape /= np.linalg.norm(shape)

        def strained(step: float, shape: np.ndarray = shape) -> Structure:
            change = np.eye(3) + step * shape
            return replace(
                structure, positions=structure.positions @ change, cell=structure.cell @ change
            )

        slope = _slope(model, strained, scale)
        expected = volume * float((found.stress * shape).sum())
        # a strain moves atoms by as much as they are from the origin
        arms = float(np.linalg.norm(structure.positions, axis=1).sum()) + 1.0
        np.testing.assert_allclose(
            slope, expected, rtol=0, atol=arms * atol, err_msg="stress is the gradient of energy"
        )


def _slope(model: InteratomicPotential, at: Callable[[float], Structure], scale: Scale) -> float:
    """Derivative of the energy, by central differences of fourth order."""
    points = model.evaluate([at(k * STEP) for k in (2, 1, -1, -2)], scale)
    a, b, c, d = (_energy(p) for p in points)
    return (a - 8 * b + 8 * c - d) / (-12 * STEP)


def _energy(found: Prediction) -> float:
    assert found.energy is not None, "an energy of every structure, or of none"
    return found.energy


def check_crossing(
    model: InteratomicPotential, structure: Structure, scale: Scale, atol: float
) -> None:
    """Assert that energy and forces of two atoms are continuous where they cross the cutoff.

    Forces just inside must be those just outside, but for a small share of what they differ by
    farther inside.
    """
    if model.cutoff_range is None or scale.cutoff is None:
        return
    cutoff = float(np.max(scale.cutoff))
    shares = (1 - FAR, 1 - CLOSE, 1 + CLOSE)
    far, inside, outside = model.evaluate(
        [_pair(structure, share * cutoff) for share in shares], scale
    )
    if inside.energy is not None:
        steepest = max(float(np.abs(p.forces).max()) for p in (inside, outside))
        jump = abs(_energy(inside) - _energy(outside))
        limit = 10 * CLOSE * cutoff * steepest + 1e-3 * atol + 1e-12 * abs(inside.energy)
        assert jump <= limit, f"the energy jumps by {jump:.3g} eV at the cutoff of {cutoff:g} Å"
    change = float(np.abs(far.forces - outside.forces).max())
    left = float(np.abs(inside.forces - outside.forces).max())
    assert left <= LEFT * change + 1e-3 * atol, (
        f"forces jump by {left:.3g} eV/Å at the cutoff of {cutoff:g} Å"
    )


def _pair(structure: Structure, distance: float) -> Structure:
    """The first two atoms of a structure so far apart (Å), in a wide cell if it is periodic."""
    direction = np.array([0.6, 0.48, 0.64])
    edge = 4.0 * distance
    return Structure(
        numbers=structure.numbers[:2],
        positions=0.3 * edge + np.outer([0.0, distance], direction),
        cell=edge * np.eye(3) if structure.pbc.any() else np.zeros((3, 3)),
        pbc=structure.pbc,
        source="two atoms",
    )


def check_reach(
    model: InteratomicPotential, structure: Structure, scale: Scale, atol: float
) -> None:
    """Assert that an atom beyond the receptive field changes no force on the others."""
    field = model.receptive_field(scale)
    if field is None or math.isinf(field):
        return
    n = len(structure.numbers)
    outermost = structure.positions[int(structure.positions[:, 0].argmax())]
    alone = outermost + np.array([1.01 * field, 0.0, 0.0])
    edge = float(np.ptp(structure.positions, axis=0).max()) + 2.5 * field + 3.0

    def beside(shift: float) -> Structure:
        return Structure(
            numbers=np.append(structure.numbers, structure.numbers[0]),
            positions=np.vstack([structure.positions, alone + shift]),
            cell=edge * np.eye(3) if structure.pbc.any() else np.zeros((3, 3)),
            pbc=structure.pbc,
            source="an atom far from others",
        )

    here, there = model.evaluate([beside(0.0), beside(0.3)], scale)
    change = float(np.abs(here.forces[:n] - there.forces[:n]).max())
    # what is beyond counts for nothing at all: rounding alone is left
    assert change <= 1e-3 * atol + 1e-12, (
        f"an atom beyond the receptive_field of {field:g} Å changes a force by {change:.3g} eV/Å"
    )
