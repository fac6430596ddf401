"""The screened law: analytic values, images, conservation, and the range that it needs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.structure import Structure
from scalewise.testbed.screened import CORE, SWITCH, ScreenedLaw, beyond
from support import salt_frame

SALT = {"Na": 1.0, "Cl": -1.0}
WATER = {**SALT, "O": -0.8, "H": 0.4}


def two(distance: float, numbers: tuple[int, int] = (11, 17)) -> Structure:
    return Structure(
        numbers=np.array(numbers),
        positions=np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )


def moved(frame: Structure, atom: int, axis: int, by: float) -> Structure:
    positions = frame.positions.copy()
    positions[atom, axis] += by
    return replace(frame, positions=positions)


def water_and_salt() -> Structure:
    """Two waters, a pair of ions, and a cell much smaller than the reach."""
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    ions = np.array([[1.5, 4.0, 1.0], [4.2, 4.3, 1.5]])
    return Structure(
        numbers=np.array([11, 17, 8, 1, 1, 8, 1, 1]),
        positions=np.concatenate([ions, water, water + np.array([3.0, 0.4, 0.9])]),
        cell=np.array([[6.0, 0.0, 0.0], [0.5, 7.0, 0.0], [0.2, -0.3, 5.5]]),
        pbc=np.ones(3, dtype=bool),
        molecule=np.array([0, 1, 2, 2, 2, 3, 3, 3]),
    )


def test_two_ions_have_the_energy_and_force_of_the_formula() -> None:
    screening, r = 3.0, 5.0
    found = ScreenedLaw(SALT, screening).label(two(r))
    energy = -COULOMB_CONSTANT * np.exp(-r / screening) / r
    assert found.energy == pytest.approx(energy, rel=1e-12)
    force = energy * (1 / r + 1 / screening)  # they attract: the second is pulled to -x
    np.testing.assert_allclose(found.forces, [[-force, 0, 0], [force, 0, 0]], rtol=1e-12)


def test_without_screening_it_is_coulombs_law() -> None:
    found = ScreenedLaw(SALT, 1e9, end=20.0).label(two(7.0, (11, 11)))
    assert found.energy == pytest.approx(COULOMB_CONSTANT / 7.0, rel=1e-7)
    np.testing.assert_allclose(found.forces[1, 0], COULOMB_CONSTANT / 49.0, rtol=1e-7)


def test_the_core_wins_at_contact_and_spares_hydrogen() -> None:
    law = ScreenedLaw(WATER, 3.0)
    distance = np.linspace(0.05, 6.0, 2000)
    energy, _ = law.profile(distance, np.full(2000, -1.0), np.ones(2000))
    assert distance[energy.argmin()] == pytest.approx(2.91, abs=0.02)
    assert energy[0] > 100.0
    bare = -0.4 * 0.8 * COULOMB_CONSTANT * np.exp(-1.8 / 3.0) / 1.8
    assert law.label(two(1.8, (8, 1))).energy == pytest.approx(bare, rel=1e-12)


@pytest.mark.parametrize("edge", ["core", "begin", "end"])
def test_two_derivatives_are_continuous(edge: str) -> None:
    law = ScreenedLaw(SALT, 4.0, end=10.0)
    at = {"core": CORE, "begin": SWITCH * law.reach, "end": law.reach}[edge]
    one = np.ones(1)

    def slope(r: float) -> float:
        return float(law.profile(r * one, -one, one)[1][0])

    h = 1e-4
    below = (slope(at) - slope(at - h)) / h
    above = (slope(at + h) - slope(at)) / h
    inside = (slope(at - 1.0 + h) - slope(at - 1.0)) / h  # what it is an Å before
    assert abs(above - below) < 0.02 * max(abs(inside), abs(below))
    assert slope(at - 1e-9) == pytest.approx(slope(at + 1e-9), abs=1e-7)
    if edge == "end":
        assert law.label(two(10.0)).energy == 0.0
        assert law.label(two(9.9)).energy != 0.0


def test_the_truncation_cuts_nothing_that_matters() -> None:
    """At the default reach, the largest force of a pair that the switch alters is 1e-4 eV/Å."""
    law = ScreenedLaw(SALT, 3.0)
    force = law.label(two(SWITCH * law.reach)).forces
    assert np.abs(force).max() < 1e-4


@pytest.mark.parametrize("periodic", [True, False])
def test_forces_are_minus_the_derivative_of_the_energy(periodic: bool) -> None:
    frame = water_and_salt()
    if not periodic:
        frame = replace(frame, pbc=np.zeros(3, dtype=bool))
    law = ScreenedLaw(WATER, 1.2)
    forces = law.label(frame).forces
    h = 1e-4
    for atom, axis in product(range(len(frame.numbers)), range(3)):
        ends = [law.label(moved(frame, atom, axis, s * h)).energy for s in (1, -1)]
        assert forces[atom, axis] == pytest.approx((ends[1] - ends[0]) / (2 * h), abs=1e-6)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-12)


def test_images_are_those_of_a_sum_by_hand() -> None:
    frame = water_and_salt()
    law = ScreenedLaw(WATER, 0.8)
    charge = np.array([WATER[s] for s in frame.symbols])
    heavy = (frame.numbers > 1).astype(float)
    energy, forces = 0.0, np.zeros_like(frame.positions)
    for shift in product(range(-3, 4), repeat=3):
        moved_by = np.array(shift) @ frame.cell
        for i, j in product(range(len(charge)), repeat=2):
            if shift == (0, 0, 0) and frame.molecule[i] == frame.molecule[j]:
                continue
            vector = frame.positions[j] + moved_by - frame.positions[i]
            r = np.array([np.linalg.norm(vector)])
            u, slope = law.profile(r, charge[[i]] * charge[[j]], heavy[[i]] * heavy[[j]])
            energy += 0.5 * u[0]
            forces[i] += slope[0] * vector / r
    found = law.label(frame)
    assert found.energy == pytest.approx(energy, rel=1e-11)
    np.testing.assert_allclose(found.forces, forces, atol=1e-11)


def test_a_doubled_cell_has_twice_the_energy() -> None:
    frame = water_and_salt()
    n = len(frame.numbers)
    twice = replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions, frame.positions + frame.cell[1]]),
        cell=frame.cell * np.array([1.0, 2.0, 1.0])[:, None],
        molecule=np.concatenate([frame.molecule, frame.molecule + 4]),
        labels=replace(frame.labels, forces=np.zeros((2 * n, 3))),
    )
    law = ScreenedLaw(WATER, 1.2)
    one, two_ = law.label(frame), law.label(twice)
    assert two_.energy == pytest.approx(2 * one.energy, rel=1e-12)
    np.testing.assert_allclose(two_.forces, np.tile(one.forces, (2, 1)), atol=1e-12)


# -- the known range -------------------------------------------------------------------------------


def test_beyond_a_cutoff_is_what_a_sum_to_that_cutoff_leaves_out() -> None:
    law = ScreenedLaw(SALT, 2.0)
    frame = two(6.0)
    found = beyond([frame], law, [5.0, 7.0])
    np.testing.assert_allclose(found.missing[0], law.label(frame).forces)
    np.testing.assert_array_equal(found.missing[1], 0.0)
    np.testing.assert_allclose(found.share, [1.0, 0.0])
    assert found.mae[0] == pytest.approx(np.abs(law.label(frame).forces).mean())


def test_the_share_falls_with_the_cutoff_and_rises_with_the_screening_length() -> None:
    frames = [salt_frame(seed, n=20) for seed in range(3)]
    cutoffs = [3.0, 4.5, 6.0, 9.0, 12.0, 25.0]
    short, long = (beyond(frames, ScreenedLaw(SALT, s), cutoffs) for s in (1.5, 2.5))
    assert (np.diff(short.share) < 0).all()
    assert (short.share[1:-1] < long.share[1:-1]).all()
    assert short.share[-1] == long.share[-1] == 0.0
    assert short.share[3] < 0.02


def test_the_error_of_a_model_that_also_errs_otherwise() -> None:
    frames = [salt_frame(seed, n=20) for seed in range(3)]
    found = beyond(frames, ScreenedLaw(SALT, 2.0), [4.0, 8.0, 20.0])
    noise = 0.02 * np.sqrt(np.pi / 2) * np.random.default_rng(0).standard_normal((4000, 1, 60, 3))
    drawn = np.abs(found.missing[:, :, :] + noise).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(found.error(0.02), drawn, rtol=0.01)
    np.testing.assert_allclose(found.error(0.02)[-1], 0.02, rtol=1e-9)
    np.testing.assert_allclose(found.error(0.0), found.mae)


def test_a_better_model_and_a_longer_law_need_a_longer_cutoff() -> None:
    frames = [salt_frame(seed, n=20) for seed in range(3)]
    cutoffs = np.arange(3.0, 20.5, 0.5)
    enough = {
        (screening, other): beyond(frames, ScreenedLaw(SALT, screening), cutoffs).enough(
            0.01, other
        )
        for screening in (1.0, 2.0)
        for other in (0.05, 0.005)
    }
    assert enough[1.0, 0.05] < enough[1.0, 0.005] < 10.0
    assert enough[2.0, 0.05] < enough[2.0, 0.005]
    assert enough[1.0, 0.005] < enough[2.0, 0.005]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ScreenedLaw(SALT, 0.0), "screening=0: not a length"),
        (lambda: ScreenedLaw(SALT, 0.3), r"inside the core of 3\.5 Å.*at least 0\.44 Å"),
        (lambda: ScreenedLaw({"Na": 1.0}, 2.0).label(two(3.0)), "element Cl: the law has"),
        (lambda: beyond([], ScreenedLaw(SALT, 2.0), [3.0]), "0 frames"),
        (lambda: beyond([two(3.0)], ScreenedLaw(SALT, 2.0), [4.0, 3.0]), "cutoffs that rise"),
    ],
)
def test_mistakes_are_explained(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
