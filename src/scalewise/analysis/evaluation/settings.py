"""Settings of ``scalewise predict`` and ``scalewise evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from scalewise.core.settings import Count, Length, Settings

#: Columns that an extxyz file of predictions has anyway, or that hold labels.
TAKEN: Final = frozenset(
    {"species", "pos", "positions", "numbers", "energies", "charges", "cutoffs", "energy", "stress"}
    | {ENERGY_KEY, FORCES_KEY, STRESS_KEY}
)


class PredictSettings(Settings):
    """How ``scalewise predict`` predicts the frames of a file."""

    forces_key: str = Field("forces", description="column the predicted forces are written to")
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
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("forces_key")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in TAKEN:
            raise ValueError(f"forces_key={value} is the name of something else in the file")
        return value


class SelectionSettings(Settings):
    """Which labelled frames are scored, and over which groups their errors are resampled."""

    forces_key: str | None = Field(
        FORCES_KEY, description="column of the labelled forces, eV/Å; `null`: not read"
    )
    energy_key: str | None = Field(
        ENERGY_KEY, description="frame key of the labelled energy, eV; `null`: not read"
    )
    stress_key: str | None = Field(
        STRESS_KEY, description="frame key of the stress, eV/Å³, if any; `null`: not read"
    )
    check_units: bool = Field(True, description="refuse labels that do not look like eV and Å")
    split: Path | None = Field(
        None,
        description="split.json with the role of each frame; default: the one beside the model, if "
        "it was made for this file",
    )
    split_key: str | None = Field(None, description="frame key that holds the role of each frame")
    role: tuple[str, ...] | None = Field(
        None,
        description="one role or a list; `all`: every frame; default: `test` if the roles are "
        "known, else every frame",
    )
    group_key: str | None = Field(
        None,
        description="frame key whose values are groups of frames that are resampled together; "
        "default: the groups of the split",
    )
    block: Count = Field(5, description="frames per bootstrap block, if no groups are known")
    ions: dict[str, int] = Field(
        default_factory=lambda: {"Na": 1, "Cl": -1},
        description="element: sign of its charge, for the regimes",
    )
    bootstrap: int = Field(1000, ge=100, description="bootstrap resamplings of the groups")
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("role", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.split is not None and self.split_key is not None:
            raise ValueError("give split or split_key, not both")
        if self.role is not None and (not self.role or len(set(self.role)) != len(self.role)):
            raise ValueError(f"role={list(self.role)} must name one or more roles, each once")
        return self


class EvaluateSettings(SelectionSettings):
    """Which labelled frames ``scalewise evaluate`` scores, and how."""

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
    bins: Count = Field(
        6,
        description="largest number of bins of each interatomic distance; all bins have equally "
        "many atoms",
    )
