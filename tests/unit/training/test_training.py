"""The trainer: order of samples, loss, optimiser, state, checkpoints."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from scalewise.core.errors import InputError
from scalewise.core.loading import load
from scalewise.core.progress import Messages, Silent
from scalewise.core.running import Terminated
from scalewise.data.splits import make_split
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.composition import CompositionModel
from scalewise.models.density.kernels import build
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.potential import Potential
from scalewise.models.programs.training import BatchKind
from scalewise.training.baseline import TrainingBaseline
from scalewise.training.compiling import Compiled
from scalewise.training.dataset import epoch_batches, prepare
from scalewise.training.distributed import run
from scalewise.training.job import Job
from scalewise.training.loss import huber
from scalewise.training.muon import Muon, _all_orthogonal, orthogonal
from scalewise.training.run import train_in
from scalewise.training.schedule import Clock, rate
from scalewise.training.settings import TrainSettings
from scalewise.training.step_compiler import StepCompiler
from scalewise.training.trainer import MODEL, STATE, Trainer
from support import needs_compiler, salt_frame, untrained

WORDS = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.cutoff=4.5"),
    *("network.num_bessel=4", "network.layers=1", "device=cpu", "epochs=3", "validations=3"),
)


def labelled(count: int, seed: int = 0) -> list[Structure]:
    """Frames with the energy, forces and stress of a potential that is not the trained one."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = [salt_frame(seed=seed + k, n=8, box=8.0, index=k) for k in range(count)]
    found = [teacher.predict(f) for f in frames]
    return [
        replace(
            f, info={}, labels=replace(f.labels, energy=p.energy, forces=p.forces, stress=p.stress)
        )
        for f, p in zip(frames, found, strict=True)
    ]


def job(out: Path, *words: str, frames: list[Structure] | None = None) -> Job:
    settings = load(TrainSettings, None, [*WORDS, *words])
    frames = labelled(12) if frames is None else frames
    baseline = CompositionModel.fit(frames, (11, 17))
    samples = prepare(frames, baseline, settings.network, torch.float32)
    return Job(
        settings,
        samples[:8],
        samples[8:],
        TrainingBaseline(baseline, 1.0),
        "digest",
        out,
        batch_size=settings.batch_size or 1,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "model").network.state_dict()


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_energies_come_late(tmp_path: Path) -> None:
    """Steps before and after the share of the budget from which on energies have their weight."""
    losses = {}
    for at in (0.0, 0.5, 1.0):
        words = ("epochs=2", "validations=2", f"loss.energy_from={at}")
        run(job(tmp_path / f"{at:g}", *words))
        losses[at] = [float(row["train_loss"]) for row in log(tmp_path / f"{at:g}")]
    assert losses[0.5][0] == losses[1.0][0] < losses[0.0][0]
    assert losses[0.5][1] > losses[1.0][1]


def test_processes_see_together_what_one_sees() -> None:
    def dealt(**words: int) -> list[list[int]]:
        return list(epoch_batches(11, seed=3, epoch=2, **words))

    one = dealt(batch_size=4)
    two = [dealt(batch_size=2, rank=r, processes=2) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*two, strict=True)] == [sorted(s) for s in one]
    assert len({k for step in one for k in step}) == 8
    assert list(epoch_batches(11, seed=3, epoch=3, batch_size=4)) != one


def test_huber_is_smooth_and_ends_linear() -> None:
    error = torch.tensor([0.0, 0.005, 0.01, -0.02, 1.0], dtype=torch.float64)
    expected = [0.0, 0.00125, 0.005, 0.015, 0.995]
    assert huber(error, 0.01).tolist() == pytest.approx(expected)


def test_weight_decay_shrinks_what_has_no_gradient() -> None:
    weight = torch.nn.Parameter(torch.eye(3))
    weight.grad = torch.zeros(3, 3)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), 0.95 * torch.eye(3))


