"""Trainings of several processes that were started together, and on frames kept in shards."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.core.errors import InputError
from scalewise.core.loading import load
from scalewise.core.progress import Silent
from scalewise.core.running import REQUEUE, Requeued, group
from scalewise.data import reading
from scalewise.data.reading import write_structures
from scalewise.data.shard_writing import write_shards
from scalewise.data.shards import ShardedStructures
from scalewise.data.splits import make_split
from scalewise.data.structure import Labels, Structure
from scalewise.models import checkpoint
from scalewise.models.composition import CompositionModel
from scalewise.training import baseline, dataset
from scalewise.training import run as running
from scalewise.training.baseline import fit_baseline
from scalewise.training.dataset import prefetched, prepare
from scalewise.training.distributed import join_group
from scalewise.training.run import train_in
from scalewise.training.settings import TrainSettings
from scalewise.training.trainer import STATE
from support import salt_frame

WORDS = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.cutoff=4.5"),
    *("network.num_bessel=4", "network.pair_bessel=4", "network.layers=1", "device=cpu"),
    *("steps=10", "validations=2"),
    *("data.check_units=false", "data.split_key=role"),
)
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "6"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in a queue themselves."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


def frames(count: int = 16) -> list[Structure]:
    """Salt with forces towards a lattice's place, and energies; the last quarter validates."""
    found = []
    for k in range(count):
        frame = salt_frame(seed=k, n=8, box=8.0, index=k)
        charges = np.where(frame.numbers == 11, 1.0, -1.0)
        forces = 0.3 * charges[:, None] * np.sin(frame.positions)
        role = "train" if 4 * k < 3 * count else "valid"
        labels = Labels(forces, -3.0 + 0.1 * float(np.cos(frame.positions).sum()))
        found.append(replace(frame, source="memory", info={"role": role}, labels=labels))
    return found


def settings(*words: str) -> TrainSettings:
    return load(TrainSettings, None, [*WORDS, *words])


def trained(folder: Path, structures: object, *words: str) -> dict[str, torch.Tensor]:
    split = make_split(frames(len(structures)), role_key="role")
    train_in(structures, split, settings(*words), folder)
    return weights(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "model").network.state_dict()


def torchrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ("--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}")
    command = (sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "scalewise.cli")
    return subprocess.run(
        [*command, "train", "dft.xyz", *WORDS, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.whole
def test_two_processes_of_torchrun_equal_one(tmp_path: Path) -> None:
    """Of frames that lack labels, too: terms are means over all that have them.

    In the mean square: Adam divides rounding by gradients that may be as small.
    """
    some = [
        replace(f, labels=replace(f.labels, energy=None)) if k % 3 == 0 else f
        for k, f in enumerate(frames())
    ]
    write_structures(tmp_path / "dft.xyz", some)
    found = torchrun(tmp_path, "batch_size=2", "steps=6", "--out", "two")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("Written: two/model") == 1
    assert "12 frames to train, 4 frames to valid" in found.stdout
    words = ("train", str(tmp_path / "dft.xyz"), *WORDS, "batch_size=4", "steps=6")
    one = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "one")])
    assert one.exit_code == 0, one.output
    expected = weights(tmp_path / "one")
    for name, value in weights(tmp_path / "two").items():
        apart = (value - expected[name]).square().mean().sqrt()
        assert apart <= 1e-6, name


@pytest.mark.slow
def test_all_processes_leave_when_the_first_one_refuses(tmp_path: Path) -> None:
    write_structures(tmp_path / "dft.xyz", frames())
    found = torchrun(tmp_path, "batch_size=9", "--out", "two")
    assert found.returncode == 1
    assert found.stderr.count("error: split: 12 frames to train") == 1
    assert "exitcode: 2" in found.stderr.replace(" ", "").replace(":", ": ")


