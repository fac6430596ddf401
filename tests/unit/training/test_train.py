"""Training on structures in memory: what ``scalewise.train`` makes of its arguments."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scalewise as sw
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.training.run import split_for, train_in
from support import salt_frame, untrained

SMALL: dict[str, Any] = {
    "channels": 4,
    "hidden": 6,
    "layers": 1,
    "l_max": 2,
    "num_bessel": 4,
}
LADDER = sw.Ladder([3, 4], long_range=True)
STEPS = 12


@pytest.fixture(scope="module")
def structures() -> list[sw.Structure]:
    """Labelled by a potential that is not the trained one."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = [salt_frame(seed=k, n=8, box=8.5, index=k) for k in range(12)]
    found = [teacher.predict(f) for f in frames]
    return [
        replace(f, info={"part": k}, labels=sw.Labels(p.forces, p.energy, p.stress))
        for k, (f, p) in enumerate(zip(frames, found, strict=True))
    ]


@pytest.fixture(scope="module")
def split(structures: list[sw.Structure]) -> sw.Split:
    return sw.make_split(structures, valid=0.2, test=0.2, group_key="part")


@pytest.fixture(scope="module")
def ladder(structures: list[sw.Structure], split: sw.Split) -> sw.Potential:
    return trained(structures, split)


def trained(structures: list[sw.Structure], split: sw.Split | None, **changes: Any) -> sw.Potential:
    """A ladder of a few steps."""
    given = {"ladder": LADDER, "steps": STEPS, "network": SMALL, "validations": 2, "device": "cpu"}
    return sw.train(structures, split, **{**given, **changes})


def assert_alike(one: sw.Potential, other: sw.Potential) -> None:
    """The same weights, bit by bit."""
    first, second = one.network.state_dict(), other.network.state_dict()
    assert first.keys() == second.keys()
    for name, weight in first.items():
        np.testing.assert_array_equal(weight.numpy(), second[name].numpy(), err_msg=name)


def test_a_ladder_is_trained_over_its_scales(
    ladder: sw.Potential, structures: list[sw.Structure]
) -> None:
    assert ladder.ladder == (3.0, 4.0, "long")
    assert ladder.cutoff_range == (3.0, 4.0)
    assert ladder.long_range is sw.LongRange.OPTIONAL
    assert ladder.elements == (11, 17)
    assert ladder.network.settings.channels == 4
    (short,) = ladder.evaluate(structures[:1], sw.Scale(3.0, long_range=False))
    assert np.isfinite(short.forces).all()
    assert np.abs(short.forces - ladder.predict(structures[0]).forces).max() > 0


