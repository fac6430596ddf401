"""Routers against the constants of the elements with as many neighbors.

python benchmarks/routed.py DATA --models runs/element,runs/environment [key=value...]

The models are those of `scalewise train --ladder ... adaptive_cutoff.by=...
adaptive_cutoff.penalty=0.12`, or one network with an adaptive cutoff each (`start`, `freeze`). All
are scored on the same structures of `role`, which served no training. The first has a constant for
each element (or one cutoff for all). Beside every other one stand two sets of constants, shifted,
all by as much, until atoms have as many neighbors as under that adaptive cutoff: those of the first
model, and the adaptive cutoff's own mean for each element. What is left between the adaptive cutoff
and the better of the two is what it knows of the environment. Printed are neighbors and error over
those of the longest scale, for each element and regime, too, the wall time, and the cutoffs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import optimize

from scalewise.analysis.evaluation.selection import read_selection
from scalewise.analysis.evaluation.settings import SelectionSettings
from scalewise.analysis.evaluation.subsets import named_subsets, symbol
from scalewise.analysis.refinement.objective import Objective
from scalewise.analysis.rungs import Rung, measure, open_ladder
from scalewise.core.loading import load
from scalewise.data.structure import Structure
from scalewise.models.density.settings import AdaptiveCutoffSettings
from scalewise.models.potential import Potential
from scalewise.statistics.bootstrap import Resampling

IONS = {"Na": 1, "Cl": -1}


def of_elements(potential: Potential, frames: Sequence[Structure]) -> np.ndarray:
    """Mean cutoff (Å) of each element [elements]."""
    found = np.concatenate([potential.predict(f).cutoffs for f in frames])
    numbers = np.concatenate([f.numbers for f in frames])
    return np.array([found[numbers == z].mean() for z in potential.network.elements])


def shifted(beside: Objective, lengths: np.ndarray, share: float) -> Potential:
    """Constants, all longer or shorter by as much until they leave this share of neighbors."""
    low, high = beside.shortest, beside.longest

    def excess(shift: float) -> float:
        return beside.neighbors(np.clip(lengths + shift, low, high))[0] - share

    shift = optimize.brentq(excess, low - high, high - low, xtol=1e-4)
    return beside.routed(np.clip(lengths + shift, low, high))


def cutoffs(routed: Potential, frames: Sequence[Structure]) -> None:
    """Mean and spread of the cutoffs of each element in each place."""
    chosen = np.concatenate([routed.predict(f).cutoffs for f in frames])
    numbers = np.concatenate([f.numbers for f in frames])
    places = np.concatenate(
        [np.full(len(f.numbers), "") if f.place is None else f.place for f in frames]
    )
    for number in np.unique(numbers).tolist():
        shown = []
        for place in np.unique(places).tolist():
            member = (numbers == number) & (places == place)
            if member.any():
                mean, spread = chosen[member].mean(), chosen[member].std()
                shown.append(f"{place} {mean:.2f} ± {spread:.2f}")
        print(f"    {symbol(number)}: {', '.join(shown)} Å")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("words", nargs="*", metavar="key=value")
    parser.add_argument("--models", required=True, help="folders, separated by commas")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_intermixed_args()  # words may stand anywhere
    torch.set_num_threads(1)
    folders = [Path(f) for f in options.models.split(",")]
    settings = load(SelectionSettings, None, options.words)
    frames, choice = read_selection(folders[0], options.data, settings)
    chosen = choice.subsample(options.frames)
    scored, block = [frames[k] for k in chosen], choice.group[chosen]
    potentials = [open_ladder(folder, device="cpu") for folder in folders]
    first = potentials[0]
    long = first.network.settings.charges
    rungs = [Rung(replace(first, adaptive_cutoff=None), first.cutoff, long, "longest")]
    rungs += [
        Rung(p, None if p.adaptive_cutoff is not None else p.cutoff, long, str(f))
        for p, f in zip(potentials, folders, strict=True)
    ]
    counts = measure(scored, [rungs[0], *rungs[2:]]).neighbors
    elements = Objective(first, AdaptiveCutoffSettings(by="element"), scored, block, worst=0.0)
    beside = []
    for rung, share in zip(rungs[2:], counts[1:] / counts[0], strict=True):
        for name, of in (("first's constants", first), ("its own means", rung.potential)):
            lengths = of_elements(of, scored)
            beside.append(Rung(shifted(elements, lengths, share), None, long, name))
    rungs += beside
    measured = measure(scored, rungs)
    absolute = np.abs(measured.errors).sum(axis=2)
    cost = measured.cost(scored)
    atoms = np.repeat(block, [len(f.numbers) for f in scored])
    subsets = named_subsets(scored, IONS)
    print(f"{len(scored)} frames, {len(np.unique(block))} groups ({choice.grouped}); {choice.how}")
    for k, rung in enumerate(rungs):
        print(
            f"{rung.name}: error {absolute[k].sum() / absolute[0].sum():.4f}  neighbors "
            f"{measured.neighbors[k] / measured.neighbors[0]:.3f}  {cost[k]:.0f} µs/atom"
        )
        ratios = [absolute[k][m].sum() / absolute[0][m].sum() for *_, m in subsets[1:]]
        parts = zip((name for _, name, _ in subsets[1:]), ratios, strict=True)
        print("    " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in parts))
        if rung.cutoff is None:
            cutoffs(rung.potential, scored)
    for at in range(len(beside)):
        k, other = 2 + at // 2, len(folders) + 1 + at
        print(f"{rungs[k].name} over {rungs[other].name}, with as many neighbors:")
        for _, name, member in subsets:
            interval = Resampling(0, 1000).ratio(
                absolute[k][member], absolute[other][member], atoms[member]
            )
            ratio = absolute[k][member].sum() / absolute[other][member].sum()
            ends = "" if interval is None else f" ({interval.low:.4f} to {interval.high:.4f})"
            print(f"    {name} {ratio:.4f}{ends}")


if __name__ == "__main__":
    main()
