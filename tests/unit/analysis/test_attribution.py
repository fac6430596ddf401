"""What limits a potential: verdicts on planted errors, and the trainings behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest

from scalewise.analysis.attribution.error_table import Scored
from scalewise.analysis.attribution.forks import scale_place
from scalewise.analysis.attribution.limit import limit
from scalewise.analysis.attribution.questions import changes, ranges
from scalewise.analysis.attribution.run import attribute_error, run_command, scored_cutoffs
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.attribution.trainings import plan
from scalewise.analysis.error_cache import absolute_errors
from scalewise.analysis.forks.plan import plan as plan_forks
from scalewise.analysis.forks.plan import scales_of
from scalewise.analysis.forks.settings import ForkComparisonSettings
from scalewise.analysis.learning import Learning
from scalewise.analysis.rungs import ladder_rungs
from scalewise.core.errors import InputError
from scalewise.core.loading import load
from scalewise.data.reading import read_structures
from scalewise.data.splits import DataFile, Split, reduced
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.reporting.experiments import Request
from scalewise.statistics.changes import Change, judge, log_ratio
from scalewise.statistics.verdict import Verdict
from scalewise.training.run import split_for
from support import salt_frame, untrained

ASKED: Mapping[str, Any] = {"min_gain": 0.02, "alpha": 0.05, "seed": 0, "resamples": 200}
SETUPS = ("whole", "narrow", "half", "quarter")
#: Scales: the cutoff asked about, the longest without long range, the longest with it.
PLACES = {"at": 0, "without": 1, "longest": 2, "best": 2}


def planted(
    seed: int,
    *,
    cutoff: float = 0.0,
    long: float = 0.0,
    data: float = 0.0,
    size: float = 0.0,
    routing: float = 0.0,
    training: float = 0.01,
    drawn: float = 0.0,
    replicas: int = 2,
) -> tuple[Scored, Scored]:
    """Errors (test, valid) whose steps save these shares, with luck of training on top.

    The scales of one training share most of its luck, as those of a ladder do, and as its forks do.
    ``drawn``: luck of the frames that a smaller set holds, drawn anew for each replica.
    """
    rng = np.random.default_rng(seed)
    atoms, groups = 600, 24
    lost = {
        "whole": 0.0,
        "narrow": -np.log1p(-size),
        "half": -np.log1p(-data),
        "quarter": -2 * np.log1p(-data),
    }
    scale = np.array([-np.log1p(-cutoff), -np.log1p(-long), 0.0])
    luck = {
        name: rng.normal(0, training, (replicas, 1)) + rng.normal(0, 0.3 * training, (replicas, 3))
        for name in SETUPS
    }
    for name in ("half", "quarter"):
        luck[name] = luck[name] + rng.normal(0, drawn, (replicas, 1))
    own = luck["whole"] + rng.normal(0, 0.3 * training, (replicas, 3))
    found = []
    for _ in range(2):
        block = np.repeat(np.arange(groups), atoms // groups)
        kind = np.arange(atoms) % 2
        each = np.abs(rng.standard_normal(atoms)) * np.exp(0.2 * rng.standard_normal(groups))[block]
        # one kind of atoms is worse off at the longest scale, the other at all the rest
        apart = (kind == 1) == (np.arange(3) == 2)[:, None]
        absolute = {
            name: [
                each
                * np.exp(lost[name] + scale + luck[name][r])[:, None]
                * (1.0 + routing * apart)
                * (1.0 + 0.1 * rng.standard_normal((3, atoms)))
                for r in range(replicas)
            ]
            for name in SETUPS
        }
        alone = (
            each
            * np.exp(scale + own)[:, :, None]
            * (1.0 + routing * apart)
            * (1.0 + 0.1 * rng.standard_normal((replicas, 3, atoms)))
        )
        found.append(Scored(absolute, block, kind, {k: alone[:, k] for k in range(3)}))
    return found[0], found[1]


def verdicts(test: Scored, valid: Scored) -> dict[str, Verdict]:
    places: Mapping[str, int] = PLACES
    found = judge(changes(test, valid, places), **ASKED)
    return {v.question: v for v in found}


@pytest.mark.parametrize("name", ["cutoff", "long", "data", "size"])
def test_each_deficit_is_told_from_the_others(name: str) -> None:
    right = wrong = limits = 0
    for seed in range(30):
        found = verdicts(*planted(seed, **{name: 0.15}))
        right += found[name].answer == "needed"
        wrong += any(v.answer == "needed" for q, v in found.items() if q != name)
        limits += limit(list(found.values())) == name
    assert right >= 27
    assert wrong <= 4
    assert limits >= 25


def test_routing_is_needed_where_kinds_of_atoms_want_other_scales() -> None:
    found = [verdicts(*planted(seed, routing=0.2))["routing"] for seed in range(20)]
    assert sum(v.answer == "needed" for v in found) >= 18
    assert np.median([v.gain for v in found]) > 0.0


@pytest.mark.parametrize(("training", "drawn"), [(0.03, 0.0), (0.1, 0.0), (0.03, 0.1)])
def test_hardly_anything_is_said_to_be_needed_where_nothing_is(
    training: float, drawn: float
) -> None:
    wrong = sum(
        any(
            v.answer == "needed"
            for v in verdicts(*planted(seed, training=training, drawn=drawn)).values()
        )
        for seed in range(300)
    )
    # 5 % of 300 with three standard errors of a binomial
    assert wrong <= 15 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_the_luck_of_training_is_in_the_interval() -> None:
    calm, wild = (verdicts(*planted(0, data=0.1, training=t))["data"] for t in (0.001, 0.1))
    assert calm.answer == "needed"
    assert calm.training is not None
    assert wild.training is not None
    assert calm.training < 0.9 < wild.training
    assert wild.answer == "cannot tell"
    assert wild.high - wild.low > 3 * (calm.high - calm.low)


def test_a_gain_is_that_of_the_mean_logarithm() -> None:
    change = Change(np.array([[2.0, 2.0], [4.0, 4.0]]), np.ones((2, 2)), [(0.0, 1)])
    assert float(log_ratio(change, np.ones(2))) == pytest.approx(-0.5 * np.log(8.0))
    (few,) = judge({"data": change}, min_gain=0.02, alpha=0.05, seed=0, resamples=100)
    assert (few.answer, few.gain) == ("cannot tell", None)


def test_no_limit_is_named_where_two_are_alike() -> None:
    found = verdicts(*planted(3, data=0.15, size=0.15))
    assert found["data"].answer == found["size"].answer == "needed"
    assert limit(list(found.values())) is None


def test_the_longest_scale_is_compared_with_every_other() -> None:
    settings, done = load(AttributionSettings, None, WORDS), Learning(1000, 0.0)
    test, _ = planted(0, cutoff=0.15)
    first, second = ranges(test, 2, done, settings)
    assert (first["scale"], first["now"]["answer"], first["answer"]) == (0, "needed", "needed")
    assert first["now"]["low"] < 0.15 < first["now"]["high"]
    assert (second["scale"], second["now"]["answer"], second["answer"]) == (
        *(1, "not needed", "not needed"),
    )
    assert {r["answer"] for r in ranges(test, 2, None, settings)} == {"cannot tell"}
    # rungs of a ladder are no potentials of one scale, nor what it comes to as one
    rungs = ranges(replace(test, forks={2: test.forks[2]}), 2, done, settings)
    assert [r["now"]["answer"] for r in rungs] == ["needed", "not needed"]
    assert [r["answer"] for r in rungs] == ["cannot tell", "cannot tell"]
    much, _ = planted(0, cutoff=0.5)
    assert ranges(replace(much, forks={}), 2, done, settings)[0]["answer"] == "needed"


def test_what_scales_are_worth_is_asked_of_forks() -> None:
    """What a ladder's ends lose by being its ends is no gain of a longer cutoff."""
    test, valid = planted(1)
    ladder = [e * np.array([1.4, 1.0, 1.0])[:, None] for e in test.absolute["whole"]]
    test = replace(test, absolute={**test.absolute, "whole": ladder})
    assert judge({"": test.within(0, 2)}, **ASKED)[0].answer == "needed"
    assert verdicts(test, valid)["cutoff"].answer == "not needed"
    some = test.only(np.arange(600) < 300)
    assert some.forks[0].shape == (2, 300)