def test_wide_matrices_are_iterated_as_their_gram_matrices() -> None:
    """With singular values over six decades, and of one shape together."""
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(3, 8, 60, generator=generator), full_matrices=False)
    wide = u * torch.logspace(0, -6, 8) @ v
    parts = [torch.cat([m[:, 20 * k :], m[:, : 20 * k]], dim=1) for k, m in enumerate(wide)]
    for part, found in zip(parts, _all_orthogonal(parts), strict=True):
        exact = part.double()
        exact = exact / torch.linalg.matrix_norm(exact)
        for _ in range(5):
            gram = exact @ exact.mT
            exact = 3.4445 * exact + (-4.7750 * gram + 2.0315 * gram @ gram) @ exact
        torch.testing.assert_close(found.double(), exact, atol=2e-5, rtol=0)


def test_orthogonal_keeps_directions_and_levels_singular_values() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(3, 20, 8)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix)
    inner = torch.einsum("bij,bij->b", found, left @ right)
    assert (inner / found.flatten(1).norm(dim=1) / 8**0.5 > 0.97).all()
    values = torch.linalg.svdvals(found)
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3


def test_smearing_follows_the_cutoff_unless_it_is_given() -> None:
    assert load(TrainSettings, None, ["network.cutoff=4"]).network.smearing == 1.0
    assert (
        load(TrainSettings, None, ["network.cutoff=4", "network.smearing=1.2"]).network.smearing
        == 1.2
    )


def test_a_ladder_switches_near_the_cutoff_unless_told_otherwise() -> None:
    assert load(TrainSettings, None, []).network.cutoff_width is None
    assert load(TrainSettings, None, ["network.ladder=[3,5]"]).network.cutoff_width == 0.5
    assert (
        load(
            TrainSettings, None, ["network.ladder=[3,5]", "network.cutoff_width=null"]
        ).network.cutoff_width
        is None
    )
    with pytest.raises(InputError, match="longer than the shortest cutoff, 3 Å"):
        load(TrainSettings, None, ["network.ladder=[3,5]", "network.cutoff_width=3.5"])


def test_the_rate_rises_and_falls_to_zero() -> None:
    rates = [rate(x, 0.1) for x in np.linspace(0, 1, 50)]
    assert max(rates) == pytest.approx(1.0, abs=1e-2)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_the_baseline_survives_fixed_formula_units() -> None:
    water = [salt_frame(seed=k, n=2 * k) for k in (2, 3, 5)]
    frames = [replace(f, labels=replace(f.labels, energy=-7.0 * len(f.numbers) / 2)) for f in water]
    baseline = CompositionModel.fit(frames, (11, 17))
    assert baseline.energy(salt_frame(n=8).numbers) == pytest.approx(-28.0)
    assert baseline.spans(salt_frame(n=8).numbers)
    assert not baseline.spans(np.array([11, 11, 17]))
    unlabelled = CompositionModel.fit([salt_frame()], (11, 17))
    assert unlabelled.energy(np.array([11])) == 0.0
    assert not unlabelled.spans(np.array([11, 17]))


@pytest.mark.whole
def test_training_lowers_the_error_and_writes_its_record(tmp_path: Path) -> None:
    frames = labelled(12)
    run(job(tmp_path, "epochs=25", "validations=5", frames=frames))
    lines = log(tmp_path)
    errors = [float(r["forces_mae"]) for r in lines]
    assert len(lines) == 5
    assert errors[-1] < 0.85 * errors[0]
    assert float(lines[-1]["energy_mae"]) < float(lines[0]["energy_mae"])
    assert all(r["stress_mae"] for r in lines)
    potential = checkpoint.read(tmp_path / "model")
    predicted = np.concatenate([potential.predict(f).forces for f in frames[8:]])
    labels = np.concatenate([f.labelled_forces for f in frames[8:]])
    # the best validation is the one on disk
    assert 1e3 * np.abs(predicted - labels).mean() == pytest.approx(min(errors), rel=1e-3)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        run(job(tmp_path / name, *(["seed=1"] if name == "c" else [])))
    first, second, third = (weights(tmp_path / n) for n in "abc")
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], third[k]) for k in first)


class Killed(BaseException):
    """Stands for the signal that nobody can catch."""


