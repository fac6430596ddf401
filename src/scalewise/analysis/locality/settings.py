"""Settings of ``scalewise locality``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from scalewise.core.settings import Count, Length, Settings


class LocalitySettings(Settings):
    """Tagged atoms, radii around them, and resampling of the atoms outside."""

    radii: tuple[Length, ...] = Field(
        (3.0, 4.0, 5.0, 6.0, 8.0),
        min_length=1,
        description="radii within which atoms are held fixed, Å, rising",
    )
    atoms: int = Field(
        8, ge=3, description="tagged atoms (centers of spheres) of each element, over all frames"
    )
    elements: tuple[str, ...] | None = Field(
        None, description="elements of the tagged atoms; default: all elements of the frames"
    )
    samples: int = Field(
        8,
        ge=4,
        description="samples of the atoms outside the sphere, for each tagged atom and radius",
    )
    spacing: float = Field(0.5, gt=0, description="time between samples, ps")
    settling: float = Field(1.0, gt=0, description="equilibration before the first sample, ps")
    calculator: str | None = Field(
        None,
        description="the reference, as `module:Class` of an ASE calculator; default: the force "
        "field of a folder that `scalewise generate` wrote",
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the calculator class"
    )
    temperature: float = Field(300.0, gt=0, description="temperature, K, if `calculator` is given")
    timestep: float = Field(0.5, gt=0, description="time step, fs, if `calculator` is given")
    friction: float = Field(
        10.0, gt=0, description="friction of the Langevin dynamics, 1/ps, if `calculator` is given"
    )
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    against: Path | None = Field(
        None,
        description="curve.json of `scalewise curve`: the errors of its model are drawn above the "
        "bound",
    )
    workers: Count = Field(1, description="processes, each with one thread of PyTorch")
    bootstrap: int = Field(1000, ge=100, description="bootstrap resamplings of the tagged atoms")
    seed: int = Field(0, ge=0)

    @field_validator("calculator")
    @classmethod
    def _names_a_class(cls, value: str | None) -> str | None:
        if value is not None and value.count(":") != 1:
            raise ValueError(
                f"calculator={value} must be module:Class, such as ase.calculators.emt:EMT"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> LocalitySettings:
        if sorted(set(self.radii)) != list(self.radii):
            raise ValueError(f"radii={list(self.radii)} must rise, each one given once")
        given = self.model_fields_set & {"arguments", "temperature", "timestep", "friction"}
        if given and self.calculator is None:
            raise ValueError(
                f"{', '.join(sorted(given))}: of a calculator, give calculator=module:Class, too; "
                "a folder of `scalewise generate` has its own"
            )
        return self
