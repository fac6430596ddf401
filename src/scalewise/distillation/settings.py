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
    """How an inner potential is distilled from a potential, and tested."""

    temperature: float = Field(
        300.0,
        ge=1.0,
        le=1e5,
        description="temperature of the simulations that the inner potential is made for, K",
    )
    hotter: float = Field(
        1.2,
        ge=1.0,
        le=10.0,
        description="temperature of the simulation that the training frames are taken from, as a "
        "multiple of `temperature`",
    )
    picoseconds: float = Field(
        2.0,
        gt=0,
        le=1e6,
        description="length of the simulation that the training frames are taken from, ps",
    )
    timestep: float = Field(
        0.5,
        gt=0,
        le=20.0,
        description="time step of the simulation that the training frames are taken from, fs",
    )
    frames: int = Field(
        100,
        ge=20,
        le=100_000,
        description="frames taken from the simulation; two displaced copies are made of each",
    )
    displacement: float = Field(
        0.04,
        gt=0,
        le=1.0,
        description="largest mean displacement of the atoms of a copy along the stiffest "
        "directions, Å; each copy draws a factor from 0.3 to 1",
    )
    hydrogen_mass: float | None = Field(
        None,
        ge=1.0,
        le=10.0,
        description="mass of hydrogen in the simulations, u, as in `scalewise md`",
    )
    cutoff: Length = Field(4.5, description="cutoff of the inner potential, Å")
    channels: int = Field(
        8,
        ge=1,
        le=256,
        description="channels of the inner potential, as `network.channels` of `scalewise train`",
    )
    l_max: int = Field(
        2,
        ge=1,
        le=6,
        description="largest degree of the spherical harmonics of the inner potential",
    )
    steps: Count = Field(6000, description="training steps of the inner potential")
    batch_size: Count = Field(2, description="frames of each training step")
    probe: float = Field(
        3.0, ge=0.1, le=1e6, description="length of each simulation that tries a time step, ps"
    )
    multiples: tuple[int, ...] = Field(
        (2, 3, 4, 5),
        description="numbers of inner steps per outer step that are tried, rising, at most 8",
    )
    drift: float = Field(
        1e-4,
        gt=0,
        le=1.0,
        description="largest drift of the conserved energy that a time step may have, eV/atom/ps",
    )
    index: int = Field(-1, description="frame of the file to start from; -1: the last")
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="compile the models to programs first, as in `scalewise md`"
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
        """Number of steps between two frames; the first tenth of the simulation is left out."""
        return int(0.9 * self.picoseconds * 1e3 / self.timestep / self.frames)
