"""Two time steps: equal to one where they must be, and as exact in the energy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixCom
from ase.md.verlet import VelocityVerlet

import scalewise as sw
from scalewise.simulation import run as simulation
from scalewise.simulation.inner import DISTILLED, weights_of
from scalewise.simulation.multiple_steps import InnerSteps, TwoStepVerlet
from scalewise.simulation.start import moving_atoms, repartitioned
from support import untrained


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
    respa = TwoStepVerlet(two, 4.0 * units.fs, InnerSteps(two, inner, 4))
    for _ in range(3):
        respa.step()
    np.testing.assert_allclose(two.positions, one.positions, atol=1e-9)
    np.testing.assert_allclose(two.get_momenta(), one.get_momenta(), atol=1e-9)


class Part(EMT):
    """Most of the forces."""

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = 0.7 * self.results["forces"]


def test_the_energy_changes_with_the_square_of_the_outer_step() -> None:
    """Inner steps of a sixteenth change nothing that is seen."""
    spread = []
    for step in (8.0, 4.0):
        atoms, energies = copper(), []
        number = round(step / 0.5)
        dynamics = TwoStepVerlet(atoms, step * units.fs, InnerSteps(atoms, Part(), number))
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
    known = {"of": weights_of(potential), "timestep": 1.0, "inner_timestep": 0.25, **more}
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
def test_killed_it_does_what_it_would_have_done(
    tmp_path: Path, ensemble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = model()
    made = settings(**ensemble, inner=inner_of(potential, tmp_path / "inner"))
    whole = sw.simulate(potential, salt(), made, tmp_path / "whole")
    assert whole.results["settings"]["timestep"] == 1.0  # that of the distillation
    assert whole.body["steps"] == 40
    advance = simulation._Simulation._advance

    def killed(run: Any) -> str | None:
        if run.step == 27:
            raise KeyboardInterrupt
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(simulation._Simulation, "_advance", killed)
        with pytest.raises(KeyboardInterrupt):
            sw.simulate(potential, salt(), made, tmp_path / "parts")
    sw.simulate(potential, salt(), made, tmp_path / "parts")
    for name in ("log.csv", "trajectory.extxyz"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_langevin_dynamics_in_two_steps_has_the_temperature(tmp_path: Path) -> None:
    potential = model()
    made = settings(
        ensemble="nvt",
        thermostat="langevin",
        inner=inner_of(potential, tmp_path / "inner"),
        picoseconds=1.0,
        thermostat_time=20.0,
        temperature=400.0,
    )
    sw.simulate(potential, salt(), made, tmp_path / "run")
    log = np.genfromtxt(tmp_path / "run/log.csv", delimiter=",", names=True)
    # 21 degrees of freedom, about 25 independent times: one part in 16
    assert log["temperature"][200:].mean() == pytest.approx(400.0, rel=0.25)
    assert np.isnan(log["conserved"]).all()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"of": "another"}, "of another potential"),
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


def test_a_time_step_is_for_the_masses_that_it_was_found_with(tmp_path: Path) -> None:
    potential = model()
    inner = inner_of(potential, tmp_path / "inner", hydrogen_mass=3.0)
    with pytest.raises(sw.InputError, match="hydrogen_mass=3"):
        sw.simulate(potential, salt(), settings(inner=inner), tmp_path / "run")
    made = settings(inner=inner, timestep=0.5, picoseconds=0.002)
    sw.simulate(potential, salt(), made, tmp_path / "run")
