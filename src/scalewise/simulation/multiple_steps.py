r"""Integrators of two time steps: the reversible reference system propagator (r-RESPA).

The forces of a potential are divided into those of a cheap inner potential, which vary fast, and
the remaining forces, which vary slowly:

.. math:: F = F_\mathrm{inner} + (F - F_\mathrm{inner})

One step of length Δ moves the momenta by half of the slow impulse, makes n steps of velocity Verlet
of length Δ/n with the inner forces alone, and moves the momenta by the other half (Tuckerman, Berne
and Martyna, J. Chem. Phys. 97, 1990 (1992)). Energies, and therefore the sampled ensemble, are
those of the potential. The largest stable Δ depends on how much of the fastest vibrations the inner
forces leave to the slow forces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase import units
from ase.md.bussi import Bussi
from ase.md.md import MolecularDynamics

from scalewise.data.charges import total_charge
from scalewise.data.structure import Structure

#: Forces of atoms, eV/Å [atoms, 3].
Forces = Callable[[ase.Atoms], np.ndarray]


class InnerSteps:
    """The steps of an inner potential between two impulses of a whole one.

    Parameters
    ----------
    atoms
        With the whole potential as their calculator.
    inner
        Function that returns the forces of the inner potential, eV/Å [atoms, 3], of such atoms.
    number
        Inner steps in each outer step.
    friction
        Friction coefficient of a Langevin thermostat that acts in each inner step, in ASE's unit of
        inverse time; none: the energy is conserved.
    kelvin
        Temperature of the Langevin thermostat, K.
    random
        Generator of its random forces.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        inner: Forces,
        number: int,
        *,
        friction: float | None = None,
        kelvin: float = 0.0,
        random: np.random.Generator | None = None,
    ) -> None:
        self.atoms, self.inner, self.number = atoms, inner, number
        self.friction, self.kelvin, self.random = friction, kelvin, random
        self.masses = atoms.get_masses()[:, None]
        self._known: tuple[Structure, Any, np.ndarray, np.ndarray] | None = None

    def go(self, step: float) -> None:
        """Make one step; the center of mass stays where it is."""
        atoms, part = self.atoms, step / self.number
        fast, slow = self._forces()
        momenta = atoms.get_momenta() + 0.5 * step * slow
        for _ in range(self.number):
            momenta += 0.5 * part * fast
            if self.friction is None or self.random is None:
                self._move(part, momenta)
            else:
                self._move(0.5 * part, momenta)
                momenta = self._with_noise(momenta, part)
                self._move(0.5 * part, momenta)
            fast = self.inner(atoms)
            momenta += 0.5 * part * fast
        momenta += 0.5 * step * self._slow(fast)
        momenta -= self.masses * momenta.sum(axis=0) / self.masses.sum()
        atoms.set_momenta(momenta, apply_constraint=False)

    def forget(self) -> None:
        """Compute the forces anew at the next step."""
        self._known = None

    def _move(self, time: float, momenta: np.ndarray) -> None:
        self.atoms.positions += time * momenta / self.masses

    def _with_noise(self, momenta: np.ndarray, time: float) -> np.ndarray:
        """The exact solution of friction and noise alone, which leave the center of mass."""
        assert self.friction is not None
        assert self.random is not None
        kept = math.exp(-self.friction * time)
        width = np.sqrt((1.0 - kept**2) * units.kB * self.kelvin * self.masses)
        found: np.ndarray = kept * momenta + width * self.random.standard_normal(momenta.shape)
        return found - self.masses * found.sum(axis=0) / self.masses.sum()

    def _forces(self) -> tuple[np.ndarray, np.ndarray]:
        """Fast and slow forces at the start of a step, which are mostly those at the last end."""
        if self._known is not None:
            frame, calculator, fast, slow = self._known
            if calculator is self.atoms.calc and _same(frame, Structure.from_ase(self.atoms)):
                return fast, slow
        fast = self.inner(self.atoms)
        return fast, self._slow(fast)

    def _slow(self, fast: np.ndarray) -> np.ndarray:
        atoms = self.atoms
        slow = np.asarray(atoms.calc.get_property("forces", atoms), dtype=float) - fast
        self._known = (Structure.from_ase(atoms), atoms.calc, fast, slow)
        return slow


def _same(one: Structure, other: Structure) -> bool:
    """Whether all that forces depend on is the same."""
    names = ("positions", "cell", "numbers", "pbc")
    return total_charge(one) == total_charge(other) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


class TwoStepVerlet(MolecularDynamics):
    """Constant energy, or Langevin dynamics, in two time steps.

    Parameters
    ----------
    atoms, timestep
        As of ASE's integrators.
    steps
        The inner steps.
    """

    def __init__(self, atoms: ase.Atoms, timestep: float, steps: InnerSteps) -> None:
        super().__init__(atoms, timestep)
        self.steps = steps

    @property
    def conserves(self) -> bool:
        """Whether it conserves the energy."""
        return self.steps.friction is None

    def step(self, forces: Any = None) -> None:
        """Make one step."""
        self.steps.go(self.dt)


class TwoStepBussi(Bussi):
    """Stochastic rescaling of velocities, as ASE's, with two time steps between."""

    def __init__(
        self, atoms: ase.Atoms, timestep: float, steps: InnerSteps, **options: Any
    ) -> None:
        super().__init__(atoms, timestep, **options)
        self.steps = steps

    def step(self, forces: Any = None) -> None:
        """Rescale, and make one step."""
        self.scale_velocities()
        self.steps.go(self.dt)
