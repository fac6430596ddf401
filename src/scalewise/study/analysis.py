"""From the samples of one view to its section of results.json."""

from __future__ import annotations

from typing import Any

from scalewise.core.errors import InputError
from scalewise.scales.pool import recovered
from scalewise.study import diagnose, mechanisms
from scalewise.study.score import Scorer
from scalewise.study.settings import StudySettings
from scalewise.study.views import View


def analyse(view: View, label_error: float | None, settings: StudySettings) -> dict[str, Any]:
    """Train the selectors and pools on tuning data, score everything on test data."""
    check_regimes(view, settings)
    view = without_small_regimes(view, settings)
    selectors = mechanisms.train_selectors(view.tune, settings)
    pools = mechanisms.refine_pools(view.tune, settings)
    scorer = Scorer(
        view=view.name,
        test=view.test,
        replicates=view.replicates,
        selectors=selectors,
        pools={unit: tuple(pool["scales"]) for unit, pool in pools.items()},
        branch_names=view.branch_names,
        settings=settings,
    )
    rows = scorer.rows()
    for unit, pool in pools.items():
        pool["recovered_on_test"] = _recovered(rows, unit)
    return {
        "branches": view.reports,
        "anchors": list(view.scene.anchors),
        "regimes": {name: int(member.sum()) for name, member in view.test.regimes.items()},
        "atoms": {"tune": view.tune.residuals.n_units, "test": view.test.residuals.n_units},
        "noise_floor": diagnose.noise_floor(view, label_error, settings),
        "complementarity": diagnose.complementarity(view, settings),
        "updates": mechanisms.move_scales(view.tune),
        "pool": pools,
        "pool_held_out": mechanisms.refine_with_held_out(view.tune, selectors, settings),
        "selectors": {
            "chosen": selectors.chosen,
            "tuning_loss": selectors.tuning_loss,
            "fixed_scale": selectors.fixed.scale,
            "learned_share": selectors.learned.share,
        },
        "rows": rows,
        "verdict": scorer.verdicts(),
        "loss_curves": diagnose.loss_curves(view.test),
        "scale_histograms": diagnose.scale_histograms(view.test, selectors.learned),
    }


def check_regimes(view: View, settings: StudySettings) -> None:
    """Refuse regimes that the user named and that hold no test atom.

    Raises
    ------
    InputError
        An empty regime; nothing can be said about it, and silence would look like an answer.
    """
    if settings.regimes == "auto":
        return
    for name, member in view.test.regimes.items():
        if not member.any():
            raise InputError(
                f"regime '{name}'",
                f"none of the {len(member)} test atoms of the {view.name} view is in it",
                "Widen its bounds, give more frames, or drop it from regimes.",
            )


def without_small_regimes(view: View, settings: StudySettings) -> View:
    """Leave out automatic regimes with fewer atoms than an interval needs."""
    if settings.regimes != "auto":
        return view
    fewest = settings.evidence.min_atoms
    keep = [
        name
        for name, member in view.test.regimes.items()
        if name == "all" or (member.sum() >= fewest and view.tune.regimes[name].any())
    ]
    return view.with_regimes(keep)


def _recovered(rows: list[dict[str, Any]], unit: str) -> float | None:
    found = {
        row["method"]: row["mae"]
        for row in rows
        if row["unit_of_choice"] == unit and row["regime"] == "all"
    }
    return recovered(found["best_single"], found["pool_oracle"], found["continuous_oracle"])
