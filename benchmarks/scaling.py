"""Time and memory of energy and forces against the number of atoms, with and without charges.

python benchmarks/scaling.py [--compiled] [--skip-local] [ATOMS...]

One thread, float32, medium preset at 5 Å, salt water (see benchmarks/speed.py), neighbor list not
counted. Every line is a process of its own, so that its peak memory is its own; "added" is the peak
above what the process held before the first call. "long/short" is the time with charges over that
without.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from speed import CUTOFF, ELEMENTS, liquid

from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import NetworkSettings as Settings
from scalewise.models.gradients import Evaluator
from scalewise.models.graph import build

SIZES = (600, 768, 2000, 6000, 12_288, 25_000, 50_000)


def peak() -> float:
    """Largest resident memory so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(atoms: int, *, charges: bool, compiled: bool) -> dict[str, float]:
    """Seconds of a call (the best after the first) and peak memory, GB."""
    torch.set_num_threads(1)
    settings = Settings(preset="medium", cutoff=CUTOFF, charges=charges)
    torch.manual_seed(0)
    network = DensityNetwork(settings, ELEMENTS)
    frame = liquid(atoms)
    smearing = settings.smearing if charges else 0.0
    graph = build(frame, ELEMENTS, CUTOFF, smearing=smearing).to(dtype=torch.float32)
    positions = torch.tensor(frame.positions, dtype=torch.float64)
    network.requires_grad_(False)
    run, before, times = Evaluator(network, compiled=compiled), peak(), []
    with torch.no_grad():
        for _ in range(max(2, min(12, 40_000 // atoms))):
            start = time.perf_counter()
            run(graph, positions)
            times.append(time.perf_counter() - start)
    return {"seconds": min(times[1:]), "peak": peak(), "added": peak() - before}


def apart(atoms: int, *, charges: bool, compiled: bool) -> dict[str, float]:
    """Measure in a process of its own."""
    words = [str(atoms), "charges" if charges else "local", "compiled" if compiled else "eager"]
    command = [sys.executable, __file__, "--one", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(words: list[str]) -> None:
    if words[:1] == ["--one"]:
        atoms, kind, how = words[1:]
        found = measure(int(atoms), charges=kind == "charges", compiled=how == "compiled")
        print(json.dumps(found))
        return
    sizes = [int(w) for w in words if not w.startswith("--")] or SIZES
    compiled = "--compiled" in words
    for atoms in sizes:
        long = apart(atoms, charges=True, compiled=compiled)
        line = f"{atoms:6d} atoms  {1e6 * long['seconds'] / atoms:6.1f} us/atom"
        line += f"  peak {long['peak']:5.2f} GB, added {1e6 * long['added'] / atoms:5.1f} kB/atom"
        if "--skip-local" not in words:
            short = apart(atoms, charges=False, compiled=compiled)
            line += f"  long/short {long['seconds'] / short['seconds']:.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
