"""A million frames: time and memory of the doctor, and of every process of a training.

    python benchmarks/million_frames.py [--frames 1000000] [--steps 1000] [--processes 2]

Frames of 16 atoms with random positions are written as shards (about 0.9 GB for a million) to a
temporary folder. The doctor looks at them (unless ``--no-doctor`` leaves it out), and a
small network is trained on them by processes that torchrun starts, as on several nodes. Prints
seconds of each part, from the start of the processes on, and the largest resident memory of
each process, in which mapped arrays are counted. With ``--steps 0`` nothing is trained.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from scalewise import cli
from scalewise.core.progress import ConsoleProgress
from scalewise.data.shard_writing import write_shards
from scalewise.data.structure import Labels, Structure
from scalewise.training.trainer import Trainer

ATOMS = 16
#: Å: a cubic cell, and how far atoms are moved from a lattice with room for 27.
BOX, SHIFT = 9.0, 0.4
SETTINGS = (
    *("data.split_key=split", "network.channels=8", "network.hidden=16", "network.l_max=2"),
    *("network.num_bessel=6", "network.layers=1", "network.cutoff=4.5", "device=cpu"),
    *("validations=2", "patience=null", "ema=0.99", "batch_size=6"),
)


def frames(count: int, seed: int = 0) -> Iterator[Structure]:
    """Salt of random places, with forces of springs to the lattice; a thousandth validates."""
    rng = np.random.default_rng(seed)
    lattice = BOX / 3.0 * np.indices((3, 3, 3)).reshape(3, -1).T[:ATOMS]
    numbers = np.array([11, 17] * (ATOMS // 2))
    cell, periodic = BOX * np.eye(3), np.ones(3, dtype=bool)
    for k in range(count):
        moved = rng.uniform(-SHIFT, SHIFT, (ATOMS, 3))
        labels = Labels(forces=-moved, energy=0.5 * float((moved**2).sum()))
        role = "valid" if k % 1000 == 0 else "train"
        yield Structure(
            numbers, lattice + moved, cell, periodic, info={"split": role}, labels=labels, index=k
        )


def trained(words: list[str]) -> None:
    """One process: the command, with the time of its first step and its memory on the terminal."""
    started = float(os.environ["MILLION_FRAMES_STARTED"])
    step = Trainer._step

    def timed(self: Trainer, *arguments: object) -> None:
        first = self.state.progress.step == 0
        step(self, *arguments)  # type: ignore[arg-type]  # as it was called
        if first and self.fabric.is_global_zero:
            print(f"first step after {time.time() - started:.1f} s", flush=True)

    Trainer._step = timed  # type: ignore[method-assign]
    cli.app(["train", *words], standalone_mode=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"process {os.environ.get('RANK', '0')}: {peak:.2f} GiB at most", flush=True)


def examine(data: Path, out: Path) -> None:
    """Run the doctor."""
    started = time.time()
    command = [sys.executable, "-m", "scalewise.cli", "doctor", str(data), "split_key=split"]
    subprocess.run([*command, "--out", str(out)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"doctor: {time.time() - started:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU, "
        f"{used.ru_maxrss / 2**20:.2f} GiB at most"
    )


def measure(data: Path, out: Path, steps: int, processes: int) -> None:
    """Start the processes, and wait for them."""
    started = time.time()
    environment: Mapping[str, str] = {
        **os.environ,
        "MILLION_FRAMES_STARTED": str(started),
        "OMP_NUM_THREADS": "1",
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [str(data), *SETTINGS, f"steps={steps}", "--out", str(out)]
    subprocess.run(
        [sys.executable, *launcher, __file__, "--train", *words], env=environment, check=True
    )
    print(f"{steps} steps, validations and all: {time.time() - started:.1f} s")


def main() -> None:
    """Read the options and run."""
    if sys.argv[1:2] == ["--train"]:
        trained(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="of the temporary files")
    parser.add_argument("--no-doctor", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        data, start = Path(temporary) / "data", time.time()
        write_shards(data, frames(given.frames))
        size = sum(f.stat().st_size for f in data.rglob("*.npy")) / 1e9
        print(f"{given.frames} frames written in {time.time() - start:.1f} s, {size:.2f} GB")
        if not given.no_doctor:
            examine(data, Path(temporary) / "doctor")
        if given.steps:
            ConsoleProgress().message(f"training on {given.processes} processes")
            measure(data, Path(temporary) / "out", given.steps, given.processes)


if __name__ == "__main__":
    main()
