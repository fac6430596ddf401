"""Settings of ``scalewise distill``."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from scalewise.core.settings import Count, Length, Settings

#: Inner steps for each step, at most.
MOST: Final = 8
#: K, of simulations.
HOTTEST: Final = 1e5


class DistillSettings(Settings):
    """How an inner potential is made of a whole one, and tried."""

    temperature: float = Field(
        300.0, ge=1.0, le=1e5, description="K, of the simulations that it is made for"
    )
    hotter: float = Field(
        1.2, ge=1.0, le=10.0, description="times as hot is the simulation that frames are from"
    )
    picoseconds: float = Field(
        2.0, gt=0, le=1e6, description="length of the simulation that frames are from"
    )
    timestep: float = Field(0.5, gt=0, le=20.0, description="fs, of that simulation")
    frames: int = Field(
        100, ge=20, le=100_000, description="frames of it, each of which is displaced twice"
    )
    displacement: float = Field(
        0.04, gt=0, le=1.0, description="Å, of an atom in the mean, along the stiffest directions"
    )
    hydrogen_mass: float | None = Field(
        None, ge=1.0, le=10.0, description="u, of hydrogens in simulations, as in `scalewise md`"
    )
    cutoff: Length = Field(4.5, description="Å, of the inner potential")
    channels: int = Field(8, ge=1, le=256, description="of the inner potential, as `network`'s")
    l_max: int = Field(2, ge=1, le=6, description="of the inner potential, as `network`'s")
    steps: Count = Field(6000, description="of its training")
    batch_size: Count = Field(2, description="frames for each of these")
    probe: float = Field(
        3.0, ge=0.1, le=1e6, description="ps, of each simulation that tries a time step"
    )
    multiples: tuple[int, ...] = Field(
        (2, 3, 4, 5),
        description="inner steps for each step that are tried, from few to many, at most 8",
    )
    drift: float = Field(
        1e-4, gt=0, le=1.0, description="eV/atom/ps, the largest drift that a time step may have"
    )
    index: int = Field(-1, description="frame of the file; -1: the last")
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="compute with programs that are compiled first, as in `scalewise md`"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = self.multiples
        if not given or sorted(set(given)) != list(given) or given[0] < 2 or given[-1] > MOST:
            raise ValueError(
                f"multiples={list(given)} must rise, from 2 at least to {MOST} at most"
            )
        if self.every < 1:
            raise ValueError(
                f"picoseconds={self.picoseconds:g} of {self.timestep:g} fs are too few steps for "
                f"{self.frames} frames: give more picoseconds, or fewer frames"
            )
        if self.hotter * self.temperature > HOTTEST:
            raise ValueError(f"hotter times temperature is above {HOTTEST:g} K: give less")
        return self

    @property
    def every(self) -> int:
        """Steps between two frames; the first tenth of the simulation is left out."""
        return int(0.9 * self.picoseconds * 1e3 / self.timestep / self.frames)
