"""The required contents of results.json; see docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from scalewise.core.documents import (
    Count,
    Interval,
    Name,
    Number,
    Record,
    Text,
    checked,
)
from scalewise.testbed.records import Check

#: Regimes of all views together: each gets a stripe and a panel of a figure, which must fit on a
#: canvas, and be drawn in a minute; every element may be one.
MOST_REGIMES: Final = 130
_AGAIN: Final = "Give the --out folder of a finished study, or run the study again."

#: A mean loss: ratios of two of them must stay numbers.
Positive = Annotated[float, Field(ge=1e-60, le=1e30)]
Loss = Positive | Annotated[float, Field(ge=0.0, le=0.0)]
View = Annotated[str, Field(pattern="^[a-z_]{1,20}$")]
Counts = Annotated[list[Count], Field(min_length=1, max_length=200)]
Numbers = Annotated[list[Number], Field(max_length=1000)]
PoolScales = Annotated[list[Number], Field(max_length=100)]


class Paper(Record):
    """The paper's figures."""

    reference: Name
    unit: Name
    baseline: Positive
    hard_oracle: Positive
    pool_oracle: Positive
    continuous_oracle: Positive
    close_contact_baseline: Positive
    close_contact_continuous_oracle: Positive


class BranchRecord(Record):
    """What a branch is; other keys are shown as they are."""

    name: Name
    charges: dict[str, Number] | None = None


class Estimate(Record):
    """A number with its interval, where there is one."""

    estimate: Number | None = None
    interval: Interval | None = None


class MeanLoss(Record):
    """A mean loss with its interval."""

    mae: Loss
    interval: Interval | None


class FloorRecord(MeanLoss):
    """Noise floor of a regime."""

    source: Text


class Bin(Record):
    """Error of each branch in a bin of the distance, Å, to the nearest ion."""

    low: Annotated[float, Field(alias="from", ge=0.0, le=1e6)]
    high: Annotated[float, Field(alias="to", ge=0.0, le=1e6)]
    n: Count
    branches: dict[Name, MeanLoss]


class Complementarity(Record):
    """How the branches differ."""

    correlation: dict[Name, Estimate] = Field(default_factory=dict)
    distance: Annotated[list[Bin], Field(max_length=200)] = Field(default_factory=list)


class SelectorsRecord(Record):
    """Which selector a view judged."""

    chosen: Name
    fixed_scale: Number
    learned_share: Number | None = None


class Section(Record):
    """One view."""

    branches: Annotated[list[BranchRecord], Field(min_length=1, max_length=100)]
    regimes: Annotated[dict[Name, Count], Field(max_length=MOST_REGIMES)]
    complementarity: Complementarity | None = None
    selectors: SelectorsRecord | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Section:
        names = {branch.name for branch in self.branches}
        bins = self.complementarity.distance if self.complementarity else []
        if any(set(b.branches) != names for b in bins):
            raise ValueError("a bin of the distance has other branches than the view")
        return self


class RoundRecord(Record):
    """One line of a pool's history."""

    action: Name
    scales: PoolScales
    loss: Loss
    recovered: Number | None = None


class Moved(Record):
    """A pool of scales, and how it came about."""

    scales: PoolScales
    result: Text
    history: Annotated[list[RoundRecord], Field(max_length=200)]
    recovered_on_test: Number | None = None


class PoolRecord(Moved):
    """A pool of the paper's rule, with one whose nodes are moved freely."""

    moved: Moved | None = None


class PoolsRecord(Record):
    """Pools of the paper's rule."""

    by_view: dict[View, dict[Name, PoolRecord]] = Field(default_factory=dict)


class HeldOut(Record):
    """Pools of the held-out rule."""

    by_view: dict[View, Moved] = Field(default_factory=dict)


class VerdictRecord(Record):
    """The answer in one regime."""

    answer: Literal["needed", "not needed", "cannot tell"]
    reason: Text
    gain: Number | None = None
    low: Number | None = None
    high: Number | None = None
    p: Number | None = None
    ratio_to_fixed: Number | None = None
    interval: Interval | None = None
    n: Count


