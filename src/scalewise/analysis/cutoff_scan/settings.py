"""Settings of ``scalewise curve``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.settings import Count, Fraction, Length


class ScanSettings(SelectionSettings):
    """Which scales ``scalewise curve`` looks at, on which frames."""

    cutoffs: tuple[Length, ...] | None = Field(
        None, description="Å, rising; default: `points` of them, evenly over the ladder"
    )
    points: Count = Field(8, description="cutoffs, where they are not given")
    frames: Count | None = Field(
        None, description="look at so many of the frames at most, evenly spread; default: at all"
    )
    min_gain: float = Field(
        0.01, gt=0, lt=1, description="share of the error that a longer scale must save to pay"
    )
    alpha: Fraction = Field(
        0.05, description="probability of a wrong `needed` among the scales of one subset"
    )
    singles: tuple[Path, ...] = Field(
        (), description="potentials trained for one scale each, for comparison at that scale"
    )

    @model_validator(mode="after")
    def _rising(self) -> ScanSettings:
        if self.cutoffs is not None and sorted(set(self.cutoffs)) != list(self.cutoffs):
            raise ValueError(f"cutoffs={list(self.cutoffs)} must rise, each one given once")
        return self
