"""Look which readings of arXiv 2606.09480 give its five numbers.

python benchmarks/readings.py FOLDER [--seed 0] [--out FILE]

The paper reports what oracles gain over a single branch for ions in salt water, 4.25 % (hard
routing), 4.68 % (continuous), 4.61 % (a pool of seven scales, 98.6 % of the continuous gain), and
20.4 % in close contact, which is at most 25 to 28 % of its samples. It says neither what its
branches are, nor what frames they were fitted to and scored on, nor what gets a scale of its own.
FOLDER is what `scalewise generate` wrote, dilute enough for as few close contacts:

    scalewise generate ion_pairs=5 box=26 replicates.replicas=3 replicates.configurations=16 \
        spacing=4 seed=1 --out FOLDER

Branches see the ions alone, here one short-ranged (6 Å) and one that sees every ion: ours, by least
squares with and without regularisation; small networks of distances for each pair of elements
("pair"); small networks from the vectors to the eight nearest ions straight to the force
("vectors"). Networks are trained on few frames or all, and end where the tuning frames are best
("stopped") or overfitted ("to the end"). Scores are on test frames, or on the frames that were
fitted. A scale is chosen for each frame, ion, or component of a force.

Every gain stands beside the band that the same oracle reaches on residuals with nothing to route
(permutation null), and beside the gain of a choice on one half of the water samples around frozen
ions, scored on the other.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from scalewise.data import neighbors
from scalewise.data.structure import Structure
from scalewise.scales.blend import Residuals
from scalewise.scales.nulls import band, permutation_null, whole_frames_null
from scalewise.scales.oracle import (
    ContinuousOracle,
    HardOracle,
    PoolOracle,
    TwoReplicateOracle,
    best_single,
)
from scalewise.study.branches.base import Branch, BranchPrediction
from scalewise.study.branches.matching import FittedBranch, fit_view
from scalewise.study.mechanisms import train_selectors
from scalewise.study.settings import BranchSettings, StudySettings
from scalewise.study.stage import Solution, read_solution
from scalewise.study.views import View, ion_view

SEVEN = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
PAPER = {"hard": 4.25, "continuous": 4.68, "seven": 4.61, "close": 20.4}
SHORT, NEAREST = 6.0, 8
#: kJ/mol/nm in an eV/Å.
FORCE = 964.853
Unit = Literal["frame", "ion", "component"]
UNITS: tuple[Unit, ...] = ("frame", "ion", "component")


class PairNetwork(nn.Module):
    """Forces along the lines to other ions, a smooth function of distance for each kind of pair."""

    def __init__(self, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.register_buffer("centres", torch.linspace(2.0, reach, 16))
        self.net = nn.Sequential(
            nn.Linear(16 + 3, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1)
        )

    def forward(self, ions: Ions) -> torch.Tensor:
        """Forces on all ions, eV/Å."""
        r = ions.distance[:, None]
        width = (self.reach - 2.0) / 15
        features = torch.exp(-0.5 * ((r - self.centres) / width) ** 2)
        size = self.net(torch.cat([features, ions.kind], dim=1))
        fade = torch.where(r < self.reach, (1.0 - (r / self.reach) ** 2) ** 2, 0.0)
        forces = torch.zeros(ions.count, 3)
        return forces.index_add(0, ions.i, size * fade * ions.vector / r)


class VectorNetwork(nn.Module):
    """From the vectors to the nearest ions straight to the force; turning a frame changes it."""

    def __init__(self, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.net = nn.Sequential(
            nn.Linear(5 * NEAREST + 1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
            nn.Linear(64, 3),
        )  # fmt: skip

    def forward(self, ions: Ions) -> torch.Tensor:
        """Forces on all ions, eV/Å."""
        seen = ions.nearest[..., 3:4] < self.reach / 10
        return self.net(torch.cat([(ions.nearest * seen).flatten(1), ions.sign[:, None]], dim=1))


@dataclass(frozen=True, eq=False)
class Ions:
    """Ions of some frames: their pairs, and the nearest ones of each [ions, NEAREST, 5]."""

    count: int
    i: torch.Tensor
    vector: torch.Tensor
    distance: torch.Tensor
    kind: torch.Tensor
    nearest: torch.Tensor
    sign: torch.Tensor

    @classmethod
    def of(cls, frames: Sequence[Structure], reach: float) -> Ions:
        """Find what the ions of some frames see."""
        parts, count = [], 0
        for frame in frames:
            sign = np.where(frame.numbers == 11, 1.0, -1.0)
            pairs = neighbors.build(frame, reach, full=True)
            near = np.zeros((len(sign), NEAREST, 5), dtype=np.float32)
            near[..., 3] = np.inf
            for k in range(len(sign)):
                own = np.flatnonzero(pairs.i == k)
                own = own[np.argsort(pairs.distance[own])][:NEAREST]
                d = pairs.distance[own]
                near[k, : len(own), :3] = pairs.vector[own] / d[:, None]
                near[k, : len(own), 3] = d / 10
                near[k, : len(own), 4] = sign[pairs.j[own]]
            both = sign[pairs.i] + sign[pairs.j]
            kind = np.stack([both == 2, both == 0, both == -2], axis=1)
            parts.append((pairs.i + count, pairs.vector, pairs.distance, kind, near, sign))
            count += len(sign)
        i, vector, distance, kind, nearest, sign = (
            np.concatenate(p) for p in zip(*parts, strict=True)
        )
        nearest = np.where(np.isinf(nearest), 1e3, nearest)
        vectors, lengths, kinds, neighborhood, signs = (
            torch.as_tensor(v, dtype=torch.float32) for v in (vector, distance, kind, nearest, sign)
        )
        return cls(count, torch.as_tensor(i), vectors, lengths, kinds, neighborhood, signs)


@dataclass(frozen=True, eq=False)
class NetworkBranch(Branch):
    """A trained network; its energies are not known."""

    network: nn.Module
    reach: float

    def predict(self, frame: Structure) -> BranchPrediction:
        """Return the forces."""
        with torch.no_grad():
            forces = self.network(Ions.of([frame], self.reach)).numpy().astype(float)
        return BranchPrediction(np.full(len(forces), np.nan), forces)


def fit_network(
    network: nn.Module,
    train: Sequence[Structure],
    tune: Sequence[Structure],
    reach: float,
    steps: int,
    stopped: bool,
) -> NetworkBranch:
    """Adam on the mean square of all training frames; ``stopped``: weights best on tuning ones."""
    given, held = Ions.of(train, reach), Ions.of(tune, reach)
    labels, check = (
        torch.as_tensor(np.concatenate([f.labelled_forces for f in part]), dtype=torch.float32)
        for part in (train, tune)
    )
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    best, kept = np.inf, None
    for step in range(steps):
        adam.zero_grad()
        loss = (network(given) - labels).square().mean()
        loss.backward()
        adam.step()
        if stopped and step % 20 == 0:
            with torch.no_grad():
                there = float((network(held) - check).square().mean())
            if there < best:
                best, kept = there, {k: v.clone() for k, v in network.state_dict().items()}
    if kept is not None:
        network.load_state_dict(kept)
    return NetworkBranch(network, reach)


@dataclass(frozen=True)
class Reading:
    """Branches, training frames, and how long they are fitted."""

    branches: Literal["ours", "ours, no ridge", "pair", "vectors"]
    frames: int
    stopped: bool = True

    @property
    def name(self) -> str:
        """What it is, in words."""
        how = "" if "ours" in self.branches else ", stopped" if self.stopped else ", to the end"
        return f"{self.branches}{how}, {self.frames} frames"


def fit(reading: Reading, solution: Solution, reach: float, seed: int) -> list[FittedBranch]:
    """The short branch and the long one."""
    ions = tuple(solution.scene.ions)
    train, tune = (
        [solution.frames[k].only(ions) for k in solution.split.members(role)]
        for role in ("train", "tune")
    )
    train = [train[k] for k in np.linspace(0, len(train) - 1, reading.frames).round().astype(int)]
    if "ours" in reading.branches:
        ridge = {"ridge": (1e-14,)} if "no ridge" in reading.branches else {}
        settings = BranchSettings(long_cutoff=min(9.0, reach), **ridge)
        return list(fit_view(train, tune, settings, solution.scene.ions).branches)
    kind, found = {"pair": PairNetwork, "vectors": VectorNetwork}[reading.branches], []
    for name, cutoff in (("short", SHORT), ("long", reach)):
        torch.manual_seed(seed)
        branch = fit_network(kind(cutoff), train, tune, reach, 3000, reading.stopped)
        found.append(FittedBranch(name, branch, {}))
    return found


def by(residuals: Residuals, frame: np.ndarray, unit: Unit) -> Residuals:
    """The same with one choice for each unit; ``values`` hold whole vectors, sample by sample."""
    if unit == "ion":
        return residuals
    if unit == "frame":
        return residuals.group(frame)
    k, n, c = residuals.values.shape
    values = residuals.values.reshape(k, n, c // 3, 3).transpose(0, 1, 3, 2).reshape(k, 3 * n, -1)
    return Residuals.of_vectors(values, np.repeat(residuals.block, 3), residuals.anchors)


def gains(residuals: Residuals) -> dict[str, float]:
    """Of each oracle over the best single branch, per cent."""
    single = best_single(residuals)[1].sum()
    oracles = {"hard": HardOracle(), "continuous": ContinuousOracle(SEVEN)}
    oracles["seven"] = PoolOracle(SEVEN)
    return {
        name: float(100 * (1 - o.choose(residuals).loss.sum() / single))
        for name, o in oracles.items()
    }


def score(view: View, unit: Unit, draws: int, seed: int) -> dict[str, Any]:
    """The five numbers of one reading, their bands, and what two replicates leave of them."""
    test, rng = view.test, np.random.default_rng(seed)
    close = test.regimes["close_contact"]
    if not close.any():
        raise SystemExit(
            "no ion of the frames that are scored is in close contact: give more frames"
        )

    def parts(values: Residuals) -> dict[str, Residuals]:
        return {
            "all": by(values, test.frame, unit),
            "close": by(values.subset(close), test.frame[close], unit),
        }

    def numbers(values: Residuals) -> dict[str, float]:
        found = {name: gains(part) for name, part in parts(values).items()}
        return {**found["all"], "close": found["close"]["continuous"]}

    null = [
        numbers(
            whole_frames_null(test.residuals, test.frame, rng)
            if unit == "frame"
            else permutation_null(test.residuals, test.geometry.stratum, rng)
        )
        for _ in range(draws)
    ]
    measured = numbers(test.residuals)
    pair, two = view.replicates, {}
    if pair is not None:
        for name, member in (
            ("all", pair.regimes["all"]),
            ("close", pair.regimes["close_contact"]),
        ):
            first, second = (
                by(r.subset(member), pair.frame[member], unit) for r in (pair.first, pair.second)
            )
            oracle = TwoReplicateOracle(ContinuousOracle())
            chosen = oracle.score(first, second).loss.sum() + oracle.score(second, first).loss.sum()
            anchors = first.pool_losses((0.0, 1.0)) + second.pool_losses((0.0, 1.0))
            two[name] = float(100 * (1 - chosen / anchors.sum(axis=1).min()))
    errors = {
        name: FORCE * part.mean(best_single(part)[1])
        for name, part in (("all", test.residuals), ("close", test.residuals.subset(close)))
    }
    worse = test.residuals.pool_losses((0.0, 1.0)).sum(axis=1).max()
    continuous = ContinuousOracle().choose(by(test.residuals, test.frame, unit)).loss.sum()

    def correlation(values: np.ndarray) -> float:
        return float(np.corrcoef(values[0].ravel(), values[1].ravel())[0, 1])

    return {
        "unit": unit,
        "share_close": float(close.mean()),
        "mae": errors,
        **measured,
        "recovered": 100 * measured["seven"] / max(measured["continuous"], 1e-9),
        "over_worse": float(100 * (1 - continuous / worse)),
        "bands": {name: band([n[name] for n in null]) for name in measured},
        "two_replicates": two,
        "correlation": {
            "all": correlation(test.residuals.values),
            "close": correlation(test.residuals.values[:, close]),
        },
    }


def selector_gain(view: View, settings: StudySettings) -> float:
    """What the learned selector gains over the best single branch, per cent; it sees no label."""
    learned = train_selectors(view.tune, settings).learned
    test = view.test.residuals
    routed = test.unit_losses(learned.scales(view.test.geometry)).sum()
    return float(100 * (1 - routed / best_single(test)[1].sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/readings.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = StudySettings(seed=given.seed)
    solution = read_solution(settings, given.folder)
    split = solution.split
    reach = min(0.49 * float(np.diag(f.cell).min()) for f in solution.frames)
    roles_of = np.array(split.role)
    role = np.where(roles_of == "train", "test", np.where(roles_of == "test", "unused", roles_of))
    train_scored = split.model_copy(update={"role": tuple(role.tolist())})
    every = len(split.members("train"))
    readings = [Reading(b, n) for b in ("ours", "ours, no ridge") for n in (every, 10)]
    readings += [
        Reading(b, n, stopped)
        for b, stopped, n in itertools.product(("pair", "vectors"), (True, False), (every, 10))
    ]
    rows: list[dict[str, Any]] = []
    table = Table(
        *("branches", "scored on", "scale for", "MAE", "close", "hard", "continuous", "seven"),
        *("recovered", "over worse", "close, continuous", "two replicates", "correlation"),
        *("selector",),
    )
    for reading in readings:
        branches = fit(reading, solution, reach, given.seed)
        for where, roles in (("test", split), ("train", train_scored)):
            if where == "train" and reading.frames != every:
                continue
            # water was resampled around ions of test frames alone
            around = solution.replicates if where == "test" else []
            view = ion_view(solution.frames, roles, around, solution.scene, settings, branches)
            routed = selector_gain(view, settings)
            for unit in UNITS:
                row = score(view, unit, given.draws, given.seed)
                row |= {"reading": reading.name, "scored": where, "selector": routed}
                rows.append(row)
                table.add_row(*cells(row))
                print(" | ".join(cells(row)), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"paper": PAPER, "rows": rows}, indent=1))
    Console(width=200).print(table)


def cells(row: dict[str, Any]) -> list[str]:
    """One line of the table; gains in per cent with the band that luck alone reaches."""

    def gain(name: str) -> str:
        low, high = row["bands"][name]
        return f"{row[name]:.2f} ({low:.2f} to {high:.2f})"

    two, corr = row["two_replicates"], row["correlation"]
    return [
        row["reading"],
        row["scored"],
        row["unit"],
        f"{row['mae']['all']:.0f}",
        f"{row['mae']['close']:.0f} ({100 * row['share_close']:.0f} %)",
        *(gain(name) for name in ("hard", "continuous", "seven")),
        f"{row['recovered']:.1f}",
        f"{row['over_worse']:.2f}",
        gain("close"),
        f"{two['all']:.2f}, {two['close']:.2f}" if two else "",
        f"{corr['all']:.3f}, {corr['close']:.3f}",
        f"{row['selector']:.2f}",
    ]


if __name__ == "__main__":
    main()
