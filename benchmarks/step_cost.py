"""Cost of a training step against its atoms and neighbors, and the forecast beside a training.

python benchmarks/step_cost.py FILE...

For each labelled file, steps of the default training are timed at three cutoffs and with one to
sixteen frames (with kernels, shortest of a few). A fit of positive constants is printed: those of
``src/scalewise/doctor/forecast.py``. Then a training of ``STEPS`` steps is compared with what the
doctor forecasts on this machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

import scalewise
from scalewise.data.structure import Structure
from scalewise.doctor.forecast import MEASURED
from scalewise.training import compiling
from scalewise.training.dataset import frames_per_step
from scalewise.training.settings import TrainSettings
from scalewise.training.step_time import StepTime, time_step

CUTOFFS, BATCHES, STEPS, MOST_ATOMS = (3.5, 5.0, 6.5), (1, 4, 16), 60, 700


def timed(frames: list[Structure]) -> list[StepTime]:
    """Steps of all sizes that are not too large."""
    atoms = len(frames[0].numbers)
    sizes = [n for n in BATCHES if n * atoms <= MOST_ATOMS]
    return [
        time_step(
            frames,
            TrainSettings.model_validate({"network": {"cutoff": cutoff}, "batch_size": size}),
        )
        for cutoff in CUTOFFS
        for size in sizes
    ]


def trained(frames: list[Structure]) -> float:
    """Seconds of a step of a training of these frames, validations left out."""
    size = frames_per_step(frames, 1)  # of all of them, as the forecast
    model = scalewise.train(frames, steps=STEPS, batch_size=size, validations=1, device="cpu")
    return float(model.info["seconds"]) / float(model.info["step"])


def main() -> None:
    compiling.KERNELS_PAY = 0.0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    rows: list[StepTime] = []
    print(f"{'file':<40}{'atoms':>7}{'frames':>8}{'forecast':>10}{'training':>10}  ratio")
    for path in parser.parse_args().files:
        frames = scalewise.read_structures(path)[:400]
        rows += timed(frames)
        pairs = time_step(frames)
        forecast = MEASURED.on_machine(*pairs).seconds(pairs.atoms, pairs.pairs)
        found = trained(frames)
        print(
            f"{'/'.join(path.parts[-2:]):<40}{len(frames[0].numbers):>7}"
            f"{frames_per_step(frames, 1):>8}{1e3 * forecast:>8.0f}ms{1e3 * found:>8.0f}ms"
            f"{forecast / found:>7.2f}"
        )
    times = np.array(rows, dtype=float)
    terms = np.stack([np.ones(len(times)), times[:, 1], times[:, 2]], axis=1)
    constants, _ = nnls(terms / times[:, :1], np.ones(len(times)))
    ratios = terms @ constants / times[:, 0]
    print("seconds per step, atom and pair: " + ", ".join(f"{c:.2g}" for c in constants))
    print(f"the fit over the time of a step: {ratios.min():.2f} to {ratios.max():.2f}")


if __name__ == "__main__":
    main()
