"""Molecular dynamics with a potential: begin or go on, notice when it breaks, say what was seen."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
import torch
from ase import units
from ase.md.velocitydistribution import Stationary, ZeroRotation

from scalewise.analysis.evaluation.predict import shorter
from scalewise.core.errors import InputError
from scalewise.core.progress import EVERY, SILENT, Pace, Progress
from scalewise.core.wording import count
from scalewise.data.charges import CHARGE_KEYS
from scalewise.data.readers import read_file
from scalewise.data.reading import convert_images, without_labels
from scalewise.data.splits import identify
from scalewise.data.structure import Structure
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models.graph import check_elements
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report
from scalewise.simulation.distances import Distances
from scalewise.simulation.files import COLUMNS, LAST, Files, Point
from scalewise.simulation.integrators import (
    conserved_energy,
    degrees_of_freedom,
    integrator,
    is_langevin,
    temperature,
)
from scalewise.simulation.results import CUTOFF, drift, made
from scalewise.simulation.settings import SimulationSettings

#: A simulation breaks where it is hotter than so many times what was asked for, and than so many K.
TIMES: Final = 10.0
HOTTEST: Final = 3000.0
#: K: momenta that are colder are rounding.
COLDEST: Final = 1e-4
#: Settings that another run of the same simulation may have.
FREE: Final = frozenset({"picoseconds", "device", "compile"})
#: Seconds before the first line that says how far it is.
SOON: Final = 10.0
#: Rows that the drift in such a line is of, at most.
SEEN: Final = 1000


def simulate(
    potential: Potential | Path | str,
    atoms: ase.Atoms,
    settings: SimulationSettings | None = None,
    out: Path | str = "runs/md",
    *,
    progress: Progress = SILENT,
) -> Report:
    """Simulate a structure; a simulation that is there is gone on with.

    Positions, momenta and everything that an integrator keeps are written every
    ``restart_every``: a simulation that was killed goes on from there, and does what it would have
    done. One that is longer than before goes on from its end.

    Parameters
    ----------
    potential
        What exerts the forces, or its folder.
    atoms
        Where it begins, in Å, with momenta or without; constraints and calculators are left out.
    settings
        Ensemble, length, scale.
    out
        Folder of ``log.csv``, ``trajectory.extxyz`` and ``restart.npz``.
    progress
        Whom to tell.

    Returns
    -------
    Report
        Of the kind ``simulation``. Where it broke, ``body["ended"]`` says when and why, and
        ``last.extxyz`` is the frame before.

    Raises
    ------
    InputError
        An unknown element, overlapping atoms, fewer than two atoms, a constant pressure without a
        periodic cell; a folder with another simulation, a damaged state, or a log or trajectory of
        something else.
    """
    settings = settings or SimulationSettings()
    if not isinstance(potential, Potential):
        potential = open_potential(potential, device=settings.device, cutoff=settings.cutoff)
    return _simulated(
        potential,
        atoms,
        Structure.from_ase(atoms),
        settings,
        Path(out),
        progress,
    )


def _simulated(
    potential: Potential,
    atoms: ase.Atoms,
    frame: Structure,
    settings: SimulationSettings,
    out: Path,
    progress: Progress,
) -> Report:
    """As :func:`simulate`, of atoms that errors and the report know as a frame of a file."""
    check(frame, settings, potential)
    _check_motion(atoms, frame.where)
    run = _Run(potential, atoms, settings, out, progress)
    ended = run.go()
    return made(
        settings,
        run.files.rows(),
        run.distances.found(),
        {
            "model": potential.name,
            "formula": atoms.get_chemical_formula(),
            "atoms": len(atoms),
            "mass": float(atoms.get_masses().sum()),
            "velocities": run.origin,
            "freedom": run.freedom,
            "steps": run.step,
            "seconds": run.seconds,
            "ended": ended,
        },
        identify([frame]),
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise md``.

    Raises
    ------
    InputError
        As :func:`simulate`; the simulation broke, after everything was written.
    """
    settings, (file,) = request.settings, request.files
    model = open_potential(request.model, device=settings.device, cutoff=settings.cutoff)
    images = read_file(file)
    if not -len(images) <= settings.index < len(images):
        raise InputError(
            "key 'index'",
            f"{settings.index}, but {file.name} has {count(len(images), 'frame')}",
            f"Give {-len(images)} to {len(images) - 1}.",
        )
    number = settings.index % len(images)
    image, keys = images[number], without_labels(check_units=settings.check_units)
    (frame,) = convert_images([image], str(file), keys, first=number)
    for sentence in (*shorter(model, settings.cutoff), *_left_out(image, settings)):
        request.progress.message(sentence)
    report = _simulated(model, image, frame, settings, request.out, request.progress)
    if (ended := report.body["ended"]) is not None:
        report.save(request.out)
        raise InputError(
            str(request.out),
            f"the simulation broke after {ended['picoseconds']:g} ps: {ended['reason']}",
            f"{LAST} is the frame before, trajectory.extxyz how it came there: give a shorter "
            "timestep, slower velocities, a structure nearer to the training frames, or train on "
            "such frames.",
        )
    return report


