"""The command line: see the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import benchmarks.peers as package
from benchmarks.peers import data, report
from benchmarks.peers.evaluate import all_errors
from benchmarks.peers.install import install
from benchmarks.peers.registry import ROOT, RUNS, Peer, choose

RESULTS = RUNS / "results"
MARKS = (1.0, 2.0, 5.0, 10.0, 30.0)
RECIPES = ("common", "own")


def call(peer: Peer, arguments: list[str], threads: int) -> bool:
    """Run the peer's module with its own interpreter, on so many threads; False if it failed."""
    if not peer.python.exists():
        raise SystemExit(f"{peer.name} is not installed: python -m benchmarks.peers install")
    # A compile cache of its own for every run: what was left by an interrupted one breaks the
    # next, and a warm one would hide the waiting.
    with tempfile.TemporaryDirectory() as cache:
        return _call(peer, arguments, threads, {"TORCHINDUCTOR_CACHE_DIR": cache})


def _call(peer: Peer, arguments: list[str], threads: int, more: dict[str, str]) -> bool:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    quiet = {"PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
    environment = os.environ | dict.fromkeys(names, str(threads)) | quiet | more
    command = [str(peer.python), "-m", peer.module, *arguments, "--threads", str(threads)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


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
    folder = RUNS / "train" / tag
    for old in folder.glob("*"):
        old.unlink()
    marks = [m for m in MARKS if m < options.minutes and recipe == "own"] + [options.minutes]
    arguments = ["train", "--recipe", recipe, "--out", str(folder), "--seed", str(options.seed)]
    arguments += ["--seconds", *(f"{60 * m:g}" for m in marks)]
    arguments += ["--rate", str(options.rate)] if options.rate else []
    arguments += ["--frames", str(options.frames)] if options.frames else []
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
    for verb in ("install", "speed", "train"):
        sub = verbs.add_parser(verb)
        sub.add_argument("names", nargs="*", metavar="NAME", help="peers; all by default")
        if verb != "install":
            sub.add_argument("--threads", type=int, default=1)
        if verb == "train":
            sub.add_argument("--minutes", type=float, default=10.0)
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
    for peer in peers:
        if options.verb == "speed":
            speed(peer, options)
        else:
            for recipe in options.recipe or RECIPES:
                train(peer, recipe, options)


if __name__ == "__main__":
    main()