@dataclass(frozen=True)
class Listening(Silent):
    """Passes on how far a training is, and how often it was asked to end."""

    listen: Callable[[float, Mapping[str, float]], None]
    closed: list[bool] = field(default_factory=list)

    def advance(self, fraction: float, report: Mapping[str, float]) -> None:
        self.listen(fraction, report)

    def close(self) -> None:
        self.closed.append(True)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    run(job(tmp_path / "whole"))
    count = 0

    def listen(fraction: float, report: Mapping[str, float]) -> None:
        nonlocal count
        count += 1
        if count == 14:
            raise Killed

    deadly = Listening(listen)
    with pytest.raises(Killed):
        run(job(tmp_path / "parts"), deadly)
    assert deadly.closed == [True]
    assert (tmp_path / "parts" / STATE).is_file()
    run(job(tmp_path / "parts"))
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    kept = [r["step"] for r in log(tmp_path / "parts")]
    assert kept == [r["step"] for r in log(tmp_path / "whole")]
    before = (tmp_path / "parts" / "model" / "model.json").stat().st_mtime_ns
    run(job(tmp_path / "parts"))  # finished: nothing to do
    assert (tmp_path / "parts" / "model" / "model.json").stat().st_mtime_ns == before


def test_a_state_of_other_settings_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    run(job(tmp_path))
    with pytest.raises(InputError, match="other settings"):
        run(replace(job(tmp_path), digest="another"))
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(InputError, match="damaged"):
        run(job(tmp_path))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_model(tmp_path: Path) -> None:
    frames = labelled(12)
    run(job(tmp_path, frames=frames))
    good = weights(tmp_path)
    (tmp_path / STATE).unlink()
    broken = replace(frames[2], labels=replace(frames[2].labels, forces=np.full((8, 3), 1e38)))
    with pytest.raises(InputError, match=r"not finite on memory, frame 2") as error:
        run(job(tmp_path, frames=[*frames[:2], broken, *frames[3:]]))
    assert "lower learning_rate" in str(error.value)
    assert all(torch.equal(good[k], v) for k, v in weights(tmp_path).items())


def test_too_few_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8 frames to train"):
        run(job(tmp_path, "batch_size=9"))


def test_frames_of_every_periodicity_share_batches(tmp_path: Path) -> None:
    frames = labelled(12)
    kinds = itertools.cycle([(True,) * 3, (True, True, False), (False, True, False), (False,) * 3])
    mixed = [replace(f, pbc=np.array(pbc)) for f, pbc in zip(frames, kinds, strict=False)]
    run(job(tmp_path, "batch_size=4", "epochs=1", frames=mixed))


def test_stress_is_trained_on_where_there_is_a_volume() -> None:
    frame = labelled(1)[0]
    assert frame.labels.stress is not None
    slab = replace(frame, pbc=np.array([True, True, False]))
    flat = replace(slab, cell=slab.cell * np.array([1.0, 1.0, 0.0])[:, None])
    alone = replace(frame, pbc=np.zeros(3, dtype=bool))
    settings = NetworkSettings.model_validate({"cutoff": 4.0})
    composition = CompositionModel.fit([frame], (11, 17))
    samples = prepare([frame, slab, flat, alone], composition, settings, torch.float64)
    assert [float(s.has_stress) for s in samples] == [1.0, 1.0, 0.0, 0.0]
    expected = frame.labels.stress * abs(np.linalg.det(frame.cell))
    np.testing.assert_allclose(samples[1].virial[0].numpy(), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        run(job(tmp_path, "device=cuda"))


def test_a_quick_last_validation_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def tick(_: Clock) -> float:
        nonlocal now
        now += 3.0 if now < 20.0 else 0.5  # validations and steps get quicker
        return now

    monkeypatch.setattr(Clock, "seconds", property(tick))
    run(job(tmp_path, "minutes=0.5", "validations=2"))
    lines = log(tmp_path)
    # the budget of 30 s less 3 s for the last validation, which takes half a second
    assert [float(r["seconds"]) >= 27.0 for r in lines] == [False] * (len(lines) - 1) + [True]
    assert float(lines[-1]["seconds"]) < 27.6


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    potential = replace(untrained(), info={"note": "mine"})
    checkpoint.write(tmp_path, potential)
    again = checkpoint.read(tmp_path)
    frame = salt_frame()
    np.testing.assert_array_equal(again.predict(frame).forces, potential.predict(frame).forces)
    assert again.info == {"note": "mine"}
    assert again.dtype == torch.float64
    checkpoint.write(tmp_path, untrained(seed=1))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "something else"}, "not a scalewise potential"),
        ({"schema": 99}, "schema 99, but this version reads up to"),
        ({"network": {"cutof": 5}}, "damaged"),
        ({"elements": None}, "damaged"),
        ({"elements": [11, 17, 19]}, "damaged"),
        ({"probe": 12.5}, "its network is not the one that was trained"),
    ],
)
def test_foreign_and_damaged_checkpoints_are_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    checkpoint.write(tmp_path, untrained())
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        checkpoint.read(tmp_path)