class _Run:
    """A simulation and its files, from where it is to its end."""

    def __init__(
        self,
        potential: Potential,
        atoms: ase.Atoms,
        settings: SimulationSettings,
        out: Path,
        progress: Progress,
    ) -> None:
        self.settings, self.progress = settings, progress
        self.atoms = _moving(atoms)
        dtype = torch.float64 if settings.dtype == "float64" else torch.float32
        self.calculator = ScalewiseCalculator(
            potential,
            cutoffs=settings.cutoff,
            long_range=settings.long_range,
            dtype=dtype,
            compiled=settings.compile,
        )
        self.atoms.calc = self.calculator
        own = settings.cutoff is None and potential.adaptive_cutoff is not None
        self.symbols = sorted(set(self.atoms.get_chemical_symbols())) if own else []
        columns = (*COLUMNS, *(CUTOFF + s for s in self.symbols))
        self.files = Files(out, columns, _digest(potential, self.atoms, settings))
        self.distances = Distances(atoms.numbers, settings.reach)
        self.random = np.random.default_rng(settings.seed)
        self.step, self.seconds = 0, 0.0
        self.seen: list[tuple[float | None, float | None]] = []
        langevin = is_langevin(atoms, settings)
        drawn = settings.velocities == "drawn" or not _moves(self.atoms)
        if drawn and settings.velocities == "file":
            raise InputError(
                "key 'velocities'",
                "file, but the frame has no momenta that its atoms move with",
                "Give a file with momenta, or velocities=drawn.",
            )
        self.origin = "drawn" if drawn else "file"
        self.freedom = degrees_of_freedom(self.atoms, rotates=langevin or not drawn)
        begins = 0.0 if drawn else temperature(self.atoms, self.freedom)
        self.limit = max(TIMES * settings.temperature, TIMES * begins, HOTTEST)
        self._prepare()

    def _prepare(self) -> None:
        """Put the state that was kept where it belongs, or draw velocities and begin."""
        settings, found = self.settings, self.files.known()
        if found is None:
            self.atoms.get_forces()  # what is wrong with the structure is said as such
            if self.origin == "drawn":
                self._draw()
            self.dynamics: Any = integrator(self.atoms, settings, self.random, self.freedom)
            self.files.begin()
            return
        try:
            self.atoms.set_cell(found["cell"])
            self.atoms.positions = found["positions"]
            self.atoms.set_momenta(found["momenta"])
            self.step, self.seconds = int(found["step"]), float(found["seconds"])
        except (KeyError, ValueError, TypeError):
            raise InputError(
                str(self.files.folder), "a damaged restart.npz", "Give another --out."
            ) from None
        self.dynamics = integrator(self.atoms, settings, self.random, self.freedom)
        self.files.put_back(found, self._point())
        left = settings.steps - self.step
        picoseconds = 1e-3 * settings.timestep * self.step
        if left > 0:
            self.progress.message(f"goes on after {picoseconds:g} ps")
        else:
            self.progress.message(f"nothing left to simulate: {picoseconds:g} ps are there")

    def _draw(self) -> None:
        """Draw velocities of the temperature; a molecule rotates if a thermostat reaches that."""
        masses = self.atoms.get_masses()[:, None]
        self.atoms.set_momenta(np.sqrt(masses) * self.random.standard_normal((len(masses), 3)))
        Stationary(self.atoms)
        if not self.atoms.pbc.any() and not is_langevin(self.atoms, self.settings):
            ZeroRotation(self.atoms, preserve_temperature=False)
        scale = np.sqrt(self.settings.temperature / temperature(self.atoms, self.freedom))
        self.atoms.set_momenta(scale * self.atoms.get_momenta())

    def go(self) -> dict[str, Any] | None:
        """Simulate what is left; what ended it early, if anything did."""
        settings = self.settings
        log, save, keep = map(
            settings.every, (settings.log_every, settings.save_every, settings.restart_every)
        )
        before, started = self.seconds, time.monotonic()
        pace, told = Pace(self.step / settings.steps), started + SOON - EVERY
        if self.step == 0:
            self._record()
            self._save()
            self.files.keep(self._point())
            self.calculator.forget()
        good = self._copy()
        while self.step < settings.steps:
            reason = self._advance()
            self.seconds = before + time.monotonic() - started
            if reason is not None:
                self.files.frame(good, LAST)
                return {
                    "step": self.step,
                    "picoseconds": 1e-3 * settings.timestep * self.step,
                    "reason": reason,
                }
            self.step += 1
            good, last = self._copy(), self.step == settings.steps
            if self.step % log == 0 or last:
                self._record()
            if self.step % save == 0:
                self._save()
            if self.step % keep == 0 or last:
                self.files.keep(self._point())
                # what goes on from here has to build its neighbor list anew: so does this
                self.calculator.forget()
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                self._tell(pace)
        self.files.frame(good, LAST)
        return None

    def _advance(self) -> str | None:
        """Make one step; why that cannot be right, if it cannot."""
        try:
            with np.errstate(all="ignore"):  # what is not finite is seen below
                self.dynamics.step()
        except InputError as error:
            finite = np.isfinite(self.atoms.cell.array).all()
            return error.found if finite else "the cell is not finite"
        if not np.isfinite(self.atoms.positions).all():
            return "positions are not finite"
        if not (hot := temperature(self.atoms, self.freedom)) < self.limit:
            return f"the temperature is {hot:.3g} K"
        return None

    def _record(self) -> None:
        kinetic = self.atoms.get_kinetic_energy()
        row: dict[str, float | None] = {
            "step": self.step,
            "time": 1e-3 * self.settings.timestep * self.step,
            "temperature": temperature(self.atoms, self.freedom),
            "potential": self.atoms.get_potential_energy(),
            "kinetic": kinetic,
            "conserved": conserved_energy(self.dynamics),
        }
        if self.atoms.pbc.all():
            volume = self.atoms.get_volume()
            stress = self.atoms.get_stress(voigt=False)
            pressure = (2.0 * kinetic / volume - np.trace(stress)) / 3.0
            row |= {"volume": volume, "pressure": pressure / (1e5 * units.Pascal)}
        cutoffs = np.asarray(self.calculator.atom_cutoffs)
        for symbol in self.symbols:
            member = np.array(self.atoms.get_chemical_symbols()) == symbol
            row[CUTOFF + symbol] = float(cutoffs[member].mean())
        self.files.log(row)
        self.seen.append((row["time"], row["conserved"]))
        if len(self.seen) > SEEN:
            del self.seen[::2]

    def _save(self) -> None:
        image = self._copy()
        if self.symbols:
            image.arrays["cutoffs"] = np.array(self.calculator.atom_cutoffs)
        self.files.frame(image)
        if self.step > 0:  # the start is what was given
            self.distances.add(Structure.from_ase(image))

    def _copy(self) -> ase.Atoms:
        """The atoms as they are, without calculator and constraint."""
        image = self.atoms.copy()
        image.set_constraint()
        image.info = {**image.info, "step": self.step}
        image.info["time"] = 1e-3 * self.settings.timestep * self.step
        return image

    def _tell(self, pace: Pace) -> None:
        settings = self.settings
        seen = np.array(self.seen, dtype=float).reshape(-1, 2)
        change = drift({"time": seen[:, 0], "conserved": seen[:, 1]}, len(self.atoms))
        parts = [f"{temperature(self.atoms, self.freedom):.0f} K"]
        parts += [] if change is None else [f"drift {change['mean']:.1e} eV/atom/ps"]
        day = 86.4 * settings.timestep * (self.step / max(self.seconds, 1e-9)) / 1e3
        parts += [f"{day:.3g} ns/day"]
        made_ps = 1e-3 * settings.timestep * self.step
        self.progress.message(
            f"{made_ps:.4g} of {settings.picoseconds:g} ps: {', '.join(parts)}"
            f"{pace.left(self.step / settings.steps)}"
        )

    def _point(self) -> Point:
        return Point(
            self.step, self.seconds, self.atoms, self.dynamics, self.random, self.distances
        )