def test_the_same_seed_gives_the_weights_of_a_run_in_a_folder(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    network = {**SMALL, "ladder": [3, 4, "long"]}
    settings = sw.TrainSettings(network=network, steps=STEPS, validations=2, device="cpu")
    in_folder = sw.load_potential(train_in(structures, split, settings, tmp_path), device="cpu")
    assert_alike(ladder, in_folder)
    # settings and further arguments are one: arguments win
    base = settings.model_copy(update={"seed": 3})
    assert_alike(ladder, sw.train(structures, split, base, seed=0))
    other = trained(structures, split, seed=1)
    assert not np.array_equal(other.network.source.numpy(), ladder.network.source.numpy())


def test_a_folder_holds_the_run_and_it_goes_on_there(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    class Killed(BaseException):
        """Stands for the signal that nobody can catch."""

    class Deadly(Messages):
        def advance(self, fraction: float, report: Any) -> None:
            if fraction > 0.7:
                raise Killed

    out = tmp_path / "run"
    with pytest.raises(Killed):
        trained(structures, split, out=out, progress=Deadly(lambda _: None))
    begun = (out / "log.csv").read_text().splitlines()
    found = trained(structures, split, out=out)
    assert_alike(found, ladder)
    lines = (out / "log.csv").read_text().splitlines()
    assert lines[: len(begun)] == begun
    assert int(lines[-1].split(",")[0]) == STEPS
    assert_alike(sw.load_potential(out, device="cpu"), ladder)
    assert sw.Split.load(out / "split.json", structures=structures) == split
    assert json.loads((out / "settings.json").read_text())["steps"] == STEPS
    written = (out / "model" / "model.json").stat().st_mtime_ns
    assert_alike(trained(structures, split, out=str(out)), ladder)  # finished: nothing to do
    assert (out / "model" / "model.json").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="other settings or other data"):
        trained(structures, split, out=out, seed=1)
    with pytest.raises(InputError, match=r"other data: seed=0 \(now 1\)\. Give another --out"):
        trained(structures, split, out=out, seed=1)
    (weights,) = (out / "model").glob("*.safetensors")
    weights.unlink()
    with pytest.raises(InputError, match=rf"{weights.name}: no such file"):
        trained(structures, split, out=out)  # finished, but nothing to give


def test_a_training_starts_from_a_potential(
    ladder: sw.Potential,
    structures: list[sw.Structure],
    split: sw.Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # rates too small to move a weight: what comes out is what went in
    still = {"steps": 1, "learning_rate": 1e-12, "adam_rate": 1e-12, "device": "cpu"}
    found = sw.train(structures, split, initial=ladder, **still)
    assert found.network.settings == ladder.network.settings
    for name, weight in ladder.network.state_dict().items():
        np.testing.assert_allclose(
            found.network.state_dict()[name].numpy(), weight.numpy(), rtol=0, atol=1e-6
        )
    fresh = sw.train(structures, split, ladder=LADDER, network=SMALL, **still)
    assert np.abs(fresh.network.source.numpy() - found.network.source.numpy()).max() > 1e-3
    # on an adaptive cutoff alone, the network stays as it is
    short = {"steps": 4, "freeze": True, "adaptive_cutoff": {"by": "element"}, "device": "cpu"}
    adaptive = sw.train(structures, split, initial=ladder, out=tmp_path, **short)
    assert adaptive.adaptive_cutoff is not None
    assert_alike(replace(adaptive, adaptive_cutoff=None), ladder)
    again = sw.train(structures, split, initial=ladder, out=tmp_path, **short)
    assert_alike(again, adaptive)
    other = trained(structures, split, seed=1)
    with pytest.raises(InputError, match="other settings or other data"):
        sw.train(structures, split, initial=other, out=tmp_path, **short)
    monkeypatch.chdir(tmp_path.parent)  # the same folder by another name
    here = Path(tmp_path.name)
    assert_alike(sw.train(structures, split, initial=ladder, out=here, **short), adaptive)


def test_without_a_split_groups_are_dealt_as_the_command_does(
    structures: list[sw.Structure],
) -> None:
    data = {"group_key": "part"}
    dealt = split_for(structures, sw.TrainSettings(data=data).data, seed=0)
    said: list[str] = []
    found = trained(structures, None, data=data, progress=Messages(said.append))
    assert_alike(found, trained(structures, dealt, data=data))
    frames = [len(dealt.members(role)) for role in ("train", "valid")]
    assert any(f"{frames[0]} frames to train" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chanels": 3}, "key 'chanels'"),
        ({"network": {"chanels": 3}}, r"key 'network\.chanels'.*Did you mean 'channels'"),
        ({"network": {"channels": 0}}, r"key 'network\.channels'"),
        ({"network": 3}, "key 'network'"),
        ({"steps": 0}, "key 'steps'"),
        ({"minutes": -1.0, "steps": None}, "key 'minutes'"),
        ({"minutes": 1.0}, "give minutes or steps, not both"),
        ({"learning_rate": "fast"}, "key 'learning_rate'"),
        ({"ladder": sw.Ladder([4, 3])}, "ladder.*must rise"),
        ({"ladder": sw.Ladder([3])}, "ladder.*two cutoffs"),
        ({"ladder": sw.Ladder([3, 4, "long"])}, "ladder, cutoffs.*long_range=True"),  # type: ignore[list-item]  # wrong
        ({"ladder": [4, 3, "long"]}, "ladder.*must rise"),
        ({"ladder": 4.0}, "ladder"),
        ({"ladder": None, "adaptive_cutoff": {"by": "element"}}, "adaptive_cutoff needs a ladder"),
        ({"freeze": True}, "give start"),
    ],
)
def test_bad_settings_are_named(
    structures: list[sw.Structure], split: sw.Split, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        trained(structures, split, **changes)


def test_settings_of_a_network_may_be_an_object(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split
) -> None:
    assert_alike(trained(structures, split, network=sw.NetworkSettings(**SMALL)), ladder)


def test_wrong_structures_are_refused(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split
) -> None:
    bare = [replace(s, labels=sw.Labels()) for s in structures]
    with pytest.raises(InputError, match="no frame of the role train has forces"):
        trained(bare, split)
    with pytest.raises(InputError, match="structures"):
        trained([], None)
    with pytest.raises(InputError, match="made for 12 structures, but 11 are given"):
        trained(structures[:-1], split)
    with pytest.raises(InputError, match="made for 12 structures, but 24 are given"):
        trained([*structures, *structures], split)
    with pytest.raises(InputError, match="keeps its network"):
        trained(structures, split, initial=ladder, ladder=sw.Ladder([3, 5]))


def test_a_network_to_start_from_is_what_was_given(
    structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    """What is given must be so; what a preset or the data would give is not asked."""
    far = {**SMALL, "preset": "small", "cutoff": 4.5, "charges": False}
    start = sw.train(structures, split, network=far, steps=1, device="cpu")
    short: dict[str, Any] = {"steps": 1, "device": "cpu", "initial": start}
    for k, given in enumerate(({}, far, {"cutoff": 4.5}, {"channels": 4}, SMALL)):
        found = sw.train(structures, split, network=given, out=tmp_path / str(k), **short)
        assert found.network.settings == start.network.settings
        kept = json.loads((tmp_path / str(k) / "settings.json").read_text())
        kept["start"] = tmp_path / str(k) / "initial"
        again = sw.TrainSettings.model_validate(kept)  # what was written is asked for again
        assert train_in(structures, split, again, tmp_path / str(k)).is_dir()
    for wrong, message in (
        ({"cutoff": 5.0}, r"cutoff=5\.0, another network than that of .* \(cutoff=4\.5\)"),
        ({"channels": 32}, "channels=32, another"),
        ({"preset": "medium"}, "channels=32, hidden=64, layers=2, another"),
        ({"ladder": [3, 4.5]}, "ladder="),
        ({"charges": True}, "charges=True"),
    ):
        with pytest.raises(InputError, match=message):
            sw.train(structures, split, network=wrong, **short)


def test_a_fork_is_trained_at_one_scale_of_a_ladder(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    short: dict[str, Any] = {"steps": 4, "device": "cpu", "initial": ladder}
    fork = sw.train(structures, split, fork={"cutoff": 3.5, "long_range": False}, **short)
    assert fork.ladder == ()
    assert fork.cutoff_range == (3.5, 3.5)
    assert fork.long_range is sw.LongRange.NONE
    with pytest.raises(InputError, match=r"at most 3\.5 Å"):
        fork.predict(structures[0], cutoffs=4.0)
    # no weight has moved: it is the ladder at that scale
    still = {**short, "learning_rate": 1e-12, "adam_rate": 1e-12}
    scale = sw.Scale(3.5, long_range=False)
    for given in ({"cutoff": 3.5, "long_range": False}, {"cutoff": 3.5}):
        same = sw.train(structures, split, fork=given, out=tmp_path / str(len(given)), **still)
        scale = sw.Scale(3.5, long_range=given.get("long_range", True))
        one, other = same.predict(structures[0]), ladder.evaluate(structures[:1], scale)[0]
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-6)
    read = sw.load_potential(tmp_path / "1", device="cpu")
    assert read.cutoff_range == (3.5, 3.5)
    assert read.long_range is sw.LongRange.ALWAYS


def test_a_fork_needs_a_ladder_and_one_of_its_scales(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split
) -> None:
    with pytest.raises(InputError, match=r"fork\.cutoff=5 Å is not on the ladder, from 3 to 4 Å"):
        sw.train(structures, split, initial=ladder, fork={"cutoff": 5.0}, steps=1)
    with pytest.raises(InputError, match="give start"):
        sw.train(structures, split, ladder=LADDER, fork={"cutoff": 3.5}, steps=1)
    single = untrained((11, 17), layers=1)
    with pytest.raises(InputError, match="a potential of one scale"):
        sw.train(structures, split, initial=single, fork={"cutoff": 3.5}, steps=1)


def test_validations_of_a_short_training_take_no_longer_than_its_steps(
    structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    trained(structures, split, validations=20, batch_size=1, out=tmp_path)
    lines = (tmp_path / "log.csv").read_text().splitlines()[1:]
    # three frames at three scales are more than twelve steps of one: as few as there may be
    assert len(split.members("valid")) == 3
    assert [int(line.split(",")[0]) for line in lines] == [2, 4, 6, 8, 10, 12]
