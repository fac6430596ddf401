"""Laws of known range: what the verdict finds of it, and how often it is wrong.

python benchmarks/known_range.py FOLDER [--screenings 1,1.25,1.5,1.75,2,2.5] [--runs 100]
python benchmarks/known_range.py gas --longest 17.75 [...]

FOLDER is what `scalewise generate` wrote: its positions are used, labels are those of a screened
law (docs/testbed.md) with Gaussian noise. In `gas`, ions are at random instead: what is near tells
nothing of what is far there, so that a fit needs the range of the law itself. The model at every
cutoff is the study's pair branch, splines for each pair of elements fitted by least squares: within
its cutoff, it can express the law exactly.

Part one: for each screening length, the shortest cutoff beyond which `judge_range` needs nothing
longer, over the one that follows from the law itself (`Beyond.enough` with the same noise).

Part two: laws that end at a set distance, in as many runs, each with frames and noise of its own.
Where the law ends 1 Å before the shorter cutoff, a longer one is not needed; where it ends at the
longer, 1.5 times as far, it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import linalg

from scalewise.analysis.cutoff_scan.range import judge_range, shortest_enough
from scalewise.data.reading import read_structures, without_labels
from scalewise.data.structure import Structure
from scalewise.statistics.bootstrap import Resampling
from scalewise.statistics.verdict import Answer
from scalewise.study.branches.pair import ElementPairs, SplineBasis, shortest_distances
from scalewise.testbed.screened import ScreenedLaw, beyond

CHARGES = {"H": 0.417, "O": -0.834, "Na": 1.0, "Cl": -1.0}
#: eV/Å, mean absolute noise of a component of the labels.
NOISE = 0.005
#: Å between the cutoffs of part one, and between splines.
STEP, KNOTS = 0.25, 0.3
#: Å before the shorter cutoff where a law ends that it holds: the splines fade over three knots.
INSIDE = 1.0
MIN_GAIN, ALPHA = 0.05, 0.05
#: Ions of each charge in the gas, the edge of its cell, and their closest approach, Å.
GAS_PAIRS, GAS_BOX, GAS_CONTACT = 120, 36.0, 2.6


def take(folder: Path, count: int) -> list[Structure]:
    """Frames of all replicas, evenly spread, in turn: replica by replica."""
    files = sorted(folder.glob("replica-*.extxyz"))
    if not files:
        raise SystemExit(f"no replica-*.extxyz in {folder}")
    each = [read_structures(f, without_labels()) for f in files]
    per = -(-count // len(each))
    return [r[round(k)] for k in np.linspace(0, len(each[0]) - 1, per) for r in each][:count]


def gas(count: int) -> list[Structure]:
    """Ions at random in a cube, none closer than 2.6 Å to another."""
    found = []
    for k in range(count):
        rng, placed = np.random.default_rng((2, k)), np.zeros((0, 3))
        while len(placed) < 2 * GAS_PAIRS:
            new = GAS_BOX * rng.random(3)
            apart = placed - new
            apart -= GAS_BOX * np.round(apart / GAS_BOX)
            if (np.linalg.norm(apart, axis=1) > GAS_CONTACT).all():
                placed = np.vstack([placed, new])
        found.append(
            Structure(
                numbers=np.repeat([11, 17], GAS_PAIRS),
                positions=placed,
                cell=GAS_BOX * np.eye(3),
                pbc=np.ones(3, dtype=bool),
                source=f"gas {k}",
            )
        )
    return found


def basis(frames: Sequence[Structure], cutoff: float) -> SplineBasis:
    pairs = ElementPairs(tuple(sorted({s for f in frames for s in f.symbols})))
    start = shortest_distances(frames, pairs, cutoff)
    return SplineBasis(pairs, start, cutoff, max(4, round((cutoff - np.min(start)) / KNOTS)))


def columns(made: SplineBasis, frame: Structure) -> np.ndarray:
    return made.forces(frame).reshape(-1, made.size)


def solve(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    ridge = 1e-9 * np.trace(gram) / len(gram)
    return linalg.solve(gram + ridge * np.eye(len(gram)), moment, assume_a="pos")


def noisy(forces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return forces + NOISE * np.sqrt(np.pi / 2) * rng.standard_normal(forces.shape)


def recovered(frames: Sequence[Structure], screenings: Sequence[float], longest: float) -> None:
    rng = np.random.default_rng(0)
    train, test = frames[::2], frames[1::2]
    laws = [ScreenedLaw(CHARGES, s) for s in screenings]
    labels = {
        id(f): noisy(np.stack([law.label(f).forces for law in laws], axis=-1), rng) for f in frames
    }
    cutoffs = np.arange(3.0, longest + 1e-9, STEP)
    block = np.repeat(np.arange(len(test)), [len(f.numbers) for f in test])
    absolute = []
    for cutoff in cutoffs:
        made = basis(train, float(cutoff))
        gram, moment = np.zeros((made.size, made.size)), np.zeros((made.size, len(laws)))
        for frame in train:
            x = columns(made, frame)
            gram += x.T @ x
            moment += x.T @ labels[id(frame)].reshape(-1, len(laws))
        found = solve(gram, moment)
        errors = [columns(made, f) @ found - labels[id(f)].reshape(-1, len(laws)) for f in test]
        each = np.abs(np.concatenate(errors)).reshape(-1, 3, len(laws)).sum(axis=1)
        absolute.append(each)
    print("screening (Å)   found (Å)   from the law (Å)   ratio   MAE at 3 Å and longest (meV/Å)")
    for k, law in enumerate(laws):
        errors = np.stack([a[:, k] for a in absolute])
        verdicts = judge_range(
            errors, len(cutoffs) - 1, block, Resampling(0, 1000), min_gain=MIN_GAIN, alpha=ALPHA
        )
        enough = shortest_enough(cutoffs.tolist(), verdicts)
        truth = beyond(test[:4], law, cutoffs.tolist()).enough(MIN_GAIN, NOISE)
        mae = 1e3 * errors.mean(axis=1) / 3
        print(
            f"{law.screening:13.2f}   {enough:9.2f}   {truth:16.2f}   {enough / truth:5.3f}   "
            f"{mae[0]:.1f}, {mae[-1]:.2f}",
            flush=True,
        )


def errors_of_rate(frames: Sequence[Structure], runs: int, short: float, factor: float) -> None:
    long = factor * short
    made = [basis(frames, c) for c in (short, long)]
    x = [[columns(m, f).astype(np.float32) for f in frames] for m in made]
    gram = [[(v.T @ v).astype(float) for v in of] for of in x]
    truths = {
        "ends within the shorter": ScreenedLaw(CHARGES, 2.5, end=short - INSIDE),
        "ends at the longer": ScreenedLaw(CHARGES, 2.5, end=long),
    }
    print(f"\ncutoffs {short:g} and {long:g} Å, {runs} runs: how often the longer is needed")
    for name, law in truths.items():
        exact = [law.label(f).forces for f in frames]
        answers, gains = [], []
        for run in range(runs):
            rng = np.random.default_rng((1, run))
            order = rng.permutation(len(frames))
            train, test = order[: len(frames) // 2], order[len(frames) // 2 :]
            label = [noisy(f, rng).reshape(-1) for f in exact]
            absolute = []
            for of, grams in zip(x, gram, strict=True):
                total = np.sum([grams[k] for k in train], axis=0)
                moment = np.sum([of[k].T @ label[k] for k in train], axis=0)
                found = solve(total, moment)
                error = np.concatenate([of[k] @ found - label[k] for k in test])
                absolute.append(np.abs(error).reshape(-1, 3).sum(axis=1))
            block = np.repeat(np.arange(len(test)), [len(frames[k].numbers) for k in test])
            verdict = judge_range(
                np.stack(absolute), 1, block, Resampling(run, 300), min_gain=MIN_GAIN, alpha=ALPHA
            )[0]
            answers.append(verdict.answer)
            gains.append(verdict.gain)
        counts = {str(a): answers.count(a) for a in Answer}
        print(f"law {name}: {counts}, gain {100 * np.mean(gains):.2f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="or the word gas")
    parser.add_argument("--screenings", default="1,1.25,1.5,1.75,2,2.5")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--longest", type=float, default=9.75)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--short", type=float, default=6.0)
    options = parser.parse_args()
    if options.folder == Path("gas"):
        frames = gas(options.frames)
    else:
        frames = take(options.folder, options.frames)
    recovered(frames, [float(v) for v in options.screenings.split(",")], options.longest)
    errors_of_rate(frames, options.runs, options.short, 1.5)


if __name__ == "__main__":
    main()