# --------------------------------------------------------------------------- trainings


def grouped(groups: int = 10, each: int = 3) -> Split:
    frames = groups * each
    role = ["train"] * (frames - 2 * each) + ["valid"] * each + ["test"] * each
    return Split(
        data=DataFile(file="a.xyz", sha256=64 * "0", frames=frames),
        role=tuple(role),
        group=tuple(np.repeat(np.arange(groups), each).tolist()),
    )


def test_smaller_sets_are_nested_and_hold_whole_groups() -> None:
    whole = grouped()
    half, quarter = (reduced(whole, share, seed=1) for share in (0.5, 0.25))
    sets = [set(m.members("train").tolist()) for m in (whole, half, quarter)]
    assert sets[2] < sets[1] < sets[0]
    assert [len(s) for s in sets] == [24, 12, 6]
    for small in (half, quarter):
        assert small.leaking_groups() == ()
        for role in ("valid", "test"):
            assert (small.members(role) == whole.members(role)).all()


def test_a_smaller_set_holds_every_element_and_its_sizes_must_differ() -> None:
    whole = grouped(groups=12, each=1)
    for seed in range(10):
        frames = [salt_frame(seed=k, n=4, box=8.0, index=k) for k in range(12)]
        rare = int(np.random.default_rng(seed).integers(10))
        numbers = frames[rare].numbers.copy()
        numbers[0] = 19
        frames[rare] = replace(frames[rare], numbers=numbers)
        assert rare in reduced(whole, 0.25, seed, frames).members("train")
        assert len(reduced(whole, 0.25, seed, frames).members("train")) <= 3


