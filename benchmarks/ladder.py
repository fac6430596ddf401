"""One training for every scale against one training per scale, on the same frames.

python benchmarks/ladder.py [--ladder 3,5.5,long] [--rungs 3.5,4.5,5.5] [--minutes 6] [key=value...]

Trains the medium preset for each rung alone, with long range, for so many minutes each, and over
the ladder for 1.5 times as long; then compares them on the test and ood frames of the DFT salt
water in shared/ (grouped split). Words go to the training of the ladder: they try out tricks. What
was trained before is used again. `--processes 2` trains two potentials at a time. Minutes are those
of a processor: what else runs on the machine takes nothing from a training.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch

from scalewise.analysis.cutoff_scan.scan import curve, write_all
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.core.loading import load
from scalewise.training.run import train
from scalewise.training.settings import TrainSettings

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data/nacl_water_revpbe0d3"
SPLIT = "suggested_split"
#: What one training for all scales may cost, over the cost of one for a single scale.
ALLOWED = 1.5


def data() -> Path:
    """The labelled frames."""
    found = sorted(DATA.glob("*.xyz")) + sorted(DATA.glob("*.extxyz"))
    if not found:
        raise SystemExit(f"no frames in {DATA}")
    return found[0]


def fit(out: Path, words: list[str]) -> Path:
    """Train, or go on, or take what is there."""
    torch.set_num_threads(1)
    fixed = [f"data.split_key={SPLIT}", "device=cpu", "compile=never"]
    clock = SimpleNamespace(monotonic=time.process_time)
    with mock.patch("scalewise.training.schedule.time", clock):
        train(data(), load(TrainSettings, None, [*fixed, *words]), out)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="key=value")
    parser.add_argument("--ladder", default="3,5.5,long")
    parser.add_argument("--rungs", default="3.5,4.5,5.5")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--name", default="ladder", help="folder of the ladder's training")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    options = parser.parse_intermixed_args()  # words may stand anywhere
    rungs = [float(v) for v in options.rungs.split(",")]
    smearing = float([v for v in options.ladder.split(",") if v != "long"][-1]) / 4
    jobs = {
        f"single-{rung:g}": [
            f"minutes={options.minutes}",
            f"network.cutoff={rung}",
            # the same charges as on the ladder, if the pair sum reaches as far
            f"network.smearing={min(smearing, rung / 3)}",
        ]
        for rung in rungs
    }
    jobs = {
        options.name: [
            f"minutes={ALLOWED * options.minutes}",
            f"network.ladder=[{options.ladder}]",
            *options.words,
        ],
        **jobs,
    }
    with ProcessPoolExecutor(options.processes) as pool:
        folders = list(pool.map(fit, [options.out / name for name in jobs], jobs.values()))
    settings = ScanSettings(
        split_key=SPLIT,
        role=("test", "ood"),
        singles=tuple(folders[1:]),
        points=5,
    )
    results = curve(folders[0], data(), settings)
    write_all(results, options.out / f"curve-{options.name}")
    rows = results["subsets"][0]["scales"]
    for scale, row in zip(results["scales"], rows, strict=True):
        line = {k: scale[k] for k in ("single", "cutoff", "long")} | {"mae": round(row["mae"], 2)}
        if "over_single" in row:
            line |= {k: row[k] for k in ("over_single", "over_single_interval")}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
