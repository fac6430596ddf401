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
        description="`nve`: velocity Verlet; `nvt`: with a thermostat; `npt`: isotropic, of "
        "Martyna, Tobias and Klein",
    )
    thermostat: Literal["auto", "csvr", "langevin"] = Field(
        "auto",
        description="of `nvt`: stochastic rescaling of velocities (Bussi), or Langevin dynamics; "
        "`auto`: the latter for molecules, whose rotation rescaling does not reach",
    )
    temperature: float = Field(
        300.0, ge=0.001, le=1e5, description="K; of `nve`, of the velocities that it begins with"
    )
    pressure: float = Field(1.0, ge=-1e7, le=1e7, description="bar, of `npt`")
    picoseconds: float = Field(10.0, gt=0, le=1e9, description="length of the simulation")
    timestep: float = Field(
        0.5, gt=0, le=LONGEST_STEP, description="fs; default with `inner`: what its probes found"
    )
    inner: Path | None = Field(
        None,
        description="folder of `scalewise distill`: a cheap potential whose forces act between the "
        "steps of the whole one",
    )
    inner_timestep: float | None = Field(
        None,
        gt=0,
        le=LONGEST_STEP,
        description="fs, at most, of the steps of `inner`; default: what its probes found",
    )
    hydrogen_mass: float | None = Field(
        None,
        ge=1.0,
        le=10.0,
        description="u, of hydrogens; what they gain is taken from the atoms that they are bound "
        "to: longer steps and the same averages, but slower motion",
    )
    thermostat_time: float = Field(100.0, gt=0, le=1e6, description="fs, of thermostat and chains")
    barostat_time: float = Field(1000.0, gt=0, le=1e7, description="fs, of `npt`")
    index: int = Field(-1, description="frame of the file that it begins with; -1: the last")
    velocities: Literal["auto", "file", "drawn"] = Field(
        "auto", description="`auto`: those of the file, and drawn where it has none"
    )
    cutoff: Length | None = Field(
        None,
        description="Å, one for all atoms, at most the network's; default: that of the adaptive "
        "cutoff, or the network's",
    )
    long_range: bool = Field(
        True, description="long range, where the network was trained without, too"
    )
    log_every: float = Field(10.0, gt=0, le=1e9, description="fs between rows of log.csv")
    save_every: float = Field(
        100.0, gt=0, le=1e9, description="fs between frames of the trajectory"
    )
    trajectory: Literal["extxyz", "dcd"] = Field(
        "extxyz",
        description="`extxyz`: positions, momenta, cells and more; `dcd`: positions and cells in "
        "single precision, in a tenth of the space",
    )
    restart_every: float = Field(500.0, gt=0, le=1e9, description="fs between states to go on from")
    reach: float = Field(8.0, gt=0.5, le=50, description="Å, of distances between atoms")
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    dtype: Literal["float32", "float64"] = Field("float32", description="of the network")
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="compute with a program that is compiled first, in about a minute, and kept; "
        "`auto`: where that pays and there is a C++ compiler",
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
        """Whether so many atoms are computed with a program, if there is a compiler."""
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
        """Time that so many steps take, ps."""
        return 1e-3 * self.timestep * steps

    def every(self, femtoseconds: float) -> int:
        """Number of steps in a time, at least one."""
        return max(1, round(femtoseconds / self.timestep))
