"""The ASE calculator: the potential's numbers, a list that is kept, dynamics that conserve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet

from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models import checkpoint
from scalewise.models.programs.evaluation import Programs
from support import salt_frame, untrained


def structure(frame: Structure) -> ase.Atoms:
    return ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


def test_its_results_are_those_of_the_potential(tmp_path: Path) -> None:
    potential, frame = untrained(), salt_frame(n=12, box=9.0)
    checkpoint.write(tmp_path, potential)
    atoms = structure(frame)
    atoms.calc = ScalewiseCalculator(tmp_path, dtype=torch.float64)
    expected = potential.predict(frame)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-10)
    np.testing.assert_allclose(atoms.get_charges(), expected.charges, atol=1e-10)
    np.testing.assert_allclose(atoms.get_potential_energies(), expected.energies, atol=1e-9)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected.stress, atol=1e-12)
    atoms.calc = ScalewiseCalculator(potential, dtype=torch.float64, cutoffs=4.0)
    short = potential.predict(frame, cutoffs=4.0)
    np.testing.assert_allclose(atoms.get_forces(), short.forces, atol=1e-10)


def test_the_list_is_kept_while_it_holds() -> None:
    atoms = structure(salt_frame(n=12, box=9.0))
    atoms.calc = ScalewiseCalculator(untrained(), skin=0.5, dtype=torch.float64)
    atoms.get_forces()
    first = atoms.calc._lists.buffered
    atoms.positions[3, 0] += 0.2
    atoms.get_forces()
    assert atoms.calc._lists.buffered is first
    atoms.calc.reset()  # as some versions of ASE do at every step
    atoms.get_forces()
    assert atoms.calc._lists.buffered is first
    atoms.calc.forget()
    atoms.get_forces()
    assert atoms.calc._lists.buffered is not first
    first = atoms.calc._lists.buffered
    atoms.positions[3, 0] += 0.5
    forces = atoms.get_forces()
    assert atoms.calc._lists.buffered is not first
    atoms.calc = ScalewiseCalculator(untrained(), skin=0.0, dtype=torch.float64)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-10)
    kept = atoms.calc._lists.buffered
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    atoms.get_forces()
    assert atoms.calc._lists.buffered is not kept


@pytest.mark.parametrize(
    ("changed", "serves"),
    [
        ({}, True),
        ({"elements": (8, 11, 17)}, False),
        ({"cutoff": 6.0}, False),
        ({"cutoff": 2.5}, False),
        ({"charges": True}, False),
        ({"ladder": (3.0, 4.5), "first_layer_cutoff": 3.5, "layers": 2}, False),
        ({"dtype": torch.float32}, False),
        ({"whole": {"ladder": (3.0, 5.0), "first_layer_cutoff": 3.5}}, False),
    ],
    ids=str,
)
def test_a_list_serves_two_potentials(
    changed: dict, serves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a potential which sees farther; with programs, whose kernels leave out the rest."""
    monkeypatch.setattr(Programs, "__call__", lambda *_: None)  # as without a compiler
    given = {"elements": (11, 17), "cutoff": 4.5, "layers": 1, "charges": False, **changed}
    sizes = given.pop("whole", {"cutoff": 5.0})
    whole = ScalewiseCalculator(untrained((11, 17), **sizes), compiled=True)
    if "ladder" in given:
        del given["cutoff"]
    inner = untrained(given.pop("elements"), **given)
    own, shared = (ScalewiseCalculator(inner, compiled=True) for _ in range(2))
    shared.use_lists_of(whole)
    assert (shared._lists is whole._lists) == serves
    atoms = salt_frame(n=12, box=9.0).to_ase()
    np.testing.assert_allclose(
        shared.get_property("forces", atoms), own.get_property("forces", atoms), atol=1e-6
    )


