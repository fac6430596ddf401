"""Settings of ``scalewise prove``."""

from __future__ import annotations

from pydantic import Field, model_validator

from scalewise.core.settings import Count, Fraction, Length
from scalewise.training.settings import TrainSettings

#: Shares of the training frames: two doublings.
SHARES = {"quarter": 0.25, "half": 0.5}
#: Share of the steps of a shorter training on all frames.
SHORT = 0.2


class AttributionSettings(TrainSettings):
    """The trainings of ``scalewise prove``, and its questions."""

    replicas: int = Field(
        2,
        ge=2,
        description="seeds of every training; the variance between seeds is part of the intervals",
    )
    at: Length | None = Field(
        None,
        description="the cutoff that the question `cutoff` compares with the longest one, Å; "
        "default: halfway between the ladder's ends",
    )
    points: Count = Field(
        4,
        description="number of cutoffs, evenly spaced over the ladder, that are scored and at "
        "which forks are trained",
    )
    fork_share: float = Field(
        0.08,
        gt=0,
        le=10,
        description="training steps of each fork, as a share of the steps of the ladder's training",
    )
    min_gain: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="share of the error that a remedy must save to be worth its cost",
    )
    alpha: Fraction = Field(
        0.05, description="probability of any wrong `needed` among all questions"
    )
    role: str = Field("test", description="role of the frames that are scored")
    frames: Count | None = Field(
        60,
        description="largest number of frames of a role that are scored, evenly spread; `null`: "
        "all",
    )
    workers: Count | None = Field(
        None,
        description="trainings that run at the same time; default: as many as fit the cores, one "
        "on a GPU",
    )
    bootstrap: int = Field(1000, ge=100, description="bootstrap resamplings of the groups")
    ions: dict[str, int] = Field(
        default_factory=lambda: {"Na": 1, "Cl": -1},
        description="element: sign of its charge, for the regimes",
    )

    @model_validator(mode="after")
    def _has_a_ladder(self) -> AttributionSettings:
        if not self.network.ladder:
            raise ValueError("prove needs a ladder of scales: give network.ladder (--ladder)")
        if self.adaptive_cutoff is not None or self.start is not None:
            raise ValueError(
                "prove trains networks of its own: leave adaptive_cutoff and start out"
            )
        low, high = self.network.shortest_cutoff, self.network.cutoff
        if self.at is not None and not low <= self.at < high:
            raise ValueError(
                f"at={self.at:g} Å must be on the ladder, below its end: from {low:g} to {high:g} Å"
            )
        if self.network.channels < 2 or self.network.hidden < 2:
            raise ValueError("channels and hidden must be 2 at least: half of them is trained, too")
        return self

    @property
    def cutoff(self) -> float:
        """The cutoff that the question ``cutoff`` compares with the longest one, Å."""
        return (
            0.5 * (self.network.shortest_cutoff + self.network.cutoff)
            if self.at is None
            else self.at
        )

    @property
    def training(self) -> TrainSettings:
        """The settings of a single training."""
        return TrainSettings(**{name: getattr(self, name) for name in TrainSettings.model_fields})
