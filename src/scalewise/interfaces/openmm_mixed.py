"""OpenMM systems of which the potential describes some atoms and a force field the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import ase
import numpy as np
import torch
from jaxtyping import Float

from scalewise.core.errors import InputError, cut
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.interfaces.openmm import KILOJOULE, NANOMETER, with_python_forces
from scalewise.models.potential import Potential
from scalewise.testbed.forcefield import require_openmm

if TYPE_CHECKING:
    import openmm

#: Forces of bonded terms: how many particles a term has, and how many parameters follow them; those
#: that are strengths come last, and are set to zero.
BONDED: Final[dict[str, tuple[str, int, int]]] = {
    "HarmonicBondForce": ("Bond", 2, 1),
    "HarmonicAngleForce": ("Angle", 3, 1),
    "PeriodicTorsionForce": ("Torsion", 4, 1),
    "RBTorsionForce": ("Torsion", 4, 6),
}
#: What acts on no particle in particular.
HARMLESS: Final = (
    "CMMotionRemover",
    "AndersenThermostat",
    "MonteCarloBarostat",
    "MonteCarloAnisotropicBarostat",
    "MonteCarloFlexibleBarostat",
    "MonteCarloMembraneBarostat",
)


def mixed_openmm_system(
    system: openmm.System,
    potential: Potential,
    atoms: ase.Atoms,
    subset: Sequence[int],
    *,
    cutoff: float | None = None,
    long_range: bool = True,
    skin: float = 1.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    compiled: bool | None = None,
) -> openmm.System:
    r"""Return a copy of an OpenMM system in which a potential describes a subset of the atoms.

    .. math:: E = E_\mathrm{MM} - E_\mathrm{MM}^\mathrm{subset}
       + E_\mathrm{potential}^\mathrm{subset}

    The subset consists of whole molecules. The force field describes all interactions between the
    subset and the other atoms, with its own fixed charges (mechanical embedding). Its bonded terms,
    constraints, Coulomb and Lennard-Jones interactions within the subset are removed, and the
    potential is evaluated there without periodicity: the electrostatics of each pair of atoms is
    counted once, by the force field or by the potential.

    Parameters
    ----------
    system
        OpenMM system with bonded terms, a ``NonbondedForce`` and optionally a
        ``CustomNonbondedForce``; it is not changed.
    potential
        Potential that describes the subset.
    atoms
        Atoms of the subset in the order of ``subset``, without periodicity, with their total charge
        (e) in ``atoms.info["charge"]``. Their elements are used.
    subset
        Numbers of the particles of the subset in the system.
    cutoff, long_range, skin, device, dtype, compiled
        As in :class:`scalewise.interfaces.ase.ScalewiseCalculator`.

    Raises
    ------
    InputError
        OpenMM is not installed, or too old; particles that are not in the system, or whose number
        is not that of the atoms; a bond or constraint between the subset and the rest; periodic
        atoms, whose images the force field would count as well; a kind of force that may act within
        the subset and cannot be removed; the errors of ``ScalewiseCalculator``.

    Examples
    --------
    ::

        system = forcefield.createSystem(topology, nonbondedMethod=app.PME)
        mixed = mixed_openmm_system(system, potential, solute, range(len(solute)))
    """
    openmm = with_python_forces(require_openmm())
    chosen = [int(k) for k in subset]
    _check(system, atoms, chosen)
    calculator = ScalewiseCalculator(
        potential,
        cutoffs=cutoff,
        long_range=long_range,
        skin=skin,
        device=device,
        dtype=dtype,
        compiled=compiled,
    )
    mixed = openmm.XmlSerializer.clone(system)
    own = set(chosen)
    for k in reversed(range(mixed.getNumConstraints())):
        first, second, _ = mixed.getConstraintParameters(k)
        if _inside((first, second), own, "a constraint"):
            mixed.removeConstraint(k)
    for force in mixed.getForces():
        kind = type(force).__name__
        if kind in BONDED:
            _without_terms(force, own, *BONDED[kind])
        elif kind == "NonbondedForce":
            _without_pairs(force, own)
        elif kind == "CustomNonbondedForce":
            there = {
                frozenset(force.getExclusionParticles(k)) for k in range(force.getNumExclusions())
            }
            for pair in combinations(sorted(own), 2):
                if frozenset(pair) not in there:
                    force.addExclusion(*pair)
        elif kind not in HARMLESS:
            raise InputError(
                "system",
                f"a {kind}, which may act within the subset and cannot be taken out",
                "Make the force field without it, or simulate all atoms with the potential.",
            )
    compute = _SubsetForce(calculator, atoms, chosen, mixed.getNumParticles())
    force = openmm.PythonForce(compute)
    force.setUsesPeriodicBoundaryConditions(mixed.usesPeriodicBoundaryConditions())
    mixed.addForce(force)
    return mixed


class _SubsetForce:
    """What OpenMM calls: energy, kJ/mol, and forces, kJ/mol/nm, of the subset."""

    def __init__(
        self,
        calculator: ScalewiseCalculator,
        atoms: ase.Atoms,
        chosen: list[int],
        particles: int,
    ) -> None:
        self.calculator, self.chosen, self.particles = calculator, chosen, particles
        self.atoms = ase.Atoms(atoms.numbers, atoms.positions, info=dict(atoms.info))

    def __call__(self, state: Any) -> tuple[float, Float[np.ndarray, "particles 3"]]:
        positions = NANOMETER * np.asarray(state.getPositions(asNumpy=True)._value)[self.chosen]
        # a molecule that was given in two halves is one, across the ends of the box
        box = NANOMETER * np.asarray(state.getPeriodicBoxVectors(asNumpy=True)._value)
        apart = positions - positions[0]
        if abs(np.linalg.det(box)) > 0.0:
            apart -= np.round(apart @ np.linalg.inv(box)) @ box
        self.atoms.positions = positions[0] + apart
        energy = self.calculator.get_property("energy", self.atoms)
        forces = np.zeros((self.particles, 3))
        forces[self.chosen] = self.calculator.get_property("forces", self.atoms)
        return energy / KILOJOULE, forces / KILOJOULE * NANOMETER


def _check(system: Any, atoms: ase.Atoms, chosen: list[int]) -> None:
    particles = system.getNumParticles()
    if len(chosen) != len(atoms) or not chosen:
        found = f"{len(chosen)} numbers for {len(atoms)} atoms"
        raise InputError("subset", found, "Give the number of each atom in the system.")
    odd = [k for k in chosen if not 0 <= k < particles]
    if odd or len(set(chosen)) < len(chosen):
        what = f"{odd[0]} of {particles} particles" if odd else "a number that is there twice"
        raise InputError("subset", what, "Give each number once, counted from zero.")
    if atoms.pbc.any():
        raise InputError(
            "atoms",
            "periodic, so that their images would be counted by the potential and by the force "
            "field",
            "Set atoms.pbc = False: the potential is that of the subset alone.",
        )
    for k in chosen:
        if system.isVirtualSite(k) or not system.getParticleMass(k)._value > 0.0:
            raise InputError(
                "subset",
                f"particle {k} has no mass",
                "Leave out virtual sites, or use other water.",
            )


def _inside(particles: Sequence[int], own: set[int], what: str) -> bool:
    """Whether a term is within the subset; one of both sides is refused."""
    within = [p in own for p in particles]
    if any(within) and not all(within):
        raise InputError(
            "subset",
            f"{what} of particles {cut(str(list(particles)), 60)}, of which only some are in it",
            "Give whole molecules.",
        )
    return all(within)


def _without_terms(force: Any, own: set[int], name: str, atoms: int, strengths: int) -> None:
    """Set the strengths of bonded terms within the subset to zero."""
    number: Callable[[], int] = getattr(force, f"getNum{name}s")
    for k in range(number()):
        given = getattr(force, f"get{name}Parameters")(k)
        if _inside(given[:atoms], own, f"a {name.lower()}"):
            zero = [0.0 * value for value in given[-strengths:]]
            getattr(force, f"set{name}Parameters")(k, *given[:-strengths], *zero)


def _without_pairs(force: Any, own: set[int]) -> None:
    """Leave out Coulomb and Lennard-Jones interactions within the subset."""
    there = {}
    for k in range(force.getNumExceptions()):
        first, second, *_ = force.getExceptionParameters(k)
        there[frozenset((first, second))] = k
    for pair in combinations(sorted(own), 2):
        known = there.get(frozenset(pair))
        if known is None:
            force.addException(*pair, 0.0, 1.0, 0.0)
        else:
            force.setExceptionParameters(known, *pair, 0.0, 1.0, 0.0)
    for k in range(force.getNumExceptionParameterOffsets()):
        _, index, *_ = force.getExceptionParameterOffset(k)
        first, second, *_ = force.getExceptionParameters(index)
        if {first, second} <= own:
            raise InputError(
                "system",
                f"an offset of the exception of particles {first} and {second}, in the subset",
                "Make the force field without it.",
            )
