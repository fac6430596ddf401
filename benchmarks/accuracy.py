"""Errors of plain trainings on sets with an official split, for each seed.

python benchmarks/accuracy.py [SET...] [--minutes M] [--seeds 0,1,2] [--out DIR] [key=value...]

Sets: acetylacetone, aspirin, ethanol, aspirin50 (its first 50 frames), silicon, lithium, salt; all
of them without a name. Each is trained with `scalewise train FILE --minutes M processes=2 seed=S
data.split_key=split`, on an idle machine, and scored on every role but train and valid. Further
words go to the training. The errors are printed as a table and written to `accuracy.json` in DIR.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from rich.console import Console
from rich.table import Table

import scalewise as sw

DATA = Path(__file__).parents[2] / "shared/data"


@dataclass(frozen=True)
class Case:
    """A set, the minutes that it is given, the key of its split, and how many frames."""

    file: str
    minutes: float
    key: str = "split"
    first: int | None = None


SETS = {
    "acetylacetone": Case("acetylacetone/all.extxyz", 20),
    "aspirin": Case("rmd17/aspirin.extxyz", 30),
    "ethanol": Case("rmd17/ethanol.extxyz", 30),
    "aspirin50": Case("rmd17/aspirin.extxyz", 30, first=50),
    "silicon": Case("mlearn/Si.extxyz", 10),
    "lithium": Case("mlearn/Li.extxyz", 10),
    "salt": Case("nacl_water_revpbe0d3/*xyz", 10, "suggested_split"),
}


def data(case: Case, folder: Path) -> Path:
    """The labelled frames; of the first ones, every tenth validates."""
    file = sorted(DATA.glob(case.file))[0]
    if case.first is None:
        return file
    frames = ase.io.read(file, ":")
    train = [a for a in frames if a.info["split"] == "train"][: case.first]
    for k, atoms in enumerate(train):
        atoms.info["split"] = "valid" if k % 10 == 9 else "train"
    some = folder / f"{file.stem}-{case.first}.extxyz"
    ase.io.write(some, [*train, *(a for a in frames if a.info["split"].startswith("test"))])
    return some


def trained(case: Case, file: Path, out: Path, seed: int, words: list[str]) -> Path:
    """Train with the command line, or go on, or take what is there."""
    command = [sys.executable, "-m", "scalewise.cli", "train", str(file), "--out", str(out)]
    given = [f"data.split_key={case.key}", "processes=2", f"seed={seed}", *words]
    if not any(w.startswith(("minutes=", "steps=", "epochs=")) for w in words):
        given.append(f"minutes={case.minutes:g}")
    subprocess.run([*command, *given], check=True)
    return out / "model"


def scored(model: Path, file: Path) -> list[dict[str, Any]]:
    """Errors on every role but those of the training."""
    structures = sw.read_structures(file)
    split = sw.Split.load(model.parent / "split.json", structures=structures)
    found = []
    for role in sorted(set(split.role) - {"train", "valid"}):
        settings = sw.EvaluateSettings(role=role)
        report = sw.evaluate(sw.load_potential(model), structures, split, settings)
        (row,) = report.body["roles"]
        forces, energy, stress = row["forces"]["all"], row["energy"], row["stress"]
        found.append(
            {
                "role": role,
                "frames": row["frames"],
                "mae": forces["mae"],
                "rmse": forces["rmse"],
                "broken": row["broken"],
                "energy": energy and energy["total"]["mae"],
                "energy_without_offset": energy and energy["without_offset"]["mae"],
                "stress": stress and stress["mae"],
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="SET or key=value")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    given = parser.parse_intermixed_args()
    names = [w for w in given.words if "=" not in w] or list(SETS)
    words = [w for w in given.words if "=" in w]
    if given.minutes is not None:
        words.append(f"minutes={given.minutes:g}")
    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    for name in names:
        file = data(SETS[name], given.out)
        for seed in (int(s) for s in given.seeds.split(",")):
            out = given.out / f"{name}-{seed}"
            model = trained(SETS[name], file, out, seed, words)
            found += [{"set": name, "seed": seed, **row} for row in scored(model, file)]
            (given.out / "accuracy.json").write_text(json.dumps(found, indent=1))
    table = Table(*found[0])
    for row in found:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
