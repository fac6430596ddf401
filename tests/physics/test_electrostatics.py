"""Electrostatics and pair functions against what is known in closed form."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.structure import Structure
from scalewise.models import electrostatics
from scalewise.study.branches.longrange import CoulombBasis, CoulombBranch, charge_direction
from scalewise.study.branches.pair import ElementPairs, PairBranch, PowerBasis, SplineBasis
from support import salt_frame, untrained

#: Madelung constant of rock salt, nearest-neighbor distance as unit.
ROCK_SALT = 1.7475645946


def rock_salt(distance: float, cells: int) -> Structure:
    grid = np.stack(np.meshgrid(*[np.arange(2 * cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    numbers = np.where(grid.sum(1) % 2 == 0, 11, 17)
    n = len(grid)
    return Structure(
        numbers,
        distance * grid,
        2 * cells * distance * np.eye(3),
        np.ones(3, dtype=bool),
        np.arange(n),
    )


def test_madelung_constant_of_rock_salt() -> None:
    frame = rock_salt(2.82, 2)
    energy = CoulombBranch({"Na": 1.0, "Cl": -1.0}).predict(frame).energies.sum()
    per_pair = energy / (len(frame.numbers) / 2)
    assert per_pair == pytest.approx(-ROCK_SALT * COULOMB_CONSTANT / 2.82, rel=2e-5)


def test_two_ions_far_from_their_images_attract_with_one_over_r_squared() -> None:
    box = 60.0
    frame = Structure(
        np.array([11, 17]),
        np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]),
        box * np.eye(3),
        np.ones(3, dtype=bool),
        np.arange(2),
    )
    force = CoulombBranch({"Na": 1.0, "Cl": -1.0}).predict(frame).forces[0, 0]
    assert force == pytest.approx(COULOMB_CONSTANT / 16.0, rel=2e-3)


def test_atoms_of_one_molecule_do_not_act_on_each_other() -> None:
    """A lone dipole of one molecule feels only its images: almost nothing in a large box."""
    frame = Structure(
        np.array([11, 17]),
        np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
        30.0 * np.eye(3),
        np.ones(3, dtype=bool),
        np.zeros(2, dtype=int),
    )
    whole = CoulombBranch({"Na": 1.0, "Cl": -1.0})
    assert abs(whole.predict(frame).forces).max() < 0.01
    apart = replace(frame, molecule=np.arange(2))
    assert abs(whole.predict(apart).forces).max() > 3.0


def test_coulomb_basis_sums_to_the_branch() -> None:
    frame = salt_frame(3)
    pairs = ElementPairs(("Cl", "Na"))
    charges = {"Cl": -0.4, "Na": 0.9}
    products = np.array([charges[a] * charges[b] for a, b in pairs.combinations])
    basis, branch = CoulombBasis(pairs), CoulombBranch(charges).predict(frame)
    np.testing.assert_allclose(basis.forces(frame) @ products, branch.forces, atol=1e-10)
    np.testing.assert_allclose(basis.energies(frame) @ products, branch.energies, atol=1e-10)


def test_ratios_of_charges_come_back_from_their_products() -> None:
    pairs = ElementPairs(("Cl", "H", "Na", "O"))
    q = np.array([-1.0, 0.417, 1.0, -0.834])
    charge = dict(zip(pairs.elements, q, strict=True))
    products = np.array([charge[a] * charge[b] for a, b in pairs.combinations])
    counts, sign = np.array([10.0, 480.0, 10.0, 240.0]), np.array([-1, 0, 1, 0])
    found = charge_direction(products, pairs, counts, sign)
    np.testing.assert_allclose(found, q / np.linalg.norm(q), atol=1e-12)


def test_two_elements_are_neutral_whatever_the_products() -> None:
    pairs = ElementPairs(("Ca", "Cl"))
    for products in ([-1.0, 0.0, -1.0], [1.0, -2.0, 0.3]):
        found = charge_direction(np.array(products), pairs, np.array([4.0, 8.0]), np.array([1, -1]))
        np.testing.assert_allclose(found, np.array([2.0, -1.0]) / 5**0.5, atol=1e-12)


@pytest.mark.parametrize("kind", ["splines", "powers"])
def test_pair_functions_are_twice_continuously_differentiable_at_the_cutoff(kind: str) -> None:
    pairs = ElementPairs(("Na",))
    basis = (
        SplineBasis(pairs, (2.0,), 6.0, 9)
        if kind == "splines"
        else PowerBasis(pairs, (2.0,), 6.0, (1, 6))
    )
    h = 1e-3
    r = 6.0 - h * np.arange(4)
    value, slope = basis.radial(r, 0)
    curvature = (slope[0] - slope[1]) / h
    assert abs(value[0]).max() < 1e-12
    assert abs(slope[0]).max() < 1e-12
    assert abs(curvature).max() < 0.05  # falls linearly to zero: of the order of h


@pytest.mark.parametrize("kind", ["splines", "powers"])
def test_pair_functions_are_bounded_and_smooth_where_there_were_no_data(kind: str) -> None:
    pairs = ElementPairs(("Na",))
    basis = (
        SplineBasis(pairs, (3.0,), 6.0, 6)
        if kind == "splines"
        else PowerBasis(pairs, (3.0,), 6.0, (1, 4, 12))
    )
    r = np.linspace(0.3, 6.0, 4001)
    value, slope = basis.radial(r, 0)
    assert abs(value).max() < 3.0
    assert (slope[r < 1.5] == 0).all()
    numerical = np.gradient(value, r, axis=0)[1:-1]
    np.testing.assert_allclose(numerical, slope[1:-1], atol=2e-3)
    curvature = np.gradient(slope, r, axis=0)
    assert abs(np.diff(curvature, axis=0)).max() < 1.0  # a jump would be of the order of 10


def test_energy_is_continuous_as_a_neighbor_crosses_the_cutoff() -> None:
    pairs = ElementPairs(("Cl", "Na"))
    branch = PairBranch(SplineBasis(pairs, (2.0, 2.0, 2.0), 6.0, 8), np.ones(24))

    def energy(distance: float) -> float:
        frame = Structure(
            np.array([11, 17]),
            np.array([[0.0, 0, 0], [distance, 0, 0]]),
            20.0 * np.eye(3),
            np.ones(3, dtype=bool),
            np.arange(2),
        )
        return float(branch.predict(frame).energies.sum())

    assert energy(6.0 + 1e-6) == 0.0
    assert abs(energy(6.0 - 1e-6)) < 1e-12


def test_non_periodic_frames_and_unknown_elements_are_refused(salt: Structure) -> None:
    open_frame = replace(salt, pbc=np.zeros(3, dtype=bool))
    with pytest.raises(InputError, match="periodic"):
        CoulombBranch({"Na": 1.0, "Cl": -1.0}).predict(open_frame)
    with pytest.raises(InputError, match="atom 1 is Cl"):
        CoulombBranch({"Na": 1.0}).predict(salt)


def test_overlapping_atoms_are_refused(salt: Structure) -> None:
    positions = salt.positions.copy()
    positions[1] = positions[0]
    pairs = ElementPairs(("Cl", "Na"))
    branch = PairBranch(SplineBasis(pairs, (2.0, 2.0, 2.0), 6.0, 8), np.ones(24))
    with pytest.raises(InputError, match="overlap"):
        branch.predict(replace(salt, positions=positions))


def test_the_sum_is_chosen_by_its_cost() -> None:
    """Few atoms in an empty cell: waves. The density of water: a mesh from 1100 atoms on."""
    for edge in (20.0, 100.0, 200.0):
        assert not electrostatics.plan(edge * np.eye(3), 1.0, 4).mesh
    for atoms, mesh in ((600, False), (1000, False), (2000, True), (20_000, True)):
        cell = (atoms / 0.1) ** (1 / 3) * np.eye(3)
        assert electrostatics.plan(cell, 1.25, atoms).mesh is mesh
    assert electrostatics.plan(600.0 * np.eye(3), 1.0, 1).memory > 10 * 2**30
    assert electrostatics.plan(None, 1.0, 1000).memory == pytest.approx(4e7)
    assert electrostatics.plan(100.0 * np.eye(3), 0.0, 1000).memory == 0.0


@pytest.mark.parametrize("edge", ["2e+04", "2e+06", "1e+07"])
def test_a_cell_too_large_for_memory_is_refused(edge: str) -> None:
    """However large: points of the mesh are more than an integer of 64 bits can count."""
    potential = untrained(cutoff=4.0)
    frame = replace(salt_frame(), cell=float(edge) * np.eye(3))
    with pytest.raises(InputError, match=rf"a cell of {re.escape(edge)} x .* GiB, and .* are free"):
        potential.predict(frame)