def test_damaged_and_missing_weights_are_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, untrained())
    weight = next(tmp_path.glob("*.safetensors"))
    content = weight.read_bytes()
    weight.write_bytes(content[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match="not the bytes"):
        checkpoint.read(tmp_path)
    weight.unlink()
    with pytest.raises(InputError, match="no such file"):
        checkpoint.read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        checkpoint.read(tmp_path / "nowhere")


def test_predicting_an_element_it_never_saw(tmp_path: Path) -> None:
    frame = replace(salt_frame(), numbers=np.array([11, 19] * 4))
    with pytest.raises(InputError, match=r"the element\(s\) K(.|\n)*knows Na, Cl"):
        untrained().predict(frame)


@pytest.mark.parametrize("charge", [float("nan"), None, "neutral"])
def test_a_total_charge_that_is_no_number(charge: object) -> None:
    with pytest.raises(InputError, match="key 'total_charge'"):
        untrained().predict(replace(salt_frame(), info={"total_charge": charge}))


def test_positions_of_a_simulation_that_exploded() -> None:
    positions = salt_frame().positions.copy()
    positions[3, 1] = np.inf
    with pytest.raises(InputError, match="atom 3 is not at a finite position"):
        untrained().predict(replace(salt_frame(), positions=positions))


def test_overlapping_atoms_and_singular_cells(tmp_path: Path) -> None:
    frame = salt_frame()
    positions = frame.positions.copy()
    positions[1] = positions[0] + 0.01
    potential: Potential = untrained()
    with pytest.raises(InputError, match=r"atoms 0 and 1 are 0\.0173 Å apart"):
        potential.predict(replace(frame, positions=positions))
    with pytest.raises(InputError, match="no volume"):
        potential.predict(replace(frame, cell=np.diag([14.0, 14.0, 0.0])))


@pytest.mark.slow
def test_what_is_wrong_in_every_process_is_said_once(tmp_path: Path) -> None:
    frames = labelled(12)
    broken = [replace(f, labels=replace(f.labels, forces=np.full((8, 3), 1e38))) for f in frames]
    with pytest.raises(InputError, match="not finite"):
        run(job(tmp_path, "processes=2", frames=broken))


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    run(job(tmp_path / "one", "batch_size=2"))
    run(job(tmp_path / "two", "processes=2"))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


@needs_compiler
def test_a_compiler_gets_a_quarter_of_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said that it was late, whatever was interrupted: here a process, as a compiler is."""

    def slow(*_: Any) -> None:
        logging.getLogger("torch._inductor").critical("a thousand lines of code")
        build._run("sleep", "30")

    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(fabric, job(tmp_path, "minutes=0.02", "compile=always", "batch_size=2"))
    monkeypatch.setattr("scalewise.training.step_compiler.kernel_library", slow)
    start = time.monotonic()
    trainer._compile()
    assert time.monotonic() - start < 10
    assert trainer.evaluator.directional is None
    assert "training without kernels: not done within 1 s" in caplog.text
    assert "a thousand lines" not in caplog.text


@pytest.mark.parametrize("network", [[], ["network.ladder=[3,4.5,long]"]])
def test_every_kind_of_batches_has_its_programs(network: list[str], tmp_path: Path) -> None:
    """Of a ladder with long range, those with it and those without."""
    words = [w for w in WORDS if not (network and w.startswith("network.cutoff"))]
    settings = load(TrainSettings, None, [*words, *network, "batch_size=2"])
    frames = labelled(12)
    baseline = CompositionModel.fit(frames, (11, 17))
    samples = prepare(frames, baseline, settings.network, torch.float32)
    asked = Job(
        settings,
        samples[:8],
        samples[8:],
        TrainingBaseline(baseline, 1.0),
        "digest",
        tmp_path,
        batch_size=2,
    )
    trainer = Trainer(Fabric(accelerator="cpu", devices=1), asked)
    compiler = StepCompiler(
        trainer.fabric, asked, trainer.network, trainer.state.weights, trainer.clock
    )
    found = [BatchKind.of(graph, scale) for graph, scale in compiler.common_kinds()]
    expected = {BatchKind(True, False, True)} | (
        {BatchKind(False, False, True)} if network else set()
    )
    assert set(found) == expected


@needs_compiler
def test_a_training_with_kernels_is_the_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job(tmp_path / "never", "steps=8", "batch_size=2", "compile=never"))
    monkeypatch.setattr("scalewise.training.compiling.KERNELS_PAY", 0.0)
    run(job(tmp_path / "kernels", "steps=8", "batch_size=2"))
    same(weights(tmp_path / "kernels"), weights(tmp_path / "never"))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_with_programs_is_the_one_without(tmp_path: Path, processes: int) -> None:
    words = ("steps=8", "batch_size=2", f"processes={processes}")
    for compile in ("never", "always"):
        run(job(tmp_path / compile, *words, f"compile={compile}"))
    same(weights(tmp_path / "always"), weights(tmp_path / "never"))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """But for rounding, of which there is some."""
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-3)
    assert any(not torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["minutes=10"], Compiled.PROGRAMS),
        (["minutes=1"], Compiled.KERNELS),
        (["minutes=0.5"], Compiled.NOTHING),
        (["steps=1000000"], Compiled.PROGRAMS),
        (["steps=100000"], Compiled.KERNELS),
        (["steps=100"], Compiled.NOTHING),
        (["epochs=100000"], Compiled.PROGRAMS),
        (["steps=100", "compile=always"], Compiled.PROGRAMS),
        (["minutes=5", "compile=never"], Compiled.NOTHING),
    ],
)
def test_what_pays_is_compiled(
    words: list[str], expected: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalewise.training.compiling.compiler_found", lambda: True)
    asked = job(tmp_path, *words)
    assert Compiled.of(asked, torch.device("cpu"), 1) == expected
    assert Compiled.of(asked, torch.device("cuda"), 1) == Compiled.NOTHING
    assert Compiled.missed(asked) is None
    if "compile=always" not in words:
        monkeypatch.setattr("scalewise.training.compiling.compiler_found", lambda: False)
        assert Compiled.of(asked, torch.device("cpu"), 1) == Compiled.NOTHING
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert (Compiled.missed(asked) is not None) == (expected != Compiled.NOTHING)


@pytest.mark.parametrize("compile", ["always", "never"])
def test_a_training_validates_in_batches_as_those_of_its_steps(
    tmp_path: Path, compile: str
) -> None:
    """Molecules one by one take longer, and one frame alone would be compiled once more."""
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(fabric, job(tmp_path, "steps=4", f"compile={compile}", "batch_size=2"))
    batches = trainer._validated_here()
    assert sorted(k for members in batches for k in members) == list(range(len(trainer.job.valid)))
    assert all(len(members) >= 2 for members in batches)


def test_a_run_that_is_told_to_end_saves_its_step_and_goes_on(tmp_path: Path) -> None:
    whole, told = tmp_path / "whole", tmp_path / "told"
    run(job(whole, "steps=24", "validations=3"))

    def listen(fraction: float, report: Mapping[str, float]) -> None:
        if 0.4 < fraction < 0.45:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Terminated):
        run(job(told, "steps=24", "validations=3"), Listening(listen))
    assert (told / STATE).is_file()
    run(job(told, "steps=24", "validations=3"))
    assert (told / MODEL).is_dir()
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(told)[name], weight, rtol=0, atol=0)
    columns = ("step", "train_loss", "gradient_norm", "valid_loss")
    assert [[row[c] for c in columns] for row in log(told)] == [
        [row[c] for c in columns] for row in log(whole)
    ]


def test_little_learned_is_said(tmp_path: Path) -> None:
    frames = [replace(f, info={"part": k}) for k, f in enumerate(labelled(12))]
    settings = load(TrainSettings, None, [*WORDS, "steps=1", "network.pair_baseline=false"])
    split = make_split(frames, group_key="part")
    said: list[str] = []
    train_in(frames, split, settings, tmp_path / "out", Messages(said.append))
    assert any("hardly trained. After 1 steps" in line for line in said)
