"""Two time steps: equal to one where they must be, and as exact in the energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixCom
from ase.md.verlet import VelocityVerlet

import scalewise as sw
from scalewise.simulation.inner import DISTILLED, weights_of
from scalewise.simulation.multiple_steps import InnerSteps, TwoStepVerlet
from scalewise.simulation.start import moving_atoms, repartitioned
from support import killed_at, untrained


class Nothing(Calculator):
    """No forces."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  # as ASE has it

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def copper() -> ase.Atoms:
    atoms = ase.build.bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    atoms.set_constraint(FixCom())
    return atoms


@pytest.mark.parametrize(("inner", "step"), [(EMT(), 1.0), (Nothing(), 4.0)], ids=["all", "none"])
def test_what_is_all_fast_or_all_slow_is_velocity_verlet(inner: Calculator, step: float) -> None:
    """All fast: steps of the inner length. All slow: steps of the outer one."""
    one, two = copper(), copper()
    plain = VelocityVerlet(one, timestep=step * units.fs)
    for _ in range(round(12 / step)):
        plain.step()
    respa = TwoStepVerlet(two, 4.0 * units.fs, InnerSteps(two, inner.get_forces, 4))
    for _ in range(3):
        respa.step()
    np.testing.assert_allclose(two.positions, one.positions, atol=1e-9)
    np.testing.assert_allclose(two.get_momenta(), one.get_momenta(), atol=1e-9)


@pytest.mark.parametrize("what", ["positions", "cell", "numbers", "pbc", "charge", "calculator"])
def test_forces_are_found_anew_where_anything_changed(what: str) -> None:
    """Forces are kept from the end of a step to the start of the next one."""
    changes: dict[str, Callable[[ase.Atoms], object]] = {
        "positions": lambda atoms: atoms.rattle(0.01),
        "cell": lambda atoms: atoms.set_cell(1.01 * atoms.cell.array),
        "numbers": lambda atoms: atoms.set_atomic_numbers([47] * len(atoms)),
        "pbc": lambda atoms: atoms.set_pbc(False),
        "charge": lambda atoms: atoms.info.update(charge=1.0),
        "calculator": lambda atoms: setattr(atoms, "calc", EMT()),
    }
    asked = []
    atoms = copper()
    steps = InnerSteps(atoms, lambda given: asked.append(1) or EMT().get_forces(given), 2)
    steps.go(1.0 * units.fs)
    steps.go(1.0 * units.fs)
    assert len(asked) == 1 + 2 + 2
    changes[what](atoms)
    steps.go(1.0 * units.fs)
    assert len(asked) == 5 + 1 + 2
    steps.forget()
    steps.go(1.0 * units.fs)
    assert len(asked) == 8 + 1 + 2


class Part(EMT):
    """Most of the forces."""

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = 0.7 * self.results["forces"]


@pytest.mark.whole
def test_the_energy_changes_with_the_square_of_the_outer_step() -> None:
    """Inner steps of a sixteenth change nothing that is seen."""
    spread = []
    for step in (8.0, 4.0):
        atoms, energies = copper(), []
        number = round(step / 0.5)
        dynamics = TwoStepVerlet(
            atoms, step * units.fs, InnerSteps(atoms, Part().get_forces, number)
        )
        for _ in range(round(240 / step)):
            dynamics.step()
            energies.append(atoms.get_total_energy())
        spread.append(np.ptp(energies))
    assert 0.15 < spread[1] / spread[0] < 0.4


def model() -> sw.Potential:
    return untrained((11, 17), layers=1, cutoff=4.0)


def inner_of(potential: sw.Potential, folder: Path, **more: Any) -> Path:
    """Half of the potential's own energy scale: a part of its forces."""
    network = potential.to().network
    network.energy_scale.mul_(0.5)
    known = {
        "of": weights_of(potential),
        "timestep": 1.0,
        "inner_timestep": 0.25,
        "lightest": 1.0,
        **more,
    }
    inner = replace(potential, network=network, info={DISTILLED: known})
    inner.save(folder)
    return folder