def test_dynamics_conserve_the_energy() -> None:
    atoms = structure(salt_frame(n=12, box=9.0))
    atoms.calc = ScalewiseCalculator(untrained(), dtype=torch.float64)
    atoms.set_velocities(0.01 * np.random.default_rng(0).standard_normal((12, 3)))
    drifts = []
    for step in (1.0, 0.5):
        copy = atoms.copy()
        copy.calc = atoms.calc
        total = copy.get_total_energy()
        kinetic = []
        dynamics = VelocityVerlet(copy, step * ase.units.fs)
        errors = []
        for _ in range(int(10 / step)):
            dynamics.run(1)
            errors.append(abs(copy.get_total_energy() - total))
            kinetic.append(copy.get_kinetic_energy())
        drifts.append(max(errors))
    assert np.ptp(kinetic) > 1e-2  # energy did change hands
    # Verlet's error is of second order in the step: anything else is not conservative
    assert drifts[0] / drifts[1] == pytest.approx(4.0, rel=0.4)


@pytest.mark.parametrize("pbc", ["TTF", "FTF", "FFF"])
def test_the_list_of_a_slab_a_wire_and_a_molecule_is_kept_while_it_holds(pbc: str) -> None:
    axes = np.array([c == "T" for c in pbc])
    frame = salt_frame(n=12, box=9.0)
    atoms = structure(replace(frame, cell=np.where(axes[:, None], frame.cell, 0.0), pbc=axes))
    atoms.calc = ScalewiseCalculator(untrained(), skin=3.0, dtype=torch.float64)
    atoms.get_forces()
    first = atoms.calc._lists.buffered
    rng = np.random.default_rng(0)
    for _ in range(3):  # atoms move apart along open axes, too, and the cell stretches
        atoms.positions += rng.normal(0, 0.15, (12, 3))
        atoms.positions[3] += np.where(axes, 0.0, 0.25)
        atoms.set_cell(atoms.cell * 1.01, scale_atoms=False)
        forces = atoms.get_forces()
        assert atoms.calc._lists.buffered is first
        expected = untrained().predict(Structure.from_ase(atoms))
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-8)
        np.testing.assert_allclose(forces, expected.forces, atol=1e-7)
    atoms.positions[3] += 9.0 * np.where(axes, 0.0, 1.0)
    atoms.get_forces()
    assert atoms.calc._lists.buffered is not first


def test_stress_of_a_slab_is_there_where_its_cell_has_a_volume() -> None:
    frame = replace(salt_frame(), pbc=np.array([True, True, False]))
    atoms = structure(frame)
    atoms.calc = ScalewiseCalculator(untrained())
    expected = untrained().predict(frame).stress
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected, atol=1e-12)
    atoms.cell[2] = 0.0
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_a_list_is_used_in_another_cell_without_charges() -> None:
    atoms, potential = structure(salt_frame(n=12, box=9.0)), untrained(charges=False)
    atoms.calc = ScalewiseCalculator(potential, skin=1.0)
    atoms.get_forces()
    first = atoms.calc._lists.buffered
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    expected = potential.predict(Structure.from_ase(atoms))
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-10)
    assert atoms.calc._lists.buffered is first


def test_a_change_of_the_total_charge_is_a_change() -> None:
    atoms = structure(salt_frame(n=12, box=9.0))
    atoms.calc = ScalewiseCalculator(untrained())
    assert atoms.calc.potential.dtype == torch.float64
    neutral = atoms.get_potential_energy()
    atoms.info["total_charge"] = 1.0
    assert atoms.get_potential_energy() != neutral
    assert atoms.get_charges().sum() == pytest.approx(1.0)


def test_mistakes_are_named() -> None:
    atoms = structure(salt_frame())
    atoms.numbers[0] = 19
    atoms.calc = ScalewiseCalculator(untrained())
    with pytest.raises(InputError, match=r"the element\(s\) K"):
        atoms.get_forces()
    with pytest.raises(InputError, match="no such file"):
        ScalewiseCalculator("nowhere")
