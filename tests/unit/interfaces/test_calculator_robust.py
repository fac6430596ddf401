"""The calculator under wrong arguments, threads, processes, moving cells and faraway atoms."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.interfaces import lists
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models import checkpoint
from scalewise.models.potential import Potential
from support import salt_frame, untrained


@pytest.fixture(scope="module")
def potential() -> Potential:
    return untrained(dtype=torch.float32, cutoff=4.0)


def salt(seed: int = 0) -> ase.Atoms:
    frame = salt_frame(seed, 12)
    return ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)


def forces(atoms: ase.Atoms, calculator: ScalewiseCalculator) -> np.ndarray:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_forces()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skin": -1}, "skin: -1"),
        ({"skin": float("nan")}, "skin: nan"),
        ({"dtype": torch.float16}, "dtype: torch.float16"),
        ({"device": "nowhere"}, "device: 'nowhere'"),
        ({"cutoffs": -1.0}, "cutoffs: -1.0"),
        ({"cutoffs": 9.0}, "at most 4 Å"),
        ({"cutoffs": "long"}, "cutoffs: 'long'"),
        ({"long_range": "false"}, "long_range: 'false'"),
        ({"long_range": None}, "long_range: None"),
        ({"cutoffs": np.full((2, 2), 3.0)}, "one for all atoms, or one each"),
    ],
)
def test_wrong_arguments_are_refused(potential: Potential, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScalewiseCalculator(potential, **arguments)


def test_what_is_no_potential_is_refused() -> None:
    with pytest.raises(InputError, match="potential: 5"):
        ScalewiseCalculator(5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_refused(potential: Potential) -> None:
    with pytest.raises(InputError, match="device: 'cuda'"):
        ScalewiseCalculator(potential, device="cuda")


def test_cutoffs_of_another_number_of_atoms(potential: Potential) -> None:
    with pytest.raises(InputError, match="5 values for 12 atoms"):
        forces(salt(), ScalewiseCalculator(potential, cutoffs=np.full(5, 3.0)))


def test_the_folder_of_a_run_will_do(potential: Potential, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "run" / "model", potential)
    one = ScalewiseCalculator(tmp_path / "run")
    np.testing.assert_array_equal(
        forces(salt(), one), forces(salt(), ScalewiseCalculator(potential))
    )


@pytest.mark.parametrize("cell", [None, 5.0])
def test_no_atoms_have_no_energy(potential: Potential, cell: float | None) -> None:
    nothing = ase.Atoms(cell=cell and np.eye(3) * cell, pbc=cell is not None)
    nothing.calc = ScalewiseCalculator(potential)
    assert nothing.get_potential_energy() == 0.0
    assert nothing.get_forces().shape == (0, 3)


@pytest.mark.parametrize("shift", [10, 1_000, 100_000, 10_000_000])
def test_whole_lattice_vectors_change_nothing(potential: Potential, shift: int) -> None:
    """Single precision, positions up to 1.4e8 Å from the origin: within 1e-5 eV/Å."""
    atoms, calculator = salt(), ScalewiseCalculator(potential)
    expected = forces(atoms, calculator)
    moved = atoms.copy()
    moved.positions += shift * atoms.cell[0] - shift * atoms.cell[2]
    moved.positions[3] += 7 * atoms.cell[1]
    np.testing.assert_allclose(forces(moved, ScalewiseCalculator(potential)), expected, atol=1e-5)


def test_a_potential_of_isolated_atoms_does_not_know_where_they_are(potential: Potential) -> None:
    frame = salt_frame(1, 12, box=6.0)
    atoms = ase.Atoms(frame.numbers, frame.positions)
    expected = forces(atoms, ScalewiseCalculator(potential))
    atoms.positions += [3e5, -2e6, 1e7]
    np.testing.assert_allclose(forces(atoms, ScalewiseCalculator(potential)), expected, atol=1e-5)


@pytest.mark.parametrize("apart", [1e3, 4.6e5, 1e7])
def test_atoms_far_apart_are_lone_atoms(apart: float) -> None:
    potential = untrained(charges=False, cutoff=4.0)
    pair, lone = ase.Atoms("NaCl", [[0, 0, 0], [apart, 0, 0]]), ase.Atoms("Na")
    calculator = ScalewiseCalculator(potential)
    energy = 0.0
    for symbol in ("Na", "Cl"):
        lone = ase.Atoms(symbol)
        lone.calc = calculator
        energy += lone.get_potential_energy()
    pair.calc = calculator
    assert pair.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    assert not pair.get_forces().any()


def test_positions_without_digits_are_refused(potential: Potential) -> None:
    atoms = salt()
    atoms.positions[4] += 1e12
    with pytest.raises(InputError, match=r"atom 4 is 1e\+12 Å from the origin"):
        forces(atoms, ScalewiseCalculator(potential))
    atoms.positions[4] = np.nan
    with pytest.raises(InputError, match="atom 4 is not at a finite position"):
        forces(atoms, ScalewiseCalculator(potential))


def _forces_of(task: tuple[ScalewiseCalculator, int]) -> np.ndarray:
    return forces(salt(task[1]), task[0])


def test_copies_pickles_and_pools(potential: Potential) -> None:
    used = ScalewiseCalculator(potential)
    expected = [forces(salt(k), used) for k in range(3)]
    for other in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        np.testing.assert_array_equal(forces(salt(2), other), expected[2])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_forces_of, [(used, k) for k in range(3)]).get(timeout=60)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_threads_get_what_they_asked_for(potential: Potential) -> None:
    shared = ScalewiseCalculator(potential)
    expected = [forces(salt(k), ScalewiseCalculator(potential)) for k in range(3)]
    wrong: list[int] = []

    def ask(k: int) -> None:
        for _ in range(8):
            if np.abs(forces(salt(k), shared) - expected[k]).max() > 1e-6:
                wrong.append(k)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_lists_outlive_small_changes_of_the_cell(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    original = lists.build
    monkeypatch.setattr(lists, "build", lambda *a, **k: built.append(1) or original(*a, **k))
    atoms, calculator = salt(), ScalewiseCalculator(potential, skin=0.5)
    atoms.calc = calculator
    rng = np.random.default_rng(0)
    for step in range(20):
        atoms.set_cell(atoms.cell * (1 + 2e-4 * np.sin(step)), scale_atoms=True)
        atoms.positions += 0.002 * rng.standard_normal(atoms.positions.shape) + 0.1
        fresh = forces(atoms, ScalewiseCalculator(potential, skin=0.0))
        built.pop()  # the fresh one's
        np.testing.assert_allclose(atoms.get_forces(), fresh, atol=2e-5)
    assert len(built) == 1
    atoms.set_cell(atoms.cell * 0.85, scale_atoms=True)
    fresh = forces(atoms, ScalewiseCalculator(potential, skin=0.0))
    np.testing.assert_allclose(atoms.get_forces(), fresh, atol=2e-5)
    assert len(built) == 3


def test_one_atom_may_be_millions_of_cells_away() -> None:
    """Pairs find each other also where no integer holds atoms and lattice vectors together."""
    potential = untrained(cutoff=4.0)
    atoms, calculator = salt(), ScalewiseCalculator(potential)
    expected = forces(atoms, calculator)
    atoms.positions[2] += 9_000_001 * atoms.cell[1] - 8_000_003 * atoms.cell[0]
    atoms.positions[7] -= 7_654_321 * atoms.cell[2]
    np.testing.assert_allclose(forces(atoms, ScalewiseCalculator(potential)), expected, atol=1e-5)
