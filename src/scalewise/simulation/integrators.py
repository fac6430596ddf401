"""Integrators of ASE: the one of each ensemble, its conserved energy, and its internal state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import ase
import numpy as np
from ase import units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.verlet import VelocityVerlet

from scalewise.simulation.multiple_steps import Forces, InnerSteps, TwoStepBussi, TwoStepVerlet
from scalewise.simulation.settings import SimulationSettings

#: Modules whose objects hold variables that move: chains of thermostats and barostats.
_OF_ASE: Final = "ase.md."


def integrator(
    atoms: ase.Atoms,
    settings: SimulationSettings,
    random: np.random.Generator,
    freedom: int,
    inner: Forces | None = None,
) -> MolecularDynamics:
    """The integrator of an ensemble; the center of mass stays where it is.

    With an ``inner`` potential, it has two time steps. Atoms get a constraint for that, but for
    ``npt``, whose equations keep the total momentum. ASE's thermostats count 3N degrees of
    freedom: the target of the kinetic energy, or of the temperature, is that of ``freedom``
    instead.
    """
    step, relaxation = settings.timestep * units.fs, settings.thermostat_time * units.fs
    if settings.ensemble == "npt":
        return IsotropicMTKNPT(
            atoms,
            timestep=step,
            temperature_K=settings.temperature * freedom / (3 * len(atoms)),
            pressure_au=settings.pressure * 1e5 * units.Pascal,
            tdamp=relaxation,
            pdamp=settings.barostat_time * units.fs,
        )
    atoms.set_constraint(FixCom())
    langevin = thermostat(atoms, settings) == "langevin"
    steps = None
    if inner is not None:
        steps = InnerSteps(
            atoms,
            inner,
            settings.inner_steps,
            friction=1.0 / relaxation if langevin else None,
            kelvin=settings.temperature,
            random=random,
        )
        if settings.ensemble == "nve" or langevin:
            return TwoStepVerlet(atoms, step, steps)
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, timestep=step)
    if langevin:
        return Langevin(
            atoms,
            timestep=step,
            temperature_K=settings.temperature,
            friction=1.0 / relaxation,
            fixcm=False,
            rng=random,
        )
    options = {"temperature_K": settings.temperature, "taut": relaxation, "rng": random}
    rescaling = (
        Bussi(atoms, timestep=step, **options)
        if steps is None
        else TwoStepBussi(atoms, step, steps, **options)
    )
    rescaling.ndof = freedom
    rescaling.target_kinetic_energy = 0.5 * rescaling.temp * freedom
    return rescaling


def thermostat(atoms: ase.Atoms, settings: SimulationSettings) -> str | None:
    """``csvr`` or ``langevin``, which is the default of molecules; none but for ``nvt``."""
    if settings.ensemble != "nvt":
        return None
    if settings.thermostat != "auto":
        return settings.thermostat
    return "csvr" if atoms.pbc.any() else "langevin"


def conserved_energy(dynamics: MolecularDynamics) -> float | None:
    """The energy (eV) that would not change with a short step: none of Langevin dynamics.

    Total energy, minus what the thermostat put in, plus that of chains, barostat and pressure.
    """
    if isinstance(dynamics, Langevin):
        return None
    if isinstance(dynamics, TwoStepVerlet) and not dynamics.conserves:
        return None
    if isinstance(dynamics, IsotropicMTKNPT):
        return float(dynamics.get_conserved_energy())
    total = dynamics.atoms.get_potential_energy() + dynamics.atoms.get_kinetic_energy()
    return float(total - getattr(dynamics, "transferred_energy", 0.0))


def degrees_of_freedom(atoms: ase.Atoms, *, rotates: bool = True) -> int:
    """Of the velocities: three fewer than coordinates.

    A molecule that does not rotate has three fewer still, or two where all atoms are on a line.
    """
    found = 3 * len(atoms) - 3
    if not rotates and not atoms.pbc.any():
        moments = atoms.get_moments_of_inertia()
        found -= int((moments > 1e-6 * moments.max()).sum())
    return max(found, 1)


def temperature(atoms: ase.Atoms, freedom: int) -> float:
    """K, of so many degrees of freedom."""
    return float(2.0 * atoms.get_kinetic_energy() / (freedom * units.kB))


def inner_state(dynamics: MolecularDynamics) -> dict[str, np.ndarray]:
    """Numbers that an integrator keeps from step to step, by where they are."""
    return {name: np.array(value) for name, _, _, value in _numbers(dynamics, "")}


def set_inner_state(dynamics: MolecularDynamics, state: dict[str, np.ndarray]) -> None:
    """Put back what :func:`inner_state` found.

    Raises
    ------
    KeyError, ValueError
        Another integrator's.
    """
    for name, owner, key, value in list(_numbers(dynamics, "")):
        found = state[name]
        if found.shape != np.shape(value):
            raise ValueError(f"{name} has the shape {found.shape}")
        owner[key] = found.copy() if isinstance(value, np.ndarray) else type(value)(found)


def _numbers(part: Any, where: str) -> Iterator[tuple[str, dict[str, Any], str, Any]]:
    for key, value in vars(part).items():
        name = f"{where}.{key}"
        if isinstance(value, int | float | np.ndarray) and not isinstance(value, bool):
            yield name, vars(part), key, value
        elif type(value).__module__.startswith(_OF_ASE):
            yield from _numbers(value, name)
