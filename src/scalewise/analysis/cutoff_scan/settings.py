"""Settings of ``scalewise curve``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.settings import Count, Fraction, Length


class ScanSettings(SelectionSettings):
    """Which scales ``scalewise curve`` evaluates, and on which frames."""

    cutoffs: tuple[Length, ...] | None = Field(
        None,
        description="cutoffs that are evaluated, Å, rising; default: `points` cutoffs, evenly "
        "spaced over the ladder",
    )
    points: Count = Field(8, description="number of cutoffs, if `cutoffs` is not given")
    frames: Count | None = Field(
        None, description="largest number of frames that are evaluated, evenly spread; default: all"
    )
    min_gain: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="share of the error that a longer scale must save to be worth its cost",
    )
    alpha: Fraction = Field(
        0.05,
        description="probability of any wrong `needed` among the scales of one subset of the atoms",
    )
    singles: tuple[Path, ...] = Field(
        (), description="potentials trained for one scale each, for comparison at that scale"
    )

    @model_validator(mode="after")
    def _rising(self) -> ScanSettings:
        if self.cutoffs is not None and sorted(set(self.cutoffs)) != list(self.cutoffs):
            raise ValueError(f"cutoffs={list(self.cutoffs)} must rise, each one given once")
        return self
