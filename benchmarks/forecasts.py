"""How often forecasts of `prove` hold: errors at more frames and at more steps than they saw.

python benchmarks/forecasts.py [SET...] [--out DIR] [--workers N] [--seeds 2] [--steps 1500]

Frames: potentials of one scale on 50, 100, 200 and all training frames, equally many steps. From
two sizes, one twice the other, the error at each larger one is forecast, for all atoms and every
element, and compared with what a potential on as many frames has. Steps: on all frames, from a
twelfth and a third of the steps, the error at their end. Trainings that are there are used again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import scalewise as sw
from scalewise.analysis.error_cache import absolute_errors
from scalewise.analysis.evaluation.subsets import named_subsets
from scalewise.analysis.forecast import extend
from scalewise.core.jobs import run_jobs
from scalewise.training.run import train_in

DATA = Path(__file__).parents[2] / "shared/data"
#: File, frames of a step, and the frame key of the roles.
SETS = {
    "aspirin": ("rmd17/aspirin.extxyz", 3, "split"),
    "ethanol": ("rmd17/ethanol.extxyz", 7, "split"),
    "acetylacetone": ("acetylacetone/all.extxyz", 4, "split"),
    "silicon": ("mlearn/Si.extxyz", 2, "split"),
    "lithium": ("mlearn/Li.extxyz", 2, "split"),
    "salt": ("nacl_water_revpbe0d3/all.extxyz", 1, "suggested_split"),
}
FRAMES = (50, 100, 200)
#: Shares of the steps.
SHARES = (1 / 12, 1 / 3, 1.0)


@dataclass(frozen=True)
class Job:
    """One training; no frames: all of them."""

    name: str
    seed: int
    steps: int
    frames: int | None = None

    @property
    def folder(self) -> str:
        """Below the output."""
        return f"{self.name}/{self.frames or 'all'}-{self.steps}-{self.seed}"


def read(job: Job) -> tuple[list[sw.Structure], sw.Split]:
    """Frames, and roles of which only so many, drawn at random, are trained on."""
    file, _, key = SETS[job.name]
    structures = sw.read_structures(DATA / file)
    split = sw.make_split(structures, role_key=key)
    if job.frames is None:
        return structures, split
    train = split.members("train")
    # another draw for each seed: which frames they are is luck, too
    kept = set(np.random.default_rng(job.seed).permutation(train)[: job.frames].tolist())
    role = ["spare" if r == "train" and k not in kept else r for k, r in enumerate(split.role)]
    return structures, split.model_copy(update={"role": tuple(role)})


def do(out: Path, job: Job) -> str:
    """Train and score."""
    structures, split = read(job)
    settings = sw.TrainSettings(
        seed=job.seed,
        steps=job.steps,
        batch_size=SETS[job.name][1],
        validations=4,
        device="cpu",
    )
    train_in(structures, split, settings, out / job.folder)
    errors_of(out, job)
    return job.folder


def errors_of(out: Path, job: Job) -> np.ndarray:
    """Absolute errors of test atoms, summed over components, eV/Å."""
    structures, split = read(replace(job, frames=None))
    test = [structures[k] for k in split.members("test")]
    cutoff = sw.load_potential(out / job.folder, device="cpu").cutoff_range[1]
    return absolute_errors(out / job.folder, test, [cutoff], "test", device="cpu")[1][0]


def jobs(names: list[str], seeds: int, steps: int) -> list[Job]:
    """All trainings: frames, then steps."""
    found = []
    for seed, name in itertools.product(range(seeds), names):
        every = len(read(Job(name, seed, steps))[1].members("train"))
        found += [Job(name, seed, steps, n) for n in FRAMES if n < every]
        found += [Job(name, seed, round(share * steps)) for share in SHARES]
    return found


def cases(out: Path, name: str, seeds: int, steps: int) -> list[dict[str, Any]]:
    """Every forecast beside what came."""
    structures, split = read(Job(name, 0, steps))
    test = [structures[k] for k in split.members("test")]
    every = len(split.members("train"))
    frames = [n for n in FRAMES if n < every]
    shares = [round(share * steps) for share in SHARES]
    curves = {
        "frames": {n: Job(name, 0, steps, n) for n in frames} | {every: Job(name, 0, steps)},
        "steps": {n: Job(name, 0, n) for n in shares},
    }
    found = []
    for kind, sizes in curves.items():
        errors = {
            n: [errors_of(out, replace(job, seed=s)) for s in range(seeds)]
            for n, job in sizes.items()
        }
        for subset_kind, subset, member in named_subsets(test, {}):
            if subset_kind == "regime":
                continue
            mean = {n: np.array([e[member].mean() / 3.0 for e in of]) for n, of in errors.items()}
            for (a, b), c in itertools.product(itertools.pairwise(mean), mean):
                if c <= b:
                    continue
                seen = [np.log(e).var(ddof=1) for n, e in mean.items() if n <= b]
                luck = float(np.sqrt(np.mean(seen)))
                two = np.stack([mean[a], mean[b]], 1)
                freedom = len(seen) * (seeds - 1)
                forecast = extend(kind, (a, b), two, c, luck=luck, freedom=freedom)
                gain = float(1.0 - np.exp(np.log(mean[c]).mean() - np.log(mean[b]).mean()))
                assert forecast is not None
                found.append(
                    {
                        "set": name, "kind": kind, "subset": subset, "from": [a, b], "to": c,
                        "before": 1e3 * float(mean[b].mean()), "saved": gain,
                        **forecast.record(),
                        "held": forecast.low <= gain <= forecast.high,
                    }
                )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--out", type=Path, default=Path("runs/forecasts"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    if given.seeds < 2:
        raise SystemExit("two seeds at least: the luck of training is in the intervals")
    names = given.sets or list(SETS)
    todo = jobs(names, given.seeds, given.steps)
    for k, (_, name) in enumerate(run_jobs(do, given.out, todo, given.workers), 1):
        print(f"{k} of {len(todo)}: {name}", flush=True)
    found = [c for name in names for c in cases(given.out, name, given.seeds, given.steps)]
    (given.out / "forecasts.json").write_text(json.dumps(found, indent=1))
    table = Table("set", "sizes", "to", "atoms", "meV/Å", "saved", "forecast", "90 %", "held")
    for c in found:
        table.add_row(
            *(c["set"], f"{c['kind']} {c['from'][0]}, {c['from'][1]}", f"{c['to']:g}", c["subset"]),
            *(f"{c['before']:.3g}", f"{c['saved']:.1%}", f"{c['gain']:.1%}"),
            *(f"{c['low']:.1%} to {c['high']:.1%}", "yes" if c["held"] else "no"),
        )
    Console(width=120).print(table)
    for kind in ("frames", "steps"):
        of = [c for c in found if c["kind"] == kind]
        print(f"{kind}: {sum(c['held'] for c in of)} of {len(of)} held")


if __name__ == "__main__":
    main()
