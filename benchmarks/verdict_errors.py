"""How often the verdict is wrong where nothing is planted, and right where something is.

    python benchmarks/verdict_errors.py [--seeds 400]

Every seed draws labels and branches with nothing to route (and then with two regimes), trains the
selectors on half of the blocks, and asks for the verdict on the other half through the same code as
the study, with four regimes per view so that Holm's correction has work to do.
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from scalewise.core.loading import load
from scalewise.scales.selectors import SelectorInputs
from scalewise.study.mechanisms import refine_with_held_out, train_selectors
from scalewise.study.samples import Replicates, Samples
from scalewise.study.score import Scorer
from scalewise.study.settings import StudySettings
from scalewise.testing import planted

SETTINGS = load(
    StudySettings, None, ["selector.steps=150", "selector.hidden=12", "evidence.bootstrap=400"]
)
UNITS = 1600


def one(seed: int, optima: tuple[float, ...], difference: float) -> dict[str, object]:
    """Verdicts of one seed, the learned selector's gap, and the size of the held-out pool."""
    torch.set_num_threads(1)
    p = planted(UNITS, seed=seed, optima=optima, difference=difference)
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=UNITS)
    regimes = {
        "all": np.ones(UNITS, dtype=bool),
        "left": label == 0,
        "right": label == 1,
        "near": p.geometry.features[:, 1] < 0,
    }
    geometry = SelectorInputs(p.geometry.features, p.geometry.stratum)
    whole = Samples(p.residuals, geometry, regimes, np.arange(UNITS), np.full(UNITS, np.inf))
    tuned = np.arange(UNITS) < UNITS // 2
    tune, test = whole.subset(tuned), whole.subset(~tuned)
    selectors = train_selectors(tune, SETTINGS)
    pair = Replicates(
        test.residuals, p.replicate.subset(~tuned), test.geometry, test.regimes, test.frame
    )
    scorer = Scorer(
        "planted", test, pair, selectors, {"ion": (0.0, 1.0)}, ("short", "long"), SETTINGS
    )
    verdicts = {name: v["answer"] for name, v in scorer.verdicts().items()}
    score = scorer.two_replicate("ion", "all")
    assert score is not None
    gap = scorer.gap(score, "ion", "all", "learned_selector")["gap_closed"]
    pool = refine_with_held_out(tune, selectors, SETTINGS)["scales"]
    return {"verdicts": verdicts, "gap": gap, "pool": len(pool)}


def run(seeds: int, optima: tuple[float, ...], difference: float) -> None:
    """Run all seeds and print the shares."""
    with ProcessPoolExecutor(2) as workers:
        found = list(workers.map(partial(one, optima=optima, difference=difference), range(seeds)))
    overall = Counter(f["verdicts"]["all"] for f in found)  # type: ignore[index]
    anywhere = sum("needed" in f["verdicts"].values() for f in found)  # type: ignore[attr-defined]
    gaps = [f["gap"] for f in found if f["gap"] is not None]
    sizes = Counter(f["pool"] for f in found)
    print(f"optima {optima}, difference {difference}, {seeds} seeds")
    print(f"  verdict for all: {dict(overall)}")
    print(f"  'needed' in any of four regimes: {anywhere} ({100 * anywhere / seeds:.1f} %)")
    if gaps:
        low, middle = np.quantile(gaps, [0.05, 0.5])  # type: ignore[arg-type]
        print(
            f"  gap closed by the learned selector: median {middle:.2f}, 5th percentile {low:.2f}"
        )
    print(f"  scales in the held-out pool: {dict(sorted(sizes.items()))}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=400)
    seeds = parser.parse_args().seeds
    run(seeds, (0.5,), 0.5)
    run(seeds, (1.0,), 0.5)
    run(max(10, seeds // 10), (0.0, 1.0), 0.8)
    run(max(10, seeds // 10), (0.1, 0.6), 1.0)


if __name__ == "__main__":
    main()