@pytest.mark.parametrize("groups", [3, 4])
def test_too_few_groups_are_refused_before_anything_is_trained(
    file: Path, tmp_path: Path, groups: int
) -> None:
    frames = read_structures(file, check_units=False)
    with pytest.raises(InputError, match=f"{3 * (groups - 2)} in {groups - 2} groups"):
        plan(grouped(groups), frames, load(AttributionSettings, None, WORDS), tmp_path)


WORDS = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.num_bessel=4"),
    *("network.layers=1", "device=cpu", "epochs=2", "validations=2", "network.ladder=[3.0,4.5]"),
    *("data.split_key=role", "data.check_units=false", "points=2", "bootstrap=100", "workers=1"),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prove") / "frames.xyz"
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    images = []
    for k in range(16):
        frame = salt_frame(seed=k, n=8, box=8.5, index=k)
        found = teacher.predict(frame)
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = found.forces, found.energy
        atoms.info["role"] = "train" if k < 8 else "valid" if k < 11 else "test"
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")
    return path


@pytest.mark.parametrize("words", [["points=3"], ["points=5"], ["points=4", "at=3.7333"], []])
def test_no_two_scales_are_one(words: list[str]) -> None:
    """Half of 2.8 and 5.6 Å is 4.199999999999999, and 4.2 rounded: forks of both had one folder."""
    given = [*WORDS, "network.ladder=[2.8,5.6]", *words]
    cutoffs = scored_cutoffs(settings := load(AttributionSettings, None, given))
    assert len({f"{c:g}" for c in cutoffs}) == len(cutoffs)
    assert {2.8, settings.cutoff, 5.6} <= {*cutoffs}
    assert ForkComparisonSettings(cutoffs=tuple(cutoffs)).cutoffs == tuple(cutoffs)


