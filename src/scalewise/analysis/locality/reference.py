"""Reference methods in which some atoms are held while others move: OpenMM, any ASE calculator."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ase
import ase.units
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from ase.data import atomic_numbers
from ase.md.langevin import Langevin
from jaxtyping import Float

from scalewise.analysis.locality.settings import LocalitySettings
from scalewise.analysis.locality.sphere import Sphere, stiffness
from scalewise.core.documents import read_plain
from scalewise.core.errors import InputError
from scalewise.core.quantities import KJ_PER_MOL, NM
from scalewise.data.splits import hash_file
from scalewise.data.structure import Structure
from scalewise.models.adapters.ase_calculator import find_calculator
from scalewise.testbed.geometry import geometry_of
from scalewise.testbed.replica import Replica, Wall
from scalewise.testbed.settings import SolutionSettings

Force = Float[np.ndarray, "3"]
#: A replica's number seeds it.
_MOST_REPLICAS = 10**6


class Reference(Protocol):
    """A reference method that can resample the atoms outside a sphere."""

    def identity(self) -> str:
        """Text that differs between references that give different samples of the same frame."""

    def sphere(self, frame: Structure, atom: int, radius: float) -> Sphere:
        """Return the sphere around an atom (radius in Å), with at least its atoms held."""

    def resample(
        self, sphere: Sphere, settings: LocalitySettings, seed: int
    ) -> Iterator[Force | None]:
        """Yield samples of the force (eV/Å) [3] on the central atom, without end.

        A sample is none if a free atom has entered the sphere.
        """


@dataclass(frozen=True)
class AseReference:
    """Reference method of any ASE calculator; free atoms move by Langevin dynamics.

    Attributes
    ----------
    make
        Class of the calculator.
    arguments
        Keyword arguments of the class.
    """

    make: type
    arguments: dict[str, Any]

    @classmethod
    def named(cls, settings: LocalitySettings) -> AseReference:
        """Make a reference of the class that the setting ``calculator=module:Class`` names.

        Raises
        ------
        InputError
            No such module or class, or arguments that it does not take.
        """
        assert settings.calculator is not None
        make = find_calculator(settings.calculator, settings.arguments, where="key 'calculator'")
        return cls(make, settings.arguments)

    def identity(self) -> str:
        """Text with the class, its arguments, and the hashes of arguments that are files."""
        files = [Path(v) for v in self.arguments.values() if isinstance(v, str)]
        hashes = [hash_file(f) for f in files if f.is_file()]
        return f"{self.make.__module__}.{self.make.__qualname__} {self.arguments} {hashes}"

    def sphere(self, frame: Structure, atom: int, radius: float) -> Sphere:
        """See :class:`Reference`."""
        return Sphere.around(frame, atom, radius)

    def resample(
        self, sphere: Sphere, settings: LocalitySettings, seed: int
    ) -> Iterator[Force | None]:
        """See :class:`Reference`."""
        frame = sphere.frame
        atoms = ase.Atoms(
            frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc, info=dict(frame.info)
        )
        walled = _Walled(self.make(**self.arguments), sphere, settings.temperature)
        atoms.calc = walled
        if sphere.held.all():
            atoms.get_forces()
            _check_finite(frame, walled.bare)
            while True:
                yield walled.bare[sphere.atom].copy()
        atoms.set_constraint(FixAtoms(mask=sphere.held))
        rng = np.random.RandomState(seed)  # what ASE takes
        width = np.sqrt(atoms.get_masses() * settings.temperature * ase.units.kB)
        atoms.set_momenta(width[:, None] * rng.standard_normal((len(atoms), 3)))
        dynamics = Langevin(
            atoms,
            settings.timestep * ase.units.fs,
            temperature_K=settings.temperature,
            friction=settings.friction * 1e-3 / ase.units.fs,
            rng=rng,
            fixcm=False,
        )
        wait = settings.settling
        while True:
            dynamics.run(max(1, round(1e3 * wait / settings.timestep)))
            atoms.get_forces()
            _check_finite(frame, walled.bare)
            yield None if sphere.entered(atoms.positions) else walled.bare[sphere.atom].copy()
            wait = settings.spacing


def _check_finite(frame: Structure, forces: Float[np.ndarray, "atoms 3"]) -> None:
    if not np.isfinite(forces).all():
        raise InputError(
            f"{frame.where}, resampled",
            "a force is not a number",
            "Shorten timestep, or look at the calculator.",
        )


class _Walled(Calculator):
    """A calculator, and the wall of a sphere; ``bare`` has its forces without the wall."""

    implemented_properties = ["forces"]  # noqa: RUF012  (ASE declares it so)

    def __init__(self, inner: Any, sphere: Sphere, temperature: float) -> None:
        super().__init__()
        self.inner, self.sphere, self.temperature = inner, sphere, temperature
        self.bare: Float[np.ndarray, "atoms 3"] = np.zeros_like(sphere.frame.positions)

    def calculate(
        self, atoms: Any = None, properties: Any = ("forces",), system_changes: Any = all_changes
    ) -> None:
        """Forces alone, which dynamics need."""
        super().calculate(atoms, properties, system_changes)
        free = atoms.copy()
        free.set_constraint()  # programs that know of held atoms give no force on them
        self.bare = np.asarray(self.inner.get_forces(free))
        self.results["forces"] = self.bare + self.sphere.push(atoms.positions, self.temperature)


@dataclass(frozen=True)
class SolutionReference:
    """Reference method of a folder that ``scalewise generate`` wrote: its force field and labels.

    The water is rigid, so that a molecule is held as a whole if any of its atoms is inside the
    sphere. More atoms are then held than a model sees, which lowers the spread of the force: the
    bound remains valid.

    Attributes
    ----------
    solution
        Settings of the folder.
    """

    solution: SolutionSettings

    @classmethod
    def read(cls, folder: Path) -> SolutionReference:
        """Read the settings of a folder.

        Raises
        ------
        InputError
            The folder does not hold a solution that ``scalewise generate`` wrote.
        """
        try:
            return cls(SolutionSettings.model_validate(read_plain(folder / "settings.json", "")))
        except (ValueError, ArithmeticError) as error:  # sizes may leave what a number holds
            raise InputError(
                str(folder / "settings.json"),
                "not the settings of a generated solution",
                "Give the folder of `scalewise generate`, or a file and calculator=module:Class.",
            ) from error

    def identity(self) -> str:
        """Text with all settings of the folder."""
        return self.solution.model_dump_json()

    def sphere(self, frame: Structure, atom: int, radius: float) -> Sphere:
        """See :class:`Reference`; whole molecules are held, and the two ions of geometry=pair."""
        sphere = Sphere.around(frame, atom, radius)
        held = np.isin(frame.molecule, frame.molecule[sphere.held])
        if self.solution.geometry == "pair":
            held |= np.isin(frame.numbers, [atomic_numbers["Na"], atomic_numbers["Cl"]])
        return replace(sphere, held=held)

    def resample(
        self, sphere: Sphere, settings: LocalitySettings, seed: int
    ) -> Iterator[Force | None]:
        """See :class:`Reference`."""
        frame = sphere.frame
        run = self._replica(frame)
        run.rng = np.random.default_rng(seed)
        run.cell = np.diag(frame.cell) / NM
        wall = Wall(
            sphere.atom,
            sphere.wall / NM,
            stiffness(self.solution.temperature) / KJ_PER_MOL * NM**2,
        )
        states = run.around(
            frame.positions / NM, sphere.held, wall, settings.settling, settings.spacing
        )
        for state in states:
            yield None if sphere.entered(state.positions) else state.forces[sphere.atom]

    def _replica(self, frame: Structure) -> Replica:
        """The replica of a frame; nothing is built that holds far more atoms than the frame.

        Raises
        ------
        InputError
            The settings are those of other frames.
        """
        number = frame.info.get("replica", 0)
        known = isinstance(number, int | np.integer) and 0 <= number < _MOST_REPLICAS
        if known and _atoms(self.solution) <= 4.0 * len(frame.numbers) + 1000.0:
            run = _built(self.solution, int(number))
            if run.symbols == frame.symbols:
                return run
        raise InputError(
            frame.where,
            "not a frame of the solution that settings.json beside it describes",
            "Give the folder of `scalewise generate` as it was written, or calculator=module:Class",
        )


def _atoms(solution: SolutionSettings) -> float:
    """About how many atoms a replica starts from: of water, at 0.1 per Å³, and of salt."""
    geometry = geometry_of(solution)
    try:
        pairs = geometry.pairs + geometry.crystal_pairs
        return 0.1 * NM**3 * math.prod(map(float, geometry.water_box)) + 2.0 * pairs
    except OverflowError:
        return math.inf


@functools.lru_cache(maxsize=4)
def _built(solution: SolutionSettings, replica: int) -> Replica:
    """A replica as it was before it was equilibrated: the same molecules in the same order."""
    return Replica(solution, replica)
