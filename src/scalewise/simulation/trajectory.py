"""Trajectories of a simulation: extended XYZ, or DCD, which stores only positions and cells."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
from ase.cell import Cell

from scalewise.core.files import cannot_write
from scalewise.data.readers import extxyz
from scalewise.interfaces.optional import require
from scalewise.simulation.settings import SimulationSettings

#: Where a DCD file says how many frames it has.
COUNT: Final = 8


class Trajectory:
    """Frames in extended XYZ, with momenta and what else is known of atoms.

    Parameters
    ----------
    path
        Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self) -> None:
        """Make a file without frames."""
        self.path.write_text("")

    def append(self, image: ase.Atoms) -> None:
        """Append a frame.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        try:
            self._append(image)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _append(self, image: ase.Atoms) -> None:
        with self.path.open("a") as stream:
            extxyz.write_images(stream, [image])

    def end_at(self, size: int, frames: int) -> None:
        """Keep the first ``size`` bytes, which are so many frames."""
        os.truncate(self.path, size)


class DcdTrajectory(Trajectory):
    """Frames in the DCD format of CHARMM and NAMD, in single precision, by OpenMM.

    Its cells are lengths and angles: positions are turned to the cell whose first vector is along x
    and whose second is in the plane of x and y; the third of a left-handed cell points the other
    way. A structure that is not periodic, or has no whole cell, has none there.

    Parameters
    ----------
    path
        Of the file.
    atoms
        Whose positions it holds.
    settings
        Of the simulation: the time between frames.

    Raises
    ------
    InputError
        OpenMM is not installed.
    """

    def __init__(self, path: Path, atoms: ase.Atoms, settings: SimulationSettings) -> None:
        super().__init__(path)
        require("openmm.app", "openmm")
        self.settings, self.whole = settings, bool(atoms.pbc.any() and atoms.cell.rank == 3)
        self.symbols = atoms.get_chemical_symbols()

    def begin(self) -> None:
        """Make a file with a header."""
        with self.path.open("wb") as stream:
            self._file(stream, append=False)

    def _file(self, stream: Any, *, append: bool) -> Any:
        from openmm import app, unit

        topology = app.Topology()
        residue = topology.addResidue("atoms", topology.addChain())
        for symbol in self.symbols:
            topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
        if self.whole:
            topology.setUnitCellDimensions((1.0, 1.0, 1.0) * unit.nanometer)
        step, every = self.settings.timestep, self.settings.every(self.settings.save_every)
        femtoseconds = step * unit.femtosecond
        return app.DCDFile(stream, topology, femtoseconds, 0, every, append=append)

    def _append(self, image: ase.Atoms) -> None:
        from openmm import unit

        positions, cell = image.positions, None
        if self.whole:
            vectors = image.cell.array * np.array([[1.0], [1.0], [image.cell.handedness]])
            standard, turned = Cell(vectors).standard_form()
            positions, cell = positions @ turned.T, standard.array * unit.angstrom
        with self.path.open("r+b") as stream:
            file = self._file(stream, append=True)
            file.writeModel(positions * unit.angstrom, periodicBoxVectors=cell)

    def end_at(self, size: int, frames: int) -> None:
        """Keep the first ``size`` bytes, which are so many frames: the header counts them."""
        super().end_at(size, frames)
        with self.path.open("r+b") as stream:
            stream.seek(COUNT)
            stream.write(struct.pack("<i", frames))


def trajectory_in(folder: Path, atoms: ase.Atoms, settings: SimulationSettings) -> Trajectory:
    """The trajectory of a simulation in its folder."""
    path = folder / f"trajectory.{settings.trajectory}"
    if settings.trajectory == "dcd":
        return DcdTrajectory(path, atoms, settings)
    return Trajectory(path)