def test_forks_are_put_beside_the_scales_of_their_ladder() -> None:
    settings = load(AttributionSettings, None, [*WORDS, "network.ladder=[3.0,4.5,long]"])
    ladder = untrained((11, 17), ladder=(3.0, 4.5, "long"), layers=1)
    trained = settings.training.model_dump(mode="json")
    ladder = replace(ladder, info={"settings": trained, "step": 100, "batch_size": 1})
    asked = ForkComparisonSettings(cutoffs=(3.0, 4.5))
    rungs = ladder_rungs(ladder, [3.0, 4.5])
    frames = [salt_frame(seed=0, n=8, box=8.5)]
    forks = plan_forks(
        *(ladder, Path("ladder"), frames, asked, scales_of(ladder, asked), Path("forks")),
        replicas=[1],
    )
    places = {f.folder.name: scale_place(rungs, f, settings) for f in forks}
    found = {name: (rungs[k].cutoff, rungs[k].long_range) for name, k in places.items()}
    assert found == {"3-1": (3.0, True), "4.5-1": (4.5, True), "4.5-local-1": (4.5, False)}


def test_a_plan_trains_two_of_each(file: Path, tmp_path: Path) -> None:
    settings = load(AttributionSettings, None, WORDS)
    frames = read_structures(file, check_units=False)
    split = split_for(frames, settings.data, settings.seed)
    trainings = plan(split, frames, settings, tmp_path)
    assert [(t.name, t.frames) for t in trainings[::2]] == [
        ("whole", 8),
        ("narrow", 8),
        ("quarter", 2),
        ("half", 4),
        ("short", 8),
    ]
    assert [t.settings.seed for t in trainings[:2]] == [0, 1]
    assert trainings[2].settings.network.channels == 2
    drawn = [set(t.split.members("train").tolist()) for t in trainings[6:8]]
    assert drawn[0] != drawn[1]
    written = trainings[6].settings.data.split
    assert written is not None
    assert Split.load(written, structures=frames, data=file).roles == (
        "train",
        "valid",
        "test",
        "spare",
    )