def _moving(atoms: ase.Atoms) -> ase.Atoms:
    """A copy with positions, momenta, masses, cell and charge; without drift."""
    found = ase.Atoms(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        masses=atoms.get_masses(),
        momenta=atoms.get_momenta(),
    )
    found.info = {k: atoms.info[k] for k in CHARGE_KEYS if k in atoms.info}
    if len(found):
        Stationary(found, preserve_temperature=False)
    return found


def _moves(atoms: ase.Atoms) -> bool:
    """Whether atoms move, beyond the rounding of a drift that was taken out."""
    return temperature(atoms, degrees_of_freedom(atoms)) > COLDEST


def _left_out(image: ase.Atoms, settings: SimulationSettings) -> list[str]:
    """What of a file is not used, though its author may think so."""
    found = []
    if image.constraints:
        found.append("constraints of the file are left out: all atoms move")
    names = [name for name in image.arrays if name.lower() in ("velocities", "velocity", "vel")]
    if names and not image.has("momenta"):
        found.append(
            f"column {names[0]} of the file is not read: velocities are drawn unless it has "
            "momenta, in the units of ASE"
        )
    return found


def _check_motion(atoms: ase.Atoms, where: str) -> None:
    """Refuse masses and momenta that are not."""
    masses = atoms.get_masses()
    if not (np.isfinite(masses).all() and (masses > 0.0).all()):
        raise InputError(where, "masses that are not positive", "Correct or remove them.")
    if not np.isfinite(atoms.get_momenta()).all():
        raise InputError(where, "momenta that are not finite", "Correct or remove them.")


