"""Files of a simulation: growing log and trajectory, and the state for continuing it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np

from scalewise.core.errors import InputError, shown
from scalewise.core.files import cannot_write, replacing
from scalewise.data.readers import extxyz
from scalewise.simulation.distances import Distances
from scalewise.simulation.integrators import inner_state, set_inner_state
from scalewise.simulation.trajectory import Trajectory

LOG: Final = "log.csv"
RESTART: Final = "restart.npz"
#: The last frame: of the end, or before the simulation broke.
LAST: Final = "last.extxyz"
#: Columns of the log, before those of cutoffs: ps, K, eV, eV, eV, Å³, bar.
COLUMNS: Final = (
    *("step", "time", "temperature", "potential", "kinetic", "conserved", "volume", "pressure"),
)
_STATE: Final = "state"
#: What can be done where a simulation cannot be continued.
_ANEW: Final = (
    f"A simulation from {LAST} of this folder, with another --out, continues from its positions "
    "and momenta."
)


@dataclass(frozen=True, eq=False)
class Point:
    """The state of a simulation after a step.

    Attributes
    ----------
    step
        Number of steps that were made.
    seconds
        Wall-clock time of these steps, s.
    atoms
        Positions, momenta and cell.
    dynamics
        The integrator, with the variables of thermostat and barostat.
    random
        The thermostat's random numbers.
    distances
        Pairs of atoms that were counted so far.
    """

    step: int
    seconds: float
    atoms: ase.Atoms
    dynamics: Any
    random: np.random.Generator
    distances: Distances


class Files:
    """Log, trajectory and restart of a simulation in its folder.

    Parameters
    ----------
    trajectory
        In the folder where they are.
    columns
        Of the log.
    digest
        Of what the simulation is of.
    """

    def __init__(self, trajectory: Trajectory, columns: tuple[str, ...], digest: str) -> None:
        self.trajectory, self.folder = trajectory, trajectory.path.parent
        self.columns, self.digest = columns, digest
        self.logged, self.frames = -1, 0

    def begin(self) -> None:
        """Begin anew: an empty trajectory, and a log with its header.

        Raises
        ------
        InputError
            Files of something else are there; the folder cannot be written.
        """
        for name in (LOG, self.trajectory.path.name):
            if (self.folder / name).exists():
                raise InputError(
                    str(self.folder),
                    f"it has a {name}, and no {RESTART} to go on from",
                    f"The files are kept. {_ANEW}",
                )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.trajectory.begin()
            with (self.folder / LOG).open("w", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerow(self.columns)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def log(self, row: Mapping[str, float | int | None]) -> None:
        """Write one row."""
        self.logged = int(row["step"] or 0)
        words = ["" if row.get(c) is None else f"{row[c]:.10g}" for c in self.columns]
        try:
            with (self.folder / LOG).open("a", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerow(words)
        except OSError as error:
            raise cannot_write(self.folder / LOG, error) from error

    def rows(self, size: int | None = None) -> dict[str, np.ndarray]:
        """Columns of the log, of its first ``size`` bytes; what a row lacks is not a number.

        Raises
        ------
        InputError
            Something else wrote to it.
        """
        path, found = self.folder / LOG, list[list[float]]()
        with path.open("rb") as file:
            text = file.read(-1 if size is None else size).decode(errors="replace")
        with io.StringIO(text, newline="") as stream:
            for number, words in enumerate(csv.reader(stream), 1):
                try:
                    if number == 1 and tuple(words) != self.columns:
                        raise ValueError
                    row = [float(word or "nan") for word in words] if number > 1 else []
                    if number > 1 and len(row) != len(self.columns):
                        raise ValueError
                except ValueError:
                    raise _changed(path, f"line {number}: {shown(','.join(words))}") from None
                found += [row] * (number > 1)
        columns = np.array(found).reshape(-1, len(self.columns)).T
        return dict(zip(self.columns, columns, strict=True))

    def frame(self, image: ase.Atoms) -> None:
        """Append a frame to the trajectory."""
        self.trajectory.append(image)
        self.frames += 1

    def last(self, image: ase.Atoms) -> None:
        """Write the last frame, in a file of its own."""
        with replacing(self.folder / LAST) as temporary, temporary.open("w") as stream:
            extxyz.write_images(stream, [image])

    def keep(self, point: Point) -> None:
        """Write the state to go on from."""
        arrays = {
            "digest": np.array(self.digest),
            "step": np.array(point.step),
            "seconds": np.array(point.seconds),
            "positions": point.atoms.positions,
            "momenta": point.atoms.get_momenta(),
            "cell": point.atoms.cell.array,
            "random": np.array(json.dumps(point.random.bit_generator.state)),
            "counts": point.distances.counts,
            "density": point.distances.density,
            "shortest": point.distances.shortest,
            "logged": np.array(self.logged),
            "frames": np.array(self.frames),
            "sizes": np.array([self._size(LOG), self._size(self.trajectory.path.name)]),
            **{_STATE + key: value for key, value in inner_state(point.dynamics).items()},
        }
        with replacing(self.folder / RESTART) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    def known(self) -> Kept | None:
        """The state that was kept, if any was; no file is changed.

        Raises
        ------
        InputError
            It is damaged, or of another simulation; log or trajectory are not as they were.
        """
        path = self.folder / RESTART
        if not path.exists():
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            found = Kept(path, arrays)
            (log, frames), digest = found.sizes, str(arrays["digest"])
            logged, _ = int(arrays["logged"]), int(arrays["frames"])
        except Exception as error:  # a damaged archive raises whatever its bytes make it
            raise _damaged(path, error) from None
        if digest != self.digest:
            raise InputError(
                str(self.folder),
                "it holds a simulation with another potential, structure or settings",
                "Repeat its words (picoseconds may be more), or give another --out.",
            )
        for name, size in ((LOG, log), (self.trajectory.path.name, frames)):
            if self._size(name) < size:
                what = "shorter than when the state was kept"
                raise InputError(str(self.folder / name), what, _ANEW)
        steps = self.rows(log)["step"]
        if not len(steps) or steps[-1] != logged:
            raise _changed(self.folder / LOG, f"its last step is not {logged}")
        return found

    def go_on(self, found: Kept, point: Point) -> None:
        """Put a kept state into what moves, and end log and trajectory where it was kept.

        Raises
        ------
        InputError
            It is damaged; log and trajectory are as before then.
        """
        found.put_back(point)
        log, frames = found.sizes
        os.truncate(self.folder / LOG, log)
        self.logged, self.frames = int(found.arrays["logged"]), int(found.arrays["frames"])
        self.trajectory.end_at(frames, self.frames)

    def _size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True, eq=False)
class Kept:
    """A state to go on from, as it was read.

    Attributes
    ----------
    path
        Of its file.
    arrays
        What is in it.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes that log and trajectory had."""
        log, trajectory = self.arrays["sizes"].tolist()
        return log, trajectory

    def place(self, atoms: ase.Atoms) -> tuple[int, float]:
        """Put atoms where they were; how many steps were made, and the seconds that they took.

        Raises
        ------
        InputError
            It is damaged.
        """
        try:
            atoms.set_cell(self.arrays["cell"])
            atoms.positions = self.arrays["positions"]
            atoms.set_momenta(self.arrays["momenta"])
            return int(self.arrays["step"]), float(self.arrays["seconds"])
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(self.path, error) from None

    def put_back(self, point: Point) -> None:
        """Put back random numbers, counts of distances, and the integrator's inner state.

        Raises
        ------
        InputError
            It is damaged.
        """
        found, distances = self.arrays, point.distances
        try:
            point.random.bit_generator.state = json.loads(str(found["random"]))
            distances.counts += found["counts"]
            distances.density += found["density"]
            np.minimum(distances.shortest, found["shortest"], out=distances.shortest)
            state = {k.removeprefix(_STATE): v for k, v in found.items() if k.startswith(_STATE)}
            set_inner_state(point.dynamics, state)
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(self.path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    """What is said of a state that cannot be read."""
    return InputError(str(path), f"damaged ({type(error).__name__})", _ANEW)


def _changed(path: Path, what: str) -> InputError:
    """What is said of a log that is not as it was written."""
    return InputError(
        str(path),
        f"changed since the simulation wrote it ({what})",
        f"Restore the file. Otherwise: {_ANEW[0].lower()}{_ANEW[1:]}",
    )
