"""The command line: see the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import benchmarks.peers as package
import numpy as np
from benchmarks.peers import data, report
from benchmarks.peers.common import ANSWER
from benchmarks.peers.evaluate import all_errors
from benchmarks.peers.install import install
from benchmarks.peers.registry import ROOT, RUNS, Peer, choose

RESULTS = RUNS / "results" / data.NAME
TRAININGS = RUNS / "train" / data.NAME
MARKS = (1.0, 2.0, 5.0, 10.0, 30.0)
RECIPES = ("common", "own")


def alone(threads: int) -> dict[str, str]:
    """The environment of a process that keeps to so many threads of the CPU."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    quiet = {"PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | dict.fromkeys(names, str(threads)) | quiet


class Worker:
    """A peer's process that waits to be asked for one prediction or training step.

    With the folder of a training it makes predictions only.
    """

    def __init__(self, peer: Peer, threads: int, trained: Path | None = None) -> None:
        self.peer, self.threads = peer, threads
        self.more = [] if trained is None else ["--trained", str(trained.resolve())]

    def __enter__(self) -> Worker:
        self.cache = tempfile.TemporaryDirectory()
        command = [str(self.peer.python), "-m", self.peer.module, "serve"]
        self.process = subprocess.Popen(
            [*command, "--threads", str(self.threads), *self.more],
            cwd=ROOT,
            env=alone(self.threads) | {"TORCHINDUCTOR_CACHE_DIR": self.cache.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def answer(self) -> Any:
        """What the process prints next; its libraries' lines are passed on."""
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
            print(f"  {self.peer.name}: {line.rstrip()}")
        raise SystemExit(f"{self.peer.name} ended early")

    def ask(self, name: str) -> float:
        """Milliseconds of one call."""
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return self.answer()

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.cache.cleanup()


def call(peer: Peer, arguments: list[str], threads: int) -> bool:
    """Run the peer's module with its own interpreter, on so many threads; False if it failed."""
    if not peer.python.exists():
        raise SystemExit(f"{peer.name} is not installed: python -m benchmarks.peers install")
    # A compile cache of its own for every run: what was left by an interrupted one breaks the
    # next, and a warm one would hide the waiting.
    with tempfile.TemporaryDirectory() as cache:
        return _call(peer, arguments, threads, {"TORCHINDUCTOR_CACHE_DIR": cache})


def _call(peer: Peer, arguments: list[str], threads: int, more: dict[str, str]) -> bool:
    command = [str(peer.python), "-m", peer.module, *arguments, "--threads", str(threads)]
    return subprocess.run(command, cwd=ROOT, env=alone(threads) | more, check=False).returncode == 0


def in_turn(stack: ExitStack, workers: list[Worker], rounds: int) -> dict[tuple[str, str], Any]:
    """Milliseconds of every round by peer and way, one call of each after the other.

    So all meet the same machine.
    """
    workers = [stack.enter_context(worker) for worker in workers]
    # all have started: they get ready side by side
    names = [(worker, name) for worker in workers for name in worker.answer()]
    times = np.array([[w.ask(name) for w, name in names] for _ in range(rounds)])
    keys = [(worker.peer.name, name) for worker, name in names]
    return dict(zip(keys, times.T, strict=True))


def quartiles(times: np.ndarray, digits: int) -> list[float]:
    return np.quantile(times, (0.25, 0.5, 0.75)).round(digits).tolist()


def turns(peers: list[Peer], options: argparse.Namespace) -> None:
    """Time peers in turn.

    The first peer's eager times are what the others are compared with, round by round.
    """
    with ExitStack() as stack:
        times = in_turn(stack, [Worker(p, options.threads) for p in peers], options.rounds)
    labels = {peer.name: peer.label for peer in peers}
    rows = []
    for (peer, name), found in times.items():
        base = times[peers[0].name, f"{name.partition(',')[0]}, eager"]
        ratio, ms = quartiles(found / base, 4), quartiles(found, 2)
        rows.append({"peer": peer, "what": name, "ms": ms, "ratio": ratio})
        print(
            f"{labels[peer]:16s} {name:60s} {ms[1]:8.1f} ms ({ms[0]:.1f} to {ms[2]:.1f})  "
            f"{ratio[1]:.3f} ({ratio[0]:.3f} to {ratio[2]:.3f})"
        )
    known = {"rounds": options.rounds, "rows": rows}
    (RESULTS / "turns.json").write_text(json.dumps(known, indent=1))


def race(peers: list[Peer], options: argparse.Namespace) -> None:
    """Time the trained models in turn, in microseconds of a CPU for each atom."""
    os.environ["PEERS_CLOCK"] = "cpu"
    folders = {p.name: TRAININGS / f"{p.name}.train.own.{options.minutes:g}min" for p in peers}
    with ExitStack() as stack:
        workers = [Worker(p, options.threads, folders[p.name]) for p in peers]
        times = in_turn(stack, workers, options.rounds)
    atoms = data.facts()["speed"]["atoms"]
    labels, rows = {peer.name: peer.label for peer in peers}, []
    for (peer, name), found in times.items():
        us = quartiles(1e3 * found / atoms, 2)
        rows.append({"peer": peer, "label": labels[peer], "what": name, "us_per_atom": us})
        print(f"{labels[peer]:24s} {name:60s} {us[1]:8.1f} µs/atom ({us[0]:.1f} to {us[2]:.1f})")
    known = {"set": data.NAME, "atoms": atoms, "rounds": options.rounds, "rows": rows}
    known |= {"minutes": options.minutes, "threads": options.threads}
    (RESULTS / "race.json").write_text(json.dumps(known, indent=1))


def speed(peer: Peer, options: argparse.Namespace) -> None:
    file = RESULTS / f"{peer.name}.speed.json"
    file.unlink(missing_ok=True)
    whole = call(peer, ["speed", "--out", str(file)], options.threads)
    if file.is_file():
        found = json.loads(file.read_text()) | {"peer": peer.name, "label": peer.label}
        file.write_text(json.dumps(found | {"complete": whole}, indent=1))
    print(f"{peer.name}: {'done' if whole else 'failed'}, {file}")


def train(peer: Peer, recipe: str, options: argparse.Namespace) -> None:
    """One training run, evaluated. A schedule that ends with the budget has only that mark."""
    tag = f"{peer.name}.train.{recipe}.{options.minutes:g}min{options.tag}"
    folder = TRAININGS / tag
    shutil.rmtree(folder, ignore_errors=True)
    marks = [m for m in MARKS if m < options.minutes and recipe == "own"] + [options.minutes]
    arguments = ["train", "--recipe", recipe, "--out", str(folder), "--seed", str(options.seed)]
    arguments += ["--seconds", *(f"{60 * m:g}" for m in marks)]
    arguments += ["--rate", str(options.rate)] if options.rate else []
    arguments += ["--frames", str(options.frames)] if options.frames else []
    if options.cpu:
        os.environ["PEERS_CLOCK"] = "cpu"
    if not call(peer, arguments, options.threads):
        print(f"{peer.name}: {recipe} recipe failed")
        return
    known = {"peer": peer.name, "label": peer.label, "kind": recipe, "minutes": options.minutes}
    known |= json.loads((folder / "run.json").read_text()) | {"errors": all_errors(folder)}
    (RESULTS / f"{tag}.json").write_text(json.dumps(known, indent=1))
    for mark, split in known["errors"].items():
        print(f"{peer.name} {recipe} {mark} s: test {split['test']['force_mae']:.1f} meV/Å")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("install", "speed", "turns", "race", "train"):
        sub = verbs.add_parser(verb)
        sub.add_argument("names", nargs="*", metavar="NAME", help="peers; all by default")
        if verb != "install":
            sub.add_argument("--threads", type=int, default=1)
        if verb in ("turns", "race"):
            sub.add_argument("--rounds", type=int, default=20)
        if verb in ("train", "race"):
            sub.add_argument("--minutes", type=float, default=10.0)
        if verb == "train":
            sub.add_argument("--cpu", action="store_true", help="minutes of CPU, not on the wall")
            sub.add_argument("--recipe", choices=RECIPES, action="append", help="both by default")
            sub.add_argument("--rate", type=float, help="learning rate of the common recipe")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--frames", type=int, help="predict only so many, for trying out")
            sub.add_argument("--tag", default="", help="added to the name of the result")
    verbs.add_parser("table").add_argument("--out", type=Path, default=RUNS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.verb == "table":
        print(report.write(RESULTS, options.out))
        return
    peers = choose(options.names)
    if options.verb == "install":
        for peer in peers:
            install(peer)
        return
    data.prepare()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.verb in ("turns", "race"):
        {"turns": turns, "race": race}[options.verb](peers, options)
        return
    for peer in peers:
        if options.verb == "speed":
            speed(peer, options)
        else:
            for recipe in options.recipe or RECIPES:
                train(peer, recipe, options)


if __name__ == "__main__":
    main()
