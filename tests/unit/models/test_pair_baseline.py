"""The pair potential that the network corrects: known fits, known repulsion, finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scalewise.data.structure import Labels, Structure
from scalewise.models.density import pair_baseline
from scalewise.models.density.pair_baseline import PairBaseline

ELEMENTS = (1, 8)
CUTOFF = 4.0


def molecules(count: int, seed: int = 0) -> list[Structure]:
    """Clusters of six atoms no closer than 0.9 Å."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid([0, 1, 2], [0, 1], [0], indexing="ij"), -1).reshape(-1, 3)
    numbers = np.array([8, 1, 1, 8, 1, 1])
    return [
        Structure(
            numbers,
            1.3 * grid + rng.uniform(-0.2, 0.2, grid.shape),
            np.zeros((3, 3)),
            np.zeros(3, dtype=bool),
        )
        for _ in range(count)
    ]


def planted(seed: int = 1) -> PairBaseline:
    """A potential with coefficients that a fit should find again."""
    pair = PairBaseline(ELEMENTS, CUTOFF, 4).double()
    w = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 2, 4)))
    pair.coefficients.copy_(w + w.transpose(0, 1))
    return pair


def labelled(frames: list[Structure], pair: PairBaseline) -> list[Structure]:
    found = pair.evaluate(frames, ELEMENTS)
    return [
        replace(f, labels=Labels(forces=forces, energy=energy))
        for f, (energy, forces) in zip(frames, found, strict=True)
    ]


def test_fit_predicts_forces_of_a_pair_potential_it_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pair_baseline, "DAMPING", 1e-6)
    pair, fitted = planted(), PairBaseline(ELEMENTS, CUTOFF, 4).double()
    fitted.fit(labelled(molecules(300), pair), ELEMENTS)
    fresh = labelled(molecules(20, seed=9), pair)
    wanted = np.concatenate([f.labelled_forces for f in fresh])
    found = np.concatenate([forces for _, forces in fitted.evaluate(fresh, ELEMENTS)])
    assert np.sqrt(((found - wanted) ** 2).mean()) < 0.02 * np.sqrt((wanted**2).mean())


def test_a_smooth_pair_potential_is_found_with_the_damping_that_there_is() -> None:
    pair, fitted = planted(), PairBaseline(ELEMENTS, CUTOFF, 4).double()
    pair.coefficients /= torch.arange(1, 5) ** 4
    fitted.fit(labelled(molecules(300), pair), ELEMENTS)
    fresh = labelled(molecules(20, seed=9), pair)
    wanted = np.concatenate([f.labelled_forces for f in fresh])
    found = np.concatenate([forces for _, forces in fitted.evaluate(fresh, ELEMENTS)])
    assert np.sqrt(((found - wanted) ** 2).mean()) < 0.05 * np.sqrt((wanted**2).mean())


def test_many_functions_do_not_bend_between_the_distances_of_few_frames() -> None:
    """Twenty functions, fitted to noise of few molecules, had forces of 4 eV/Å there."""
    rng = np.random.default_rng(3)
    frames = [
        replace(f, labels=Labels(forces=rng.normal(size=(6, 3)), energy=0.0)) for f in molecules(4)
    ]
    pair = PairBaseline(ELEMENTS, CUTOFF, 20).double()
    pair.fit(frames, ELEMENTS)
    _, slopes = pair._basis(torch.linspace(1.0, 3.8, 500, dtype=torch.float64))
    assert float((slopes @ pair.coefficients[0, 1]).abs().max()) < 2.0


def test_an_atom_whose_neighbors_are_its_own_images_has_no_coefficients_of_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pair_baseline, "DAMPING", 1e-6)
    # one oxygen in a cell smaller than the cutoff: its images pull at it from all sides equally,
    # and no force says anything of pairs of oxygen
    rng = np.random.default_rng(4)
    grid = 2.6 * np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1.0]]) / 2
    frames = [
        Structure(
            np.array([8, 1, 1, 1]),
            grid + rng.uniform(-0.05, 0.05, (4, 3)),
            2.6 * np.eye(3),
            np.ones(3, dtype=bool),
        )
        for _ in range(8)
    ]
    pair, fitted = planted(), PairBaseline(ELEMENTS, CUTOFF, 4).double()
    fitted.fit(labelled(frames, pair), ELEMENTS)
    assert fitted.coefficients[1, 1].abs().max() < 1e-6
    for (energy, forces), (_, wanted) in zip(
        fitted.evaluate(frames, ELEMENTS), pair.evaluate(frames, ELEMENTS), strict=True
    ):
        assert abs(energy) < 1e4
        assert np.abs(forces - wanted).max() < 0.05 * np.abs(wanted).max()


def test_forces_are_the_derivative_of_the_energy() -> None:
    pair, (frame,) = planted(), molecules(1)
    _, forces = pair.evaluate([frame], ELEMENTS)[0]
    step = 1e-5
    moved = []
    for sign in (1, -1):
        positions = frame.positions.copy()
        positions[2, 1] += sign * step
        moved.append(replace(frame, positions=positions))
    (up, _), (down, _) = pair.evaluate(moved, ELEMENTS)
    assert forces[2, 1] == pytest.approx(-(up - down) / (2 * step), abs=1e-7)


