"""Contracts and planted truths, for our own tests and for those of third parties.

A branch, router or oracle written elsewhere can be run through the same checks as ours:

>>> from scalewise.scales.selectors import FixedSelector
>>> check_router(FixedSelector(0.5), planted(200, seed=1).geometry)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scalewise.data.structure import Structure
from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import ContinuousOracle, Oracle, best_single
from scalewise.scales.selectors import Selector, SelectorInputs
from scalewise.study.branches.base import Branch


@dataclass(frozen=True, eq=False)
class Planted:
    """Synthetic branches with known best scales; ``replicate`` has the same truth, new noise."""

    residuals: Residuals
    replicate: Residuals
    geometry: SelectorInputs
    best: np.ndarray


def planted(
    n_units: int,
    *,
    seed: int,
    optima: tuple[float, ...] = (0.5,),
    noise: float = 1.0,
    difference: float = 0.5,
    n_features: int = 4,
    block: int = 20,
) -> Planted:
    r"""Draw two branches whose best scale is ``optima[regime]``, the regime seen in a feature.

    The label is :math:`y = (1 - s) p_0 + s p_1 + \epsilon`; ``difference`` is the standard
    deviation of :math:`p_1 - p_0` and ``noise`` that of :math:`\epsilon`, per component. The first
    feature is the regime plus a little noise, the others mean nothing. With one optimum there is
    nothing to route.
    """
    rng = np.random.default_rng(seed)
    regime = rng.integers(len(optima), size=n_units)
    best = np.asarray(optima, dtype=float)[regime]
    d = difference * rng.standard_normal((n_units, 3))
    features = rng.standard_normal((n_units, n_features))
    features[:, 0] = regime + 0.1 * features[:, 0]
    blocks = np.arange(n_units) // block

    def draw() -> Residuals:
        epsilon = noise * rng.standard_normal((n_units, 3))
        first = -best[:, None] * d - epsilon
        return Residuals.of_vectors(np.stack([first, first + d]), blocks)

    geometry = SelectorInputs(features, regime if len(optima) > 1 else np.zeros(n_units, dtype=int))
    return Planted(draw(), draw(), geometry, best)


def check_branch(branch: Branch, frame: Structure, *, tolerance: float = 1e-6) -> None:
    """Assert what every branch promises for a frame.

    Finite energies and forces of the right shape, the same twice, inputs left alone; forces are
    the negative gradient of the energy (central differences, ``tolerance`` relative to the largest
    force) and sum to zero; translation, rotation of everything, periodic images and the order of
    atoms change nothing but what they must.
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


def check_router(router: Selector, geometry: SelectorInputs) -> None:
    """Assert what every router promises.

    One finite scale in [0, 1] per unit; the same answer twice; an answer that does not depend on
    the other units or on their order; inputs left as they were.
    """
    before = geometry.features.copy()
    scales = router.scales(geometry)
    assert scales.shape == (len(geometry.features),), "one scale per unit"
    assert np.isfinite(scales).all(), "scales are finite"
    assert scales.min() >= 0, "scales are at least 0"
    assert scales.max() <= 1, "scales are at most 1"
    np.testing.assert_array_equal(router.scales(geometry), scales, "same input, same scales")
    order = np.random.default_rng(0).permutation(len(scales))
    shuffled = router.scales(SelectorInputs(geometry.features[order], geometry.stratum[order]))
    np.testing.assert_allclose(shuffled, scales[order], atol=1e-12, err_msg="order of units")
    half = np.arange(len(scales)) < max(1, len(scales) // 2)
    alone = router.scales(geometry.subset(half))
    np.testing.assert_allclose(alone, scales[half], atol=1e-12, err_msg="other units matter")
    np.testing.assert_array_equal(geometry.features, before, "features were changed")


def check_oracle(oracle: Oracle, residuals: Residuals) -> None:
    """Assert what every oracle promises.

    Its loss is the loss at its scales; it is between the best single anchor and the exact
    continuous minimum for every unit in total; residuals are left as they were.
    """
    before = residuals.values.copy()
    choice = oracle.choose(residuals)
    np.testing.assert_allclose(
        choice.loss, residuals.unit_losses(choice.scale), rtol=1e-12, err_msg="loss at the scales"
    )
    least = ContinuousOracle().choose(residuals).loss
    slack = 1e-12 * (1.0 + np.abs(least))
    assert (choice.loss >= least - slack).all(), "no choice beats the exact minimum"
    assert choice.loss.sum() <= best_single(residuals)[1].sum(), "no worse than one branch"
    np.testing.assert_array_equal(residuals.values, before, "residuals were changed")
