"""Slabs and wires, against sums over images, lattice constants and slab corrections."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchpme import CoulombPotential, EwaldCalculator

from scalewise.core.errors import InputError
from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.structure import Structure
from scalewise.models import electrostatics, truncation
from scalewise.models.graph_operations import batch
from scalewise.models.scale import ResolvedScale
from support import predict, salt_frame, untrained

SLAB, WIRE = np.array([True, True, False]), np.array([True, False, False])
KINDS = [np.array(kind) for kind in itertools.product((True, False), repeat=3)]


def smeared(
    positions: np.ndarray, charges: np.ndarray, cell: np.ndarray, pbc: np.ndarray, width: float
) -> float:
    """Energy of smeared charges, eV, with their self energy."""
    lattice = Structure(np.ones(len(charges), dtype=int), positions, cell, pbc).lattice
    box, _ = truncation.box(lattice, pbc, positions, width)
    return float(
        electrostatics.ewald(
            torch.tensor(positions)[None],
            torch.tensor(charges)[None],
            torch.tensor(box)[None],
            electrostatics.wave_numbers(box, width),
            width,
            torch.tensor([int(pbc.sum())]),
        )
    )


def images(pbc: np.ndarray, most: int) -> np.ndarray:
    steps = [range(-most, most + 1) if p else range(1) for p in pbc]
    return np.array(list(itertools.product(*steps)))


def point_charges(
    positions: np.ndarray, charges: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> float:
    """Energy of point charges, eV: with the pair sum that the network has over neighbors."""
    width = 0.35
    shift = images(pbc, 4) @ cell
    vector = positions[None, :, None] - positions[:, None, None] + shift
    distance = torch.tensor(np.linalg.norm(vector, axis=-1))
    products = torch.tensor(charges[:, None, None] * charges[None, :, None])
    distance = torch.where(distance < 1e-9, 1e9, distance)
    near = 0.5 * electrostatics.short_range(distance, products, width).sum()
    own = electrostatics.self_energy(torch.tensor(charges), width).sum()
    return smeared(positions, charges, cell, pbc, width) + float(near - own)


def test_madelung_constants_of_a_sheet_and_of_a_chain() -> None:
    d, charges = 1.7, np.array([1.0, -1.0])
    positions = np.array([[0.0, 0, 0], [d, 0, 0]])
    sheet = d * np.array([[1.0, 1, 0], [1, -1, 0], [0, 0, 0]])
    found = point_charges(positions, charges, sheet, SLAB)
    assert -found * d / COULOMB_CONSTANT == pytest.approx(1.6155426267, rel=1e-6)
    chain = 2 * d * np.diag([1.0, 0, 0])
    found = point_charges(positions, charges, chain, WIRE)
    assert -found * d / COULOMB_CONSTANT == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("pbc", [SLAB, WIRE], ids=["slab", "wire"])
def test_two_charges_and_their_images_one_by_one(pbc: np.ndarray) -> None:
    """Dipoles along an open axis: what is beyond N images falls as 1/N, as 1/N² in a wire."""
    width, cell = 1.25, np.diag([6.0, 7.0, 0.0])
    positions, charges = np.array([[0.0, 0, 0], [1.5, 0.3, 2.0]]), np.array([0.7, -0.7])

    def direct(most: int) -> float:
        shift = images(pbc, most) @ cell
        radius = 6.0 * (most + 0.5)
        shift = shift[np.linalg.norm(shift, axis=1) < radius]
        vector = positions[None, :, None] - positions[:, None, None] + shift
        distance = np.maximum(np.linalg.norm(vector, axis=-1), 1e-9)
        kernel = torch.erf(torch.tensor(distance) / (math.sqrt(2) * width)).numpy() / distance
        energy = 0.5 * COULOMB_CONSTANT * float(charges @ kernel.sum(axis=-1) @ charges)
        dipole = charges @ positions
        across = float(np.sum(dipole[~pbc] ** 2))
        along = float(np.sum(dipole[pbc] ** 2))
        if pbc.sum() == 2:  # of dipoles of a plane beyond a radius
            rest = math.pi * (across - 0.5 * along) / (42.0 * radius)
        else:
            rest = (across - 2 * along) / (2 * 6.0 * radius**2)
        return energy + COULOMB_CONSTANT * rest

    found = smeared(positions, charges, cell, pbc, width)
    most = 300 if pbc.sum() == 2 else 2000
    assert found == pytest.approx(direct(most), abs=2e-5 if pbc.sum() == 2 else 2e-6)


@pytest.mark.parametrize("height", [60.0, 120.0])
@pytest.mark.parametrize("charges", [[0.7, -0.4, -0.3], [0.7, 0.4, -0.3]], ids=["neutral", "ion"])
def test_a_slab_is_one_in_a_high_cell_with_the_slab_correction(
    charges: list[float], height: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(electrostatics, "REACH", 9.0)  # what waves leave out is 8e-7 eV here
    positions = np.array([[0.0, 0, 0], [1.5, 0.3, 2.0], [1.0, 2.0, -1.0]])
    cell, q = np.diag([6.0, 7.0, height]), np.array(charges)
    calculator = EwaldCalculator(CoulombPotential(1.25), lr_wavelength=0.6)
    potential = calculator.to(dtype=torch.float64)(
        charges=torch.tensor(q)[:, None],
        cell=torch.tensor(cell),
        positions=torch.tensor(positions),
        neighbor_indices=torch.zeros(0, 2, dtype=torch.int64),
        neighbor_distances=torch.zeros(0, dtype=torch.float64),
        periodic=torch.tensor(SLAB),
    )
    expected = COULOMB_CONSTANT * float(torch.tensor(q) @ potential[:, 0])
    expected += float(electrostatics.self_energy(torch.tensor(q), 1.25).sum())
    assert smeared(positions, q, cell, SLAB, 1.25) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("pbc", [SLAB, WIRE], ids=["slab", "wire"])
def test_the_cell_along_open_axes_does_not_matter(
    pbc: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = salt_frame(3, n=8, box=9.0)
    charges = np.where(frame.numbers == 11, 0.8, -0.6)  # with a net charge
    energies = []
    for margin in (6.0, 6.3, 7.0, 12.0):
        monkeypatch.setattr(truncation, "MARGIN", margin)
        energies.append(smeared(frame.positions, charges, frame.cell, pbc, 1.0))
    assert np.ptp(energies) < 1e-7 * len(charges)


# ------------------------------------------------------------------------------- potentials


def kinds() -> list[Structure]:
    """Structures of every periodicity in a tilted cell, whose open axes have no lattice vector."""
    found = []
    for seed, pbc in enumerate(KINDS):
        frame = salt_frame(seed, n=6 + 2 * (seed % 3), box=9.0)
        tilt = np.random.default_rng(seed).normal(0, 0.4, (3, 3))
        cell = np.where(pbc[:, None], frame.cell + tilt, 0.0)
        found.append(replace(frame, cell=cell, pbc=pbc))
    return found


@pytest.mark.parametrize("charges", [True, False])
def test_a_batch_of_all_kinds_equals_its_frames(charges: bool) -> None:
    potential, frames = untrained(charges=charges), kinds()
    joined = batch([potential.graph(f) for f in frames])
    found = potential.evaluate_graph(joined, np.concatenate([f.positions for f in frames]))
    alone = [potential.evaluate_graph(potential.graph(f), f.positions) for f in frames]
    for part in ("energy", "energies", "forces", "virial", "charges"):
        expected = np.concatenate([getattr(one, part).numpy() for one in alone])
        np.testing.assert_allclose(getattr(found, part).numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("pbc", KINDS[1:7], ids=lambda p: "".join("FT"[int(x)] for x in p))
def test_which_axes_are_open_does_not_matter(pbc: np.ndarray) -> None:
    potential = untrained(charges=True)
    axes = np.argsort(~pbc, kind="stable")
    frame = salt_frame(2, n=8, box=8.0)
    cell = np.array([[8.0, 0.5, 0.3], [0.0, 8.2, 0.7], [0.2, 0.1, 8.4]])
    first = replace(frame, cell=cell, pbc=np.arange(3) < pbc.sum())
    back = np.argsort(axes)
    turned = replace(frame, positions=frame.positions[:, back], cell=cell[back][:, back], pbc=pbc)
    one, other = predict(potential, first), predict(potential, turned)
    assert other.energy == pytest.approx(one.energy, abs=2e-7)
    np.testing.assert_allclose(other.forces, one.forces[:, back], atol=1e-7)
    assert one.stress is not None
    assert other.stress is not None
    np.testing.assert_allclose(other.stress, one.stress[back][:, back], atol=1e-9)


@pytest.mark.parametrize("charge", [0.0, 1.0])
@pytest.mark.parametrize("pbc", [SLAB, WIRE], ids=["slab", "wire"])
def test_repeated_cells_have_as_many_times_the_energy(pbc: np.ndarray, charge: float) -> None:
    potential = untrained(charges=True)
    frame = replace(salt_frame(4, n=6, box=7.0), pbc=pbc, info={"charge": charge})
    shift = np.array(list(itertools.product(*(range(2 if p else 1) for p in pbc)))) @ frame.cell
    times = len(shift)
    repeated = Structure(
        numbers=np.tile(frame.numbers, times),
        positions=(shift[:, None] + frame.positions).reshape(-1, 3),
        cell=frame.cell * np.where(pbc, 2.0, 1.0)[:, None],
        pbc=pbc,
        info={"charge": times * charge},
    )
    one, many = predict(potential, frame), predict(potential, repeated)
    assert many.energy == pytest.approx(times * one.energy, abs=1e-6 * times)
    np.testing.assert_allclose(many.forces, np.tile(one.forces, (times, 1)), atol=1e-6)


@pytest.mark.parametrize("pbc", [SLAB, WIRE], ids=["slab", "wire"])
def test_large_slabs_and_wires_use_the_mesh(
    pbc: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = untrained(charges=True)
    frame = replace(salt_frame(5, n=10, box=9.0), pbc=pbc, info={"charge": 1.0})
    exact = predict(potential, frame)
    monkeypatch.setattr(electrostatics, "PRODUCT", 1e9)
    monkeypatch.setattr(electrostatics, "BEGIN", 0.0)
    mesh = predict(potential, frame)
    assert mesh.energy != exact.energy
    assert mesh.energy == pytest.approx(exact.energy, abs=1e-6 * 10)
    np.testing.assert_allclose(mesh.forces, exact.forces, atol=1e-5)
    assert exact.stress is not None
    np.testing.assert_allclose(mesh.stress, exact.stress, atol=1e-6)


@pytest.mark.parametrize("pbc", [SLAB, WIRE], ids=["slab", "wire"])
def test_an_atom_that_leaves_is_alone_and_far_away_is_refused(pbc: np.ndarray) -> None:
    frame = replace(salt_frame(0), pbc=pbc)
    for far, charges in ((60.0, True), (1e7, False), (1e7, True)):
        positions = frame.positions.copy()
        positions[3, 2] += far
        moved = replace(frame, positions=positions)
        if charges and far > 1e6:
            with pytest.raises(InputError, match="left the slab or wire"):
                untrained(charges=True).predict(moved)
        else:
            found = predict(untrained(charges=charges), moved)
            assert np.abs(found.forces[3]).max() < (0.5 if charges else 1e-12)


def test_stress_is_the_derivative_over_the_volume_of_the_cell_as_it_is_written() -> None:
    potential, frame = untrained(charges=True), replace(salt_frame(6), pbc=SLAB)
    taller = replace(frame, cell=frame.cell * np.array([1.0, 1.0, 3.0])[:, None])
    one, other = predict(potential, frame).stress, predict(potential, taller).stress
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one, 3.0 * other, atol=1e-12)
    for cell, pbc in ((np.diag([14.0, 14.0, 0.0]), SLAB), (frame.cell, np.zeros(3, dtype=bool))):
        assert predict(potential, replace(frame, cell=cell, pbc=pbc)).stress is None


@pytest.mark.whole
def test_gradients_of_first_and_second_order_of_slabs_and_wires() -> None:
    """With the strain among the inputs: stress is trained on."""
    frames = [
        replace(salt_frame(1, n=4, box=6.0), pbc=pbc) for pbc in (SLAB, WIRE, np.array(3 * [False]))
    ]
    potential = untrained(channels=2, hidden=3, num_bessel=3, l_max=2, cutoff=3.0)
    graph = batch([potential.graph(f) for f in frames])
    positions = torch.tensor(np.concatenate([f.positions for f in frames]))
    q = potential.network.element_charge.detach().clone().requires_grad_(True)
    strain = torch.zeros(3, 3, 3, dtype=torch.float64, requires_grad=True)

    def energy(strain: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        moved = positions + torch.einsum("ijk,ik->ij", strain[graph.system_index], positions)
        cell = graph.cell + graph.cell @ strain.transpose(1, 2)
        full = potential.network
        scale = ResolvedScale(torch.full_like(positions[:, 0], 3.0), torch.ones(12).double())
        weights = {**dict(full.named_parameters()), "element_charge": q}
        found = torch.func.functional_call(full, weights, (graph, moved, cell, scale))
        return found.energies.sum() + found.long_range_energies.sum()

    assert torch.autograd.gradcheck(energy, (strain, q), atol=1e-6)
    assert torch.autograd.gradgradcheck(energy, (strain, q), atol=1e-5)
