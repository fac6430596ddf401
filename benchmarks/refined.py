"""Refined pools of scales against uniform and random ones of equal size, at equal price.

python benchmarks/refined.py MODEL DATA [key=value...] [--prices 0.32,0.08,0.02] [--random 10]

Pools are refined on one half of the frames of `fit` and decided on the other half, as by `scalewise
refine`. Uniform and random pools have as many scales; which group uses which is chosen for them on
all these frames, by descent in J at the same price. All are scored on frames of `role` that nothing
was chosen on: J over that of the longest scale, and the error and the neighbors that it weighs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from scalewise.analysis.evaluation.selection import read_selection
from scalewise.analysis.refinement.objective import Objective
from scalewise.analysis.refinement.pool import CutoffPool, group_names
from scalewise.analysis.refinement.refiner import LadderRefiner, refine_pool, value
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.core.loading import load
from scalewise.models.opening import open_model


def objective(model: Path, data: Path, settings: RefineSettings, role: str) -> Objective:
    potential = open_model(model, device="cpu")
    frames, choice = read_selection(model, data, settings.model_copy(update={"role": (role,)}))
    chosen = choice.subsample(settings.frames)
    listed = [frames[k] for k in chosen]
    return Objective(
        potential, settings.adaptive_cutoff, listed, choice.group[chosen], settings.worst
    )


def assigned(scales: list[float], both: Objective, price: float) -> CutoffPool:
    """The best group for each scale, one group at a time, until none moves."""
    members = np.full(both.groups, len(scales) // 2)

    def pool(of: np.ndarray) -> CutoffPool:
        return CutoffPool.of(scales, [np.flatnonzero(of == k).tolist() for k in range(len(scales))])

    while len(scales) > 1:
        before = members.copy()
        for g in range(both.groups):
            trials = [np.where(np.arange(both.groups) == g, k, members) for k in range(len(scales))]
            members = min(trials, key=lambda t: value(both, pool(t), price))
        if (members == before).all():
            break
    return pool(members)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("words", nargs="*", metavar="key=value")
    parser.add_argument("--prices", default="0.32,0.08,0.02")
    parser.add_argument("--random", type=int, default=10)
    options = parser.parse_intermixed_args()  # words may stand anywhere
    torch.set_num_threads(1)
    settings = load(RefineSettings, None, options.words)
    both = objective(options.model, options.data, settings, settings.fit)
    test = objective(options.model, options.data, settings, (settings.role or ("test",))[0])
    order = np.random.default_rng(settings.seed).permutation(np.unique(both.block))
    first = np.isin(both.block, order[::2])
    fit, check = both.only(first), both.only(~first)
    refiner = LadderRefiner(settings.steps, settings.batch_size, settings.most, seed=settings.seed)
    names = group_names(both.potential.network.elements, settings.adaptive_cutoff)
    rng = np.random.default_rng(settings.seed)
    pool = CutoffPool.single(0.5 * (both.shortest + both.longest), both.groups)

    def line(name: str, pool: CutoffPool, price: float) -> None:
        error, _, neighbors = test.errors(pool.lengths()).over(test.reference)
        shown = "; ".join(
            f"{s:.2f} Å {', '.join(names[g] for g in m)}"
            for s, m in zip(pool.scales, pool.members, strict=True)
        )
        print(
            f"price {price:g}  {name:8s}  J {value(test, pool, price):.4f}  error {error:.4f}  "
            f"neighbors {neighbors:.3f}  {shown}",
            flush=True,
        )

    for price in (float(v) for v in options.prices.split(",")):
        pool = refine_pool(fit, check, refiner, pool, price).pool
        size = len(pool.scales)
        line("refined", pool, price)
        ends = [0.5 * (both.shortest + both.longest)]
        if size > 1:
            ends = np.linspace(both.shortest, both.longest, size).tolist()
        line("uniform", assigned(ends, both, price), price)
        for _ in range(options.random):
            drawn = np.sort(rng.uniform(both.shortest, both.longest, size)).tolist()
            line("random", assigned(drawn, both, price), price)


if __name__ == "__main__":
    main()