def srun(folder: Path, *words: str) -> list[subprocess.Popen[str]]:
    """Two processes with what srun tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "scalewise",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
    }
    command = (sys.executable, "-m", "scalewise.cli", "train", "dft.xyz", *WORDS, *words)
    return [
        subprocess.Popen(
            command,
            cwd=folder,
            env={**shared, "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]


@pytest.mark.slow
def test_a_job_of_slurm_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    write_structures(tmp_path / "dft.xyz", frames())
    words = ("batch_size=2", "steps=300", "validations=30")
    first = srun(tmp_path, *words, "--out", "two")
    while not (tmp_path / "two" / STATE).is_file():
        assert all(process.poll() is None for process in first)
        time.sleep(0.05)
    first[1].send_signal(signal.SIGUSR1)  # the other one is told by this one
    said = [process.communicate()[0] for process in first]
    assert [process.returncode for process in first] == [REQUEUE, REQUEUE], said
    assert "Written" not in said[0]
    again = srun(tmp_path, *words, "--out", "two")
    said = [process.communicate()[0] for process in again]
    assert [process.returncode for process in again] == [0, 0], said
    assert "Written: two/model" in said[0]
    assert said[1] == ""
    whole = torchrun(tmp_path, *words, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    one, other = weights(tmp_path / "two"), weights(tmp_path / "whole")
    assert all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        (TORCHRUN, (3, 4, 2)),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": "3"}, (1, 6, 3)),
        (SRUN, (1, 6, 6)),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        # the script of a job, not started by srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3"}, None),
    ],
)
def test_the_group_is_what_the_launcher_says(
    given: dict, expected: tuple | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert group() == expected


def test_groups_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join_group(settings("processes=3")) == (settings("processes=3"), None)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="processes=3, but 4 were started together"):
        join_group(settings("processes=3"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match="4 processes, 3 of them on this node"):
        join_group(settings())


def test_srun_is_told_to_say_how_many_processes_a_node_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="6 processes, 1 nodes and no --ntasks-per-node"):
        join_group(settings())


class Telling(Silent):
    """Sends a signal after six steps."""

    def advance(self, fraction: float, report: object) -> None:
        if 0.55 < fraction < 0.65:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_run_that_is_to_be_queued_again_saves_its_step(tmp_path: Path) -> None:
    split = make_split(frames(), role_key="role")
    with pytest.raises(Requeued):
        train_in(frames(), split, settings(), tmp_path / "told", Telling())
    assert (tmp_path / "told" / STATE).is_file()
    told, whole = trained(tmp_path / "told", frames()), trained(tmp_path / "whole", frames())
    assert all(torch.equal(told[k], whole[k]) for k in whole)


def test_its_exit_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(request: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)  # while it reads the data
        signal.pause()

    monkeypatch.setattr(running, "run_command", told)
    found = CliRunner().invoke(app, ["train", str(tmp_path), "--out", str(tmp_path / "out")])
    assert found.exit_code == REQUEUE == 75
    assert "continues with the same command" in found.output


def test_frames_in_shards_give_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(tmp_path / "memory", frames(), "batch_size=3")
    assert not (tmp_path / "memory" / "data").exists()
    view = write_shards(tmp_path / "shards", frames())
    found = trained(tmp_path / "view", view, "batch_size=3")
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    monkeypatch.setattr(running, "LARGE", 8)
    found = trained(tmp_path / "many", frames(), "batch_size=3")
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert (tmp_path / "many" / "data" / "shards.json").is_file()
    trained(tmp_path / "many", frames(), "batch_size=3")  # finished: its shards are those
    (tmp_path / "many" / STATE).unlink()
    with pytest.raises(InputError, match=r"data: frames of another file(.|\n)*another --out"):
        trained(tmp_path / "many", frames(20), "batch_size=3")


def test_the_command_keeps_many_frames_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGE", 8)
    write_structures(tmp_path / "dft.xyz", frames())
    for name in ("a", "a", "b"):
        data = tmp_path / "dft.xyz" if name == "a" else tmp_path / "a" / "data"
        words = ("train", str(data), *WORDS, "--out", str(tmp_path / name))
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_neighbors_are_kept_as_far_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = write_shards(tmp_path / "shards", frames())
    nothing = CompositionModel.fit([], (11, 17))
    network = settings().network
    listed = []

    def build(frame: Structure, *arguments: object, **words: object) -> object:
        listed.append(frame.index)
        return original(frame, *arguments, **words)

    original = dataset.build
    monkeypatch.setattr(dataset, "build", build)
    samples = prepare(view, nothing, network, torch.float32)
    assert listed == []
    size = dataset._size(samples[0])
    monkeypatch.setattr(dataset, "ROOM", 2.5 * size)
    samples = prepare(view, nothing, network, torch.float32)
    listed.clear()
    for _ in range(3):
        found = [b.names for b in prefetched(samples, [[1], [2, 3]])]
        assert found == [("memory, frame 1",), ("memory, frame 2", "memory, frame 3")]
    # two of them are kept, the third is not
    assert sorted(listed.count(k) for k in (1, 2, 3)) == [1, 1, 3]
    assert len(pickle.dumps(samples)) < 5000


def test_a_bad_frame_is_named_at_its_step(tmp_path: Path) -> None:
    broken = frames()
    broken[5].positions[1] = broken[5].positions[0] + 0.01
    nothing = CompositionModel.fit([], (11, 17))
    with pytest.raises(InputError, match="memory, frame 5"):  # before the training
        prepare(broken, nothing, settings().network, torch.float32)
    view = write_shards(tmp_path / "shards", broken)
    samples = prepare(view, nothing, settings().network, torch.float32)
    steps = prefetched(samples, [[k] for k in range(16)])
    assert [next(steps).names[0] for _ in range(5)][-1] == "memory, frame 4"
    with pytest.raises(InputError, match=r"memory, frame 5(.|\n)*atoms 0 and 1"):
        next(steps)


@pytest.mark.slow
@pytest.mark.parametrize("number", [4, 5, 13])
def test_a_bad_frame_of_any_process_is_named(number: int, tmp_path: Path) -> None:
    """The first process waited for the other, which had left, and told of its connection."""
    broken = frames()
    broken[number].positions[1] = broken[number].positions[0] + 0.01
    view = write_shards(tmp_path / "shards", broken)
    words = ("processes=2", "batch_size=2", "network.pair_baseline=false")
    with pytest.raises(InputError, match=f"memory, frame {number}"):
        trained(tmp_path / "out", view, *words)


def test_the_baseline_is_fitted_to_some_of_many_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = frames(40)
    rare = replace(many[33], numbers=np.where(np.arange(8) == 0, 19, many[33].numbers))
    atom = replace(many[27], numbers=np.array([17]), positions=np.zeros((1, 3)))
    atom = replace(atom, pbc=np.zeros(3, dtype=bool), molecule=np.zeros(1, dtype=np.int64))
    atom = replace(atom, labels=Labels(None, -1.25))
    many = [*many[:27], atom, *many[28:33], rare, *many[34:]]
    view = write_shards(tmp_path / "shards", many)
    network = settings().network.model_copy(update={"pair_baseline": False})
    monkeypatch.setattr(baseline, "FITTED_FRAMES", 10)
    read: list[int] = []
    getitem = ShardedStructures.__getitem__
    monkeypatch.setattr(
        ShardedStructures, "__getitem__", lambda self, k: (read.append(k), getitem(self, k))[1]
    )
    found = fit_baseline(view, (11, 17, 19), network)
    assert len(read) < 20
    assert {27, 33} <= {*read}
    assert found.composition.describe()["Cl"] == -1.25
    assert found.composition.spans(rare.numbers)
