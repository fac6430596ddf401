"""Requirements of branches of a study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalewise.data.structure import Structure
from scalewise.study.branches.base import Branch


def check_branch(branch: Branch, frame: Structure, *, tolerance: float = 1e-6) -> None:
    """Check the requirements of a branch for a frame.

    Energies and forces have the right shapes, forces are finite, a second call gives the same
    forces, and positions are not changed. Forces are the negative gradient of the energy (by
    central differences, within ``tolerance`` relative to the largest force) and sum to zero. They
    follow translations, rotations, periodic images and permutations of the atoms as they must.

    Raises
    ------
    AssertionError
        A requirement that is not met.
    """
    before = frame.positions.copy()
    first = branch.predict(frame)
    n = len(frame.numbers)
    assert first.energies.shape == (n,), "one energy per atom"
    assert first.forces.shape == (n, 3), "three force components per atom"
    assert np.isfinite(first.forces).all(), "forces are finite"
    again = branch.predict(frame)
    np.testing.assert_array_equal(again.forces, first.forces, "same frame, same forces")
    size = float(np.abs(first.forces).max()) + 1e-12

    def close(actual: np.ndarray, desired: np.ndarray, what: str) -> None:
        np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * size, err_msg=what)

    np.testing.assert_allclose(first.forces.sum(axis=0), 0, atol=n * tolerance * size)
    rng = np.random.default_rng(0)
    for atom in rng.choice(n, size=min(n, 4), replace=False):
        numerical = _numerical_force(branch, frame, int(atom))
        close(numerical, first.forces[atom], "gradient")
    moved = replace(frame, positions=frame.positions + rng.uniform(-3, 3, 3))
    close(branch.predict(moved).forces, first.forces, "translation")
    images = rng.integers(-1, 2, (n, 3)) @ frame.cell
    whole = images[np.unique(frame.molecule, return_index=True)[1]][
        np.unique(frame.molecule, return_inverse=True)[1]
    ]
    imaged = branch.predict(replace(frame, positions=frame.positions + whole))
    close(imaged.forces, first.forces, "periodic images")
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turned = branch.predict(
        replace(frame, positions=frame.positions @ turn, cell=frame.cell @ turn)
    )
    close(turned.forces, first.forces @ turn, "rotation")
    order = rng.permutation(n)
    shuffled = branch.predict(
        replace(
            frame,
            numbers=frame.numbers[order],
            positions=frame.positions[order],
            molecule=frame.molecule[order],
            labels=replace(frame.labels, forces=frame.labelled_forces[order]),
        )
    )
    close(shuffled.forces, first.forces[order], "order of atoms")
    np.testing.assert_array_equal(frame.positions, before, "positions were changed")


def _numerical_force(branch: Branch, frame: Structure, atom: int, step: float = 1e-4) -> np.ndarray:
    force = np.empty(3)
    for axis in range(3):
        energy = []
        for sign in (2, 1, -1, -2):
            positions = frame.positions.copy()
            positions[atom, axis] += sign * step
            energy.append(branch.predict(replace(frame, positions=positions)).energies.sum())
        force[axis] = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
    return force
