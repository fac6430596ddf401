"""Time and memory of all oracles, the refinement and the null bands against the number of samples.

    python benchmarks/million_samples.py [--largest 1000000]

Two branches, one force vector per sample. Prints seconds and the slope of log time over log size.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from scalewise.scales.nulls import band, gaussian_null, permutation_null
from scalewise.scales.oracle import best_single
from scalewise.scales.pool import DyadicRefiner, grow_and_move, refine_dyadic
from scalewise.scales.update import update_scales
from scalewise.study.score import MOST_NULL_ATOMS, oracle_losses
from scalewise.testing import planted

DRAWS = 100


def measure(n: int) -> dict[str, float]:
    """Seconds of every step for n samples."""
    p = planted(n, seed=0, optima=(0.2, 0.7), block=max(1, n // 100))
    residuals, stratum = p.residuals, p.geometry.stratum
    times: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = work()
        times[name] = time.perf_counter() - start
        return result

    state = timed("dyadic refinement", lambda: refine_dyadic(residuals, DyadicRefiner()))
    pool = state.scales  # type: ignore[attr-defined]
    timed("oracles", lambda: oracle_losses(residuals, pool))
    timed("one scale per regime", lambda: update_scales(residuals, stratum, steps=100))
    timed("moved nodes", lambda: grow_and_move(residuals, (0.3,)))

    def null_bands() -> list[tuple[float, float]]:
        thin = np.arange(n) % -(-n // MOST_NULL_ATOMS) == 0
        part, strata = residuals.subset(thin), stratum[thin]
        rng = np.random.default_rng(0)
        bands = []
        for null in (permutation_null, gaussian_null):
            ratios = []
            for _ in range(DRAWS):
                drawn = null(part, strata, rng)
                losses = oracle_losses(drawn, pool)["continuous_oracle"]
                ratios.append(float(losses.sum() / best_single(drawn)[1].sum()))
            bands.append(band(ratios))
        return bands

    timed("null bands", null_bands)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--largest", type=int, default=1_000_000)
    largest = parser.parse_args().largest
    torch.set_num_threads(1)
    sizes = [largest // 16, largest // 4, largest]
    measure(2000)  # first calls load libraries
    found = [measure(n) for n in sizes]
    print(f"{'samples':22s}" + "".join(f"{n:>12,d}" for n in sizes) + "   slope")
    for name in [*found[0], "total"]:
        row = [sum(f.values()) if name == "total" else f[name] for f in found]
        slope = np.polyfit(np.log(sizes), np.log(row), 1)[0]
        print(f"{name:22s}" + "".join(f"{t:10.2f} s" for t in row) + f"   {slope:.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
