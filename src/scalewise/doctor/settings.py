"""Settings of ``scalewise doctor``."""

from __future__ import annotations

from pydantic import Field, model_validator

from scalewise.core.settings import Count, Fraction, Length, Settings
from scalewise.data.split_settings import SplitSettings


class DoctorSettings(Settings):
    """What ``scalewise doctor`` checks, and how it splits the data."""

    forces_key: str | None = Field(
        "REF_forces", description="column of the forces, eV/Å; `null`: not read"
    )
    energy_key: str | None = Field(
        "REF_energy", description="frame key of the total energy, eV; `null`: not read"
    )
    stress_key: str | None = Field(
        "REF_stress", description="frame key of the stress, eV/Å³, if any; `null`: not read"
    )
    duplicate_distance: Length = Field(
        1.5, description="Å, root-mean-square displacement below which frames are near-duplicates"
    )
    duplicate_elements: tuple[str, ...] | None = Field(
        None,
        description="elements compared; default: all but hydrogen, or all elements if a frame has "
        "fewer than two other atoms (an isolated molecule: fewer than three)",
    )
    group_key: str | None = Field(
        None,
        description="frame key whose values are groups of frames that must get one role; default: "
        "groups of near-duplicates",
    )
    split_key: str | None = Field(
        None,
        description="frame key of an existing split, whose roles are kept and checked for leaks",
    )
    train: Fraction = Field(0.75, description="share of the frames for training")
    valid: Fraction = Field(
        0.10, description="share of the frames for validation; the rest is for the test"
    )
    cutoffs: tuple[Length, ...] = Field(
        (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0),
        min_length=1,
        description="cutoffs at which neighbors are counted, Å",
    )
    neighbor_frames: Count = Field(
        200, description="largest number of frames, drawn at random, in which neighbors are counted"
    )
    epochs: Count = Field(
        100,
        description="epochs of the training whose cost is forecast; as many as `train` has by "
        "default",
    )
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> DoctorSettings:
        if self.train + self.valid >= 1.0:
            raise ValueError(f"train + valid = {self.train + self.valid:g} leaves nothing to test")
        if list(self.cutoffs) != sorted(set(self.cutoffs)):
            raise ValueError(f"cutoffs={list(self.cutoffs)} must increase")
        return self

    @property
    def splitting(self) -> SplitSettings:
        """The settings of the split."""
        return SplitSettings(
            seed=self.seed,
            valid=self.valid,
            test=round(1.0 - self.train - self.valid, 10),
            group_key=self.group_key,
            role_key=self.split_key,
            duplicate_distance=self.duplicate_distance,
            duplicate_elements=self.duplicate_elements,
        )
