"""The potential in OpenMM: the numbers of ASE's calculator, in one and in two force groups."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import ase
import ase.build
import numpy as np
import pytest

import scalewise as sw
from scalewise.interfaces.openmm import KILOJOULE, NANOMETER, openmm_system
from support import untrained

openmm = pytest.importorskip("openmm")


def salt(kind: str = "cubic") -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    if kind == "triclinic":
        atoms.set_cell([[5.6, 0, 0], [1.0, 5.8, 0], [-0.7, 0.9, 6.0]], scale_atoms=True)
    if kind == "molecule":
        atoms.set_cell(None)
        atoms.pbc = False
    if kind == "slab":
        atoms.center(vacuum=6.0, axis=2)
        atoms.pbc = (True, True, False)
    atoms.rattle(0.05, seed=0)
    return atoms


def potential() -> sw.Potential:
    return untrained((11, 17), layers=1, ladder=(2.5, 4.0, "long"))


def context(system: Any, atoms: ase.Atoms, integrator: Any = None) -> Any:
    chosen = integrator or openmm.VerletIntegrator(0.0005)
    made = openmm.Context(system, chosen, openmm.Platform.getPlatformByName("Reference"))
    made.setPositions(atoms.positions / NANOMETER)
    return made


@pytest.mark.parametrize("kind", ["cubic", "triclinic", "slab", "molecule"])
@pytest.mark.parametrize("inner", [None, 3.0, "distilled"])
def test_energy_and_forces_are_those_of_ase(kind: str, inner: float | str | None) -> None:
    atoms = salt(kind)
    given = untrained(layers=1, cutoff=3.5, charges=False) if inner == "distilled" else inner
    state = context(openmm_system(potential(), atoms, inner=given), atoms).getState(
        getEnergy=True, getForces=True
    )
    atoms.calc = sw.ScalewiseCalculator(potential())
    energy = state.getPotentialEnergy()._value * KILOJOULE
    forces = state.getForces(asNumpy=True)._value * KILOJOULE / NANOMETER
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.abs(forces - atoms.get_forces()).max() < 1e-8


def test_groups_are_the_short_scale_and_what_the_long_one_adds() -> None:
    atoms = salt()
    made = context(openmm_system(potential(), atoms, inner=3.0), atoms)
    fast = made.getState(getEnergy=True, groups={1}).getPotentialEnergy()._value * KILOJOULE
    atoms.calc = sw.ScalewiseCalculator(potential(), cutoffs=3.0, long_range=False)
    assert fast == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_several_time_steps_conserve_energy_and_compute_the_long_scale_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atoms, calls = salt(), []
    compute = sw.ScalewiseCalculator._compute

    def counted(calculator: sw.ScalewiseCalculator, frame: sw.Structure) -> None:
        calls.append(calculator.scale.long_range)
        compute(calculator, frame)

    monkeypatch.setattr(sw.ScalewiseCalculator, "_compute", counted)
    integrator = openmm.MTSIntegrator(0.001, [(0, 1), (1, 4)])
    made = context(openmm_system(potential(), atoms, inner=3.0), atoms, integrator)
    made.setVelocitiesToTemperature(300.0, 1)
    energies = []
    for _ in range(5):
        integrator.step(4)
        state = made.getState(getEnergy=True)
        energies.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
    assert np.ptp(energies) * KILOJOULE / len(atoms) < 1e-3
    assert sum(calls) <= 20 + 2
    assert len(calls) - sum(calls) >= 4 * 20


def test_a_barostat_changes_the_cell_that_the_potential_sees() -> None:
    atoms = salt()
    system = openmm_system(potential(), atoms)
    system.addForce(openmm.MonteCarloBarostat(5000.0, 300.0, 1))
    integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    made = context(system, atoms, integrator)
    integrator.step(30)
    state = made.getState(getEnergy=True, getPositions=True)
    box = state.getPeriodicBoxVectors(asNumpy=True)._value * NANOMETER
    assert abs(np.linalg.det(box) - atoms.get_volume()) > 1e-3
    atoms.set_cell(box)
    atoms.positions = state.getPositions(asNumpy=True)._value * NANOMETER
    atoms.calc = sw.ScalewiseCalculator(potential())
    found = state.getPotentialEnergy()._value * KILOJOULE
    assert found == pytest.approx(atoms.get_potential_energy(), abs=1e-5)


def left_handed(atoms: ase.Atoms) -> None:
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])


def rotated(atoms: ase.Atoms) -> None:
    atoms.rotate(30, "z", rotate_cell=True)
    atoms.rotate(50, "x", rotate_cell=True)


def skewed(atoms: ase.Atoms) -> None:
    cell = atoms.cell.array
    atoms.set_cell([cell[0], cell[1] + 2 * cell[0], cell[2] - 3 * cell[1] + cell[0]])


def mirrored(atoms: ase.Atoms) -> None:
    atoms.set_cell(-atoms.cell.array)


def hexagonal(atoms: ase.Atoms) -> None:
    """At the limit of the reduced form, which rounding may exceed."""
    atoms.set_cell([5.9, 5.9, 5.9, 60, 60, 60])
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])


@pytest.mark.parametrize("change", [left_handed, rotated, skewed, mirrored, hexagonal])
def test_any_cell_is_brought_into_openmms_form(change: Callable[[ase.Atoms], None]) -> None:
    atoms = salt()
    atoms.set_momenta(np.random.default_rng(0).standard_normal((len(atoms), 3)))
    change(atoms)
    with pytest.raises(sw.InputError, match=r"scalewise\.in_openmm_form\(atoms\)"):
        openmm_system(potential(), atoms)
    turned = sw.in_openmm_form(atoms)
    state = context(openmm_system(potential(), turned), turned).getState(getEnergy=True)
    atoms.calc = sw.ScalewiseCalculator(potential())
    turned.calc = sw.ScalewiseCalculator(potential())
    found = state.getPotentialEnergy()._value * KILOJOULE
    assert found == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    # forces and momenta are rotated alike
    forces, others = atoms.get_forces(), turned.get_forces()
    work = (forces * atoms.get_momenta()).sum(axis=1)
    np.testing.assert_allclose((others * turned.get_momenta()).sum(axis=1), work, atol=1e-4)
    np.testing.assert_allclose(
        np.linalg.norm(others, axis=1), np.linalg.norm(forces, axis=1), atol=1e-4
    )


def test_atoms_without_periods_stay_as_they_are() -> None:
    atoms = salt()
    rotated(atoms)
    atoms.pbc = (True, True, False)
    assert sw.in_openmm_form(atoms) == atoms


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = salt()
    with pytest.raises(sw.InputError, match="shorter than the cutoff"):
        openmm_system(potential(), atoms, inner=4.0)
    turned = atoms.copy()
    turned.rotate(30, "z", rotate_cell=True)
    with pytest.raises(sw.InputError, match="OpenMM's form"):
        openmm_system(potential(), turned)
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(sw.InputError, match="not installed"):
        openmm_system(potential(), atoms)