def test_steps_that_are_known_beforehand_are_those_of_all_frames(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer frames are seen more often; and no training waits for the first."""
    # all eight frames alone would make steps of two, a quarter of them steps of one
    monkeypatch.setattr("scalewise.training.dataset.STEPS_PER_EPOCH", 4)
    frames = read_structures(file, check_units=False)
    for words, steps in (
        ((), 16),
        (("steps=7",), 7),
        (("minutes=1",), None),
        (("patience=3",), None),
    ):
        settings = load(AttributionSettings, None, [*WORDS, *words])
        split = split_for(frames, settings.data, settings.seed)
        first, *others = plan(split, frames, settings, tmp_path)
        assert first.steps == steps
        if steps is not None:
            found = {t.name: t.like(first).settings.steps for t in others}
            assert found.pop("short") == max(1, round(0.2 * steps))
            assert set(found.values()) == {steps}


@pytest.mark.whole
def test_a_proof_is_written_and_trains_nothing_twice(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(AttributionSettings, None, WORDS)
    report = run_command(Request(settings, tmp_path, files=(file,)))
    paths = report.save(tmp_path)
    assert [p.name for p in paths] == ["prove.json", "prove.txt", "prove.png", "prove.svg"]
    found = json.loads((tmp_path / "prove.json").read_text())["body"]
    assert found["choice"] == {"role": "test", "scored": 5, "groups": 5}
    assert list(found["questions"]) == ["cutoff", "routing", "data", "size"]
    whole = found["subsets"][0]
    assert report.verdict("all", "data").question == "data"
    assert [v["question"] for v in whole["verdicts"]] == list(found["questions"])
    assert [s["name"] for s in found["subsets"]] == ["all", "Na", "Cl"]
    assert found["scales"] == [{"cutoff": c, "long": False} for c in (3.0, 3.75, 4.5)]
    assert len(whole["mae"]["whole"]) == 3
    assert len(found["trainings"]) == 10
    # both seeds of three cutoffs, for a share of the steps
    assert [(f["scale"], f["replica"]) for f in found["forks"]] == [
        (k, r) for r in range(2) for k in range(3)
    ]
    assert all(mae > 0 for mae in whole["mae_alone"])
    states = {p.parent.name for p in tmp_path.glob("forks/*/state.safetensors")}
    assert states == {f"{c}-{r}" for c in ("3", "3.75", "4.5") for r in range(2)}
    assert list(whole["mae"]) == ["whole", "narrow", "quarter", "half", "short"]
    assert {row["remedy"] for row in whole["order"]} >= {"frames", "steps", "cutoff", "routing"}
    gains = [row["gain"] for row in whole["order"]]
    assert gains == sorted(gains, reverse=True)
    assert whole["forecasts"]["frames"]["to"] == 16
    assert whole["forecasts"]["steps"]["to"] == 32
    assert "What saves most, at this budget" in report.table()
    logs = {p: p.read_text() for p in tmp_path.glob("trainings/*/log.csv")}
    assert len(logs) == 10
    # equal work: as many steps on fewer frames
    steps = {p.parent.name: int(t.splitlines()[-1].split(",")[0]) for p, t in logs.items()}
    assert steps.pop("short-0") == steps.pop("short-1") == 3
    assert set(steps.values()) == {16}
    monkeypatch.setattr("scalewise.analysis.attribution.run.train_in", forbidden)
    monkeypatch.setattr("scalewise.analysis.trainings.train_in", forbidden)
    monkeypatch.setattr("scalewise.analysis.error_cache.measure", forbidden)
    monkeypatch.chdir(tmp_path)
    again = attribute_error(read_structures(file, check_units=False), None, settings, Path())
    assert again.body["subsets"] == report.body["subsets"]


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("finished work was done again")


def test_kept_errors_are_of_this_model_and_these_frames(file: Path, tmp_path: Path) -> None:
    frames = read_structures(file, check_units=False)[-2:]
    folder = tmp_path / "run"
    checkpoint.write(folder / "model", untrained(seed=1, layers=1, cutoff=4.0))

    def found(members: Sequence[Structure]) -> np.ndarray:
        return absolute_errors(folder, members, [4.0], "test", device="cpu")[1]

    first = found(frames)
    assert first.shape == (1, 16)
    assert (found(frames) == first).all()
    assert found(frames[:1]).shape == (1, 8)
    (folder / "errors-test.safetensors").write_bytes(b"damaged")
    assert (found(frames) == first).all()
    checkpoint.write(folder / "model", untrained(seed=2, layers=1, cutoff=4.0))
    assert not (found(frames) == first).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["network.ladder=[]"], "needs a ladder"),
        (["adaptive_cutoff.by=element"], "leave adaptive_cutoff and start out"),
        (["at=4.5"], "below its end"),
        (["minutes=1", "steps=10"], "give minutes or steps"),
        (["replicas=1"], "greater than or equal to 2"),
        (["role=ood"], "no frame has the role 'ood'"),
    ],
)
def test_bad_settings_are_refused(
    file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    structures = read_structures(file, check_units=False)
    with pytest.raises(InputError, match=message):
        attribute_error(
            structures, None, load(AttributionSettings, None, [*WORDS, *words]), tmp_path
        )


@pytest.mark.slow
def test_workers_of_a_scheduler_find_what_this_machine_does(file: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    settings = load(AttributionSettings, None, WORDS)
    structures = read_structures(file, check_units=False)
    here = attribute_error(structures, None, settings, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as running:
        there, again = (
            attribute_error(
                structures, None, settings, tmp_path / "there", on=running.scheduler_address
            )
            for _ in range(2)
        )
    assert there.body["subsets"] == here.body["subsets"] == again.body["subsets"]
    kept = [{p.name for p in (tmp_path / name / "forks").iterdir()} for name in ("here", "there")]
    assert kept[0] == kept[1]
