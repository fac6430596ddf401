"""Does the oracles' gain in the ions view leave the null band? Five seeds, two concentrations.

    python benchmarks/testbed.py [--seeds 5] [--concentrations 1 2] [--out runs/testbed]

One study per seed and concentration (about four minutes each, most of it simulation; finished ones
are read back). Prints every gain with its null bands, then the mean over seeds of "gain minus
middle of the null band" with Student's interval: the answer.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from scalewise.core.files import write_json
from scalewise.core.loading import load
from scalewise.study.run import run
from scalewise.study.settings import StudySettings

METHODS = ("hard_oracle", "pool_oracle", "continuous_oracle", "two_replicate_oracle")
REGIMES = ("all", "close_contact", "contact_pair", "solvent_shared", "free")


def gains(results: dict[str, Any], regime: str) -> dict[str, dict[str, Any]]:
    """Rows of one regime of the ions view, unit of choice ion, by method."""
    return {
        r["method"]: r
        for r in results["rows"]
        if (r["view"], r["unit_of_choice"], r["regime"]) == ("ions", "ion", regime)
    }


def line(concentration: float, seed: int, regime: str, rows: dict[str, dict[str, Any]]) -> str:
    """One printed line: gains and bands in per cent."""
    parts = []
    for method in METHODS:
        row = rows.get(method)
        if row is None:
            parts.append("-")
            continue
        text = f"{100 * (1 - row['ratio_to_best_single']):.2f}"
        for low, high in (row.get("null_bands") or {}).values():
            text += f" [{100 * (1 - high):.2f}, {100 * (1 - low):.2f}]"
        parts.append(text + (" OUTSIDE" if row.get("outside_null") else ""))
    free = min(
        rows[m]["ratio_to_best_single"]
        for m in ("average", "fixed_selector", "regime_selector", "learned_selector")
    )
    place = f"{concentration:g} M  seed {seed}  {regime:14s}"
    return f"{place}  {' | '.join(parts)} | {100 * (1 - free):.2f}"


def over_seeds(found: list[dict[str, dict[str, Any]]], method: str) -> dict[str, Any] | None:
    """Gain minus the middle of the permutation band, in per cent, over the seeds."""
    rows = [rows[method] for rows in found if method in rows]
    if len(rows) < 2:
        return None
    excess = [
        100 * (np.mean(r["null_bands"]["permutation"]) - r["ratio_to_best_single"]) for r in rows
    ]
    half = stats.t.ppf(0.975, len(excess) - 1) * stats.sem(excess)
    return {
        "mean_excess": float(np.mean(excess)),
        "half_width": float(half),
        "seeds": len(excess),
        "outside": int(sum(r["outside_null"] for r in rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--concentrations", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--out", type=Path, default=Path("runs/testbed"))
    arguments = parser.parse_args()
    summary: list[dict[str, Any]] = []
    print("gain in % [permutation band] [Gaussian band]: hard | pool | continuous | two replicates")
    print("last column: best label-free row")
    for concentration in arguments.concentrations:
        studies = []
        for seed in range(arguments.seeds):
            words = [f"solution.seed={seed}", f"solution.concentration={concentration}"]
            settings = load(StudySettings, None, [*words, "views=[ions]"])
            studies.append(run(settings, arguments.out / f"c{concentration:g}-s{seed}"))
            for regime in REGIMES:
                rows = gains(studies[-1], regime)
                if rows:
                    print(line(concentration, seed, regime, rows), flush=True)
        for regime in REGIMES:
            found = [rows for s in studies if (rows := gains(s, regime))]
            for method in METHODS[:3]:
                mean = over_seeds(found, method)
                if mean is not None:
                    entry = {"concentration": concentration, "regime": regime, "method": method}
                    summary.append(entry | mean)
    print("\nexcess over the permutation null, mean over seeds, percentage points")
    for s in summary:
        print(
            f"{s['concentration']:g} M  {s['regime']:14s}  {s['method']:18s}  "
            f"{s['mean_excess']:+.2f} ± {s['half_width']:.2f}   outside in {s['outside']} of "
            f"{s['seeds']}"
        )
    write_json(arguments.out / "summary.json", summary)


if __name__ == "__main__":
    main()