def test_repulsion_is_that_of_ziegler_biersack_and_littmark() -> None:
    """Two oxygens at 0.2 Å, where the envelope is still 0.97: Z² k / r φ(r / a) by hand."""
    pair = PairBaseline((8,), CUTOFF, 4).double()
    pair_of = Structure(
        np.array([8, 8]),
        np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]),
        np.zeros((3, 3)),
        np.zeros(3, dtype=bool),
    )
    energy, forces = pair.evaluate([pair_of], (8,))[0]
    x = 0.2 * 2 * 8**0.23 / 0.46850
    screening = (
        0.18175 * np.exp(-3.1998 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    u = 0.2 / 1.32  # over the sum of the covalent radii
    envelope = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5
    assert energy == pytest.approx(14.399645 * 64 / 0.2 * screening * envelope, rel=1e-6)
    assert forces[0, 0] < -1000 < 1000 < forces[1, 0]


def test_repulsion_ends_at_the_sum_of_covalent_radii() -> None:
    pair = PairBaseline((8,), CUTOFF, 4).double()
    first = second = torch.zeros(1, 2, dtype=torch.int64)
    distance = torch.tensor([[1.31, 1.3201]], dtype=torch.float64)
    ends = torch.full((1, 1), CUTOFF, dtype=torch.float64)
    energies = pair._repulsion(first, second, distance, ends)[0]
    assert energies[0] > 0
    assert energies[1] == 0


def test_frames_without_forces_leave_the_fit_at_zero() -> None:
    pair = PairBaseline(ELEMENTS, CUTOFF, 4)
    pair.fit(molecules(3), ELEMENTS)
    assert not pair.coefficients.any()


def test_the_network_evaluates_what_was_fitted() -> None:
    """The padded lists of the network and the pairs of the fit give the same energies."""
    pair, frames = planted(), molecules(2)
    for frame in frames:
        apart = np.linalg.norm(frame.positions[:, None] - frame.positions[None], axis=-1)
        others = np.array([[k for k in range(6) if k != i] for i in range(6)])
        types = torch.from_numpy(np.searchsorted(ELEMENTS, frame.numbers))
        distance = torch.from_numpy(np.take_along_axis(apart, others, axis=1))
        ends = torch.full((6, 1), CUTOFF + 1.0, dtype=torch.float64)
        energies = pair(types[:, None], types[torch.from_numpy(others)], distance, ends)
        assert float(energies.sum()) == pytest.approx(pair.evaluate([frame], ELEMENTS)[0][0])


def test_a_shorter_cutoff_of_an_atom_ends_its_share() -> None:
    pair = planted()
    first = torch.zeros(2, 1, dtype=torch.int64)
    distance = torch.tensor([[2.9], [2.9]], dtype=torch.float64)
    cutoffs = torch.tensor([[2.9], [3.5]], dtype=torch.float64)
    energies = pair(first, first, distance, cutoffs)
    assert energies[0] == 0
    assert energies[1] != 0


@pytest.mark.parametrize("kind", ["perovskite", "fcc", "diamond"])
def test_pairs_that_cancel_by_symmetry_have_no_potential(kind: str) -> None:
    """Columns of 1e-17 of the fit got coefficients of 1e17, and pair energies of 1e16 eV."""
    rng = np.random.default_rng(0)
    places, numbers, lattice = {
        "perovskite": (
            [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
            [56, 22, 8, 8, 8],
            4.0 * np.eye(3),
        ),
        "fcc": ([[0, 0, 0]], [29], 3.6 * (1 - np.eye(3)) / 2),
        "diamond": ([[0, 0, 0], [0.25, 0.25, 0.25]], [14, 14], 5.4 * (1 - np.eye(3)) / 2),
    }[kind]
    frames = []
    for _ in range(20):
        cell = lattice * (1 + 0.02 * rng.normal())
        positions = np.array(places) @ cell
        if kind == "perovskite":
            positions = positions + 0.05 * rng.normal(size=positions.shape)
        forces = rng.normal(size=positions.shape) * (1.0 if kind == "perovskite" else 1e-4)
        frames.append(
            Structure(
                np.array(numbers),
                positions,
                cell,
                np.ones(3, dtype=bool),
                labels=Labels(forces=forces, energy=-1.0),
            )
        )
    elements = sorted(set(numbers))
    pair = PairBaseline(elements, 5.0, 8).double()
    pair.fit(frames, elements)
    assert float(pair.coefficients.abs().max()) < 100.0
    assert max(abs(energy) for energy, _ in pair.evaluate(frames, elements)) < 100.0


def test_rows_of_some_atoms_are_those_of_all() -> None:
    some = planted()
    frames = molecules(60)
    listed = pair_baseline._listed(frames, ELEMENTS, CUTOFF)
    part = listed.of_some_atoms(100)
    assert len(part.counted) == 100
    matrix, _, repelled = some._equations(part)
    every, _, all_repelled = some._equations(listed)
    rows = (3 * part.counted[:, None] + np.arange(3)).ravel()
    assert abs(matrix - every[rows]).max() < 1e-12
    assert np.allclose(repelled, all_repelled[part.counted])
