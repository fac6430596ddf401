"""Which range systems need, by potentials of one scale each, beside what forks of a ladder say.

python benchmarks/truth.py [SYSTEM...] [--out DIR] [--workers N] [--seeds 3] [--forks 1]

The truth: a potential of its own for every scale and seed, trained as `scalewise train FILE
network.cutoff=C network.charges=...` to where it stops gaining. Beside it, ladders of growing
numbers of steps and their forks (`scalewise fork`), which must not contradict it. Trainings that
are there are used again. What is found goes to DIR/scales.csv, one row for each scale and kind of
atoms, with what the longest scale saves over it, and DIR/answers.csv, one row for each answer of
forks beside it. The system tip3p needs `scalewise generate box=16 cutoff=7 --out runs/tip3p`.
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import scalewise as sw
from scalewise.analysis.error_cache import absolute_errors
from scalewise.analysis.evaluation.subsets import named_subsets
from scalewise.core.jobs import run_jobs
from scalewise.data import neighbors
from scalewise.statistics.bootstrap import group_sums
from scalewise.statistics.changes import Change, between, judge
from scalewise.training.run import train_in

DATA = Path(__file__).parents[2] / "shared/data"
MIN_GAIN = 0.05
#: How a reason names the training that would settle it with these frames.
NAMED = re.compile(r"(\d+) times as long would")


@dataclass(frozen=True)
class System:
    """A data set with a split, and the scales in question.

    Attributes
    ----------
    file, key
        Below the folder of data, or of runs; the frame key of the roles, or of the replicas, of
        which the sixth validates, and the last two are scored.
    ladder
        As for ``--ladder``.
    scales
        Cutoff (Å) and long range, the longest last but for those without long range.
    steps
        Of the potentials of one scale: where they stop gaining.
    budgets
        Steps of ladders.
    batch
        Frames of a step.
    law
        Å, where a planted law ends that labels the frames instead; none: the labels of the file.
    """

    file: str
    key: str
    ladder: tuple[float | str, ...]
    scales: tuple[tuple[float, bool], ...]
    steps: int
    budgets: tuple[int, ...]
    batch: int
    law: float | None = None


SYSTEMS = {
    "silicon": System(
        "mlearn/Si.extxyz",
        "split",
        (3.5, 6.5),
        ((3.5, False), (4.1, False), (5.0, False), (6.5, False)),
        steps=2500,
        budgets=(100, 300, 1000, 2500, 7500),
        batch=2,
    ),
    "lithium": System(
        "mlearn/Li.extxyz",
        "split",
        (3.5, 6.5),
        ((3.5, False), (4.2, False), (5.0, False), (6.5, False)),
        steps=2500,
        budgets=(100, 300, 1000, 2500, 7500),
        batch=2,
    ),
    "acetylacetone": System(
        "acetylacetone/all.extxyz",
        "split",
        (3.0, 5.0),
        ((3.0, False), (3.6, False), (4.3, False), (5.0, False)),
        steps=6000,
        budgets=(100, 400, 1500, 6000, 18000),
        batch=7,
    ),
    "salt": System(
        "nacl_water_revpbe0d3/*xyz",
        "suggested_split",
        (3.5, 6.5, "long"),
        ((3.5, True), (4.5, True), (5.5, True), (6.5, True), (6.5, False)),
        steps=12000,
        budgets=(150, 500, 1500, 4500, 13500),
        batch=1,
    ),
    "tip3p": System(
        "tip3p/replica-*.extxyz",
        "replica",
        (3.0, 6.0, "long"),
        ((3.0, True), (4.0, True), (5.0, True), (6.0, True), (6.0, False)),
        steps=2500,
        budgets=(100, 400, 1600, 4800),
        batch=1,
    ),
}
SYSTEMS |= {f"planted-{law:g}": replace(SYSTEMS["lithium"], law=law) for law in (4.1, 6.4)}
#: Of the replicas of a generated solution.
ROLES = ("train",) * 5 + ("valid",) + ("test",) * 2
#: eV, of the energies of a law that ends at 4.1 Å, how they grow with that length, so that forces
#: have one size (0.1 eV/Å), and the noise of forces in eV/Å.
DEPTH, GROWS, NOISE = 1.5, 2.6, 0.003


@dataclass(frozen=True)
class Job:
    """One training, and the forks of a ladder."""

    system: str
    seed: int
    cutoff: float | None = None
    long: bool = False
    budget: int | None = None

    @property
    def name(self) -> str:
        """Its folder."""
        if self.budget is not None:
            return f"{self.system}/ladder-{self.budget}-{self.seed}"
        return f"{self.system}/{self.cutoff:g}{'-long' * self.long}-{self.seed}"


def read(name: str) -> tuple[list[sw.Structure], sw.Split]:
    """Frames and roles of a system."""
    system = SYSTEMS[name]
    files = sorted(DATA.glob(system.file)) or sorted(Path("runs").glob(system.file))
    structures = [s for file in files for s in sw.read_structures(file)]
    if system.key == "replica":
        structures = [replace(s, info={"role": ROLES[int(s.info["replica"])]}) for s in structures]
        return structures, sw.make_split(structures, role_key="role")
    if system.law is not None:
        structures = [planted(s, system.law, k) for k, s in enumerate(structures)]
    return structures, sw.make_split(structures, role_key=system.key)


def planted(structure: sw.Structure, law: float, seed: int) -> sw.Structure:
    r"""Label a structure with :math:`E = -D \sum_i (\sum_j \phi(r_{ij}))^{1/2}` and noise.

    With :math:`\phi(r) = (1 - r^2 / R^2)^3` up to R, beyond which no atom has a say in another's
    energy.
    """
    pairs = neighbors.build(structure, law, full=True, images=True)
    inside = 1.0 - (pairs.distance / law) ** 2
    density = np.bincount(pairs.i, inside**3, len(structure.numbers))
    root = np.sqrt(np.maximum(density, 1e-12))
    depth = DEPTH * (law / 4.1) ** GROWS
    slope = -0.5 * depth / root
    # dE/dr of each pair, seen from both of its atoms
    push = (slope[pairs.i] + slope[pairs.j]) * 3.0 * inside**2 * (-2.0 * pairs.distance / law**2)
    forces = np.zeros((len(root), 3))
    np.add.at(forces, pairs.i, push[:, None] * pairs.vector / pairs.distance[:, None])
    noise = NOISE * np.random.default_rng(seed).standard_normal(forces.shape)
    labels = sw.Labels(forces + noise - noise.mean(axis=0), float(-depth * root.sum()), None)
    return replace(structure, labels=labels)


def do(out: Path, job: Job) -> str:
    """Train and score what a job names."""
    system = SYSTEMS[job.system]
    structures, split = read(job.system)
    folder = out / job.name
    given: dict[str, Any] = {
        "seed": job.seed,
        "batch_size": system.batch,
        "device": "cpu",
    }
    if job.budget is None:
        network: dict[str, Any] = {"cutoff": job.cutoff, "charges": job.long}
        settings = sw.TrainSettings.model_validate(
            {**given, "network": network, "steps": system.steps}
        )
        train_in(structures, split, settings, folder)
        test = [structures[k] for k in split.members("test")]
        absolute_errors(folder, test, [job.cutoff or 0.0], "test", device="cpu")
        return job.name
    network = {"ladder": system.ladder}
    settings = sw.TrainSettings.model_validate({**given, "network": network, "steps": job.budget})
    model = sw.load_potential(train_in(structures, split, settings, folder), device="cpu")
    asked = sw.ForkComparisonSettings(
        cutoffs=tuple(sorted({c for c, _ in system.scales})),
        role=("test",),
        share=0.1,
        workers=1,
        min_gain=MIN_GAIN,
        device="cpu",
    )
    sw.compare_forks(model, structures, split, asked, folder / "forked").save(folder / "forked")
    return job.name


def jobs(names: list[str], seeds: int, forks: int) -> list[Job]:
    """All of them: first seeds of the truth, then ladders from short to long, then the rest."""
    found = []
    for seed in range(max(seeds, forks)):
        for name in names:
            system = SYSTEMS[name]
            if seed < seeds:
                found += [Job(name, seed, cutoff, long) for cutoff, long in system.scales[::-1]]
            if seed < forks:
                found += [Job(name, seed, budget=budget) for budget in system.budgets]
    return found


def truth(name: str, out: Path, seeds: int) -> list[dict[str, Any]]:
    """What the longest scale saves over each other one, by potentials of one scale each."""
    system = SYSTEMS[name]
    structures, split = read(name)
    members = split.members("test")
    test = [structures[k] for k in members]
    block = np.repeat(np.array(split.group)[members], [len(s.numbers) for s in test])
    if len(set(split.group)) == len(split.group):
        block = np.repeat(np.arange(len(test)) // 5, [len(s.numbers) for s in test])
    errors = np.array(
        [
            [
                absolute_errors(
                    out / Job(name, seed, cutoff, long).name, test, [cutoff], "test", device="cpu"
                )[1][0]
                for cutoff, long in system.scales
            ]
            for seed in range(seeds)
        ]
    )
    longest = max(range(len(system.scales)), key=lambda k: system.scales[k][::-1])
    found = []
    for kind, subset, member in named_subsets(test, {"Na": 1, "Cl": -1}):
        if subset != "all" and member.all():
            continue  # the one element that there is
        part = errors[..., member]
        sums = np.stack([[group_sums(e, block[member]) for e in of] for of in part])
        total = part.sum(axis=2)
        others = [k for k in range(len(system.scales)) if k != longest]
        spread = [(0.0, 1)]  # nothing is known of the luck of training from one seed
        if seeds > 1:
            spread = [between(np.log(total[:, longest] / total[:, k])) for k in others]
        verdicts = judge(
            {str(k): Change(sums[:, k], sums[:, longest], spread) for k in others},
            min_gain=MIN_GAIN,
            alpha=0.05,
            seed=0,
            resamples=1000,
        )
        by_scale = {int(v.question): v for v in verdicts}
        for k, (cutoff, long) in enumerate(system.scales):
            verdict = by_scale.get(k)
            found.append(
                {
                    "system": name,
                    "kind": kind,
                    "subset": subset,
                    "cutoff": cutoff,
                    "long": long,
                    "each": (1e3 / 3.0 * part[:, k].mean(axis=1)).tolist(),
                    "mae": float(1e3 / 3.0 * part[:, k].mean()),
                    **({} if verdict is None else verdict.record()),
                }
            )
    return found


def cells(name: str, out: Path, known: list[dict[str, Any]], forks: int) -> list[dict[str, Any]]:
    """What forks say of each scale and subset, beside the truth."""
    gains = {(r["subset"], r["cutoff"], r["long"]): r for r in known if "gain" in r}
    found = []
    for seed in range(forks):
        for budget in SYSTEMS[name].budgets:
            place = out / Job(name, seed, budget=budget).name / "forked"
            if not (place / "forks.json").is_file():
                continue
            body = sw.Report.load(place).body
            for subset in body["subsets"]:
                for scale, row in zip(body["scales"], subset["scales"], strict=True):
                    true = gains.get((subset["name"], scale["cutoff"], scale["long"]))
                    if true is None or true["gain"] is None or subset["kind"] == "regime":
                        continue
                    found.append(
                        {
                            "system": name,
                            "budget": budget,
                            "seed": seed,
                            "subset": subset["name"],
                            "cutoff": scale["cutoff"],
                            "long": scale["long"],
                            "alone": row["mae"],
                            "ladder": row["ladder"],
                            "now": row["now"]["gain"],
                            "now_low": row["now"]["low"],
                            "now_high": row["now"]["high"],
                            "now_p": row["now"]["p"],
                            "fall": subset["learning"]["fall"],
                            "low": row["system"]["low"],
                            "high": row["system"]["high"],
                            "answer": row["system"]["answer"],
                            "slope": subset["learning"]["slope"],
                            "reason": row["system"]["reason"],
                            "true": true["gain"],
                            "true_low": true["low"],
                            "true_high": true["high"],
                        }
                    )
    return found


def settled(cells: list[dict[str, Any]]) -> list[bool]:
    """Whether the training that an undecided cell names decides it, where one as long was made.

    That is, the shortest with at least 0.95 times the steps, which may be longer than named.
    """
    found = []
    for cell in cells:
        times = NAMED.search(cell["reason"])
        if cell["answer"] != "cannot tell" or times is None:
            continue
        needs = int(times[1]) * cell["budget"]
        same = ("system", "seed", "subset", "cutoff", "long")
        later = [
            c for c in cells if all(c[k] == cell[k] for k in same) and c["budget"] >= 0.95 * needs
        ]
        if later:
            first = min(later, key=lambda c: c["budget"])
            found.append(bool(first["answer"] != "cannot tell"))
    return found


def contradicted(cell: dict[str, Any]) -> bool:
    """Whether a sure answer is wrong, as surely as the truth is known."""
    if cell["answer"] == "needed":
        return bool(cell["true_high"] < MIN_GAIN)
    return bool(cell["answer"] == "not needed" and cell["true_low"] > MIN_GAIN)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows with the keys of all of them as columns; numbers with four digits."""

    def shown(value: Any) -> Any:
        if isinstance(value, list):
            return " ".join(f"{v:.4g}" for v in value)
        return f"{value:.4g}" if isinstance(value, float) else value

    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({key: shown(value) for key, value in row.items()} for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", metavar="SYSTEM")
    parser.add_argument("--out", type=Path, default=Path("runs/truth"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--forks", type=int, default=1, help="seeds of the ladders")
    given = parser.parse_args()
    names, console = given.systems or list(SYSTEMS), Console(width=140)
    todo = jobs(names, given.seeds, given.forks)
    for k, (_, name) in enumerate(run_jobs(do, given.out, todo, given.workers), 1):
        print(f"{k} of {len(todo)}: {name}", flush=True)
    rows, every = [], []
    for name in names:
        known = truth(name, given.out, given.seeds)
        rows += known
        every += cells(name, given.out, known, given.forks)
    write_table(given.out / "scales.csv", rows)
    write_table(given.out / "answers.csv", every)
    table = Table("system", "atoms", "scale", "MAE", "each seed", "longest saves", "95 %", "needed")
    for r in rows:
        if r["kind"] == "regime":
            continue
        saved = "" if r.get("gain") is None else f"{100 * r['gain']:.1f} %"
        ends = "" if r.get("low") is None else f"{100 * r['low']:.1f} to {100 * r['high']:.1f}"
        each = " ".join(f"{v:.3g}" for v in r["each"])
        scale = f"{r['cutoff']:g}" + " + long" * r["long"]
        table.add_row(
            *(r["system"], r["subset"], scale, f"{r['mae']:.3g}", each, saved, ends),
            str(r.get("answer", "")),
        )
    console.print(table)
    sure = [c for c in every if c["answer"] != "cannot tell"]
    wrong = [c for c in sure if contradicted(c)]
    held = [c for c in every if c["low"] is None or c["low"] <= c["true"] <= c["high"]]
    console.print(
        f"{len(every)} cells: {len(sure)} decided, {len(wrong)} contradicted; the interval at the "
        f"end holds the truth in {len(held)}"
    )
    open_ = [c for c in every if c["answer"] == "cannot tell"]
    named = sum("times as long" in c["reason"] for c in open_)
    kept = settled(every)
    console.print(
        f"{named} of {len(open_)} that are not decided name a longer training; for {len(kept)} of "
        f"those with these frames a ladder at least as long was trained, which settles {sum(kept)}"
    )
    for c in wrong:
        console.print(str(c))


if __name__ == "__main__":
    main()
