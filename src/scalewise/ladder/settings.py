"""Settings of the commands that work on a ladder of scales."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from scalewise.config import Count, Fraction, Length
from scalewise.evaluation.settings import Scored
from scalewise.potential.settings import Route


class Curve(Scored):
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
    def _rising(self) -> Curve:
        if self.cutoffs is not None and sorted(set(self.cutoffs)) != list(self.cutoffs):
            raise ValueError(f"cutoffs={list(self.cutoffs)} must rise, each one given once")
        return self


class Refine(Scored):
    """How ``scalewise refine`` finds the fewest and cheapest scales, and what they may cost."""

    by: Literal["element", "regime"] = Field(
        "element", description="which atoms may differ: elements, or also by what is close to them"
    )
    near: tuple[str, ...] = Field(
        (), description="elements whose neighbourhood is a regime of its own, for `by=regime`"
    )
    tolerance: float = Field(
        0.01, ge=0, description="at most so much worse than the longest scale, over all atoms"
    )
    worst: float = Field(0.02, ge=0, description="the same, for any one element")
    microseconds: float | None = Field(
        None, gt=0, description="at most so many µs per atom, measured, instead of `tolerance`"
    )
    prices: Count = Field(
        7, description="prices of the neighbours that are tried, each half of the one before"
    )
    dearest: float = Field(
        0.32, gt=0, description="the highest price: relative error for all neighbours"
    )
    steps: Count = Field(16, description="of a move of the scales")
    batch: Count = Field(4, description="frames of each step")
    most: Count = Field(6, description="scales")
    fit: str = Field("valid", description="role of the frames on which scales are found")
    frames: Count | None = Field(
        60, description="so many of those frames at most, and of those scored; `null`: all"
    )

    @property
    def route(self) -> Route:
        """The router that tells atoms apart."""
        return Route(by=self.by, near=self.near)

    @model_validator(mode="after")
    def _named(self) -> Refine:
        _ = self.route
        return self