def salt() -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def settings(**more: Any) -> sw.SimulationSettings:
    given = {
        "ensemble": "nve",
        "picoseconds": 0.04,
        "log_every": 1.0,
        "save_every": 2.0,
        "restart_every": 5.0,
        "reach": 4.0,
        "dtype": "float64",
        "device": "cpu",
        "compile": "never",
    }
    return sw.SimulationSettings.model_validate({**given, **more})


@pytest.mark.parametrize(
    "ensemble",
    [
        {"ensemble": "nve"},
        {"ensemble": "nvt", "thermostat": "csvr"},
        {"ensemble": "nvt", "thermostat": "langevin"},
    ],
    ids=["nve", "csvr", "langevin"],
)
@pytest.mark.whole
def test_killed_it_does_what_it_would_have_done(tmp_path: Path, ensemble: dict[str, Any]) -> None:
    potential = model()
    made = settings(**ensemble, inner=inner_of(potential, tmp_path / "inner"))
    whole = sw.simulate(potential, salt(), made, tmp_path / "whole")
    assert whole.results["settings"]["timestep"] == 1.0  # that of the distillation
    assert whole.body["steps"] == 40
    with killed_at(27):
        sw.simulate(potential, salt(), made, tmp_path / "parts")
    sw.simulate(potential, salt(), made, tmp_path / "parts")
    for name in ("log.csv", "trajectory.extxyz"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_langevin_dynamics_in_two_steps_leaves_the_center_of_mass(tmp_path: Path) -> None:
    potential = model()
    made = settings(
        ensemble="nvt",
        thermostat="langevin",
        inner=inner_of(potential, tmp_path / "inner"),
        picoseconds=0.1,
        thermostat_time=20.0,
        temperature=400.0,
    )
    first = moving_atoms(salt())
    sw.simulate(potential, salt(), made, tmp_path / "run")
    log = np.genfromtxt(tmp_path / "run/log.csv", delimiter=",", names=True)
    assert np.isnan(log["conserved"]).all()
    last = ase.io.read(tmp_path / "run/last.extxyz")
    moved = last.get_center_of_mass() - first.get_center_of_mass()
    np.testing.assert_allclose(moved, 0.0, atol=1e-6)


def test_noise_and_friction_alone_have_the_temperature_of_their_degrees_of_freedom() -> None:
    """Without forces: 3N - 3 degrees of freedom, whose mean is known to one part in 90."""
    atoms = ase.Atoms("He3", np.eye(3) * 20.0)
    atoms.calc = Nothing()
    random = np.random.default_rng(0)
    inner = Nothing().get_forces
    steps = InnerSteps(atoms, inner, 2, friction=0.5 / units.fs, kelvin=300.0, random=random)
    dynamics, found = TwoStepVerlet(atoms, 10.0 * units.fs, steps), []
    for _ in range(3000):
        dynamics.step()
        found.append(atoms.get_kinetic_energy())
    assert 2.0 * np.mean(found[100:]) / (6 * units.kB) == pytest.approx(300.0, rel=0.05)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9


def test_rescaling_conserves_what_it_says(tmp_path: Path) -> None:
    potential = model()
    made = settings(
        ensemble="nvt",
        thermostat="csvr",
        inner=inner_of(potential, tmp_path / "inner"),
        thermostat_time=20.0,
        temperature=900.0,
    )
    sw.simulate(potential, salt(), made, tmp_path / "run")
    log = np.genfromtxt(tmp_path / "run/log.csv", delimiter=",", names=True)
    total = log["potential"] + log["kinetic"]
    assert np.ptp(log["conserved"]) < 1e-3 < 1e-2 < np.ptp(total)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"of": "another"}, "of another potential"),
        ({"lightest": 30.0}, "atoms of 30 u or more"),
        ({"timestep": 0.25}, "no longer step"),
        ({"timestep": "long"}, "damaged"),
        ({"timestep": 21.0}, "less than or equal to 20"),
        (None, "not distilled"),
    ],
)
def test_another_inner_potential_is_refused(
    tmp_path: Path, made: dict[str, Any] | None, words: str
) -> None:
    potential = model()
    if made is None:
        potential.save(tmp_path / "inner")
    else:
        inner_of(potential, tmp_path / "inner", **made)
    with pytest.raises(sw.InputError, match=words):
        sw.simulate(potential, salt(), settings(inner=tmp_path / "inner"), tmp_path / "run")


