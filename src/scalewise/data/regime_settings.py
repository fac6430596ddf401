"""Settings of a regime: a subset of atoms named by a physical condition."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from scalewise.core.settings import Settings


class RegimeSettings(Settings):
    """A subset of atoms named by a physical condition."""

    LATER = frozenset({"place"})

    name: str
    elements: tuple[str, ...] | None = None
    nearest: Literal["ion", "counterion"] | tuple[str, ...] | None = Field(
        None,
        description="atoms to the nearest of which the distance is measured: any ion, an ion of "
        "opposite charge (`counterion`), or atoms of the elements listed",
    )
    above: float = Field(0.0, ge=0.0, description="smallest distance, Å")
    below: float | None = Field(
        None, gt=0.0, description="upper bound of the distance, Å; none: no upper bound"
    )
    place: str | None = Field(None, description="value of the atom in the column `place`")

    @model_validator(mode="after")
    def _consistent(self) -> RegimeSettings:
        bounded = self.above > 0 or self.below is not None
        if bounded and self.nearest is None:
            raise ValueError(f"regime '{self.name}' bounds a distance: say to the nearest what")
        if self.name == "all" and (bounded or self.elements is not None or self.place is not None):
            raise ValueError("regime 'all' holds every atom: give the subset another name")
        return self
