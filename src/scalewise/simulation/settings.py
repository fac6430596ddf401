"""Settings of ``scalewise md``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from scalewise.core.settings import Length, Settings

#: Steps times atoms from which compiling, for half a minute, pays: they take a minute less.
COMPILE_PAYS: Final = 600_000
#: fs: a step that is longer says that a unit was mistaken.
LONGEST_STEP: Final = 20.0


class SimulationSettings(Settings):
    """One simulation of one structure."""

    ensemble: Literal["nve", "nvt", "npt"] = Field(
        "nvt",
        description="`nve`: velocity Verlet; `nvt`: with a thermostat; `npt`: isotropic barostat "
        "of Martyna, Tobias and Klein",
    )
    thermostat: Literal["auto", "csvr", "langevin"] = Field(
        "auto",
        description="thermostat of `nvt`; `csvr`: stochastic rescaling of velocities (Bussi); "
        "`langevin`: Langevin dynamics; `auto`: `langevin` for molecules, whose rotation is not "
        "changed by rescaling, else `csvr`",
    )
    temperature: float = Field(
        300.0,
        ge=0.001,
        le=1e5,
        description="temperature, K; of `nve`, the temperature of the initial velocities",
    )
    pressure: float = Field(1.0, ge=-1e7, le=1e7, description="pressure of `npt`, bar")
    picoseconds: float = Field(10.0, gt=0, le=1e9, description="length of the simulation, ps")
    timestep: float = Field(
        0.5,
        gt=0,
        le=LONGEST_STEP,
        description="time step, fs; default with `inner`: the one that `scalewise distill` found",
    )
    inner: Path | None = Field(
        None,
        description="folder of `scalewise distill`, with a cheap inner potential: its forces act "
        "at every inner time step, the rest of the potential's forces once per time step",
    )
    inner_timestep: float | None = Field(
        None,
        gt=0,
        le=LONGEST_STEP,
        description="largest time step of the inner potential, fs; default: the one that "
        "`scalewise distill` found",
    )
    hydrogen_mass: float | None = Field(
        None,
        ge=1.0,
        le=10.0,
        description="mass of hydrogen, u; the added mass is taken from the atoms that hydrogen is "
        "bound to; allows longer time steps and leaves averages as they are, but motion is slower",
    )
    thermostat_time: float = Field(
        100.0,
        gt=0,
        le=1e6,
        description="relaxation time of the thermostat (of `npt`, of its Nosé-Hoover chains), fs",
    )
    barostat_time: float = Field(
        1000.0, gt=0, le=1e7, description="relaxation time of the barostat of `npt`, fs"
    )
    index: int = Field(-1, description="frame of the file to start from; -1: the last")
    velocities: Literal["auto", "file", "drawn"] = Field(
        "auto",
        description="initial velocities; `file`: those of the file; `drawn`: random; `auto`: those "
        "of the file, and random ones if it has none",
    )
    cutoff: Length | None = Field(
        None,
        description="cutoff of all atoms, Å, at most the network's; default: that of the adaptive "
        "cutoff for each atom, else the network's",
    )
    long_range: bool = Field(
        True,
        description="include long-range electrostatics; `false` is refused if the model cannot be "
        "evaluated without them",
    )
    log_every: float = Field(10.0, gt=0, le=1e9, description="time between rows of log.csv, fs")
    save_every: float = Field(
        100.0, gt=0, le=1e9, description="time between frames of the trajectory, fs"
    )
    trajectory: Literal["extxyz", "dcd"] = Field(
        "extxyz",
        description="`extxyz`: positions, momenta, cells and more; `dcd`: positions and cells in "
        "single precision, in a tenth of the space",
    )
    restart_every: float = Field(
        500.0,
        gt=0,
        le=1e9,
        description="time between saved states from which an interrupted simulation continues, fs",
    )
    reach: float = Field(
        8.0, gt=0.5, le=50, description="largest distance in the radial distribution functions, Å"
    )
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="floating-point type of the network"
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="compile the model to a program first (about a minute) and keep the program; "
        "`auto`: if the simulation is long enough to pay for it and there is a C++ compiler",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.steps < 1:
            raise ValueError(
                f"picoseconds={self.picoseconds:g} is shorter than timestep={self.timestep:g} fs: "
                "give at least one step"
            )
        of = {"pressure": "npt", "barostat_time": "npt", "thermostat": "nvt"}
        for name, ensemble in of.items():
            if name in self.model_fields_set and self.ensemble != ensemble:
                raise ValueError(
                    f"{name} is of ensemble={ensemble}, and this is {self.ensemble}: "
                    f"give ensemble={ensemble}, or leave {name} out"
                )
        if self.inner is None and self.inner_timestep is not None:
            raise ValueError("inner_timestep is of an inner potential: give inner, or leave it out")
        if self.inner is not None and self.ensemble == "npt":
            raise ValueError("ensemble=npt has one time step: leave inner out, or give nvt")
        for name, steps in (("thermostat_time", 5), ("barostat_time", 50)):
            if getattr(self, name) < steps * self.timestep:
                raise ValueError(
                    f"{name}={getattr(self, name):g} fs is shorter than {steps} steps of "
                    f"{self.timestep:g} fs: give {steps * self.timestep:g} or more"
                )
        return self

    def compiles(self, atoms: int) -> bool:
        """Whether a simulation of this number of atoms uses a program, if there is a compiler."""
        pays = self.device != "cuda" and self.steps * atoms >= COMPILE_PAYS
        return self.compile == "always" or (self.compile == "auto" and pays)

    @property
    def steps(self) -> int:
        """Number of steps."""
        return round(1000.0 * self.picoseconds / self.timestep)

    @property
    def inner_steps(self) -> int:
        """Number of steps of the inner potential for each step."""
        return max(1, math.ceil(self.timestep / (self.inner_timestep or self.timestep) - 1e-9))

    def picoseconds_of(self, steps: int) -> float:
        """Simulated time of a number of steps, ps."""
        return 1e-3 * self.timestep * steps

    def every(self, femtoseconds: float) -> int:
        """Number of steps in a time (fs), at least one."""
        return max(1, round(femtoseconds / self.timestep))