def check(frame: Structure, settings: SimulationSettings, potential: Potential) -> None:
    """Assert that a structure can be simulated.

    Raises
    ------
    InputError
        An element that the potential does not know; fewer than two atoms; a constant pressure
        without a periodic cell; long range that the potential cannot do without.
    """
    check_elements(frame, potential.elements)
    if (atoms := len(frame.numbers)) < 2:
        raise InputError(frame.where, count(atoms, "atom"), "Give a structure of two or more.")
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


def _digest(potential: Potential, atoms: ase.Atoms, settings: SimulationSettings) -> str:
    """Of everything that the steps depend on."""
    found = hashlib.sha256()
    given: Mapping[str, Any] = settings.model_dump(mode="json", exclude=set(FREE))
    found.update(repr(sorted(given.items())).encode())
    found.update(repr(sorted((k, str(v)) for k, v in atoms.info.items())).encode())
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses()):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(np.ascontiguousarray(atoms.get_momenta()).tobytes())
    found.update(repr(potential.network.settings).encode())
    found.update(np.ascontiguousarray(potential.composition.energies).tobytes())
    for module in (potential.network, potential.adaptive_cutoff):
        for name, tensor in sorted(({} if module is None else module.state_dict()).items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().double().numpy().tobytes())
    return found.hexdigest()
