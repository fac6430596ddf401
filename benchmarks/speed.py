"""Time of the network per atom: prediction and training step, eager and compiled, by preset.

python benchmarks/speed.py [--compiled] [--system-memory] [PRESET...]

One thread, float32, salt water at the density of the liquid with 188 and 601 atoms at 5 Å. Random
positions have the neighbors of the liquid and cost the same; the compiled times are after the
compilation, which is reported apart. With --system-memory freed memory goes back to the system.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from scalewise.data.structure import Frame
from scalewise.models import gradients as derivative
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import NetworkSettings as Settings
from scalewise.models.gradients import Evaluator
from scalewise.models.graph import Graph, build

ELEMENTS, CUTOFF, DENSITY, REPEATS = (1, 8, 11, 17), 5.0, 0.1, 7


def liquid(atoms: int) -> Frame:
    """Atoms on a jittered grid, elements as in one-molar salt water."""
    rng = np.random.default_rng(0)
    side = round(np.ceil(atoms ** (1 / 3)))
    edge = (atoms / DENSITY) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = rng.permutation(grid)[:atoms] * (edge / side)
    return Frame(
        numbers=rng.choice(ELEMENTS, size=atoms, p=(0.64, 0.32, 0.02, 0.02)),
        positions=sites + rng.uniform(-0.3, 0.3, (atoms, 3)),
        cell=edge * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        forces=np.zeros((atoms, 3)),
        energy=None,
        molecule=np.arange(atoms),
    )


def median(call: Callable[[], object]) -> float:
    """Milliseconds, median of the repeats after two calls that do not count."""
    times = []
    for k in range(REPEATS + 2):
        start = time.perf_counter()
        call()
        if k >= 2:
            times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[REPEATS // 2]


def report(preset: str, atoms: int, *, compiled: bool, charges: bool) -> None:
    settings = Settings(preset=preset, cutoff=CUTOFF, charges=charges)
    network = DensityNetwork(settings, ELEMENTS)
    frame = liquid(atoms)
    smearing = settings.smearing if charges else 0.0
    graph: Graph = build(frame, ELEMENTS, CUTOFF, smearing=smearing).to(dtype=torch.float32)
    positions = torch.tensor(frame.positions, dtype=torch.float64)
    run = Evaluator(network, compiled=compiled)
    frozen = {k: v.detach() for k, v in network.named_parameters()}

    def step() -> None:
        run(graph, positions).forces.abs().mean().backward()
        network.zero_grad()

    def predict() -> None:
        with torch.no_grad():
            run(graph, positions, weights=frozen)

    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    train, inference = median(step), median(predict)
    pairs = int(graph.mask.sum())
    kind = f"{'charges' if charges else 'local':8s}{'compiled' if compiled else 'eager':9s}"
    print(
        f"{preset:7s} {kind} {atoms:4d} atoms {pairs:6d} pairs  predict {inference:6.1f} ms "
        f"({1e3 * inference / atoms:4.0f} us/atom)  train {train:6.1f} ms  first step {first:.1f} s"
    )


def main() -> None:
    torch.set_num_threads(1)
    if "--system-memory" in sys.argv:
        derivative.keep_freed_memory = lambda: False
    presets = [w for w in sys.argv[1:] if not w.startswith("--")] or ["small", "medium", "large"]
    for preset in presets:
        for atoms in (188, 601):
            for charges in (False, True):
                report(preset, atoms, compiled="--compiled" in sys.argv, charges=charges)


if __name__ == "__main__":
    main()