@pytest.mark.parametrize(
    ("ensemble", "given"),
    [
        ("nvt", {"pressure": 50.0}),
        ("nve", {"pressure": 50.0}),
        ("nve", {"thermostat": "csvr"}),
        ("npt", {"thermostat": "langevin"}),
        ("nvt", {"barostat_time": 500.0}),
    ],
)
def test_settings_of_another_ensemble_are_refused(ensemble: str, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} is of ensemble=.*, and this is {ensemble}"):
        settings(ensemble=ensemble, **given)


def test_settings_of_two_steps_go_together() -> None:
    with pytest.raises(ValueError, match="give inner"):
        settings(inner_timestep=0.5)
    with pytest.raises(ValueError, match="one time step"):
        settings(inner="runs/inner", ensemble="npt")
    assert settings(inner="runs/inner", timestep=2.7, inner_timestep=0.9).inner_steps == 3
    assert settings(inner="runs/inner", timestep=2.0, inner_timestep=0.9).inner_steps == 3


def test_hydrogens_take_their_mass_from_what_they_are_bound_to() -> None:
    """The total stays, kinetic energies too; a hydrogen molecule has nothing to take it from."""
    atoms = ase.build.molecule("CH3OH") + ase.build.molecule("H2")
    atoms.positions[6:] += 10.0
    light = atoms.get_masses()
    atoms.set_momenta(np.random.default_rng(0).standard_normal((8, 3)))
    heavy = repartitioned(atoms, 3.0)
    assert heavy.sum() == pytest.approx(light.sum())
    hydrogens = (atoms.numbers == 1) & (np.arange(8) < 6)
    assert heavy[hydrogens] == pytest.approx(3.0)
    assert heavy[atoms.numbers == 6] == pytest.approx(light[atoms.numbers == 6] - 3 * (3.0 - 1.008))
    assert heavy[6:] == pytest.approx(light[6:])
    moving = moving_atoms(atoms, 3.0)
    assert moving.get_masses() == pytest.approx(heavy)
    given = atoms.get_momenta() / np.sqrt(light)[:, None]
    change = moving.get_velocities() - given / np.sqrt(heavy)[:, None]
    np.testing.assert_allclose(change, np.tile(change[0], (8, 1)), atol=1e-12)  # the drift alone
    assert moving_atoms(moving, 3.0).get_masses() == pytest.approx(heavy)
    with pytest.raises(sw.InputError, match="leaves"):
        repartitioned(ase.build.molecule("CH4"), 4.0)
    assert repartitioned(ase.build.bulk("LiF", "rocksalt", a=4.0), 9.0).min() < 7.0  # no hydrogen


def test_time_steps_are_for_the_masses_that_they_were_found_with(tmp_path: Path) -> None:
    """Those of the file count, as `last.extxyz` of heavier hydrogens has them."""
    potential, heavy = model(), salt()
    inner = inner_of(potential, tmp_path / "inner", lightest=30.0)
    made = settings(inner=inner, timestep=0.5, picoseconds=0.002)
    with pytest.raises(sw.InputError, match="lightest one has 23 u"):
        sw.simulate(potential, salt(), made, tmp_path / "run")
    heavy.set_masses(np.full(8, 30.0))
    sw.simulate(potential, heavy, made, tmp_path / "run")
    given = made.model_copy(update={"inner_timestep": 0.25})
    given = settings(**{**given.model_dump(exclude_unset=True), "inner_timestep": 0.25})
    sw.simulate(potential, salt(), given, tmp_path / "given")


def test_an_inner_potential_without_an_element_is_refused_before_anything(tmp_path: Path) -> None:
    potential = untrained((11, 17, 19), layers=1, cutoff=4.0)
    inner = inner_of(potential, tmp_path / "inner")
    replace(model(), info=sw.load_potential(inner).info).save(tmp_path / "other")
    atoms = salt()
    atoms.numbers[0] = 19
    with pytest.raises(sw.InputError, match="without elements"):
        sw.simulate(potential, atoms, settings(inner=tmp_path / "other"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
