"""Settings of ``scalewise train``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from scalewise.core.settings import Count, Fraction, Settings
from scalewise.data.split_settings import SplitSettings
from scalewise.models.density.settings import (
    AdaptiveCutoffSettings,
    ForkSettings,
    NetworkSettings,
)


class DataSettings(Settings):
    """Which labels are read, and how frames get their roles."""

    forces_key: str | None = Field(
        FORCES_KEY, description="column of the forces, eV/Å; `null`: not read"
    )
    energy_key: str | None = Field(
        ENERGY_KEY, description="frame key of the total energy, eV; `null`: not read"
    )
    stress_key: str | None = Field(
        STRESS_KEY, description="frame key of the stress, eV/Å³, if any; `null`: not read"
    )
    check_units: bool = Field(True, description="refuse labels that do not look like eV and Å")
    split: Path | None = Field(None, description="split.json that `scalewise doctor` wrote")
    split_key: str | None = Field(None, description="frame key that holds the role of each frame")
    group_key: str | None = Field(
        None,
        description="frame key whose values are groups of frames that must get one role; default: "
        "groups of near-duplicates",
    )
    valid: Fraction = Field(
        0.1, description="share of the frames for validation, if no split is given"
    )
    test: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="share of the frames kept out for the test, if no split is given",
    )

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        if self.split is not None and self.split_key is not None:
            raise ValueError("give split or split_key, not both")
        if self.valid + self.test >= 1.0:
            raise ValueError(f"valid + test = {self.valid + self.test:g} leaves nothing to train")
        return self

    def splitting(self, seed: int) -> SplitSettings:
        """Return the settings of the split."""
        return SplitSettings(
            seed=seed,
            valid=self.valid,
            test=self.test,
            group_key=self.group_key,
            role_key=self.split_key,
        )


class LossSettings(Settings):
    r"""Weights of the terms of the loss, and the width ``delta`` of the Huber loss of their errors.

    Training minimises :math:`\sum_k w_k \log L_k` over the terms k = forces, energy, stress, so
    that the influence of a term does not depend on its unit.
    """

    forces: float = Field(1.0, ge=0, description="weight of the forces")
    energy: float = Field(0.1, ge=0, description="weight of the energies per atom")
    energy_from: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of the budget after which the energies have their full weight; before, "
        "they have a tenth of it if forces are trained on, too",
    )
    stress: float = Field(0.1, ge=0, description="weight of the stresses")
    delta: float = Field(
        0.01,
        gt=0,
        description="width δ of the quadratic part of the Huber loss of the forces, eV/Å; energies "
        "have a tenth of this number in eV per atom, stresses a hundredth of it in eV/Å³",
    )

    @model_validator(mode="after")
    def _something(self) -> LossSettings:
        if self.forces + self.energy + self.stress == 0:
            raise ValueError("forces, energy and stress are all zero: give one of them a weight")
        return self


class ScaleSamplingSettings(Settings):
    """Shares of the training steps of a ladder with special scales.

    In all other steps, all atoms have one random cutoff between the ends of the ladder, whose
    logarithm is distributed uniformly, so that short cutoffs are drawn more often.
    """

    longest: float = Field(0.05, ge=0, le=1, description="share of the steps at the longest cutoff")
    shortest: float = Field(
        0.15, ge=0, le=1, description="share of the steps at the shortest cutoff"
    )
    mixed: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of the steps in which every atom has a random cutoff of its own",
    )
    without_long: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of the steps without long range, if `long` is a rung of the ladder",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ScaleSamplingSettings:
        total = self.longest + self.shortest + self.mixed
        if total > 1.0:
            raise ValueError(f"longest + shortest + mixed = {total:g} is more than all steps")
        return self


class AdaptiveTrainingSettings(AdaptiveCutoffSettings):
    """Training of an adaptive cutoff: the cheapest cutoffs that lose hardly any accuracy."""

    tolerance: float = Field(
        0.01,
        ge=0,
        description="largest relative increase of the loss over that of the longest scale",
    )
    penalty: float | None = Field(
        None,
        ge=0,
        description="price of the neighbors: what all neighbors of the longest scale cost, "
        "relative to the loss; default: adjusted during training to what `tolerance` allows",
    )
    share: Fraction = Field(
        0.4,
        description="share of the steps at the cutoffs that the adaptive cutoff chooses; with "
        "`freeze`, all steps",
    )

    @model_validator(mode="after")
    def _one_or_the_other(self) -> AdaptiveTrainingSettings:
        if self.penalty is not None and "tolerance" in self.model_fields_set:
            raise ValueError(
                "penalty and tolerance: the penalty is either given or found; give one"
            )
        return self

    @property
    def adaptive_cutoff(self) -> AdaptiveCutoffSettings:
        """The settings of the adaptive cutoff itself, without those of its training."""
        return AdaptiveCutoffSettings(
            **{name: getattr(self, name) for name in AdaptiveCutoffSettings.model_fields}
        )


class TrainSettings(Settings):
    """Settings of a training: data, network, loss, budget, optimiser, machine."""

    LATER: ClassVar[frozenset[str]] = frozenset({"steps", "fork"})

    seed: int = Field(0, ge=0)
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings.model_validate({})
    loss: LossSettings = LossSettings()
    scale_sampling: ScaleSamplingSettings = ScaleSamplingSettings()
    adaptive_cutoff: AdaptiveTrainingSettings | None = Field(
        None,
        description="train a cutoff for every atom; any of its settings turns it on, such as "
        "`adaptive_cutoff.by=environment`",
    )
    start: Path | None = Field(
        None, description="folder of a potential whose weights the training starts from"
    )
    fork: ForkSettings | None = Field(
        None,
        description="train further at one scale of the ladder of `start` alone, such as "
        "`fork.cutoff=4`",
    )
    freeze: bool = Field(
        False, description="keep the network of `start` fixed and train the adaptive cutoff alone"
    )
    minutes: float | None = Field(
        None, gt=0, description="wall-clock budget, min; the learning-rate schedule is fitted to it"
    )
    steps: Count | None = Field(
        None,
        description="budget in optimiser steps, instead of `minutes`: the same work on any machine",
    )
    epochs: Count = Field(
        100,
        description="passes over the training frames, if neither `minutes` nor `steps` is given",
    )
    batch_size: Count | None = Field(
        None,
        description="frames per step and process; default: as many as have about 60 atoms together "
        "over all processes, but at most a twentieth of the training frames, and at least one",
    )
    learning_rate: float = Field(0.04, gt=0, description="learning rate of the matrices (Muon)")
    adam_rate: float = Field(0.01, gt=0, description="learning rate of all other weights (Adam)")
    weight_decay: float = Field(
        0.03,
        ge=0,
        lt=10,
        description="decoupled weight decay of the matrices: each step multiplies them by 1 - "
        "learning rate × weight_decay; a larger value keeps the network smoother",
    )
    warmup: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="share of the budget over which the learning rate rises linearly to its "
        "largest value",
    )
    ema: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="decay of the exponential moving average of the weights, per step",
    )
    grad_clip_norm: float = Field(
        1.0, gt=0, description="norm of the gradient above which it is scaled down to this norm"
    )
    patience: Count | None = Field(
        None,
        description="stop after this many validations without an improvement; those in the first "
        "part of the training, when the learning rate is high and energies have less weight, count "
        "too",
    )
    validations: Count = Field(
        20,
        description="number of validations over the whole budget; fewer if they would take longer "
        "than the training",
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="compiled kernels on the CPU, torch.compile on a GPU; `auto`: if the budget is "
        "long enough to pay for it and there is a C++ compiler (on a GPU, only for a budget in "
        "`minutes` and without a ladder)",
    )
    processes: Count = Field(
        1, description="data-parallel processes, each with one thread on a CPU"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tensorboard: bool = Field(False, description="write TensorBoard events beside log.csv")

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("give minutes or steps, not both")
        if self.adaptive_cutoff is not None and self.start is None and not self.network.ladder:
            raise ValueError(
                "adaptive_cutoff needs a ladder of scales to choose from: give network.ladder "
                "(--ladder)"
            )
        if self.adaptive_cutoff is not None and self.compile == "always":
            raise ValueError(
                "an adaptive cutoff is trained without compiled code: leave compile out"
            )
        if self.fork is not None and (self.start is None or self.adaptive_cutoff is not None):
            raise ValueError(
                "fork goes on with one scale of a ladder that was trained: give start, and leave "
                "adaptive_cutoff out"
            )
        if self.freeze and (self.start is None or self.adaptive_cutoff is None):
            raise ValueError(
                "freeze=true trains an adaptive cutoff alone: give start=LADDER and "
                "adaptive_cutoff.by, too"
            )
        return self
