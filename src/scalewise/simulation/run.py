"""Molecular dynamics with a potential: start or continue, detect failures, report observables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
import torch
from ase import units

from scalewise.analysis.evaluation.predict import shorter
from scalewise.core.errors import InputError
from scalewise.core.progress import EVERY, SILENT, Pace, Progress
from scalewise.data.reading import read_one
from scalewise.data.splits import identify
from scalewise.data.structure import Structure
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models.compiler import compiler_found
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report
from scalewise.simulation.distances import Distances
from scalewise.simulation.files import COLUMNS, LAST, Files, Point
from scalewise.simulation.inner import open_inner
from scalewise.simulation.integrators import (
    conserved_energy,
    degrees_of_freedom,
    integrator,
    temperature,
    thermostat,
)
from scalewise.simulation.multiple_steps import TwoStepBussi, TwoStepVerlet
from scalewise.simulation.results import CUTOFF, drift, make_report, nanoseconds_per_day
from scalewise.simulation.settings import SimulationSettings
from scalewise.simulation.start import (
    check,
    digest,
    draw_velocities,
    left_out,
    moves,
    moving_atoms,
)
from scalewise.simulation.trajectory import trajectory_in

#: A simulation breaks where it is hotter than so many times what was asked for, and than so many K.
TIMES: Final = 10.0
HOTTEST: Final = 3000.0
#: Seconds before the first line that says how far it is.
SOON: Final = 10.0
#: Rows of the log, at most, over which such a line fits the drift.
SEEN: Final = 1000


def simulate(
    potential: Potential | Path | str,
    atoms: ase.Atoms,
    settings: SimulationSettings | None = None,
    out: Path | str = "runs/md",
    *,
    progress: Progress = SILENT,
) -> Report:
    """Simulate a structure by molecular dynamics; a simulation in the folder is continued.

    Positions, momenta and the state of the integrator are written every ``restart_every`` fs. A
    simulation that was killed continues from there, with the trajectory that it would have had
    without the interruption. A finished simulation is continued from its end if the settings ask
    for more picoseconds.

    Parameters
    ----------
    potential
        The potential, or its folder.
    atoms
        Initial structure, Å, with or without momenta; constraints and calculators are ignored.
    settings
        Ensemble, length and scale of the simulation.
    out
        Folder of ``log.csv``, the trajectory and ``restart.npz``.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``simulation``. If the simulation broke down, ``body["ended"]`` says when and
        why, and ``last.extxyz`` holds the last frame before that.

    Raises
    ------
    InputError
        An unknown element, overlapping atoms, fewer than two atoms; constant pressure without a
        periodic cell; a folder with another simulation, with a damaged state, or with a log or
        trajectory that is not of this simulation.
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
    """As :func:`simulate`; errors and the report name the file and the number of ``frame``."""
    inner = None
    if settings.inner is not None:
        masses = moving_atoms(atoms, settings.hydrogen_mass).get_masses()
        inner, settings = open_inner(potential, frame, masses, settings)
    check(frame, atoms, settings, potential)
    run = _Simulation(potential, atoms, settings, out, progress, inner)
    ended = run.go()
    if run.step > settings.steps:  # the folder has a longer simulation than was asked for
        done = settings.picoseconds_of(run.step)
        settings = settings.model_copy(update={"picoseconds": done})
    return make_report(
        settings,
        run.files.rows(),
        run.distances.found(),
        {
            "model": potential.name,
            "formula": atoms.get_chemical_formula(),
            "atoms": len(atoms),
            "mass": float(atoms.get_masses().sum()),
            "thermostat": thermostat(atoms, settings),
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
    image, frame = read_one(file, settings.index, check_units=settings.check_units)
    for sentence in (*shorter(model, settings.cutoff), *left_out(image)):
        request.progress.message(sentence)
    report = _simulated(model, image, frame, settings, request.out, request.progress)
    if (ended := report.body["ended"]) is not None:
        report.save(request.out)
        raise InputError(
            str(request.out),
            f"the simulation broke after {ended['picoseconds']:g} ps: {ended['reason']}",
            f"{LAST} is the frame before, the trajectory how it came there: give a shorter "
            "timestep, slower velocities, a structure nearer to the training frames, or train on "
            "such frames.",
        )
    return report


class _Simulation:
    """A simulation and its files, from where it is to its end."""

    def __init__(
        self,
        potential: Potential,
        atoms: ase.Atoms,
        settings: SimulationSettings,
        out: Path,
        progress: Progress,
        inner: Potential | None,
    ) -> None:
        self.settings, self.progress = settings, progress
        self.atoms = moving_atoms(atoms, settings.hydrogen_mass)
        dtype = torch.float64 if settings.dtype == "float64" else torch.float32
        self.calculator = ScalewiseCalculator(
            potential,
            cutoffs=settings.cutoff,
            long_range=settings.long_range,
            dtype=dtype,
            compiled=self._compiled(potential, len(atoms)),
        )
        self.atoms.calc = self.calculator
        self.inner = None
        if inner is not None:
            compiled = self.calculator.potential.compiled
            self.inner = ScalewiseCalculator(inner, dtype=dtype, compiled=compiled)
            self.inner.use_lists_of(self.calculator)
        own = settings.cutoff is None and potential.adaptive_cutoff is not None
        self.symbols = sorted(set(self.atoms.get_chemical_symbols())) if own else []
        columns = (*COLUMNS, *(CUTOFF + s for s in self.symbols))
        trajectory = trajectory_in(out, self.atoms, settings)
        key = digest(potential, self.atoms, settings, inner)
        self.files = Files(trajectory, columns, key)
        self.distances = Distances(atoms.numbers, settings.reach)
        self.random = np.random.default_rng(settings.seed)
        self.step, self.seconds = 0, 0.0
        self.seen: list[tuple[float | None, float | None]] = []
        drawn = settings.velocities == "drawn" or not moves(self.atoms)
        if drawn and settings.velocities == "file":
            raise InputError(
                "key 'velocities'",
                "file, but the frame has no momenta that its atoms move with",
                "Give a file with momenta, or velocities=drawn.",
            )
        self.origin = "drawn" if drawn else "file"
        self.rotates = not drawn or thermostat(atoms, settings) == "langevin"
        self.freedom = degrees_of_freedom(self.atoms, rotates=self.rotates)
        begins = 0.0 if drawn else temperature(self.atoms, self.freedom)
        self.limit = max(TIMES * settings.temperature, TIMES * begins, HOTTEST)
        self._prepare()

    def _compiled(self, potential: Potential, atoms: int) -> bool:
        """Whether programs are used: those of an exported potential are, unless never."""
        settings = self.settings
        if settings.compile == "never":
            return False
        pays = settings.compiles(atoms) and compiler_found()
        if settings.compile == "always" or (pays and not potential.compiled):
            self.progress.message("compiling, or loading what was compiled before")
        return settings.compile == "always" or potential.compiled or pays

    def _prepare(self) -> None:
        """Put the state that was kept where it belongs, or draw velocities and begin."""
        settings, found = self.settings, self.files.known()
        if found is None:
            self.atoms.get_forces()  # what is wrong with the structure is said as such
            if self.origin == "drawn":
                kelvin, rotates = settings.temperature, self.rotates
                draw_velocities(self.atoms, kelvin, self.freedom, self.random, rotates=rotates)
            self.dynamics: Any = self._integrator()
            self.files.begin()
            return
        self.step, self.seconds = found.place(self.atoms)
        self.dynamics = self._integrator()
        self.files.go_on(found, self._point())
        there = f"{settings.picoseconds_of(self.step):g} ps"
        if self.step < settings.steps:
            self.progress.message(f"goes on after {there}")
        else:
            self.progress.message(f"nothing left to simulate: {there} are there")

    def _integrator(self) -> Any:
        fast = None if self.inner is None else self.inner.forces_alone
        return integrator(self.atoms, self.settings, self.random, self.freedom, fast)

    def _forget(self) -> None:
        """Build neighbor lists anew, as what goes on from here will."""
        for calculator in (self.calculator, self.inner):
            if calculator is not None:
                calculator.forget()
        if isinstance(self.dynamics, TwoStepVerlet | TwoStepBussi):
            self.dynamics.steps.forget()

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
            self._forget()
        good = self._copy()
        while self.step < settings.steps:
            reason = self._advance()
            self.seconds = before + time.monotonic() - started
            if reason is not None:
                self.files.last(good)
                return {
                    "step": self.step,
                    "picoseconds": settings.picoseconds_of(self.step),
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
                self._forget()
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                self._tell(pace)
        self.files.last(good)
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
            "time": self.settings.picoseconds_of(self.step),
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
        image.info["time"] = self.settings.picoseconds_of(self.step)
        return image

    def _tell(self, pace: Pace) -> None:
        settings = self.settings
        seen = np.array(self.seen, dtype=float).reshape(-1, 2)
        change = drift({"time": seen[:, 0], "conserved": seen[:, 1]}, len(self.atoms))
        parts = [f"{temperature(self.atoms, self.freedom):.0f} K"]
        parts += [] if change is None else [f"drift {change['mean']:.1e} eV/atom/ps"]
        parts += [f"{nanoseconds_per_day(settings, self.step, self.seconds):.3g} ns/day"]
        far = f"{settings.picoseconds_of(self.step):.4g} of {settings.picoseconds:g} ps"
        left = pace.left(self.step / settings.steps)
        self.progress.message(f"{far}: {', '.join(parts)}{left}")

    def _point(self) -> Point:
        return Point(
            self.step, self.seconds, self.atoms, self.dynamics, self.random, self.distances
        )
