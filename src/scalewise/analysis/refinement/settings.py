"""Settings of ``scalewise refine``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.settings import Count
from scalewise.models.density.settings import AdaptiveCutoffSettings


class RefineSettings(SelectionSettings):
    """How ``scalewise refine`` finds the fewest and cheapest scales, and what they may cost."""

    by: Literal["element", "regime"] = Field(
        "element", description="which atoms may differ: elements, or also by what is close to them"
    )
    near: tuple[str, ...] = Field(
        (), description="elements whose neighborhood is a regime of its own, for `by=regime`"
    )
    tolerance: float = Field(
        0.01, ge=0, description="at most so much worse than the longest scale, over all atoms"
    )
    worst: float = Field(0.02, ge=0, description="the same, for any one element")
    microseconds: float | None = Field(
        None, gt=0, description="at most so many µs per atom, measured, instead of `tolerance`"
    )
    penalties: Count = Field(
        7, description="prices of the neighbors that are tried, each half of the one before"
    )
    largest_penalty: float = Field(
        0.32, gt=0, description="the highest price: relative error for all neighbors"
    )
    steps: Count = Field(16, description="of a move of the scales")
    batch_size: Count = Field(4, description="frames of each step")
    most: Count = Field(6, description="scales")
    fit: str = Field("valid", description="role of the frames on which scales are found")
    frames: Count | None = Field(
        60, description="so many of those frames at most, and of those scored; `null`: all"
    )

    @property
    def adaptive_cutoff(self) -> AdaptiveCutoffSettings:
        """The adaptive cutoff that tells atoms apart."""
        return AdaptiveCutoffSettings(by=self.by, near=self.near)

    @model_validator(mode="after")
    def _named(self) -> RefineSettings:
        _ = self.adaptive_cutoff
        return self
