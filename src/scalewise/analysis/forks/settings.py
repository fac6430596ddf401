"""Settings of ``scalewise fork``."""

from __future__ import annotations

from typing import Final

import numpy as np
from pydantic import Field, model_validator

from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.core.settings import Count, Fraction, Length

#: Å between cutoffs that are told apart.
CLOSEST: Final = 1e-3


class ForkComparisonSettings(SelectionSettings):
    """Scales and length of the forks, and the thresholds of their verdicts."""

    cutoffs: tuple[Length, ...] | None = Field(
        None,
        description="cutoffs of the forks, Å, rising; default: `points` cutoffs, evenly spaced "
        "over the ladder",
    )
    points: int = Field(4, ge=2, description="number of cutoffs, if `cutoffs` is not given")
    share: float = Field(
        0.08,
        gt=0,
        le=10,
        description="training steps of each fork, as a share of the steps of the ladder's training",
    )
    steps: Count | None = Field(None, description="training steps of each fork, instead of `share`")
    shorter: float | None = Field(
        0.2,
        gt=0,
        lt=1,
        description="steps of a second ladder, as a share of the steps of the first; how fast the "
        "error falls between the two tells how much it may still fall; `null`: no second ladder is "
        "trained",
    )
    seeds: int = Field(
        2,
        ge=2,
        description="forks of each scale, each with its own seed; the variance between seeds is "
        "part of the intervals",
    )
    rate: float = Field(
        0.5,
        gt=0,
        le=10,
        description="learning rates of the forks, as a share of those of the ladder's training",
    )
    workers: Count | None = Field(
        None,
        description="forks that are trained at the same time; default: as many as there are cores, "
        "one on a GPU",
    )
    frames: Count | None = Field(
        None, description="largest number of frames that are scored, evenly spread; default: all"
    )
    min_gain: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="share of the error that a longer scale must save to be worth its cost",
    )
    alpha: Fraction = Field(
        0.05,
        description="probability of any wrong `needed` among the scales of one subset of the atoms",
    )

    @model_validator(mode="after")
    def _rising(self) -> ForkComparisonSettings:
        if self.cutoffs is not None and sorted(set(self.cutoffs)) != list(self.cutoffs):
            raise ValueError(f"cutoffs={list(self.cutoffs)} must rise, each one given once")
        if self.cutoffs is not None and min(np.diff(self.cutoffs), default=1.0) < CLOSEST:
            raise ValueError(
                f"cutoffs={list(self.cutoffs)}: two of them differ by less than {CLOSEST:g} Å"
            )
        if self.cutoffs is not None and len(self.cutoffs) < 2:
            raise ValueError(f"cutoffs={list(self.cutoffs)}: two at least are compared")
        return self
