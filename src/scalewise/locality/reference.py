"""References whose atoms can be held while the rest moves: OpenMM's, or any ASE calculator."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ase
import ase.units
import numpy as np
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from jaxtyping import Bool, Float

from scalewise.config import Solution
from scalewise.data.frames import Frame
from scalewise.errors import InputError
from scalewise.locality.settings import Locality
from scalewise.quantities import NM

Forces = Float[np.ndarray, "atoms 3"]


class Reference(Protocol):
    """What can be resampled around held atoms."""

    def resample(
        self, frame: Frame, held: Bool[np.ndarray, " atoms"], settings: Locality, seed: int
    ) -> Iterator[Forces]:
        """Yield the forces (eV/Å) on all atoms, with the held ones where the frame has them."""

    def whole(self, frame: Frame, held: Bool[np.ndarray, " atoms"]) -> Bool[np.ndarray, " atoms"]:
        """The atoms that have to be held if these are."""


@dataclass(frozen=True)
class AseReference:
    """Any ASE calculator; the rest moves by Langevin dynamics."""

    make: type
    arguments: dict[str, Any]

    @classmethod
    def named(cls, settings: Locality) -> AseReference:
        """Find the class that ``calculator=module:Class`` names.

        Raises
        ------
        InputError
            No such module or class, or arguments that it does not take.
        """
        assert settings.calculator is not None
        module, _, name = settings.calculator.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
            make(**settings.arguments)
        except Exception as error:  # whatever the import of other people's code raises
            reason = f"{type(error).__name__}: {error}"
            raise InputError(
                "key 'calculator'",
                f"{settings.calculator} cannot be made ({' '.join(reason.split())})",
                "Give module:Class of an ASE calculator, and its arguments={...}.",
            ) from error
        return cls(make, settings.arguments)

    def whole(self, frame: Frame, held: Bool[np.ndarray, " atoms"]) -> Bool[np.ndarray, " atoms"]:
        """The same atoms: nothing ties others to them."""
        return held

    def resample(
        self, frame: Frame, held: Bool[np.ndarray, " atoms"], settings: Locality, seed: int
    ) -> Iterator[Forces]:
        """See :class:`Reference`."""
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.calc = self.make(**self.arguments)
        if held.all():
            forces = atoms.get_forces()
            yield from (forces.copy() for _ in range(settings.samples))
            return
        atoms.set_constraint(FixAtoms(mask=held))
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
        for _ in range(settings.samples):
            dynamics.run(max(1, round(1e3 * wait / settings.timestep)))
            forces = np.asarray(atoms.get_forces(apply_constraint=False))
            if not np.isfinite(forces).all():
                raise InputError(
                    f"{frame.where}, resampled",
                    "a force is not a number",
                    "Shorten timestep, or look at the calculator.",
                )
            yield forces
            wait = settings.spacing


@dataclass(frozen=True)
class SolutionReference:
    """The force field and the labels of a folder that ``scalewise generate`` wrote.

    Its water is rigid: a molecule is held as a whole if any of its atoms is. More stands still than
    a model sees then, so that the force spreads less: the bound holds.
    """

    solution: Solution

    @classmethod
    def read(cls, folder: Path) -> SolutionReference:
        """Read the settings of the folder.

        Raises
        ------
        InputError
            Not such a folder.
        """
        try:
            return cls(Solution.model_validate(json.loads((folder / "settings.json").read_text())))
        except (OSError, ValueError) as error:
            raise InputError(
                str(folder / "settings.json"),
                "not the settings of a generated solution",
                "Give the folder of `scalewise generate`, or a file and calculator=module:Class.",
            ) from error

    def whole(self, frame: Frame, held: Bool[np.ndarray, " atoms"]) -> Bool[np.ndarray, " atoms"]:
        """All atoms of the molecules that these atoms are in."""
        return np.isin(frame.molecule, frame.molecule[held])

    def resample(
        self, frame: Frame, held: Bool[np.ndarray, " atoms"], settings: Locality, seed: int
    ) -> Iterator[Forces]:
        """See :class:`Reference`."""
        run = _built(self.solution, int(frame.info.get("replica", 0)))
        run.rng = np.random.default_rng(seed)
        run.cell = np.diag(frame.cell) / NM
        yield from run.around(
            frame.positions / NM, held, settings.settling, settings.spacing, settings.samples
        )


@functools.lru_cache(maxsize=4)
def _built(solution: Solution, replica: int) -> Any:
    """A replica as it was before it was equilibrated: the same molecules in the same order."""
    from scalewise.data.simulation import Replica

    return Replica(solution, replica)
