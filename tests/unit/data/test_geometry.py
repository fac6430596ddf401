"""Neighbors, regimes, features and splits."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from scalewise.core.errors import InputError
from scalewise.data import neighbors, regimes
from scalewise.data.regime_settings import RegimeSettings
from scalewise.data.splits import DataFile, Split, by_group, by_trajectory
from scalewise.data.structure import Structure, complete
from scalewise.study.features import environment
from support import salt_frame

IONS = {"Na": 1, "Cl": -1}


@pytest.mark.parametrize("cutoff", [4.0, 9.0, 13.0])
def test_neighbors_equal_those_of_ase(cutoff: float, salt: Structure) -> None:
    found = neighbors.build(salt, cutoff, full=True)
    i, d = primitive_neighbor_list("id", salt.pbc, salt.cell, salt.positions, cutoff)
    assert len(found.i) == len(i)
    np.testing.assert_allclose(np.sort(found.distance), np.sort(d), atol=1e-10)
    np.testing.assert_array_equal(np.bincount(found.i), np.bincount(i))
    half = neighbors.build(salt, cutoff)
    assert 2 * len(half.i) == len(i)


def test_vectors_point_from_i_to_j(salt: Structure) -> None:
    p = neighbors.build(salt, 6.0)
    expected = salt.positions[p.j] + p.shift @ salt.cell - salt.positions[p.i]
    np.testing.assert_allclose(p.vector, expected, atol=1e-10)


def test_cells_lower_than_the_cutoff_are_refused(salt: Structure) -> None:
    with pytest.raises(InputError, match=r"14\.00 Å high, lower than the cutoff of 15 Å"):
        neighbors.build(salt, 15.0)


KINDS = [np.array(kind) for kind in itertools.product((True, False), repeat=3)]


@pytest.mark.parametrize("pbc", KINDS, ids=lambda p: "".join("FT"[int(x)] for x in p))
@pytest.mark.parametrize("edge", [14.0, 4.0])
def test_neighbors_along_periodic_axes_alone(pbc: np.ndarray, edge: float, salt: Structure) -> None:
    """Of cells smaller than the cutoff, too; what is written for open axes does not matter."""
    rng = np.random.default_rng(0)
    cell = edge * np.eye(3) + rng.normal(0, 0.05 * edge, (3, 3))
    frame = replace(salt, cell=cell, pbc=pbc, positions=salt.positions + 3 * cell[0])
    steps = (range(-4, 5) if p else range(1) for p in pbc)
    expected = []
    for image in itertools.product(*steps):
        apart = frame.positions - frame.positions[:, None] + np.array(image) @ cell
        distance = np.linalg.norm(apart, axis=-1)
        expected.append(distance[(distance < 6.0) & (distance > 0)])
    for written in (cell, np.where(pbc[:, None], cell, 0.0), np.where(pbc[:, None], cell, 77.0)):
        found = neighbors.build(replace(frame, cell=written), 6.0, full=True, images=True)
        np.testing.assert_allclose(
            np.sort(found.distance), np.sort(np.concatenate(expected)), atol=1e-10
        )
        vector = frame.positions[found.j] + found.shift @ cell - frame.positions[found.i]
        np.testing.assert_allclose(found.vector, vector, atol=1e-10)
        assert not found.shift[:, ~pbc].any()


@pytest.mark.parametrize("pbc", KINDS[1:], ids=lambda p: "".join("FT"[int(x)] for x in p))
@pytest.mark.parametrize("apart", [50.0, 1e4, 1e8])
def test_atoms_far_apart_along_open_axes(pbc: np.ndarray, apart: float, salt: Structure) -> None:
    """What is far from the rest is listed with what is beside it, as it would be alone."""
    cell = np.where(pbc[:, None], salt.cell, 0.0)
    frame = replace(salt, cell=cell, pbc=pbc)
    away = apart * np.where(pbc, 0.0, 1.0)
    both = replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions, frame.positions + away]),
        molecule=np.arange(16),
    )
    alone, found = (neighbors.build(f, 6.0, full=True) for f in (frame, both))
    assert len(found.i) == 2 * len(alone.i)
    assert ((found.i < 8) == (found.j < 8)).all()
    near = np.sort(found.distance[found.i < 8])
    np.testing.assert_allclose(near, np.sort(alone.distance), atol=1e-10)


@pytest.mark.parametrize(
    ("pbc", "cell", "reason"),
    [
        ("TTF", np.diag([14.0, 0, 14]), "along pbc=TTF, but the cell has no area"),
        ("FFT", np.diag([14.0, 14, 0]), "along pbc=FFT, but the cell has no length"),
        ("TTT", np.diag([14.0, 14, 0]), "periodic, but the cell has no volume"),
        ("TTF", [[14.0, 0, 0], [14, 1e-3, 0], [0, 0, 9]], "the cell is skewed"),
        ("FTF", np.diag([14.0, 0.01, 14]), "an edge of 0.01 Å"),
    ],
)
def test_cells_are_looked_at_along_periodic_axes(
    pbc: str, cell: np.ndarray, reason: str, salt: Structure
) -> None:
    axes = np.array([c == "T" for c in pbc])
    with pytest.raises(InputError, match=reason):
        neighbors.build(replace(salt, pbc=axes, cell=np.array(cell)), 5.0)
    right = replace(salt, pbc=axes, cell=np.where(axes[:, None], salt.cell, cell))
    neighbors.build(right, 5.0)


def test_what_completes_a_cell_does_not_turn_where_it_hardly_changes() -> None:
    rng = np.random.default_rng(0)
    for pbc in KINDS:
        for _ in range(20):
            cell = np.diag([9.0, 8.0, 7.0]) + rng.normal(0, 0.3, (3, 3))
            lattice = complete(cell, pbc)
            np.testing.assert_array_equal(lattice[pbc], cell[pbc])
            close = complete(cell + rng.normal(0, 1e-6, (3, 3)), pbc)
            np.testing.assert_allclose(close, lattice, atol=1e-5)
            across = lattice[~pbc]
            np.testing.assert_allclose(across @ across.T, np.eye(len(across)), atol=1e-12)
            np.testing.assert_allclose(across @ lattice[pbc].T, 0, atol=1e-12)


def line(*ions: tuple[int, float]) -> Structure:
    """Ions on a line: atomic number and position."""
    n = len(ions)
    return Structure(
        np.array([z for z, _ in ions]),
        np.array([[x, 0.0, 0.0] for _, x in ions]),
        40.0 * np.eye(3),
        np.ones(3, dtype=bool),
        np.arange(n),
    )


def test_regimes_of_ions_at_known_distances() -> None:
    """Na-Cl contact at 2.8; a second Na shares solvent at 5 from Cl; a third is free."""
    frame = line((11, 0.0), (17, 2.8), (11, 7.8), (11, 20.0))
    named = {r.name: r for r in regimes.default_regimes(["Cl", "Na"], IONS, ["Na", "Cl"])}
    member = {n: regimes.membership(r, frame, IONS, 6.1).tolist() for n, r in named.items()}
    assert member["all"] == [True] * 4
    assert member["close_contact"] == [True, True, True, False]
    assert member["contact_pair"] == [True, True, False, False]
    assert member["solvent_shared"] == [False, False, True, False]
    assert member["free"] == [False, False, False, True]
    assert member["Na"] == [True, False, True, True]


def test_every_ion_is_in_exactly_one_pair_state() -> None:
    frame = salt_frame(4, n=10)
    named = {r.name: r for r in regimes.default_regimes(["Cl", "Na"], IONS, [])}
    states = [
        regimes.membership(named[n], frame, IONS, 6.1)
        for n in ("contact_pair", "solvent_shared", "free")
    ]
    assert (np.sum(states, axis=0) == 1).all()


def test_regimes_without_ions_are_all_and_the_elements() -> None:
    names = [r.name for r in regimes.default_regimes(["H", "O"], IONS, ["O"])]
    assert names == ["all", "O"]


def test_regimes_that_name_absent_elements_are_refused() -> None:
    with pytest.raises(InputError, match=r"regime 'k': element K is not in the data \(Na\)"):
        regimes.resolve([RegimeSettings(name="k", elements=("K",))], ["Na"], IONS, ["Na"])


def test_named_regimes_come_after_all() -> None:
    named = [RegimeSettings(name="sodium", elements=("Na",))]
    found = regimes.resolve(named, ["Cl", "Na"], IONS, ["Na"])
    assert [r.name for r in found] == ["all", "sodium"]


def test_features_do_not_change_under_rotation_translation_and_order(salt: Structure) -> None:
    every = np.ones(8, dtype=bool)
    before = environment(salt, ["Cl", "Na"], every, 6.0)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    moved = replace(salt, positions=(salt.positions + 1.7) @ turn, cell=salt.cell @ turn)
    np.testing.assert_allclose(environment(moved, ["Cl", "Na"], every, 6.0), before, atol=1e-10)
    assert before[0, :2].tolist() == [0.0, 1.0]


def test_features_are_continuous_at_the_cutoff() -> None:
    inside, outside = (
        environment(line((11, 0.0), (17, x)), ["Cl", "Na"], np.array([True, False]), 6.0)
        for x in (6.0 - 1e-4, 6.0 + 1e-4)
    )
    np.testing.assert_allclose(inside, outside, atol=1e-10)


def of(frames: int) -> DataFile:
    return DataFile(file="memory", sha256=64 * "0", frames=frames)


def members(split: Split) -> list[np.ndarray]:
    return [split.members(role) for role in ("train", "tune", "test")]


def test_whole_trajectories_are_dealt_out() -> None:
    trajectory = np.repeat(np.arange(8), 10)
    split = by_trajectory(trajectory.tolist(), train=0.375, tune=0.25, block=5, data=of(80))
    assert [sorted(set(trajectory[p])) for p in members(split)] == [
        [0, 1, 2],
        [3, 4],
        [5, 6, 7],
    ]
    assert len(set(split.group)) == 16


def test_a_single_trajectory_is_cut_with_a_gap() -> None:
    split = by_trajectory([0] * 100, train=0.4, tune=0.3, block=5, data=of(100))
    train, tune, test = members(split)
    blocks = [set(np.array(split.group)[p].tolist()) for p in (train, tune, test)]
    assert not blocks[0] & blocks[1]
    assert not blocks[1] & blocks[2]
    assert tune.min() - train.max() > 5
    assert test.min() - tune.max() > 5


def test_groups_are_never_split() -> None:
    group = np.random.default_rng(0).integers(30, size=200)
    split = by_group(group.tolist(), train=0.0, tune=0.5, seed=1, data=of(200))
    tune, test = split.members("tune"), split.members("test")
    assert not set(group[tune]) & set(group[test])
    assert split.roles == ("test", "tune")
    assert len(tune) + len(test) == 200


@pytest.mark.parametrize("frames", [1, 4])
def test_too_few_frames_are_refused(frames: int) -> None:
    with pytest.raises(InputError, match="blocks to train / tune / test"):
        by_trajectory([0] * frames, train=0.4, tune=0.3, block=5, data=of(frames))
