"""What must hold for the flexible potential, whatever its weights."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.structure import Structure
from scalewise.models import electrostatics
from scalewise.models import gradients as derivative
from scalewise.models.density.spherical import Harmonics, SphereGrid, harmonics
from scalewise.models.gradients import Evaluator
from scalewise.models.graph import build, collected, spread
from scalewise.models.graph_operations import batch, trim_edges
from scalewise.models.memory import keep_freed_memory
from scalewise.models.particle_mesh import mesh_numbers
from scalewise.models.potential import Potential
from scalewise.models.protocol import Scale
from scalewise.models.scale import ResolvedScale
from scalewise.study.branches.learned import LearnedBranch
from scalewise.testing import check_branch
from support import predict, salt_frame, untrained

ELEMENTS = (11, 17)


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-10) -> None:
    size = max(1.0, float(np.abs(b).max()))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * size)


@pytest.fixture(scope="module")
def potential() -> Potential:
    return untrained()


@pytest.fixture(scope="module")
def frame() -> Structure:
    return salt_frame(seed=3, n=20, box=10.0)


@pytest.mark.parametrize("charges", [True, False])
def test_it_keeps_the_contract_of_branches(frame: Structure, charges: bool) -> None:
    check_branch(LearnedBranch(untrained(charges=charges), 4.5), frame, tolerance=1e-6)


def test_symmetries_hold_to_rounding(potential: Potential, frame: Structure) -> None:
    first = predict(potential, frame)
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turned = predict(
        potential, replace(frame, positions=frame.positions @ turn, cell=frame.cell @ turn)
    )
    close(turned.energies, first.energies)
    close(turned.forces, first.forces @ turn)
    close(turned.charges, first.charges)
    assert first.stress is not None
    assert turned.stress is not None
    close(turned.stress, turn.T @ first.stress @ turn)
    images = rng.integers(-2, 3, (20, 3)) @ frame.cell
    moved = predict(potential, replace(frame, positions=frame.positions + images + 0.7))
    close(moved.forces, first.forces)
    order = rng.permutation(20)
    shuffled = predict(
        potential, replace(frame, numbers=frame.numbers[order], positions=frame.positions[order])
    )
    close(shuffled.forces, first.forces[order])
    close(first.forces.sum(axis=0), np.zeros(3))


def test_energy_is_extensive_in_replicated_cells(potential: Potential, frame: Structure) -> None:
    shifts = np.array([[i, 0, 0] for i in range(2)]) @ frame.cell
    double = replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions + s for s in shifts]),
        cell=np.diag([2.0, 1.0, 1.0]) @ frame.cell,
        molecule=np.arange(40),
    )
    one, two = predict(potential, frame), predict(potential, double)
    close(two.forces[:20], one.forces, 1e-7)
    assert two.energy == pytest.approx(2 * one.energy, rel=1e-8)


def test_cells_smaller_than_the_cutoff(potential: Potential) -> None:
    frame = salt_frame(seed=2, n=4, box=4.6)
    shifts = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3) * 4.6
    large = replace(
        frame,
        numbers=np.tile(frame.numbers, 8),
        positions=np.concatenate([frame.positions + s for s in shifts]),
        cell=2 * frame.cell,
        molecule=np.arange(32),
    )
    close(predict(potential, large).forces[:4], predict(potential, frame).forces, 1e-6)


def test_stress_is_the_derivative_with_respect_to_strain(
    potential: Potential, frame: Structure
) -> None:
    stress = predict(potential, frame).stress
    assert stress is not None
    volume = np.linalg.det(frame.cell)
    for i, j in ((0, 0), (1, 2)):
        energy = []
        for step in (1e-4, -1e-4):
            strain = np.eye(3)
            strain[i, j] += step
            moved = replace(frame, positions=frame.positions @ strain.T, cell=frame.cell @ strain.T)
            energy.append(predict(potential, moved).energy)
        assert (energy[0] - energy[1]) / 2e-4 / volume == pytest.approx(stress[i, j], abs=1e-6)


def test_isolated_molecules(potential: Potential, frame: Structure) -> None:
    isolated = replace(frame, pbc=np.zeros(3, dtype=bool))
    found = predict(potential, isolated)
    assert found.stress is None
    step = np.zeros((20, 3))
    step[4, 1] = 1e-4
    up, down = (
        predict(potential, replace(isolated, positions=frame.positions + s)).energy
        for s in (step, -step)
    )
    assert -(up - down) / 2e-4 == pytest.approx(found.forces[4, 1], abs=1e-6)


def _approaching(potential: Potential, distance: float, cutoff: float) -> tuple[float, float]:
    """Energy and force on a third atom at a distance from the first of a pair."""
    frame = Structure(
        numbers=np.array([11, 17, 17]),
        positions=np.array([[0, 0, 0], [-2.5, 0, 0], [distance, 0, 0]], dtype=float),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )
    found = predict(potential, frame, cutoffs=cutoff)
    return found.energy, float(found.forces[2, 0])


@pytest.mark.parametrize(("cutoff", "order"), [(5.0, 4), (4.0, 3)])
def test_a_neighbor_crosses_the_cutoff_smoothly_to_second_order(cutoff: float, order: int) -> None:
    potential = untrained(charges=False)
    far = _approaching(potential, cutoff + 0.1, cutoff)[0]
    assert _approaching(potential, cutoff, cutoff)[0] == pytest.approx(far, abs=1e-12)
    # the energy starts with the third power of the distance to the cutoff (with the fourth at the
    # network's own, where the Bessel functions end too): its slope and its curvature vanish
    steps = (0.1, 0.05, 0.025)
    values = np.array([_approaching(potential, cutoff - h, cutoff) for h in steps]) - [far, 0.0]
    energy, force = np.abs(values[:-1] / values[1:]).T
    assert energy[-1] == pytest.approx(2.0**order, rel=0.1)
    assert force[-1] == pytest.approx(2.0 ** (order - 1), rel=0.1)


def test_a_shorter_cutoff_is_a_prefix_of_the_list(potential: Potential, frame: Structure) -> None:
    graph = potential.graph(frame)
    short = trim_edges(graph, torch.as_tensor(frame.positions), 4.0)
    cutoffs = np.full(20, 4.0)
    first = potential.evaluate_graph(graph, frame.positions, Scale(cutoffs))
    second = potential.evaluate_graph(short, frame.positions, Scale(cutoffs))
    # the pair sum of the electrostatics keeps the network's cutoff, beyond 4 Å it is small
    close(second.forces.numpy(), first.forces.numpy(), 1e-3)
    without = untrained(charges=False)
    close(
        without.evaluate_graph(short, frame.positions, Scale(cutoffs)).forces.numpy(),
        without.evaluate_graph(graph, frame.positions, Scale(cutoffs)).forces.numpy(),
    )


def test_cutoffs_of_single_atoms_count_for_these_alone(
    potential: Potential, frame: Structure
) -> None:
    one_layer = untrained(layers=1, charges=False)
    cutoffs = np.full(20, 5.0)
    cutoffs[3] = 3.5
    changed = (
        predict(one_layer, frame, cutoffs=cutoffs).energies != predict(one_layer, frame).energies
    )
    assert changed.nonzero()[0].tolist() == [3]
    with pytest.raises(InputError, match=r"at most 5 Å"):
        predict(potential, frame, cutoffs=5.5)


def test_a_batch_equals_its_frames(potential: Potential, frame: Structure) -> None:
    frames = [frame, salt_frame(seed=5, n=12, box=9.0), salt_frame(seed=6, n=20, box=12.0)]
    joined = batch([potential.graph(f) for f in frames])
    found = potential.evaluate_graph(joined, np.concatenate([f.positions for f in frames]))
    apart = [potential.evaluate_graph(potential.graph(f), f.positions) for f in frames]
    close(found.forces.numpy(), np.concatenate([d.forces.numpy() for d in apart]))
    close(found.energy.numpy(), np.concatenate([d.energy.numpy() for d in apart]))
    close(found.virial.numpy(), np.concatenate([d.virial.numpy() for d in apart]))
    isolated = [replace(f, pbc=np.zeros(3, dtype=bool)) for f in frames]
    joined = batch([potential.graph(f) for f in isolated])
    found = potential.evaluate_graph(joined, np.concatenate([f.positions for f in frames]))
    apart = [potential.evaluate_graph(potential.graph(f), f.positions) for f in isolated]
    close(found.forces.numpy(), np.concatenate([d.forces.numpy() for d in apart]))


def test_pruning_a_longer_list_equals_building_the_shorter(
    potential: Potential, frame: Structure
) -> None:
    long = build(frame, ELEMENTS, 6.0, smearing=1.0)
    moved = frame.positions + np.random.default_rng(0).uniform(-0.25, 0.25, (20, 3))
    pruned = trim_edges(long, torch.as_tensor(moved), 5.0)
    found = potential.evaluate_graph(pruned, moved)
    close(found.forces.numpy(), predict(potential, replace(frame, positions=moved)).forces)


def test_gradients_of_first_and_second_order() -> None:
    potential = untrained(channels=2, hidden=3, num_bessel=3, l_max=2, ladder=(2.5, 4.0, "long"))
    frame = salt_frame(seed=1, n=4, box=6.0)
    graph = potential.graph(frame)
    positions = torch.tensor(frame.positions, requires_grad=True)
    cutoffs = torch.tensor([3.0, 3.5, 3.9, 3.2], dtype=torch.float64, requires_grad=True)
    share = torch.tensor([1.0, 0.4, 0.9, 0.6], dtype=torch.float64, requires_grad=True)
    charge = potential.network.element_charge.detach().clone().requires_grad_(True)

    def energy(
        r: torch.Tensor, c: torch.Tensor, share: torch.Tensor, q: torch.Tensor
    ) -> torch.Tensor:
        weights = {**dict(potential.network.named_parameters()), "element_charge": q}
        scale = ResolvedScale(c, share)
        found = torch.func.functional_call(
            potential.network, weights, (graph, r, graph.cell, scale)
        )
        return found.energies.sum() + found.long_range_energies.sum()

    inputs = (positions, cutoffs, share, charge)
    assert torch.autograd.gradcheck(energy, inputs, atol=1e-7)
    assert torch.autograd.gradgradcheck(energy, inputs, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses what torch left
def test_compiled_gradients_equal_eager_ones() -> None:
    # some ways to write a network lose terms of the second derivative when they are compiled, and
    # some are compiled for the sizes of the first frame alone
    potential = untrained(channels=2, hidden=3, num_bessel=3, l_max=2)
    network = potential.network.requires_grad_(True)
    weights = dict(network.named_parameters())
    compiled = Evaluator(network, compiled=True)
    for n, box in ((20, 10.0), (12, 9.0), (20, 7.5)):
        frame = salt_frame(seed=3, n=n, box=box)
        graph, positions = potential.graph(frame), torch.tensor(frame.positions)
        gradients = []
        for differentiate in (Evaluator(network), compiled):
            found = differentiate(graph, positions, weights=weights)
            loss = found.forces.pow(2).sum() + found.energy.sum() + found.virial.pow(2).sum()
            gradients.append(torch.autograd.grad(loss, list(weights.values())))
        for name, expected, got in zip(weights, *gradients, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses what torch left
@pytest.mark.parametrize("systems", [1, 2])
def test_one_program_serves_cells_of_one_element_and_of_any_size(systems: int) -> None:
    """Equal sizes of the first batch were taken for needed: minutes of compiling in every step.

    And on several threads the compiler failed on lookups in tables of one row.
    """
    potential = untrained(elements=(18,), channels=2, hidden=3, num_bessel=3, l_max=1, layers=1)
    network = potential.network.requires_grad_(True)
    weights = dict(network.named_parameters())
    compiled, eager = Evaluator(network, compiled=True), Evaluator(network)
    stance, threads = "default", torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for atoms, edges in ((8, (8.0, 8.0, 8.0)), (8, (8.0, 9.0, 13.0)), (6, (12.0, 7.0, 8.0))):
            cell = np.diag(edges)
            frames = [
                replace(
                    salt_frame(seed=k, n=atoms, box=min(edges)),
                    numbers=np.full(atoms, 18),
                    cell=cell,
                )
                for k in range(systems)
            ]
            graph = batch([potential.graph(f) for f in frames])
            positions = torch.tensor(np.concatenate([f.positions for f in frames]))
            with torch.compiler.set_stance(stance):
                got = compiled(graph, positions, weights=weights)
                torch.autograd.grad(got.forces.pow(2).sum(), [network.source])
            expected = eager(graph, positions, weights=weights)
            torch.testing.assert_close(got.forces, expected.forces, rtol=1e-8, atol=1e-10)
            stance = "fail_on_recompile"
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("systems", [1, 3])
def test_values_of_systems_reach_their_atoms_and_come_back(systems: int) -> None:
    rng = torch.Generator().manual_seed(0)
    index = torch.randint(systems, (7,), generator=rng)
    values = torch.rand(systems, 3, 3, generator=rng)
    torch.testing.assert_close(spread(values, index), values[index], rtol=0, atol=0)
    atoms = torch.rand(7, generator=rng)
    expected = torch.stack([atoms[index == k].sum() for k in range(systems)])
    torch.testing.assert_close(collected(atoms, index, systems), expected)


def test_freed_memory_stays_where_the_c_library_allows_it() -> None:
    assert keep_freed_memory() == hasattr(ctypes.CDLL(None), "mallopt")


def test_charges_sum_to_the_charge_of_the_frame(potential: Potential, frame: Structure) -> None:
    assert predict(potential, frame).charges.sum() == pytest.approx(0.0, abs=1e-12)
    charged = replace(frame, info={"total_charge": 1.0})
    assert predict(potential, charged).charges.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "cell", "basis", "charges", "constant"),
    [
        (
            "NaCl",
            np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
            [[0, 0, 0], [1, 0, 0]],
            [1, -1],
            1.74756459463318,
        ),
        ("CsCl", np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [1, -1], 2.03536151),
        (
            "ZnS",
            np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
            [[0, 0, 0], [0.5, 0.5, 0.5]],
            [1, -1],
            3.78292610,
        ),
    ],
)
def test_madelung_constants(
    name: str, cell: np.ndarray, basis: list, charges: list, constant: float
) -> None:
    scale = 2.0
    q = torch.tensor(charges, dtype=torch.float64)
    positions = torch.tensor(np.array(basis) * scale, dtype=torch.float64)
    box = np.asarray(cell, dtype=float) * scale
    smearing = 0.35  # the pair sum then ends within the distance below
    waves = electrostatics.wave_numbers(box, smearing)
    energy = electrostatics.ewald(
        positions[None], q[None], torch.tensor(box)[None], waves, smearing
    ).sum()
    images = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shift = torch.tensor(images @ box)
    vector = (positions[None, :, None] - positions[:, None, None] + shift).reshape(2, -1, 3)
    distance = vector.norm(dim=-1)
    distance = torch.where(distance < 1e-9, 1e9, distance)
    others = q[None, :, None].expand(2, 2, len(shift)).reshape(2, -1)
    pairs = electrostatics.short_range(distance, q[:, None] * others, smearing)
    total = energy + 0.5 * pairs.sum() - electrostatics.self_energy(q, smearing).sum()
    unit = 1.0 if name == "NaCl" else (1.0 if name == "CsCl" else 2.0)
    found = -float(total) * scale * unit / COULOMB_CONSTANT
    assert found == pytest.approx(constant, rel=1e-6)


def test_the_mesh_and_the_open_sum_agree_with_ewald() -> None:
    rng = np.random.default_rng(0)
    cell = torch.tensor([[14.0, 0, 0], [2, 15, 0], [1, -2, 13]], dtype=torch.float64)
    positions = torch.tensor(rng.uniform(0, 12, (24, 3)))
    charges = torch.tensor(rng.standard_normal(24))
    charges -= charges.mean()
    waves = electrostatics.wave_numbers(cell.numpy(), 1.0)
    exact = float(electrostatics.ewald(positions[None], charges[None], cell[None], waves, 1.0))
    numbers = mesh_numbers(cell.numpy(), 1.0)
    mesh = electrostatics.particle_mesh(positions[None], charges[None], cell[None], numbers, 1.0)
    assert float(mesh) == pytest.approx(exact, rel=1e-6)
    pair = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [1.0, 1.0, 0]], dtype=torch.float64)
    q = torch.tensor([1.0, -0.5, -0.5], dtype=torch.float64)
    large = 60.0 * torch.eye(3, dtype=torch.float64)
    waves = electrostatics.wave_numbers(large.numpy(), 1.0)
    periodic = electrostatics.ewald(pair[None], q[None], large[None], waves, 1.0)
    isolated = electrostatics.open_boundary(pair[None], q[None], 1.0)
    # dipoles of a cubic lattice within a conductor attract by 2 pi p² / 3 V
    dipole = (q[:, None] * pair).sum(dim=0)
    attraction = 2 * np.pi * float(dipole @ dipole) / (3 * 60.0**3) * COULOMB_CONSTANT
    assert float(periodic) == pytest.approx(float(isolated) - attraction, rel=1e-6)


def test_large_cells_use_the_mesh(
    potential: Potential, frame: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = predict(potential, frame)
    monkeypatch.setattr(electrostatics, "PRODUCT", 1e9)
    monkeypatch.setattr(electrostatics, "BEGIN", 0.0)
    mesh = predict(potential, frame)
    assert mesh.energy != exact.energy
    close(mesh.energy, exact.energy, 1e-5)
    close(mesh.forces, exact.forces, 1e-5)
    close(mesh.stress, exact.stress, 1e-6)
    close(mesh.charges, exact.charges, 1e-12)


def test_derivatives_on_the_mesh_are_those_of_its_energy() -> None:
    """Of first and second order; atoms cross points of the mesh and the ends of the cell."""
    rng = np.random.default_rng(1)
    cell = torch.tensor([[5.0, 0, 0], [1, 4.5, 0], [0.5, -1, 4.0]], dtype=torch.float64)
    fraction = torch.tensor([[0.0, 0.999999, 0.25], [1.3, -0.2, 0.5], [0.4, 0.1, 0.7499999]])
    positions = fraction.double() @ cell
    charges = torch.tensor(rng.standard_normal(3))
    numbers = mesh_numbers(cell.numpy(), 1.0)

    def energy(r: torch.Tensor, q: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return electrostatics.particle_mesh(r[None], q[None], h[None], numbers, 1.0)

    inputs = tuple(v.requires_grad_(True) for v in (positions, charges, cell))
    assert torch.autograd.gradcheck(energy, inputs, eps=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(energy, inputs, eps=1e-5, atol=1e-5)


@pytest.mark.parametrize("charges", [True, False])
def test_large_systems_are_predicted_in_blocks(
    frame: Structure, monkeypatch: pytest.MonkeyPatch, charges: bool
) -> None:
    potential = untrained(charges=charges)
    whole = predict(potential, frame)
    monkeypatch.setattr(derivative, "BLOCKS_FROM", 20)
    monkeypatch.setattr(derivative, "BLOCK", 7)
    blocks = predict(potential, frame)
    close(blocks.energies, whole.energies, 1e-13)
    close(blocks.forces, whole.forces, 1e-13)
    assert blocks.stress is not None
    assert whole.stress is not None
    close(blocks.stress, whole.stress, 1e-13)


def test_predictions_equal_what_is_trained_on(potential: Potential, frame: Structure) -> None:
    graph, positions = potential.graph(frame), torch.tensor(frame.positions)
    trained = Evaluator(potential.network)(graph, positions)  # gradients enabled
    predicted = predict(potential, frame)
    close(trained.forces.detach().numpy(), predicted.forces, 1e-13)
    assert trained.energy.item() + potential.composition.energy(frame.numbers) == pytest.approx(
        predicted.energy, abs=1e-11
    )


def test_two_charges_have_the_coulomb_energy() -> None:
    for distance in (0.8, 3.0, 30.0):
        positions = torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64)
        q = torch.tensor([1.0, -1.0], dtype=torch.float64)
        smeared = electrostatics.open_boundary(positions[None], q[None], 1.0).sum()
        apart = torch.tensor([distance], dtype=torch.float64)
        pair = electrostatics.short_range(apart, q[:1] * q[1:], 1.0)
        own = electrostatics.self_energy(q, 1.0)
        total = smeared + pair.sum() - own.sum()
        assert float(total) == pytest.approx(-COULOMB_CONSTANT / distance, rel=1e-12)


@pytest.mark.parametrize("degree", [1, 3, 6])
def test_harmonics(degree: int) -> None:
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=-1)
    values = harmonics(unit, degree)
    torch.testing.assert_close(Harmonics(degree).double()(unit).T, values, rtol=0, atol=1e-12)
    for n in range(degree + 1):
        power = (values[:, n * n : (n + 1) ** 2] ** 2).sum(dim=1)
        torch.testing.assert_close(power, torch.full_like(power, 2 * n + 1), rtol=0, atol=1e-11)
    grid = SphereGrid.exact(degree, 3)
    gram = (grid.values * grid.weights[:, None]).T @ grid.values
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype), rtol=0, atol=1e-11)
