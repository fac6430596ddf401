"""Averages of simulations beside those of a reference: temperature, distances, diffusion.

python benchmarks/averages.py REFERENCE RUN... [--blocks 5] [--settle 0.2]

Folders of `scalewise md` of one structure at one temperature; save_every=20 or so, for diffusion.
What is settling is left out, and the rest parted into blocks of time. Each average is that of the
blocks, its interval of 95 % Student's t of their spread. Beside it stands its difference from the
reference's, over the standard error of that difference. Of g(r), the share of shells is printed
whose difference lies within 95 %, and the largest difference. Diffusion is a sixth of the slope of
the mean square displacement of oxygen between 1 and 4 ps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from scipy import stats

import scalewise as sw
from scalewise.simulation.distances import SHELL, Distances

REACH = 6.0
#: ps, between which the mean square displacement grows in proportion to time.
FROM, UNTIL = 1.0, 4.0
#: Frames between those whose distances are counted.
APART = 5
#: Å, within which atoms of a pair's first element are counted around the second.
SHELLS = {"O-Na": 3.2, "H-Cl": 3.0, "O-O": 3.4, "H-O": 2.4}


@dataclass(frozen=True)
class Averages:
    """What each block of a simulation shows.

    Attributes
    ----------
    values
        By name [blocks].
    g
        Radial distribution function of each pair of elements [blocks, shells].
    """

    values: dict[str, Float[np.ndarray, " blocks"]]
    g: dict[str, Float[np.ndarray, "blocks shells"]]


def diffusion(frames: list[ase.Atoms], element: str) -> float:
    """Å²/ps: a sixth of the slope of the mean square displacement, over all starts."""
    places = np.stack([f.positions[f.symbols == element] for f in frames])
    step = frames[1].info["time"] - frames[0].info["time"]
    lags = np.arange(round(FROM / step), round(UNTIL / step) + 1)
    if lags[-1] >= len(frames):
        raise SystemExit(f"blocks of {len(frames) * step:g} ps are no longer than {UNTIL:g} ps")
    moved = [((places[k:] - places[:-k]) ** 2).sum(axis=2).mean() for k in lags]
    return float(np.polyfit(lags * step, moved, 1)[0] / 6.0)


def read(folder: Path, blocks: int, settle: float) -> Averages:
    """The averages of a simulation."""
    file = folder / "trajectory.extxyz"
    frames, structures = ase.io.read(file, ":"), sw.read_structures(file, forces=None)
    settled = np.arange(int(settle * len(frames)), len(frames))
    values: dict[str, list[float]] = {}
    g: dict[str, list[np.ndarray]] = {}
    for part in np.array_split(settled, blocks):
        some = [frames[k] for k in part]
        known = {
            "temperature, K": np.mean([f.get_temperature() for f in some]),
            "diffusion of O, Å²/ps": diffusion(some, "O"),
        }
        distances = Distances(some[0].numbers, REACH)
        for k in part[::APART]:
            distances.add(structures[k])
        for pair in distances.found()["pairs"]:
            name = pair["pair"]
            if pair["g"] is None:  # one atom has no others of its element
                continue
            g.setdefault(name, []).append(np.array(pair["g"]))
            if name in SHELLS:
                end, (first, second) = SHELLS[name], name.split("-")
                around = pair["within"][round(end / SHELL) - 1]
                ratio = (some[0].symbols == first).sum() / (some[0].symbols == second).sum()
                known[f"{first} within {end:g} Å of {second}"] = around * ratio
        for name, value in known.items():
            values.setdefault(name, []).append(float(value))
    return Averages(
        {k: np.array(v) for k, v in values.items()}, {k: np.stack(v) for k, v in g.items()}
    )


def error(values: Float[np.ndarray, "blocks ..."]) -> Float[np.ndarray, ...]:
    """Standard error of the mean over blocks."""
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--settle", type=float, default=0.2, help="share that is left out")
    given = parser.parse_args()
    folders = [given.reference, *given.runs]
    found = [read(folder, given.blocks, given.settle) for folder in folders]
    reference, *others = found
    wide = stats.t.ppf(0.975, given.blocks - 1)
    both = stats.t.ppf(0.975, 2 * (given.blocks - 1))
    table = Table("", *(str(f) for f in folders))
    for name, base in reference.values.items():
        cells = [f"{base.mean():.4g} ± {wide * error(base):.2g}"]
        for other in others:
            value = other.values[name]
            joint = np.hypot(error(base), error(value))
            cells.append(
                f"{value.mean():.4g} ± {wide * error(value):.2g} "
                f"({(value.mean() - base.mean()) / joint:+.1f})"
            )
        table.add_row(name, *cells)
    for pair, base in reference.g.items():
        cells = [""]
        for other in others:
            value = other.g[pair]
            joint = np.hypot(error(base), error(value))
            seen = joint > 0
            away = np.abs(value.mean(axis=0) - base.mean(axis=0))
            share = np.mean(away[seen] <= both * joint[seen])
            cells.append(f"{100 * share:.0f} % within, {away.max():.2f} at most")
        table.add_row(f"g(r) of {pair}", *cells)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
