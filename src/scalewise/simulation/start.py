"""Start of a simulation: checks of structure and settings, initial velocities, a digest of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import ase
import numpy as np
from ase.md.velocitydistribution import Stationary, ZeroRotation

from scalewise.core.errors import InputError
from scalewise.core.wording import count
from scalewise.data.charges import CHARGE_KEYS
from scalewise.data.neighbors import build
from scalewise.data.structure import Structure
from scalewise.models.graph import OVERLAP, check_apart, check_elements
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange
from scalewise.simulation.integrators import degrees_of_freedom, temperature
from scalewise.simulation.settings import SimulationSettings

#: K: momenta of a lower temperature are what rounding leaves of a drift, and count as none.
COLDEST: Final = 1e-4
#: Å: hydrogens are bound to the nearest heavier atom that is no farther.
BOUND: Final = 1.3
#: Settings that another run of the same simulation may have.
FREE: Final = frozenset({"picoseconds", "device", "compile", "inner"})


def moving_atoms(atoms: ase.Atoms, hydrogen_mass: float | None = None) -> ase.Atoms:
    """A copy with positions, momenta, masses, cell and charge; without drift.

    With ``hydrogen_mass`` (u), masses are repartitioned: hydrogens have this mass, and the atoms
    that they are bound to lose what hydrogens gain. Each atom keeps its kinetic energy.

    Raises
    ------
    InputError
        An atom that would be lighter than its hydrogens.
    """
    masses = atoms.get_masses()
    if hydrogen_mass is not None:
        light, masses = masses, repartitioned(atoms, hydrogen_mass)
        atoms = atoms.copy()
        atoms.set_masses(masses)
        atoms.set_momenta(np.sqrt(masses / light)[:, None] * atoms.get_momenta())
    found = ase.Atoms(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        masses=masses,
        momenta=atoms.get_momenta(),
    )
    found.info = {k: atoms.info[k] for k in CHARGE_KEYS if k in atoms.info}
    if len(found):
        Stationary(found, preserve_temperature=False)
    return found


def repartitioned(atoms: ase.Atoms, hydrogen_mass: float) -> np.ndarray:
    """Masses, u [atoms], after hydrogen mass repartitioning; the total mass stays.

    Each hydrogen gets the given mass, and the nearest heavier atom loses what it gains. A hydrogen
    without a heavier atom within ``BOUND`` keeps its mass.

    Raises
    ------
    InputError
        An atom that would be lighter than its hydrogens.
    """
    masses, frame = atoms.get_masses(), Structure.from_ase(atoms)
    pairs = build(frame, BOUND, full=True, images=True)
    bond = (frame.numbers[pairs.i] == 1) & (frame.numbers[pairs.j] > 1)
    hydrogens, others, lengths = pairs.i[bond], pairs.j[bond], pairs.distance[bond]
    order = np.argsort(lengths, kind="stable")
    own, first = np.unique(hydrogens[order], return_index=True)
    gained = hydrogen_mass - masses[own]
    masses[own] = hydrogen_mass
    givers = others[order][first]
    np.subtract.at(masses, givers, gained)
    lightest = masses[givers].min(initial=np.inf)
    if lightest < hydrogen_mass:
        raise InputError(
            "key 'hydrogen_mass'",
            f"{hydrogen_mass:g} u, which leaves {lightest:.3g} u to an atom that hydrogens are "
            "bound to",
            "Give less.",
        )
    return masses


def moves(atoms: ase.Atoms) -> bool:
    """Whether atoms have momenta, apart from what rounding leaves of a drift."""
    return temperature(atoms, degrees_of_freedom(atoms)) > COLDEST


def left_out(image: ase.Atoms) -> list[str]:
    """Sentences about constraints and velocities of a file, which are not used, and masses."""
    found = []
    if image.constraints:
        found.append("constraints of the file are left out: all atoms move")
    if image.has("masses"):
        found.append("masses are those of the file, not those of the elements")
    names = [name for name in image.arrays if name.lower() in ("velocities", "velocity", "vel")]
    if names and not image.has("momenta"):
        found.append(
            f"column {names[0]} of the file is not read: velocities are drawn unless it has "
            "momenta, in the units of ASE"
        )
    return found


def check(
    frame: Structure, atoms: ase.Atoms, settings: SimulationSettings, potential: Potential
) -> None:
    """Assert that a structure can be simulated.

    Parameters
    ----------
    frame
        The structure, as errors name it.
    atoms
        The same, with masses and momenta.
    settings
        Of the simulation.
    potential
        What exerts the forces.

    Raises
    ------
    InputError
        An element that the potential does not know; overlapping atoms, or fewer than two; masses
        that are not positive, momenta that are not finite; a constant pressure without a periodic
        cell; a mass of hydrogens, without hydrogen; no long range of a potential that was trained
        with it alone.
    """
    check_elements(frame, potential.elements)
    if (number := len(frame.numbers)) < 2:
        raise InputError(frame.where, count(number, "atom"), "Give a structure of two or more.")
    masses = atoms.get_masses()
    if not (np.isfinite(masses).all() and (masses > 0.0).all()):
        raise InputError(frame.where, "masses that are not positive", "Correct or remove them.")
    if not np.isfinite(atoms.get_momenta()).all():
        raise InputError(frame.where, "momenta that are not finite", "Correct or remove them.")
    if not settings.long_range and potential.long_range is LongRange.ALWAYS:
        raise InputError(
            "key 'long_range'",
            "false, but the potential was trained with long range alone",
            "Leave it out, or train with --ladder ...,long.",
        )
    if settings.ensemble == "npt" and not frame.pbc.all():
        raise InputError(
            "key 'ensemble'",
            "npt, but the structure is not periodic in three directions",
            "Give ensemble=nvt, or a structure with a periodic cell.",
        )
    if settings.hydrogen_mass is not None and 1 not in frame.numbers:
        found = f"{settings.hydrogen_mass:g} u, but the structure has no hydrogen"
        raise InputError("key 'hydrogen_mass'", found, "Leave it out.")
    check_apart(frame, build(frame, OVERLAP, images=True))


def draw_velocities(
    atoms: ase.Atoms,
    kelvin: float,
    freedom: int,
    random: np.random.Generator,
    *,
    rotates: bool,
) -> None:
    """Give atoms momenta of Maxwell and Boltzmann, without a drift, scaled to the temperature.

    Parameters
    ----------
    atoms
        Whose momenta are replaced.
    kelvin
        Temperature, K.
    freedom
        Degrees of freedom, see :func:`scalewise.simulation.integrators.degrees_of_freedom`.
    random
        Where they are drawn.
    rotates
        Whether a molecule keeps the angular momentum that was drawn.
    """
    masses = atoms.get_masses()[:, None]
    atoms.set_momenta(np.sqrt(masses) * random.standard_normal((len(masses), 3)))
    Stationary(atoms)
    if not rotates and not atoms.pbc.any():
        ZeroRotation(atoms, preserve_temperature=False)
    atoms.set_momenta(np.sqrt(kelvin / temperature(atoms, freedom)) * atoms.get_momenta())


def digest(
    potential: Potential,
    atoms: ase.Atoms,
    settings: SimulationSettings,
    inner: Potential | None = None,
) -> str:
    """SHA-256 of what the steps depend on: potentials, structure, settings but for ``FREE``."""
    found = hashlib.sha256()
    given: Mapping[str, Any] = settings.model_dump(mode="json", exclude=set(FREE))
    found.update(repr(sorted(given.items())).encode())
    found.update(repr(sorted((k, str(v)) for k, v in atoms.info.items())).encode())
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses()):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(np.ascontiguousarray(atoms.get_momenta()).tobytes())
    for network in (potential.network, *([] if inner is None else [inner.network])):
        found.update(repr(network.settings).encode())
    found.update(np.ascontiguousarray(potential.composition.energies).tobytes())
    of_inner = None if inner is None else inner.network
    for module in (potential.network, potential.adaptive_cutoff, of_inner):
        for name, tensor in sorted(({} if module is None else module.state_dict()).items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().double().numpy().tobytes())
    return found.hexdigest()
