"""The potential in OpenMM: a system with its forces, in one or two force groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ase
import numpy as np
import torch
from ase import units
from ase.cell import Cell
from ase.geometry import minkowski_reduce
from jaxtyping import Float

from scalewise.core.errors import InputError
from scalewise.data.structure import check_cell
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange
from scalewise.testbed.forcefield import require_openmm

if TYPE_CHECKING:
    import openmm

#: Of OpenMM: nm in Å, and kJ/mol in eV.
NANOMETER: Final = 10.0
KILOJOULE: Final = units.kJ / units.mol
#: Force groups with two scales: what changes slowly, and what changes fast.
SLOW: Final = 0
FAST: Final = 1


def openmm_system(
    potential: Potential,
    atoms: ase.Atoms,
    *,
    cutoff: float | None = None,
    long_range: bool = True,
    inner: float | Potential | None = None,
    skin: float = 1.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    compiled: bool | None = None,
) -> openmm.System:
    r"""Return an OpenMM system of the atoms with the forces of a potential.

    With ``inner``, the energy is divided into two force groups,

    .. math:: E = E_\mathrm{inner} + (E - E_\mathrm{inner})

    Group 1 holds the inner potential: one that :func:`scalewise.distill` made, for example, or the
    potential itself at a shorter cutoff, and without long range if it was trained with and without.
    Group 0 holds the difference. Integrators of several time steps, such as
    ``MTSIntegrator(dt, [(0, 1), (1, 4)])``, can then evaluate the difference less often.

    Parameters
    ----------
    potential
        The potential.
    atoms
        Elements, masses, cell (Å) and periodicity of the system. Positions are set in OpenMM's
        context, in nm.
    cutoff, long_range
        The scale, as in :class:`ScalewiseCalculator`; default: the potential's own scale.
    inner
        The inner potential, or a cutoff (Å) of this potential that is shorter than ``cutoff``;
        none: all forces are in group 0.
    skin, device, dtype, compiled
        As in :class:`ScalewiseCalculator`.

    Raises
    ------
    InputError
        OpenMM is not installed, or too old; a cell that is not in OpenMM's reduced form, which
        :func:`scalewise.in_openmm_form` returns; ``inner``
        not shorter than the cutoff; the errors of :class:`ScalewiseCalculator`.

    Examples
    --------
    ::

        system = openmm_system(potential, atoms, inner=3.5)
        integrator = openmm.MTSLangevinIntegrator(300, 1, 0.001, [(0, 1), (1, 2)])
        context = openmm.Context(system, integrator)
        context.setPositions(0.1 * atoms.positions)
    """
    openmm = with_python_forces(require_openmm())
    system, periodic = openmm.System(), bool(atoms.pbc.all())
    for mass in atoms.get_masses():
        system.addParticle(mass)
    if periodic:
        system.setDefaultPeriodicBoxVectors(*_box(atoms.cell.array))

    def calculator(
        cutoff: float | None, long_range: bool, of: Potential = potential
    ) -> ScalewiseCalculator:
        return ScalewiseCalculator(
            of,
            cutoffs=cutoff,
            long_range=long_range,
            skin=skin,
            device=device,
            dtype=dtype,
            compiled=compiled,
        )

    whole, groups = calculator(cutoff, long_range), {}
    if inner is None:
        groups[SLOW] = _Force(atoms, (1.0, whole))
    else:
        if isinstance(inner, Potential):
            short = calculator(None, True, inner)
        elif inner >= (whole.potential.cutoff if cutoff is None else cutoff):
            raise InputError("inner", f"{inner:g} Å", "It must be shorter than the cutoff.")
        else:
            optional = potential.long_range is LongRange.OPTIONAL
            short = calculator(inner, long_range and not optional)
        groups = {
            SLOW: _Force(atoms, (1.0, whole), (-1.0, short)),
            FAST: _Force(atoms, (1.0, short)),
        }
    for group, compute in groups.items():
        force = openmm.PythonForce(compute)
        force.setForceGroup(group)
        force.setUsesPeriodicBoundaryConditions(periodic)
        system.addForce(force)
    return system


class _Force:
    """What OpenMM calls: energy, kJ/mol, and forces, kJ/mol/nm, of a state.

    Calculators that two groups share compute once for the same positions.
    """

    def __init__(self, atoms: ase.Atoms, *parts: tuple[float, ScalewiseCalculator]) -> None:
        self.atoms = ase.Atoms(
            atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=dict(atoms.info)
        )
        self.parts = parts

    def __call__(self, state: Any) -> tuple[float, Float[np.ndarray, "atoms 3"]]:
        positions = state.getPositions(asNumpy=True)
        self.atoms.positions = NANOMETER * np.asarray(positions._value)
        if self.atoms.pbc.all():
            box = state.getPeriodicBoxVectors(asNumpy=True)
            self.atoms.set_cell(NANOMETER * np.asarray(box._value))
        energy, forces = 0.0, np.zeros((len(self.atoms), 3))
        for factor, calculator in self.parts:
            energy += factor * calculator.get_property("energy", self.atoms)
            forces += factor * calculator.get_property("forces", self.atoms)
        return energy / KILOJOULE, forces / KILOJOULE * NANOMETER


def in_openmm_form(atoms: ase.Atoms) -> ase.Atoms:
    """Return a rotated copy of periodic atoms whose cell is in OpenMM's reduced form.

    The first cell vector is along x, the second in the plane of x and y, the diagonal is positive,
    and no vector is longer than necessary along the previous ones. The lattice is the same:
    energies do not change, and forces and momenta are rotated with the positions. A left-handed
    cell becomes right-handed. Atoms that are not periodic along all vectors stay as they are.

    Parameters
    ----------
    atoms
        The structure, Å.

    Raises
    ------
    InputError
        A cell without volume.
    """
    found: ase.Atoms = atoms.copy()
    if not atoms.pbc.all():
        return found
    check_cell(atoms.cell.array, atoms.pbc, "atoms")
    vectors = minkowski_reduce(atoms.cell.array)[0]
    vectors[2] *= np.sign(np.linalg.det(vectors))
    standard, rotation = Cell(vectors).standard_form()
    cell = standard.array
    for row, column in ((2, 1), (2, 0), (1, 0)):
        cell[row] -= np.round(cell[row, column] / cell[column, column]) * cell[column]
    found.set_cell(cell)
    found.positions = found.positions @ rotation.T
    if found.has("momenta"):
        found.set_momenta(found.get_momenta() @ rotation.T)
    return found


def with_python_forces(openmm: Any) -> Any:
    """The module, if it has ``PythonForce``.

    Raises
    ------
    InputError
        It has none.
    """
    if not hasattr(openmm, "PythonForce"):
        raise InputError(
            "openmm",
            f"version {openmm.__version__}, which has no PythonForce",
            "Install 8.4 or newer: pip install --upgrade openmm.",
        )
    return openmm


def _box(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Return the vectors of a cell (Å) in nm, as OpenMM takes them.

    Raises
    ------
    InputError
        A first vector that is not along x, a second not in the plane of x and y, or one that is
        longer than necessary along a previous one.
    """
    length, half = np.abs(cell).max(), 0.5 * np.diag(cell)
    triangular = np.abs(cell[np.triu_indices(3, 1)]).max() <= 1e-6 * length and half.min() > 0.0
    rows, columns = np.tril_indices(3, -1)
    if not triangular or (np.abs(cell[rows, columns]) > half[columns] + 1e-6 * length).any():
        raise InputError(
            "cell",
            "vectors that are not in OpenMM's form",
            "Rotate the structure: atoms = scalewise.in_openmm_form(atoms).",
        )
    box = np.asarray(cell / NANOMETER, dtype=float)
    # OpenMM compares with half of the previous vectors to the last digit
    most = 0.5 * np.diag(box)[columns] * (1.0 - 1e-12)
    box[rows, columns] = np.clip(box[rows, columns], -most, most)
    return box
