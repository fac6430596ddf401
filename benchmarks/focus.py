"""Wall time of neighbor lists of unlike width, and what one more of them costs.

python benchmarks/focus.py [ATOMS...]

Medium preset on a ladder of 3 to 5 Å without long range, random weights, one thread, salt water
(see benchmarks/speed.py). First, all atoms at 5 Å in one list or in several of equal width: what a
list costs beside its slots. Then a share of the atoms at 5 Å and the rest at 3 Å, against all
at 5 Å, calls in turn, lists included.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import torch
from speed import ELEMENTS, liquid

from scalewise.models.composition import CompositionModel
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import NetworkSettings as Settings
from scalewise.models.gradients import Evaluator
from scalewise.models.graph import build
from scalewise.models.potential import Potential
from scalewise.models.protocol import Scale
from scalewise.models.scale import ResolvedScale

ROUNDS, SHORT, LONG = 15, 3.0, 5.0


def medians(calls: dict[str, object]) -> dict[str, float]:
    """Milliseconds of each call, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(ROUNDS + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if k >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(v)) for name, v in times.items()}


def report(atoms: int) -> None:
    torch.manual_seed(0)
    network = DensityNetwork(Settings(ladder=(SHORT, LONG)), ELEMENTS)
    frame = liquid(atoms)
    graph = build(frame, ELEMENTS, LONG).to(dtype=torch.float32)
    positions = torch.tensor(frame.positions, dtype=torch.float64)
    whole = ResolvedScale(torch.full((atoms,), LONG), None)
    network.requires_grad_(False)
    run = Evaluator(network)

    def cut(parts: int) -> object:
        pieces = tuple(part for _, part in graph.rows(-(-atoms // parts)))
        cut_graph = replace(graph, bins=pieces) if parts > 1 else graph

        def call() -> None:
            with torch.no_grad():
                run(cut_graph, positions, scale=whole)

        return call

    slots = graph.neighbor_index.numel()
    found = medians({str(n): cut(n) for n in (1, 2, 4, 8)})
    each = (found["8"] - found["1"]) / 7
    print(
        f"{atoms} atoms, {slots} slots: "
        + ", ".join(f"{n} lists {ms:.1f} ms" for n, ms in found.items())
        + f"; one more costs {each:.2f} ms, as much as {each / found['1'] * slots:.0f} slots"
    )
    baseline = CompositionModel(ELEMENTS, np.zeros(len(ELEMENTS)), np.eye(len(ELEMENTS)))
    potential = Potential(network, baseline)
    listed = potential.graph(frame)
    rng = np.random.default_rng(0)
    shares = (1.0, 0.5, 0.2, 0.05, 0.0)
    order = rng.permutation(atoms)

    def mixed(share: float) -> object:
        cutoffs = np.full(atoms, SHORT)
        cutoffs[order[: round(share * atoms)]] = LONG
        return lambda: potential.evaluate_graph(listed, frame.positions, Scale(cutoffs))

    found = medians({str(s): mixed(s) for s in shares})
    for share, ms in found.items():
        print(f"  {100 * float(share):3.0f} % at {LONG:g} Å: {ms:6.1f} ms, {ms / found['1.0']:.2f}")


def main() -> None:
    torch.set_num_threads(1)
    for atoms in map(int, sys.argv[1:] or (188, 564, 2000, 6000)):
        report(atoms)


if __name__ == "__main__":
    main()