class Curves(Record):
    """Mean loss of every regime at each scale."""

    scale: Numbers
    mae: Annotated[dict[Name, list[Loss]], Field(max_length=MOST_REGIMES)]

    @model_validator(mode="after")
    def _consistent(self) -> Curves:
        if not self.scale or any(len(losses) != len(self.scale) for losses in self.mae.values()):
            raise ValueError("not one loss for each scale")
        return self


class Histograms(Record):
    """How often each scale is chosen in each regime."""

    edges: Numbers
    oracle: Annotated[dict[Name, Counts], Field(max_length=MOST_REGIMES)]
    selector: Annotated[dict[Name, Counts], Field(max_length=MOST_REGIMES)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Histograms:
        every = [*self.oracle.values(), *(self.selector or {}).values()]
        if any(len(counts) + 1 != len(self.edges) for counts in every):
            raise ValueError("not one edge more than counts")
        return self


class Row(Record):
    """One row of the table."""

    view: View
    unit_of_choice: Name
    method: Name
    uses_labels: bool
    regime: Name
    mae: Loss
    unit: Literal["eV/Å", "(eV/Å)²"]
    mae_interval: Interval | None = None
    ratio_to_best_single: Number
    interval: Interval | None
    null_band: Interval | None
    null_bands: dict[str, Interval] | None = None
    outside_null: bool | None = None
    gap_closed: Number | None = None
    gap_interval: Interval | None = None
    n: Count


class Provenance(Record):
    """Where the results come from; other keys are shown as they are."""

    settings: dict[str, Any] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)


class ResultsRecord(Record):
    """All of results.json."""

    provenance: Provenance | None = None
    paper: Paper
    checks: Annotated[list[Check], Field(max_length=100)] | None = None
    views: Annotated[dict[View, Section], Field(min_length=1, max_length=3)]
    noise_floor: dict[View, dict[Name, FloorRecord]]
    pool: PoolsRecord | None = None
    pool_held_out: HeldOut | None = None
    verdict: dict[View, Annotated[dict[Name, VerdictRecord], Field(max_length=MOST_REGIMES)]]
    loss_curves: dict[View, Curves] | None = None
    scale_histograms: dict[View, Histograms] | None = None
    rows: Annotated[list[Row], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _consistent(self) -> ResultsRecord:
        for name, found in self._by_view().items():
            if found is not None and set(found) != set(self.views):
                raise ValueError(f"the views of '{name}' are not those of 'views'")
        panels = [len(h.oracle) for h in (self.scale_histograms or {}).values()]
        if max(sum(panels), sum(len(s.regimes) for s in self.views.values())) > MOST_REGIMES:
            raise ValueError(f"more than {MOST_REGIMES} regimes in all views together")
        for k, row in enumerate(self.rows):
            if row.view not in self.views or row.regime not in self.views[row.view].regimes:
                raise ValueError(f"row {k} is of a view or regime that 'views' does not know")
        for view in self.views:
            main = [r for r in self.rows if (r.view, r.unit_of_choice, r.regime) == _main(view)]
            if all(r.method != "best_single" for r in main) or all(r.uses_labels for r in main):
                raise ValueError(f"view '{view}' lacks rows: best_single, or any without labels")
        return self

    def _by_view(self) -> dict[str, dict[str, Any] | None]:
        return {
            "noise_floor": self.noise_floor,
            "verdict": self.verdict,
            "loss_curves": self.loss_curves,
            "scale_histograms": self.scale_histograms,
            "pool": None if self.pool is None else self.pool.by_view,
            "pool_held_out": None if (held := self.pool_held_out) is None else held.by_view,
        }


def _main(view: str) -> tuple[str, str, str]:
    """View, unit of choice and regime of the rows that the summary compares."""
    return view, "ion", "all"


def check_results(results: Mapping[str, Any], where: str) -> None:
    """Refuse results of a study that could not be drawn and printed.

    Raises
    ------
    InputError
        The message names the first key that is wrong.
    """
    checked(ResultsRecord, dict(results), where, _AGAIN)
