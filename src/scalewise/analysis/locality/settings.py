"""Settings of ``scalewise locality``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from scalewise.core.settings import Count, Length, Settings


class LocalitySettings(Settings):
    """Which atoms are looked at, how far they see, and how the rest is resampled."""

    radii: tuple[Length, ...] = Field(
        (3.0, 4.0, 5.0, 6.0, 8.0), min_length=1, description="Å, rising: what is frozen"
    )
    atoms: int = Field(8, ge=3, description="tagged atoms of each element, over all frames")
    elements: tuple[str, ...] | None = Field(None, description="default: all that there are")
    samples: int = Field(8, ge=4, description="of the rest, for each tagged atom and radius")
    spacing: float = Field(0.5, gt=0, description="ps between samples")
    settling: float = Field(1.0, gt=0, description="ps before the first")
    calculator: str | None = Field(
        None,
        description="the reference, `module:Class` of an ASE calculator; default: the force field "
        "of a folder that `scalewise generate` wrote",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="of that class, by keyword")
    temperature: float = Field(300.0, gt=0, description="K, with a calculator")
    timestep: float = Field(0.5, gt=0, description="fs, with a calculator")
    friction: float = Field(10.0, gt=0, description="1/ps, with a calculator")
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    against: Path | None = Field(
        None, description="curve.json of `scalewise curve`: a model's own errors, drawn above"
    )
    workers: Count = Field(1, description="processes, each with one thread of PyTorch")
    bootstrap: int = Field(1000, ge=100, description="resamplings of the tagged atoms")
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
