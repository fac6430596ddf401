"""Settings of ``scalewise study``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from scalewise.core.settings import Count, Fraction, Length, Settings
from scalewise.data.regime_settings import RegimeSettings
from scalewise.testbed.settings import SolutionSettings

#: Rows of the report that are not branches.
RESERVED_NAMES = frozenset(
    {"best_single", "average", "fixed_selector", "regime_selector", "learned_selector"}
    | {"hard_oracle", "pool_oracle", "continuous_oracle", "two_replicate_oracle"}
)


class PredictionsSettings(Settings):
    """Existing predictions that are audited against the labels."""

    labels: Path | None = Field(
        None,
        description="extxyz file with the labels; default: the first of `files`, which then has "
        "labels too",
    )
    files: tuple[Path, ...] = Field(
        description="extxyz files with predictions, ordered from short to long scale"
    )
    names: tuple[str, ...] | None = Field(
        None, description="names of the files in the report, one per file"
    )
    forces_keys: tuple[str, ...] = Field(
        ("forces",),
        description="column of the predicted forces: one name for all files, or one name per file",
    )
    labels_key: str = Field("REF_forces", description="column of the reference forces")
    replicate_files: tuple[Path, ...] | None = Field(
        None,
        description="predictions of the same models trained with another seed, one file for each "
        "of `files`; they make the two-replicate oracle possible",
    )
    targets: tuple[str, ...] | None = Field(None, description="elements to score; default: all")
    group_key: str | None = Field(
        None, description="frame key of near-duplicate groups that must not be split"
    )

    @model_validator(mode="after")
    def _consistent(self) -> PredictionsSettings:
        n = len(self.files)
        if n < 2:
            raise ValueError(f"an audit compares at least two prediction files, got {n}")
        for key in ("names", "replicate_files"):
            value = getattr(self, key)
            if value is not None and len(value) != n:
                raise ValueError(f"{key} has {len(value)} entries for {n} prediction files")
        reserved = sorted(set(self.names or ()) & RESERVED_NAMES)
        if len(set(self.names or range(n))) != n:
            raise ValueError(f"names={list(self.names or ())} must differ")
        if reserved:
            raise ValueError(f"names: {reserved} are rows of the report, choose other names")
        if len(self.forces_keys) not in (1, n):
            raise ValueError(f"forces_keys has {len(self.forces_keys)} entries for {n} files")
        return self


class BranchSettings(Settings):
    """The two force-matched branches of each view."""

    short_cutoff: Length = 6.0
    long_cutoff: Length = 9.0
    splines: int = Field(
        14, ge=4, description="number of B-splines per pair of elements in the short branch"
    )
    powers: tuple[int, ...] = Field(
        (3, 4, 6, 8, 10, 12), description="inverse powers of the distance r in the long branch"
    )
    ridge: tuple[float, ...] = Field(
        (1e-12, 1e-9, 1e-6, 1e-4, 1e-2, 1e-1, 1.0),
        description="strengths of the ridge regularisation that are tried on the tuning blocks",
    )


class StudySplitSettings(Settings):
    """Whole replicas (or blocks of a single trajectory) to train, tune and test."""

    train: Fraction = Field(
        0.375,
        description="share of the data that the branches are fitted to; an audit adds it to the "
        "tuning data",
    )
    tune: Fraction = 0.25
    block: Count = Field(5, description="frames per bootstrap block")

    @model_validator(mode="after")
    def _consistent(self) -> StudySplitSettings:
        if self.train + self.tune >= 1.0:
            raise ValueError(f"train + tune = {self.train + self.tune} leaves nothing to test")
        return self


class PoolSettings(Settings):
    """How the pool of scales is refined."""

    max_scales: int = Field(9, ge=2)
    recovery: float = Field(
        0.995,
        gt=0,
        le=1,
        description="refinement of the pool stops at this share of the gain of the continuous "
        "oracle, on tuning data",
    )


class SelectorSettings(Settings):
    """The learned selector: a small network on geometry features."""

    hidden: Count = 24
    steps: Count = 250
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    members: int = Field(
        5, ge=3, description="number of networks that are averaged, each trained on its own folds"
    )
    cutoff: Length = 8.0


class EvidenceSettings(Settings):
    """Nulls, intervals and the error control of the verdict."""

    draws: int = Field(100, ge=10, description="random draws of each null")
    bootstrap: int = Field(1000, ge=100, description="bootstrap resamplings of the blocks")
    alpha: Fraction = Field(0.05, description="chance of any false 'needed' within one view")
    min_gain: Fraction = Field(0.01, description="gain below which routing is not worth its cost")
    min_atoms: Count = Field(30, description="an automatic regime with fewer atoms is left out")


class StudySettings(Settings):
    """The study: data, views, branches, mechanisms, evidence."""

    seed: int = Field(0, ge=0)
    solution: SolutionSettings = SolutionSettings()
    data: Path | None = Field(
        None, description="folder of `scalewise generate`; replaces `solution`"
    )
    predictions: PredictionsSettings | None = Field(
        None, description="audit existing prediction files instead of training branches"
    )
    views: tuple[Literal["ions", "explicit"], ...] = ("ions", "explicit")
    ions: dict[str, int] = Field(
        default_factory=lambda: {"Na": 1, "Cl": -1},
        description="elements that are ions, as element: sign of the charge",
    )
    anchors: tuple[float, ...] | None = Field(
        None,
        description="positions of the branches on the axis of scales, from 0 (shortest) to 1 "
        "(longest); default: evenly spaced",
    )
    loss: Literal["l1", "l2"] = "l1"
    check_units: bool = Field(True, description="refuse forces that do not look like eV/Å")
    branches: BranchSettings = BranchSettings()
    split: StudySplitSettings = StudySplitSettings()
    regimes: Literal["auto"] | tuple[RegimeSettings, ...] = "auto"
    pool: PoolSettings = PoolSettings()
    selector: SelectorSettings = SelectorSettings()
    evidence: EvidenceSettings = EvidenceSettings()

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        if self.anchors is not None:
            a = self.anchors
            if list(a) != sorted(set(a)) or len(a) < 2 or a[0] != 0.0 or a[-1] != 1.0:
                raise ValueError(
                    f"anchors={list(a)} must increase strictly from 0 to 1: sort them, drop "
                    "repeats, and list the branches in the same order"
                )
        if len(set(self.views)) != max(1, len(self.views)):
            raise ValueError(f"views={list(self.views)}: name 'ions', 'explicit' or both, once")
        names = [] if self.regimes == "auto" else [r.name for r in self.regimes]
        if len(set(names)) != len(names):
            raise ValueError(f"regimes {names} must have different names")
        return self
