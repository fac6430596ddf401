"""What must hold for a potential with a ladder of scales, whatever its weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.models import gradients as derivative
from scalewise.models.binning import bin_atoms
from scalewise.models.density.network import DensityNetwork
from scalewise.models.potential import Potential
from scalewise.models.protocol import Scale
from scalewise.models.scale import ORDER, ResolvedScale, condition
from scalewise.study.branches.learned import LearnedBranch
from scalewise.testing import check_branch
from support import doubled, predict, salt_frame, untrained

LADDER = (3.0, 5.0, "long")


@pytest.fixture(scope="module")
def potential() -> Potential:
    return untrained(ladder=LADDER)


@pytest.fixture(scope="module")
def frame() -> Structure:
    return salt_frame(seed=3, n=20, box=10.0)


@pytest.mark.parametrize("cutoff", [3.0, 4.2, 5.0])
def test_every_rung_keeps_the_contract_of_branches(
    potential: Potential, frame: Structure, cutoff: float
) -> None:
    check_branch(LearnedBranch(potential, cutoff), frame, tolerance=1e-6)


def test_the_scale_is_told_in_functions_of_equal_size() -> None:
    cutoff = torch.linspace(3.0, 6.5, 50, dtype=torch.float64)
    told = condition(
        ResolvedScale(cutoff, torch.ones_like(cutoff)), 3.0, 6.5, long_range_optional=True
    )
    assert told.shape == (50, ORDER + 1)
    angle = torch.arccos(2 * (cutoff - 3.0) / 3.5 - 1)
    for k in range(ORDER):
        torch.testing.assert_close(told[:, k], torch.cos((k + 1) * angle))
    off = condition(ResolvedScale(cutoff, None), 3.0, 6.5, long_range_optional=True)
    assert (off[:, -1] == 0).all()


def test_scales_share_what_is_nearer_than_their_switch(frame: Structure) -> None:
    # ions 2.9 Å apart: no neighbor fades at 3.6 Å and beyond, whatever the scale
    network = untrained(ladder=(3.0, 5.0)).network
    settings = network.settings.model_copy(update={"ladder": ()})
    pair = replace(
        frame,
        numbers=np.array([11, 17]),
        positions=np.array([[1.0, 1.0, 1.0], [3.9, 1.0, 1.0]]),
        labels=replace(frame.labels, forces=np.zeros((2, 3))),
    )
    untold = DensityNetwork(settings, (11, 17), torch.float64)
    shared = Potential(untold, untrained().composition)
    energies = [predict(shared, pair, cutoffs=c).energy for c in (3.3, 3.6, 4.3, 5.0)]
    np.testing.assert_allclose(energies[2:], energies[1], rtol=0, atol=1e-12)
    assert abs(energies[0] - energies[1]) > 1e-6


def test_a_network_begins_as_one_that_is_not_told(frame: Structure) -> None:
    torch.manual_seed(0)
    # the pair potential ends at the shortest cutoff, which is another one
    plain = untrained(cutoff=5.0, cutoff_width=0.5, first_layer_cutoff=3.5, pair_baseline=False)
    settings = untrained(ladder=LADDER, pair_baseline=False).network.settings
    ladder = DensityNetwork(settings, (11, 17), torch.float64)
    ladder.load_state_dict(plain.network.state_dict(), strict=False)
    found = Potential(ladder, plain.composition).predict(frame)
    np.testing.assert_allclose(found.forces, predict(plain, frame).forces, atol=1e-12)


def test_the_first_layer_looks_at_the_first_slots_alone(
    potential: Potential, frame: Structure
) -> None:
    graph = potential.graph(frame)
    assert graph.first_neighbor_index is not None
    assert graph.first_neighbor_index.shape[1] < graph.neighbor_index.shape[1]
    every = replace(graph, first_neighbor_index=None)
    for cutoffs in (3.3, 5.0, np.random.default_rng(0).uniform(3.0, 5.0, 20)):
        found, expected = (
            potential.evaluate_graph(g, frame.positions, Scale(cutoffs)).forces
            for g in (graph, every)
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    whole = untrained(ladder=LADDER, first_layer_cutoff=None)
    assert whole.graph(frame).first_neighbor_index is None
    assert np.abs(predict(whole, frame).forces - predict(potential, frame).forces).max() > 1e-3


def test_the_energy_bends_nowhere_while_a_cutoff_passes_the_first_layer(
    potential: Potential, frame: Structure
) -> None:
    inner = potential.network.settings.first_layer_cutoff
    assert inner is not None
    graph = potential.graph(frame)

    cutoffs = np.arange(inner - 0.4, inner + 0.4, 0.0025)
    energies = np.array(
        [
            potential.evaluate_graph(graph, frame.positions, Scale(float(c))).energy.item()
            for c in cutoffs
        ]
    )

    def third_difference(every: int) -> float:
        return float(np.abs(np.diff(energies[::every], 3)).max())

    # eight where three derivatives are continuous, two where the first one jumps
    assert 7.0 < third_difference(2) / third_difference(1) < 9.0


def test_long_range_is_a_rung(potential: Potential, frame: Structure) -> None:
    short = predict(potential, frame, cutoffs=4.0, long=False)
    assert (short.charges == 0).all()
    assert np.abs(short.forces - predict(potential, frame, cutoffs=4.0).forces).max() > 1e-3
    check = untrained()
    with pytest.raises(InputError, match=r"trained with it alone.*--ladder"):
        predict(check, frame, long=False)


def test_shares_in_the_long_range_pass_smoothly_to_none(
    potential: Potential, frame: Structure
) -> None:
    graph = potential.graph(frame)
    positions, cutoff = torch.tensor(frame.positions), torch.full((20,), 4.0, dtype=torch.float64)

    def charges(share: torch.Tensor | None) -> torch.Tensor:
        return potential._evaluator(graph, positions, scale=ResolvedScale(cutoff, share)).charges

    some = torch.linspace(0, 1, 20, dtype=torch.float64)
    found = charges(some)
    assert found[0] == 0
    assert float(found.sum().abs()) < 1e-12
    none = charges(torch.zeros(20, dtype=torch.float64))
    assert (none == 0).all()
    assert (charges(None) == 0).all()


def test_forces_at_scales_of_every_atom_are_those_of_one_energy(
    potential: Potential, frame: Structure
) -> None:
    rng = np.random.default_rng(0)
    cutoffs = rng.uniform(3.0, 5.0, 20)
    found = predict(potential, frame, cutoffs=cutoffs)
    assert np.abs(found.forces.sum(axis=0)).max() < 1e-8
    for atom, axis in ((0, 0), (7, 1), (13, 2)):
        step = np.zeros((20, 3))
        step[atom, axis] = 1e-4
        up, down = (
            predict(
                potential, replace(frame, positions=frame.positions + s), cutoffs=cutoffs
            ).energy
            for s in (step, -step)
        )
        assert -(up - down) / 2e-4 == pytest.approx(found.forces[atom, axis], abs=1e-6)


def test_lists_of_unlike_width_change_nothing(potential: Potential, frame: Structure) -> None:
    graph = potential.graph(frame)
    positions = torch.tensor(frame.positions)
    rng = np.random.default_rng(1)
    for cutoffs in (rng.uniform(3.0, 5.0, 20), np.where(frame.numbers == 11, 5.0, 3.0)):
        cutoff = torch.tensor(cutoffs)
        found = bin_atoms(graph, positions, cutoff, always=True)
        assert found is not None
        focused, order = found
        listed = sum(p.neighbor_index.numel() for p in focused.bins)
        assert listed < graph.neighbor_index.numel()
        assert len(focused.reverse_neighbor_index) == listed
        scale = ResolvedScale(cutoff, torch.ones_like(cutoff))
        expected = potential._evaluator(graph, positions, scale=scale)
        there = ResolvedScale(cutoff[order], torch.ones_like(cutoff))
        found = potential._evaluator(focused, positions[order], scale=there).reordered(order)
        for name in ("energies", "forces", "charges", "virial"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_one_list_serves_where_several_are_slower(potential: Potential, frame: Structure) -> None:
    cutoffs = torch.linspace(3.0, 5.0, 20, dtype=torch.float64)
    assert bin_atoms(potential.graph(frame), torch.tensor(frame.positions), cutoffs) is None
    many = frame
    for _ in range(7):
        many = doubled(many)
    long = np.arange(len(many.numbers)) % 20 == 0
    cutoffs = torch.tensor(np.where(long, 5.0, 3.0))
    assert bin_atoms(potential.graph(many), torch.tensor(many.positions), cutoffs) is not None


def test_parts_can_be_worked_on_in_blocks(
    potential: Potential, frame: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutoffs = np.random.default_rng(2).uniform(3.0, 5.0, 20)
    expected = predict(potential, frame, cutoffs=cutoffs)
    monkeypatch.setattr(derivative, "BLOCKS_FROM", 1)
    monkeypatch.setattr(derivative, "BLOCK", 6)
    monkeypatch.setattr("scalewise.models.binning.PART", 1)
    monkeypatch.setattr("scalewise.models.binning.WHOLE", 100.0)
    found = predict(potential, frame, cutoffs=cutoffs)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
    np.testing.assert_allclose(found.energies, expected.energies, atol=1e-12)


def test_the_energy_is_smooth_to_second_order_while_a_cutoff_crosses_a_neighbor() -> None:
    potential = untrained(ladder=(2.0, 5.0))
    frame = Structure(
        numbers=np.array([11, 17]),
        positions=np.array([[0.0, 0, 0], [4.0, 0, 0]]),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )

    def energy(first: float) -> float:
        return predict(potential, frame, cutoffs=np.array([first, 2.0])).energy

    def alone(first: float) -> float:
        far = replace(frame, positions=np.array([[0.0, 0, 0], [9.0, 0, 0]]))
        return predict(potential, far, cutoffs=np.array([first, 2.0])).energy

    steps = np.array([0.02, 0.01])
    values = np.array([energy(4.0 + h) - alone(4.0 + h) for h in steps])
    assert energy(4.0) == pytest.approx(alone(4.0), abs=1e-12)
    # what the neighbor adds starts with the third power: value, slope and curvature vanish
    assert values[0] / values[1] == pytest.approx(8.0, rel=0.1)


def test_a_uniform_scale_is_extensive(potential: Potential, frame: Structure) -> None:
    cells = (frame, doubled(frame))
    one, two = (predict(potential, f, cutoffs=3.7, long=False).energy for f in cells)
    assert two == pytest.approx(2 * one, rel=1e-10)
