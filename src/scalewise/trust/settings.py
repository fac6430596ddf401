"""Settings of ``scalewise trust``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.settings import Count, Length
from scalewise.simulation.settings import LONGEST_STEP, SimulationSettings


class TrustSettings(SelectionSettings):
    """Simulations that start from frames of a file, and the frames that test uncertainties."""

    temperature: float = Field(
        300.0, ge=1.0, le=1e5, description="temperature of half of the simulations, K"
    )
    hotter: float = Field(
        1.3,
        gt=1.0,
        le=10.0,
        description="temperature of the other half of the simulations, as a multiple of "
        "`temperature`",
    )
    starts: int = Field(8, ge=1, le=1000, description="simulations at each temperature")
    picoseconds: float = Field(20.0, gt=0, le=1e9, description="length of each simulation, ps")
    timestep: float = Field(
        0.5, gt=0, le=LONGEST_STEP, description="time step of the simulations, fs"
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
    level: float = Field(
        0.9,
        gt=0.5,
        lt=1.0,
        description="share of the atoms whose force error the bound is to cover",
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="floating-point type of the network"
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="compile the model to a program first (about a minute) and keep the program; "
        "`auto`: if the simulation is long enough to pay for it and there is a C++ compiler",
    )
    workers: Count = Field(1, description="simulations that run at the same time; also `--workers`")

    def simulation(self, temperature: float, number: int) -> SimulationSettings:
        """The settings of one simulation."""
        return SimulationSettings(
            temperature=temperature,
            picoseconds=self.picoseconds,
            timestep=self.timestep,
            velocities="drawn",
            cutoff=self.cutoff,
            long_range=self.long_range,
            log_every=max(10.0, self.timestep),
            save_every=max(50.0, self.timestep),
            dtype=self.dtype,
            compile=self.compile,
            device=self.device,
            seed=self.seed + number,
        )
