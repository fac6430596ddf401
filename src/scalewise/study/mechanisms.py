"""The mechanisms that choose scales on the tuning data of one view: updates, pools, selectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import ContinuousOracle
from scalewise.scales.pool import (
    DyadicRefiner,
    Guided,
    HeldOutRefiner,
    PoolState,
    PreferenceGuide,
    refine_dyadic,
    refine_held_out,
    smallest_moved_pool,
)
from scalewise.scales.selectors import (
    FixedSelector,
    LearnedSelector,
    RegimeSelector,
    Selector,
    SelectorTrainer,
    fit_fixed,
    fit_regimes,
    make_folds,
)
from scalewise.scales.update import update_scales
from scalewise.study.samples import Samples
from scalewise.study.settings import StudySettings

UNITS = ("ion", "frame")


@dataclass(frozen=True, eq=False)
class Selectors:
    """The label-free selectors of a view, and which of them the tuning data prefer."""

    fixed: FixedSelector
    regime: RegimeSelector
    learned: LearnedSelector
    chosen: str
    tuning_loss: dict[str, float]
    out_of_fold: Float[np.ndarray, " units"]

    def named(self) -> dict[str, Selector]:
        """Return the selectors under the names used in reports."""
        return {
            "fixed_selector": self.fixed,
            "regime_selector": self.regime,
            "learned_selector": self.learned,
        }


def train_selectors(tune: Samples, settings: StudySettings) -> Selectors:
    """Fit the three selectors on tuning data; prefer the one with the lowest out-of-fold loss."""
    options = settings.selector
    trainer = SelectorTrainer(
        options.hidden,
        options.steps,
        options.learning_rate,
        options.weight_decay,
        options.members,
        settings.seed,
    )
    learned, held = trainer.fit(tune.residuals, tune.geometry)
    folds = make_folds(tune.residuals.block, options.members)
    by_fold = {"fixed": np.empty(len(folds)), "regime": np.empty(len(folds))}
    for fold in range(int(folds.max()) + 1):
        inside, out = tune.subset(folds != fold), folds == fold
        geometry = tune.geometry.subset(out)
        by_fold["fixed"][out] = fit_fixed(inside.residuals).scales(geometry)
        by_fold["regime"][out] = fit_regimes(inside.residuals, inside.geometry).scales(geometry)
    scales = {**by_fold, "learned": held}
    losses = {
        name: tune.residuals.mean(tune.residuals.unit_losses(s)) for name, s in scales.items()
    }
    return Selectors(
        fixed=fit_fixed(tune.residuals),
        regime=fit_regimes(tune.residuals, tune.geometry),
        learned=learned,
        chosen=min(losses, key=lambda name: losses[name]),
        tuning_loss=losses,
        out_of_fold=scales[min(losses, key=lambda name: losses[name])],
    )


def in_units(samples: Samples, residuals: Residuals, unit: str) -> Residuals:
    """Group atoms into the unit of choice."""
    return residuals if unit == "ion" else residuals.group(samples.frame)


def refine_pools(tune: Samples, settings: StudySettings) -> dict[str, dict[str, Any]]:
    """Run the paper's rule, and the freely moved pools, for every unit of choice."""
    result = {}
    for unit in UNITS:
        residuals = in_units(tune, tune.residuals, unit)
        options = settings.pool
        refiner = DyadicRefiner(options.recovery, options.max_scales)
        moved, _ = smallest_moved_pool(residuals, options.recovery, options.max_scales)
        result[unit] = {
            **pool_report(refine_dyadic(residuals, refiner)),
            "moved": pool_report(moved),
        }
    return result


def refine_with_held_out(
    tune: Samples, selectors: Selectors, settings: StudySettings
) -> dict[str, Any]:
    """Refine a pool for the preferred selector; propose on even blocks, decide on odd ones."""
    even = np.unique(tune.residuals.block, return_inverse=True)[1] % 2 == 0
    parts = [
        Guided(tune.residuals.subset(mask), PreferenceGuide(selectors.out_of_fold[mask]))
        for mask in (even, ~even)
    ]
    refiner = HeldOutRefiner(settings.pool.max_scales, seed=settings.seed)
    return pool_report(refine_held_out(parts[0], parts[1], refiner))


def pool_report(state: PoolState) -> dict[str, Any]:
    """Turn the state of a refiner into what results.json holds."""
    return {
        "scales": list(state.scales),
        "result": str(state.result),
        "history": [
            {
                "round": number,
                "action": line.action,
                "scales": list(line.scales),
                "loss": line.loss,
                "recovered": line.recovered,
            }
            for number, line in enumerate(state.history)
        ],
    }


def move_scales(tune: Samples) -> dict[str, Any]:
    """Move one scale for all, and one per regime, by gradients; compare with the exact optimum."""
    result = {}
    for name, member in tune.regimes.items():
        if not member.any():
            continue
        part = tune.residuals.subset(member)
        moved = update_scales(part)
        merged = part.group(np.zeros(part.n_units, dtype=np.int64))
        exact = float(ContinuousOracle().choose(merged).scale[0])
        result[name] = {
            "scale": float(moved.scales[0]),
            "exact": exact,
            "loss": moved.loss,
            "steps": len(moved.history),
        }
    return result
