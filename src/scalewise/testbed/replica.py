"""One box of aqueous NaCl in OpenMM: filled, equilibrated, run and labelled.

OpenMM is imported inside the functions, so this module loads without it. Inside this file lengths
are nm and energies kJ/mol, as OpenMM wants them; what leaves it (`Snapshot`) is in Å, eV and ps.

The force field has rigid water and no intramolecular terms, so an energy is the sum of a switched
Lennard-Jones term without tail correction and of PME: forces and energies are consistent. The
dynamics use a looser PME than the labels, which come from a context of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Bool, Float, Shaped

from scalewise.core.errors import InputError
from scalewise.core.quantities import KJ_PER_MOL, KJ_PER_MOL_NM, NM
from scalewise.data.structure import Frame
from scalewise.testbed.forcefield import (
    FORCE_FIELDS,
    merge_lennard_jones,
    platform_name,
    require_openmm,
)
from scalewise.testbed.geometry import geometry_of
from scalewise.testbed.geometry.base import Scene, middle
from scalewise.testbed.settings import SolutionSettings

#: Relative force tolerance of PME in the dynamics, in the labels, and in the check of the labels.
DYNAMICS_TOLERANCE: Final = 5e-4
LABEL_TOLERANCE: Final = 1e-5
CHECK_TOLERANCE: Final = 1e-7
#: Lennard-Jones is switched off smoothly from this share of the cutoff on.
SWITCH: Final = 0.85
#: Settling in the fixed cell takes this share of the equilibration time.
SETTLING: Final = 0.05
#: So does the water around a pair of ions at each distance: the shells of small ions exchange no
#: water then, but orient within a picosecond or two.
WINDOW: Final = 0.2
#: nm by which a held pair is stretched at once, and the time steps in which water makes room.
DRAG: Final = 0.01
DRAG_STEPS: Final = 10
#: Å, at which the screened law's share of the forces beyond is reported.
CUTOFFS: Final = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0)
#: ps between readings of temperature and volume, and between reports of progress.
READING: Final = 0.1

if TYPE_CHECKING:
    from scalewise.testbed.screened import ScreenedLaw

_GRAM_PER_CM3: Final = 1.66053906660e-3  # u/nm3

Vectors = Float[np.ndarray, "atoms 3"]
Tick = Callable[[float], None]


@dataclass(frozen=True)
class Snapshot:
    """A labelled configuration: Å, eV, eV/Å; ``keys`` go to the frame's header.

    ``beyond`` holds, for a law of known range, the mean absolute force component from pairs beyond
    each of ``CUTOFFS``, and that of all pairs.
    """

    cell: Float[np.ndarray, " 3"]
    positions: Vectors
    energy: float
    forces: Vectors
    keys: dict[str, int | float]
    place: Shaped[np.ndarray, " atoms"]
    density: float | None
    beyond: Float[np.ndarray, " cutoffs"] | None


@dataclass(frozen=True)
class Wall:
    """Around an atom that is held: free atoms nearer than ``radius`` (nm) are pushed back.

    ``stiffness`` of the spring is in kJ/mol/nm².
    """

    atom: int
    radius: float
    stiffness: float


def seed_of(settings: SolutionSettings, replica: int) -> int:
    """Return the seed of one replica; it does not depend on how many there are."""
    sequence = np.random.SeedSequence(settings.seed, spawn_key=(replica,))
    return int(sequence.generate_state(1)[0])


class Replica:
    """One independent box and its dynamics; lengths in nm, times in ps."""

    def __init__(
        self, settings: SolutionSettings, replica: int, tick: Tick = lambda ps: None
    ) -> None:
        self.mm = require_openmm()
        self.settings, self.replica, self.tick = settings, replica, tick
        self.seed = seed_of(settings, replica)
        self.rng = np.random.default_rng(self.seed)
        self.platform = platform_name(settings)
        self.geometry = geometry_of(settings)
        self.pairs = self.geometry.crystal_pairs + self.geometry.pairs
        self.time = 0.0
        self.file, _ = FORCE_FIELDS[settings.water, settings.ions]
        self.forcefield = self.mm.app.ForceField(self.file)
        self._fill()
        self.labels: Any = None
        self.law: ScreenedLaw | None = None

    # -- building ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Fill the box with water and let the geometry make of it what it is."""
        app, nm = self.mm.app, self.mm.unit.nanometer
        modeller = app.Modeller(app.Topology(), [] * nm)
        model = "spce" if self.settings.water == "spce" else "tip3p"
        box = self.mm.Vec3(*map(float, self.geometry.water_box)) * nm
        modeller.addSolvent(self.forcefield, model=model, boxSize=box)
        atoms = np.array(modeller.positions.value_in_unit(nm)).reshape(-1, 3, 3)
        filling = self.geometry.fill(atoms, self.rng, f"replica {self.replica}")
        self.cell = filling.cell
        self.positions = np.concatenate([filling.ions, filling.water.reshape(-1, 3)])
        n, waters = self.pairs, len(filling.water)
        self.symbols = ["Na"] * n + ["Cl"] * n + ["O", "H", "H"] * waters
        self.molecules = np.concatenate([np.arange(2 * n), 2 * n + np.repeat(np.arange(waters), 3)])
        self.first = np.unique(self.molecules, return_index=True)[1]
        self.lattice = np.concatenate([filling.lattice, np.zeros(waters, dtype=bool)])
        self.topology = self._topology()

    def _topology(self) -> Any:
        app = self.mm.app
        topology = app.Topology()
        chain = topology.addChain()
        names = {"Na": ("NA", "NA"), "Cl": ("CL", "CL")}
        for start in self.first:
            symbol = self.symbols[start]
            residue, name = names.get(symbol, ("HOH", "O"))
            group = topology.addResidue(residue, chain)
            heavy = topology.addAtom(name, app.Element.getBySymbol(symbol), group)
            for hydrogen in ("H1", "H2") if symbol == "O" else ():
                atom = topology.addAtom(hydrogen, app.element.hydrogen, group)
                topology.addBond(heavy, atom)
        return topology

    def system(self, tolerance: float, *, frozen: bool = False) -> Any:
        """Return the OpenMM system at the present cell; ``frozen`` ions have no mass."""
        mm, nm = self.mm, self.mm.unit.nanometer
        self.topology.setUnitCellDimensions(mm.Vec3(*map(float, self.cell)) * nm)
        cutoff = self.settings.cutoff / NM
        system = self.forcefield.createSystem(
            self.topology,
            nonbondedMethod=mm.app.PME,
            nonbondedCutoff=cutoff * nm,
            rigidWater=True,
            removeCMMotion=False,
            ewaldErrorTolerance=tolerance,
        )
        merge_lennard_jones(mm, system, self.pairs)
        for force in system.getForces():
            if isinstance(force, mm.NonbondedForce | mm.CustomNonbondedForce):
                force.setUseSwitchingFunction(True)
                force.setSwitchingDistance(SWITCH * cutoff * nm)
            if isinstance(force, mm.NonbondedForce):
                force.setUseDispersionCorrection(False)
            if isinstance(force, mm.CustomNonbondedForce):
                force.setUseLongRangeCorrection(False)
        hydrogen = self.settings.hydrogen_mass
        for atom in range(2 * self.pairs, len(self.symbols), 3):
            masses = [system.getParticleMass(atom + k)._value for k in range(3)]
            for k, mass in enumerate((sum(masses) - 2 * hydrogen, hydrogen, hydrogen)):
                system.setParticleMass(atom + k, mass)
        for atom in range(2 * self.pairs if frozen else 0):
            system.setParticleMass(atom, 0.0)
        return system

    def context(self, system: Any, *, exact: bool = False, reference: bool = False) -> Any:
        """Return a context with a Langevin integrator; ``exact`` asks CUDA for double precision."""
        mm, s = self.mm, self.settings
        integrator = mm.LangevinMiddleIntegrator(s.temperature, 1.0, 1e-3 * s.timestep)
        integrator.setRandomNumberSeed(self._draw())
        name = "Reference" if reference else self.platform
        options = {
            "CPU": {"Threads": "1", "DeterministicForces": "true"},
            "CUDA": {"Precision": "double" if exact else "mixed", "DeterministicForces": "true"},
        }
        return mm.Context(
            system, integrator, mm.Platform.getPlatformByName(name), options.get(name, {})
        )

    def _start(self, system: Any, positions: Vectors, *, minimize: bool = False) -> Any:
        """Return a context at ``positions`` with new velocities."""
        context = self.context(system)
        context.setPositions(positions)
        context.applyConstraints(1e-7)
        if minimize:
            with self._watched():
                self.mm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
        context.setVelocitiesToTemperature(self.settings.temperature, self._draw())
        return context

    def _draw(self) -> int:
        return int(self.rng.integers(1, 2**31 - 1))  # OpenMM takes 0 as "from the clock"

    # -- running ----------------------------------------------------------------------------------

    def _advance(self, context: Any, ps: float) -> Iterator[None]:
        """Run for ``ps``, pausing now and then so that the caller may read the context."""
        step = 1e-3 * self.settings.timestep
        left = max(1, round(ps / step))
        chunk = max(1, round(READING / step))
        while left > 0:
            steps = min(chunk, left)
            with self._watched():
                context.getIntegrator().step(steps)
            left -= steps
            self.time += steps * step
            self.tick(self.time)
            yield

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except self.mm.OpenMMException as error:
            raise self._failed(str(error)) from error

    def _failed(self, reason: str) -> InputError:
        where = f"replica {self.replica} at {self.time:.2f} ps"
        if "box size has decreased" in reason:
            return self._too_small(where)
        return InputError(
            where,
            f"the simulation failed ({' '.join(reason.split())})",
            "Shorten timestep, lower concentration, or change seed (solution.timestep and so on in "
            "study; locality starts from other frames with another seed).",
        )

    def _too_small(self, where: str) -> InputError:
        return InputError(
            where,
            f"the cell shrank below twice the cutoff of {self.settings.cutoff} Å",
            f"Shorten cutoff, or enlarge box beyond {self.settings.box} Å.",
        )

    def equilibrate(self) -> float | None:
        """Find the cell at constant pressure where it breathes, settle in it.

        Return the density in g/cm3 where one density fills the cell.
        """
        s = self.settings
        system = self.system(DYNAMICS_TOLERANCE)
        breathing = np.array(self.geometry.breathing)
        if breathing.any():
            system.addForce(self._barostat())
        context = self._start(system, self.positions, minimize=True)
        edges = [self._edge_of(context) for _ in self._advance(context, s.equilibration)]
        positions = self._positions(context)
        if breathing.any():
            # the mean volume; edges that do not breathe share none of its change
            last, edge = edges[-1], float(np.cbrt(np.mean(np.array(edges[len(edges) // 2 :]) ** 3)))
            before = self._stretched(last, breathing)
            self.cell = self._stretched(edge, breathing)
            if self.cell.min() < 2 * s.cutoff / NM:
                raise self._too_small(f"replica {self.replica} after equilibration")
            sums = [np.bincount(self.molecules, weights=positions[:, k]) for k in range(3)]
            centres = np.stack(sums, axis=1) / np.bincount(self.molecules)[:, None]
            positions += ((self.cell / before - 1.0) * centres)[self.molecules]
        self.running = self._start(self.system(DYNAMICS_TOLERANCE), positions)
        for _ in self._advance(self.running, SETTLING * s.equilibration):
            pass
        if not breathing.all():
            return None
        mass = sum(system.getParticleMass(i)._value for i in range(system.getNumParticles()))
        return float(mass / self.cell.prod() * _GRAM_PER_CM3)

    def _barostat(self) -> Any:
        s, breathing = self.settings, self.geometry.breathing
        if all(breathing):
            barostat = self.mm.MonteCarloBarostat(s.pressure, s.temperature)
        else:
            pressure = self.mm.Vec3(s.pressure, s.pressure, s.pressure)
            barostat = self.mm.MonteCarloAnisotropicBarostat(pressure, s.temperature, *breathing)
        barostat.setRandomNumberSeed(self._draw())
        return barostat

    def _stretched(self, edge: float, breathing: Bool[np.ndarray, " 3"]) -> np.ndarray:
        """The cell with the volume of a cube of that edge; only breathing edges change."""
        if breathing.all():
            return np.full(3, edge)
        factor = edge**3 / self.cell.prod()
        return np.asarray(
            np.where(breathing, self.cell * factor ** (1 / breathing.sum()), self.cell)
        )

    def produce(self) -> tuple[list[Snapshot], list[Vectors], list[float]]:
        """Return labelled frames, their unwrapped positions, and readings of the temperature."""
        s = self.settings
        frames: list[Snapshot] = []
        states, temperatures = [], []
        context = self.running
        for distance in self.geometry.distances:
            if distance is not None:
                context = self._hold(self._positions(context), distance)
            begin = self.time
            thermometer = self._thermometer(context.getSystem())
            for _ in range(s.frames):
                for _ in self._advance(context, s.spacing):
                    temperatures.append(thermometer(context))
                states.append(self._positions(context))
                keys: dict[str, int | float] = {
                    "replica": self.replica,
                    "frame": len(frames),
                    "time": self.time - begin,
                }
                frames.append(self.snapshot(states[-1], keys | self._held(distance)))
        return frames, states, temperatures

    @staticmethod
    def _held(distance: float | None) -> dict[str, int | float]:
        return {} if distance is None else {"distance": distance}

    def _hold(self, positions: Vectors, distance: float) -> Any:
        """Return a context in which the pair of ions is held ``distance`` (Å) apart.

        Both ions move along the line between them, a little at a time while the water moves on.
        """
        positions = positions.copy()
        apart = positions[1] - positions[0]
        apart -= self.cell * np.round(apart / self.cell)
        length = float(np.linalg.norm(apart))
        centre, axis = positions[0] + 0.5 * apart, apart / length
        context = self._start(self.system(DYNAMICS_TOLERANCE, frozen=True), positions)
        steps = 1 + int(abs(distance / NM - length) / DRAG)
        for d in np.linspace(length, distance / NM, steps + 1)[1:]:
            positions = self._positions(context)
            positions[0], positions[1] = centre - 0.5 * d * axis, centre + 0.5 * d * axis
            context.setPositions(positions)
            with self._watched():
                context.getIntegrator().step(DRAG_STEPS)
        for _ in self._advance(context, WINDOW * self.settings.equilibration):
            pass
        return context

    def _thermometer(self, system: Any) -> Callable[[Any], float]:
        """Return a function that reads the kinetic temperature (K) without evaluating forces."""
        masses = np.array([system.getParticleMass(i)._value for i in range(len(self.symbols))])
        freedom = 3 * np.count_nonzero(masses) - system.getNumConstraints()
        gas_constant = self.mm.unit.MOLAR_GAS_CONSTANT_R._value * 1e-3  # kJ/mol/K

        def read(context: Any) -> float:
            velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value
            return float(masses @ (velocities**2).sum(axis=1) / (freedom * gas_constant))

        return read

    def resolvate(self, configuration: int, frame: int, positions: Vectors) -> Iterator[Snapshot]:
        """Yield frames with the ions of ``positions`` held in place and the water moving on."""
        r = self.settings.replicates
        context = self._start(self.system(DYNAMICS_TOLERANCE, frozen=True), positions)
        begin = self.time
        for sample in range(r.samples):
            for _ in self._advance(context, r.spacing):
                pass
            keys: dict[str, int | float] = {
                "replica": self.replica,
                "frame": frame,
                "configuration": configuration,
                "sample": sample,
                "time": self.time - begin,
            }
            held = (
                self.geometry.distances[frame // self.settings.frames]
                if self.settings.geometry == "pair"
                else None
            )
            yield self.snapshot(self._positions(context), keys | self._held(held))

    def around(
        self,
        positions: Vectors,
        held: Bool[np.ndarray, " atoms"],
        wall: Wall,
        settling: float,
        spacing: float,
    ) -> Iterator[Snapshot]:
        """Yield frames, without end, with whole molecules held at ``positions`` (nm).

        ``settling`` and ``spacing`` are ps before the first sample and between samples.
        """
        system = self.system(DYNAMICS_TOLERANCE)
        for k in reversed(range(system.getNumConstraints())):
            if held[system.getConstraintParameters(k)[0]]:
                system.removeConstraint(k)  # what has no mass takes none
        for atom in np.flatnonzero(held).tolist():
            system.setParticleMass(atom, 0.0)
        push = self.mm.CustomExternalForce(
            "0.5*k*max(0, wall - periodicdistance(x, y, z, x0, y0, z0))^2"
        )
        push.addGlobalParameter("k", wall.stiffness)
        push.addGlobalParameter("wall", wall.radius)
        for name, value in zip(("x0", "y0", "z0"), positions[wall.atom], strict=True):
            push.addGlobalParameter(name, float(value))
        for atom in np.flatnonzero(~held).tolist():
            push.addParticle(atom)
        system.addForce(push)
        context = self._start(system, positions)
        wait = settling
        while True:
            for _ in self._advance(context, wait):
                pass
            yield self.snapshot(self._positions(context), {})
            wait = spacing

    def _positions(self, context: Any) -> Vectors:
        state = context.getState(positions=True)
        return np.asarray(state.getPositions(asNumpy=True)._value, dtype=float)

    def _edge_of(self, context: Any) -> float:
        return float(np.cbrt(context.getState().getPeriodicBoxVolume()._value))

    # -- labels -----------------------------------------------------------------------------------

    def snapshot(self, positions: Vectors, keys: dict[str, int | float]) -> Snapshot:
        """Label a configuration; whole molecules are wrapped by their first atom."""
        if not np.isfinite(positions).all():
            raise self._failed("a position is not a number")
        positions = positions + self._shift(positions)
        anchors = positions[self.first]
        wrapped = positions - (np.floor(anchors / self.cell) * self.cell)[self.molecules]
        energy, forces, beyond = self._label(positions, wrapped)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise self._failed("a label is not a number")
        place, density = self._places(wrapped)
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in keys.items()}
        return Snapshot(
            self.cell * NM, wrapped * NM, energy, forces, rounded, place, density, beyond
        )

    def _shift(self, positions: Vectors) -> np.ndarray:
        """What brings the crystal, or else all molecules, to the middle of the centred axes."""
        axes = self.geometry.centred
        if not any(axes):
            return np.zeros(3)
        of = self.first[self.lattice] if self.lattice.any() else self.first
        centre = middle(positions[of], self.cell, axes)
        return np.where(axes, 0.5 * self.cell - centre, 0.0)

    def _places(self, wrapped: Vectors) -> tuple[np.ndarray, float | None]:
        """The place of every atom, and the density (g/cm3) of the interior."""
        symbols = np.array(self.symbols)[self.first]
        found = self.geometry.places(
            Scene(self.cell * NM, wrapped[self.first] * NM, symbols, self.lattice)
        )
        if not found.interior:
            return found.names[self.molecules], None
        weight = np.select([symbols == "Na", symbols == "Cl"], [22.990, 35.453], 18.015)
        mass = float(weight[found.names == "interior"].sum())
        density = mass / (found.interior / NM**3) * _GRAM_PER_CM3
        return found.names[self.molecules], density

    def _label(
        self, positions: Vectors, wrapped: Vectors
    ) -> tuple[float, Vectors, Float[np.ndarray, " cutoffs"] | None]:
        """Energy (eV), forces (eV/Å), and what of them lies beyond each cutoff, where known."""
        if self.settings.law == "screened":
            if self.law is None:
                from scalewise.testbed.screened import ScreenedLaw  # brings PyTorch: only if needed

                self.law = ScreenedLaw(self._charges(), self.settings.screening)
            found = self.law.label(self._frame(wrapped), CUTOFFS)
            beyond = np.abs(np.concatenate([found.beyond, found.forces[None]])).mean(axis=(1, 2))
            return found.energy, found.forces, beyond
        if self.labels is None:
            self.labels = self.context(self.system(LABEL_TOLERANCE), exact=True)
        with self._watched():
            energy, forces = _evaluate(self.labels, positions)
        return energy * KJ_PER_MOL, forces * KJ_PER_MOL_NM, None

    def _frame(self, wrapped: Vectors) -> Frame:
        return Frame(
            numbers=np.array([atomic_numbers[s] for s in self.symbols]),
            positions=wrapped * NM,
            cell=np.diag(self.cell * NM),
            pbc=np.ones(3, dtype=bool),
            forces=np.zeros_like(wrapped),
            energy=None,
            molecule=self.molecules,
            source=f"replica {self.replica}",
        )

    def _charges(self) -> dict[str, float]:
        """Charge (e) of each element in the force field."""
        forces = self.system(DYNAMICS_TOLERANCE).getForces()
        coulomb = next(f for f in forces if isinstance(f, self.mm.NonbondedForce))
        charges = [coulomb.getParticleParameters(i)[0]._value for i in range(len(self.symbols))]
        return dict(zip(self.symbols, charges, strict=True))

    def label_error(self, positions: Vectors) -> float:
        """Return the mean error of a force component (eV/Å) against tight double precision."""
        if self.settings.law == "screened":
            return 0.0  # the sum is exact
        exact = self.context(self.system(CHECK_TOLERANCE), reference=True)
        errors = _evaluate(self.labels, positions)[1] - _evaluate(exact, positions)[1]
        return float(np.abs(errors).mean() * KJ_PER_MOL_NM)


def _evaluate(context: Any, positions: Vectors) -> tuple[float, Vectors]:
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    forces = np.asarray(state.getForces(asNumpy=True)._value, dtype=float)
    return float(state.getPotentialEnergy()._value), forces
