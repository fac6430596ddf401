"""Refined pools against uniform and random ones of equal size, on fresh planted data.

    python benchmarks/pools.py [--seeds 10]

Units choose from every pool by the other replicate of their labels. Loss is over that at each
unit's planted best scale, so 1 is perfect.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from scalewise.scales.pool import Guided, HeldOutRefiner, ReplicateGuide, refine_held_out
from scalewise.testing import Planted, planted

CASES: dict[str, tuple[float, ...]] = {
    "two at one end": (0.02, 0.15),
    "three and one": (0.03, 0.12, 0.2, 0.95),
    "one apart": (0.4, 0.5, 0.6, 1.0),
    "nothing to route": (0.37,),
}


def guided(p: Planted, mask: np.ndarray) -> Guided:
    return Guided(p.residuals.subset(mask), ReplicateGuide(p.replicate.subset(mask)))


def one(optima: tuple[float, ...], seed: int) -> tuple[int, float, float, float]:
    """Size of the refined pool, and the three losses on data that nothing was decided on."""
    p = planted(6000, seed=2 * seed, optima=optima, noise=0.15, difference=1.0)
    even = p.residuals.block % 2 == 0
    scales = refine_held_out(guided(p, even), guided(p, ~even), HeldOutRefiner(seed=seed)).scales
    fresh = planted(6000, seed=2 * seed + 1, optima=optima, noise=0.15, difference=1.0)
    test = guided(fresh, np.ones(6000, dtype=bool))
    best = fresh.residuals.mean(fresh.residuals.unit_losses(fresh.best))
    size, rng = len(scales), np.random.default_rng(seed)
    uniform = (0.5,) if size == 1 else tuple(np.linspace(0.0, 1.0, size).tolist())
    random = [test.mean(np.sort(rng.uniform(0, 1, size)).tolist()) for _ in range(20)]
    return size, test.mean(scales) / best, test.mean(uniform) / best, min(random) / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    print("planted case        scales   refined   uniform   best of 20 random   refined wins")
    for name, optima in CASES.items():
        found = np.array([one(optima, seed) for seed in range(seeds)])
        size, refined, uniform, random = found.mean(axis=0)
        wins = int((found[:, 1] < np.minimum(found[:, 2], found[:, 3])).sum())
        print(
            f"{name:18s}  {size:6.1f}  {refined:8.3f}  {uniform:8.3f}  {random:18.3f}   "
            f"{wins} of {seeds}",
            flush=True,
        )


if __name__ == "__main__":
    main()
