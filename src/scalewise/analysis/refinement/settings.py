"""Settings of ``scalewise refine``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.settings import Count
from scalewise.models.density.settings import AdaptiveCutoffSettings


class RefineSettings(SelectionSettings):
    """How ``scalewise refine`` finds the fewest and cheapest scales, and how accurate they are."""

    by: Literal["element", "regime"] = Field(
        "element",
        description="`element`: one cutoff per element; `regime`: also by whether an atom of "
        "`near` is close",
    )
    near: tuple[str, ...] = Field(
        (),
        description="elements that define the regime: an atom close to one of them may have a "
        "cutoff of its own; needs `by=regime`",
    )
    tolerance: float = Field(
        0.01,
        ge=0,
        description="largest relative increase of the force error over that of the longest scale, "
        "over all atoms",
    )
    worst: float = Field(
        0.02, ge=0, description="largest relative increase of the force error of any one element"
    )
    microseconds: float | None = Field(
        None,
        gt=0,
        description="largest measured time of the evaluation, µs per atom, instead of `tolerance`",
    )
    penalties: Count = Field(
        7,
        description="number of prices of the neighbors that are tried, each half of the one before",
    )
    largest_penalty: float = Field(
        0.32,
        gt=0,
        description="the highest price: what all neighbors of the longest scale cost, relative to "
        "the error of that scale",
    )
    steps: Count = Field(16, description="optimisation steps each time the scales are moved")
    batch_size: Count = Field(4, description="frames of each optimisation step")
    most: Count = Field(6, description="largest number of scales")
    fit: str = Field("valid", description="role of the frames on which scales are found")
    frames: Count | None = Field(
        60,
        description="largest number of frames on which scales are found, and of frames that are "
        "scored; `null`: all",
    )

    @property
    def adaptive_cutoff(self) -> AdaptiveCutoffSettings:
        """Settings of the adaptive cutoff with the same groups of atoms."""
        return AdaptiveCutoffSettings(by=self.by, near=self.near)

    @model_validator(mode="after")
    def _named(self) -> RefineSettings:
        _ = self.adaptive_cutoff
        return self
