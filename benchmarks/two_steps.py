"""What an inner potential saves: CPU time for each femtosecond, in one and in two time steps.

python benchmarks/two_steps.py MODEL INNER STRUCTURE [--steps N] [--plain FS] [--skin A]

MODEL is a potential, INNER what `scalewise distill` made of it, STRUCTURE one that has run, with
momenta; it is repeated to 1, 3 and 27 times its size. Both are compiled programs on one thread.
Steps of two time steps are those that the distillation chose; plain ones are of `--plain` fs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import ase
import ase.io
import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.table import Table

import scalewise as sw
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.simulation.multiple_steps import InnerSteps, TwoStepVerlet

REPEATS = ((1, 1, 1), (1, 1, 3), (3, 3, 3))
WARM = 3


def clock(step: Callable[[], object], steps: int) -> float:
    """Milliseconds of CPU of one step."""
    for _ in range(WARM):
        step()
    start = time.process_time()
    for _ in range(steps):
        step()
    return 1e3 * (time.process_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("inner")
    parser.add_argument("structure")
    parser.add_argument("--steps", type=int, default=60, help="of the smallest structure")
    parser.add_argument("--plain", type=float, default=1.0, help="fs")
    parser.add_argument("--skin", type=float, default=1.0, help="Å")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = ase.io.read(given.structure, index=-1)
    inner = sw.load_potential(given.inner)
    known = inner.info["distilled"]
    step, part = known["timestep"], known["inner_timestep"]
    table = Table(title=f"{given.plain:g} fs, and {step:g} fs with inner steps of {part:g} fs")
    for name in ("atoms", "plain, ms", "two steps, ms", "saved for each fs"):
        table.add_column(name, justify="right")
    for repeat in REPEATS:
        found = []
        for potential in (None, inner):
            atoms = start.repeat(repeat)
            options = {"compiled": True, "device": "cpu", "skin": given.skin}
            atoms.calc = ScalewiseCalculator(given.model, **options)
            if potential is None:
                dynamics = VelocityVerlet(atoms, given.plain * units.fs)
            else:
                short = ScalewiseCalculator(potential, **options)
                short.use_lists_of(atoms.calc)
                number = round(step / part)
                steps = InnerSteps(atoms, short.forces_alone, number)
                dynamics = TwoStepVerlet(atoms, step * units.fs, steps)
            size = repeat[0] * repeat[1] * repeat[2]
            found.append(clock(dynamics.step, max(6, given.steps // size)))
        plain, two = found
        saved = (plain / given.plain) / (two / step)
        table.add_row(str(len(start) * size), f"{plain:.1f}", f"{two:.1f}", f"{saved:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
