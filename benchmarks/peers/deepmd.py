"""DeePMD-kit: the smooth descriptor of two atoms (se_e2_a), compressed; TensorFlow backend.

The wheel's PyTorch operations are built for another torch than the one pinned here and do not
load beside it, and without them PyTorch models cannot be compressed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from benchmarks.peers import clock, common, data

TRIAL_STEPS = 100
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "DP_INFER_BATCH_SIZE": "4096"}
THREADS = {"DP_INTRA_OP_PARALLELISM_THREADS": "1", "DP_INTER_OP_PARALLELISM_THREADS": "1"}
os.environ.update(QUIET | THREADS)


class DeePMD:
    """The networks of the manual's example of water, at single precision, which is faster."""

    packages = ("deepmd-kit", "tensorflow-cpu")
    learning_rate = 1e-3
    own_sources = (
        "github.com/deepmodeling/deepmd-kit: examples/water/se_e2_a/input.json",
        "its manual, Compress a model",
    )
    settings: ClassVar[dict[str, Any]] = {
        "descriptor": {
            "type": "se_e2_a",
            "sel": "auto",
            "rcut_smth": 0.5,
            "rcut": 6.0,
            "neuron": [25, 50, 100],
            "resnet_dt": False,
            "axis_neuron": 16,
            "precision": "float32",
            "seed": 1,
        },
        "fitting_net": {
            "neuron": [240, 240, 240],
            "resnet_dt": True,
            "precision": "float32",
            "seed": 1,
        },
        "type_map": list(data.ELEMENTS),
    }

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """The example's loss and rates over as many steps as the budget holds, then compression.

        A short trial tells what a step takes, and how long the start.
        """
        systems = {split: write_systems(split, out) for split in ("train", "valid")}
        short, long = (self.run(systems, n, out) for n in (TRIAL_STEPS, 3 * TRIAL_STEPS))
        step = (long - short) / (2 * TRIAL_STEPS)
        steps = round(marks[-1] / step)
        seconds = self.run(systems, steps, out) - (short - TRIAL_STEPS * step)
        dp("freeze", "-o", "frozen.pb", folder=out)
        dp("compress", "-i", "frozen.pb", "-o", "compressed.pb", folder=out)
        common.save_called(self.open(out), marks[-1], out)
        mark = clock.name(marks[-1])
        return {
            "recipe": {
                "input": json.loads((out / "input.json").read_text()),
                "left_out": "the start of the program and statistics of the frames, as its trial"
                f" of {TRIAL_STEPS} steps took; freezing and compressing",
            },
            "seconds": {mark: seconds},
            "steps": {mark: steps},
        }

    def run(self, systems: dict[str, list[str]], steps: int, out: Path) -> float:
        """CPU or wall seconds of a training of so many steps."""
        words = {
            "model": self.settings,
            "learning_rate": {
                "type": "exp",
                "decay_steps": max(1, steps // 200),
                "start_lr": self.learning_rate,
                "stop_lr": 3.51e-8,
            },
            "loss": {
                "type": "ener",
                "start_pref_e": 0.02,
                "limit_pref_e": 1,
                "start_pref_f": 1000,
                "limit_pref_f": 1,
                "start_pref_v": 0,
                "limit_pref_v": 0,
            },
            "training": {
                "training_data": {"systems": systems["train"], "batch_size": 1},
                "validation_data": {"systems": systems["valid"], "batch_size": 1},
                "numb_steps": steps,
                "seed": 10,
                "disp_freq": 1000,
                "save_freq": 100000,
            },
        }
        (out / "input.json").write_text(json.dumps(words, indent=1))
        begin = clock.now()
        dp("train", "input.json", folder=out)
        return clock.now() - begin

    def open(self, folder: Path) -> common.Call:
        """Energy and forces by the compressed model; neighbors are found in every call."""
        from deepmd.infer import DeepPot

        model = DeepPot(str(folder / "compressed.pb"))
        known = model.get_type_map()
        order = {z: known.index(e) for e, z in zip(data.ELEMENTS, data.NUMBERS, strict=True)}

        def call(atoms: Atoms) -> tuple[float, np.ndarray]:
            types = [order[z] for z in atoms.numbers.tolist()]
            energy, forces, *_ = model.eval(
                atoms.positions.reshape(1, -1), atoms.cell.array.reshape(1, 9), types
            )
            return float(energy[0, 0]), forces[0]

        return call


def dp(*words: str, folder: Path) -> None:
    """The package's command, TensorFlow backend, in a folder."""
    command = [str(Path(sys.executable).parent / "dp"), "--tf", *words]
    with (folder / "dp.log").open("a") as log:
        subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=True)


def write_systems(split: str, out: Path) -> list[str]:
    """Frames in the package's own format, one folder for each composition."""
    groups: dict[tuple[int, ...], list[Atoms]] = {}
    for frame in data.frames(split):
        order = np.argsort(frame.numbers, kind="stable")
        groups.setdefault(tuple(frame.numbers[order].tolist()), []).append(frame[order])
    folders = []
    for k, (numbers, frames) in enumerate(groups.items()):
        folder = out / "systems" / f"{split}{k}"
        (folder / "set.000").mkdir(parents=True, exist_ok=True)
        arrays = {
            "coord": [f.positions.ravel() for f in frames],
            "box": [f.cell.array.ravel() for f in frames],
            "force": [f.arrays["REF_forces"].ravel() for f in frames],
            "energy": [f.info["REF_energy"] for f in frames],
        }
        for name, values in arrays.items():
            np.save(folder / "set.000" / f"{name}.npy", np.array(values))
        types = [data.NUMBERS.index(z) for z in numbers]
        (folder / "type.raw").write_text("\n".join(map(str, types)))
        (folder / "type_map.raw").write_text("\n".join(data.ELEMENTS))
        folders.append(str(folder.resolve()))
    return folders


if __name__ == "__main__":
    common.main(DeePMD())
