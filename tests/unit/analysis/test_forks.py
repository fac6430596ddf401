"""Each scale of a ladder goes on alone, and what range the system needs is judged there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scalewise as sw
from scalewise.analysis.end_of_training import Compared, at_end
from scalewise.analysis.forks.judging import Errors, ShorterErrors, judge_subset
from scalewise.analysis.forks.plan import plan, plan_shorter, scales_of
from scalewise.analysis.learning import Learning
from scalewise.analysis.settling import Asked, decide_for_system, settled_after
from scalewise.core.errors import InputError
from scalewise.models.density.settings import ForkSettings
from scalewise.statistics.verdict import Answer, Verdict
from support import salt_frame, untrained

SMALL: dict[str, Any] = {"channels": 4, "hidden": 6, "layers": 1, "l_max": 2, "num_bessel": 4}
SETTINGS: dict[str, Any] = {"steps": 3, "workers": 1, "bootstrap": 100, "device": "cpu"}

# -- the end of training ---------------------------------------------------------------------------


def measured(gain: float, width: float = 0.0) -> Verdict:
    return Verdict(Answer.NEEDED, gain, gain - width, gain + width, 0.001)


def quantiles(gains: np.ndarray) -> np.ndarray:
    return np.quantile(gains, [0.025, 0.5, 0.975])


def test_at_the_end_of_training_a_gain_is_about_what_it_is() -> None:
    done = Learning(1000, 0.0)
    for gain in (-0.1, 0.0, 0.2, 0.6):
        low, middle, high = quantiles(at_end(measured(gain), done))
        assert low < gain < high
        # short scales are better for what longer ones taught the weights that they share
        assert gain - 0.07 < middle < gain + 0.2
    # what is certain today is so at the end, and an interval is never narrower
    assert quantiles(at_end(measured(0.2), done))[0] > 0.1
    assert np.ptp(quantiles(at_end(measured(0.2, 0.1), done))) > 0.15


def test_what_is_not_learned_yet_hides_a_gain_and_may_be_mistaken_for_one() -> None:
    # the error of the longest scale falls to a half, and what the other misses stays
    slope = float(np.sqrt(np.log(2.0) / 5.0))
    halved = Learning(1000, 0.0, slope=slope)
    assert np.exp(-np.median(halved.left())) == pytest.approx(0.5, abs=0.02)
    hidden = 1.0 - np.sqrt(0.5**2 / (0.5**2 + 0.8**-2 - 1.0))
    low, _, high = quantiles(at_end(measured(0.2), halved))
    assert 0.1 < low < hidden < high
    low, _, high = quantiles(at_end(measured(0.02), halved))
    assert low < 0.0 < 0.02 < high
    slopes = (0.0, 0.1, 0.2, 0.4, 0.6)
    ends = [quantiles(at_end(measured(0.02), Learning(1000, 0.0, slope=v))) for v in slopes]
    assert (np.diff(np.ptp(ends, axis=1)) > 0).all()


def test_a_shorter_training_says_how_fast_the_error_falls() -> None:
    alone = Learning(1000, 0.2)
    found = alone.after_shorter(250, 40.0, 20.0)
    assert found.slope == pytest.approx(np.log(2.0) / 2.0)
    assert found.slope is not None
    assert found.least < np.exp(-5 * found.slope**2)
    # a training that gained nothing by four times the steps is at its end
    done = Learning(1000, 0.0)
    assert done.after_shorter(250, 19.0, 20.0).least == pytest.approx(1.0, abs=0.02)
    # both may be at their beginnings: what fell last says so
    assert alone.after_shorter(250, 19.0, 20.0).least < 0.8
    assert alone.after_shorter(250, 0.0, 0.0) == alone.after_shorter(1000, 2.0, 1.0) == alone


def history(errors: list[float], steps: list[int] | None = None) -> dict[str, Any]:
    steps = steps or [100 * (k + 1) for k in range(len(errors))]
    return {"history": {"step": steps, "forces_mae": errors, "seconds": [1.0 * s for s in steps]}}


def test_the_fall_of_an_error_over_the_last_third() -> None:
    power = [1000.0 / (k + 1) for k in range(9)]
    found = Learning.of(history(power))
    assert found is not None
    assert found.fall == pytest.approx(np.log(1.5))
    assert found.least == pytest.approx(1.5 ** (-4 * np.exp(1.96)), rel=0.5)
    assert (found.steps, found.seconds) == (900, 900.0)
    risen = Learning.of(history([40.0, 30.0, 20.0, 20.0, 21.0, 22.0, 23.0, 24.0]))
    assert risen is not None
    assert risen.fall == 0.0  # the best weights are kept
    assert risen.least == 1.0


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"history": None},
        {"history": {"step": [1, 2, 3, 4]}},
        history([3.0, 2.0, 1.0]),
        history([3.0, 2.0, 1.0, 1.0], [70, 80, 90, 100]),
        history([3.0, 0.0, 1.0, 1.0]),
        {"history": {"step": "1234", "forces_mae": [1.0] * 4}},
        {"history": {"step": [1, 2, 3, "4"], "forces_mae": [1.0] * 4}},
        {"history": {"step": [1, 2, 3, 4], "forces_mae": [1.0, float("nan"), 1.0, 1.0]}},
        {"history": {"step": [4, 3, 2, 1], "forces_mae": [1.0] * 4}},
    ],
)
def test_too_little_is_known_of_a_training(info: dict[str, Any]) -> None:
    assert Learning.of(info) is None


def test_the_answer_for_the_system() -> None:
    asked = Asked(0.03, 0.05)
    needed = Verdict(Answer.NEEDED, 0.3, 0.25, 0.35, 0.001)
    alike = Verdict(Answer.NOT_NEEDED, 0.0, -0.005, 0.005, 0.5)
    done, early, late = (Learning(1000, fall) for fall in (0.0, 1.0, 0.02))
    assert decide_for_system(needed, done, asked).answer is Answer.NEEDED
    assert decide_for_system(alike, done, asked).answer is Answer.NOT_NEEDED
    assert decide_for_system(needed, Learning(1000, 0.1), asked).answer is Answer.NEEDED
    # what short scales have not learned yet may be as much (a planted law, after 300 steps)
    assert decide_for_system(needed, early, asked).answer is Answer.CANNOT_TELL
    found = decide_for_system(alike, early, asked)
    assert found.answer is Answer.CANNOT_TELL
    assert "no training up to 256 times as long is sure to settle it" in found.reason
    more = Asked(0.05, 0.05)
    assert settled_after(alike, late, more) is None
    late = Learning(1000, 0.02, slope=0.1)
    longer = settled_after(alike, late, more)
    assert longer is not None
    found = decide_for_system(alike, late, more)
    assert f"a training {longer} times as long" in found.reason
    # a small gain that is certain today may be one of learning
    small = Verdict(Answer.NEEDED, 0.08, 0.07, 0.09, 0.001)
    assert decide_for_system(small, early, asked).answer is Answer.CANNOT_TELL
    assert decide_for_system(small, done, asked).answer is Answer.NEEDED
    near = Verdict(Answer.NEEDED, 0.03, 0.025, 0.035, 0.001)
    assert "too near to 3 %" in decide_for_system(near, done, asked).reason
    wide = Verdict(Answer.CANNOT_TELL, 0.0, -0.2, 0.2, 0.5)
    assert "more test frames or seeds" in decide_for_system(wide, done, asked).reason
    assert "not known" in decide_for_system(needed, None, asked).reason
    assert "too few groups" in decide_for_system(Verdict(Answer.CANNOT_TELL), done, asked).reason


def test_a_training_is_named_if_it_settles_four_of_five_of_its_futures() -> None:
    asked = Asked(0.05, 0.05)
    hidden = Verdict(Answer.NEEDED, 0.1, 0.08, 0.12, 0.001)
    learning = Learning(1000, 0.1, slope=0.2)
    shares = [asked.decided_after(hidden, learning, d) for d in range(1, 9)]
    assert all(0.0 <= s <= 1.0 for s in shares)
    assert shares[0] < shares[3] < shares[7]
    longer = settled_after(hidden, learning, asked)
    first = next(d for d, share in enumerate(shares, 1) if share >= 0.8)
    assert longer is not None
    assert longer == 2**first
    # the faster the error still falls, the later; a narrower interval settles no later
    later = settled_after(hidden, replace(learning, slope=0.4), asked)
    assert later is None or later > longer
    narrow = settled_after(hidden, learning, asked, 0.5)
    assert narrow is not None
    assert narrow <= longer
    # what is decided stays so, and at the limit nothing settles it
    done = Learning(1000, 0.0, slope=0.0)
    assert asked.decided_after(measured(0.3, 0.02), done, 1) > 0.95
    assert asked.decided_after(measured(0.05, 0.02), done, 8) < 0.5


def test_a_longer_scale_that_is_worse_early_is_not_soon_known_to_be_useless() -> None:
    """Acetylacetone after 100 steps: 3.6 Å is 12 % better than 5 Å, and 12 % worse in the end."""
    now, learning = measured(-0.117, 0.04), Learning(100, 0.1, slope=0.48)
    for doublings in (1, 2, 4):
        assert Asked(0.05, 0.05).decided_after(now, learning, doublings) < 0.8


def test_long_range_is_unlearned_slowly() -> None:
    """A TIP3P solution after 1,600 steps: forks err by 8.1 without long range, by 6.0 with it.

    Potentials of their own differ by 9 % in the end.
    """
    learning = Learning(1600, 0.11, slope=0.411)
    now = measured(0.255, 0.01)
    low, _, high = quantiles(at_end(now, learning, long_range=True))
    assert low < 0.093 < high
    assert decide_for_system(now, learning, Asked(0.05, 0.05, long_range=True)).answer is (
        Answer.CANNOT_TELL
    )
    done = Learning(1600, 0.0, slope=0.0)
    found = decide_for_system(now, done, Asked(0.05, 0.05, long_range=True))
    assert found.answer is Answer.NEEDED
    # rungs of a ladder have the same weights
    wide, narrow = (
        np.ptp(quantiles(at_end(now, learning, "rungs", long_range=v))) for v in (True, False)
    )
    assert wide > narrow


def test_frames_and_channels_are_no_scales() -> None:
    """What forks differ by from potentials of one scale has no part in other gains."""
    done = Learning(1000, 0.0, slope=0.0)
    alike = Verdict(Answer.NOT_NEEDED, 0.0, -0.005, 0.005, 0.5)
    more = Verdict(Answer.NEEDED, 0.15, 0.14, 0.16, 0.001)
    asked = Asked(0.02, 0.05, "set-ups")
    assert decide_for_system(alike, done, asked).answer is Answer.NOT_NEEDED
    found = decide_for_system(more, done, asked)
    assert found.gain == pytest.approx(0.15, abs=0.01)
    # a rung may be off by more than a fork is
    widths = [
        np.ptp(quantiles(at_end(measured(0.15, 0.01), done, compared)))
        for compared in ("set-ups", "forks")
    ]
    assert widths[0] < widths[1]
    rung = decide_for_system(more, done, Asked(0.02, 0.05, "rungs"))
    assert rung.answer is Answer.CANNOT_TELL
    assert "scalewise fork is surer" in rung.reason


@pytest.mark.parametrize("compared", ["forks", "rungs", "set-ups"])
@pytest.mark.parametrize("slope", [None, 0.0, 0.3, 5.0])
def test_a_gain_is_in_its_interval(compared: Compared, slope: float | None) -> None:
    for gain in (-0.5, 0.0, 0.1, 0.9, 0.999, 1.0):
        now = Verdict(Answer.NEEDED, gain, gain - 0.05, gain, 0.001)
        found = decide_for_system(
            now, Learning(1000, 0.3, slope=slope), Asked(0.05, 0.05, compared)
        )
        assert found.gain is not None
        assert found.low is not None
        assert found.high is not None
        assert np.isfinite([found.low, found.gain, found.high]).all()
        assert found.low <= found.gain <= found.high


# -- judging ---------------------------------------------------------------------------------------


def errors(ratios: list[float], *, seed: int = 0, luck: float = 0.01) -> Errors:
    """Errors of scales that are ratios of those of the last one, in groups of ten atoms."""
    rng = np.random.default_rng(seed)
    base = rng.exponential(size=300)
    noise = np.exp(luck * rng.standard_normal((2, len(ratios), 1)))
    own = np.exp(0.1 * rng.standard_normal((2, len(ratios), 300)))
    forks = np.array(ratios)[:, None] * base * noise * own
    return Errors(forks, forks[0], np.arange(300) // 10)


def test_forks_take_as_many_frames_in_a_step_as_their_ladder_did(tmp_path: Path) -> None:
    asked, frames = sw.ForkComparisonSettings(), [salt_frame(seed=k) for k in range(3)]
    network = {"ladder": [3.0, 4.0], **SMALL}
    # of the settings (in each of two processes), of what the training did, and of its default
    for given, known, size in ((5, 3, 10), (None, 3, 6), (None, "3", 2), (None, None, 2)):
        trained = {"network": network, "processes": 2, "batch_size": given}
        settings = sw.TrainSettings.model_validate(trained).model_dump(mode="json")
        info = {"settings": settings, "step": 100, "batch_size": known}
        ladder = replace(untrained(ladder=[3.0, 4.0]), info=info)
        scales = scales_of(ladder, asked)
        forks = plan(
            ladder, tmp_path / "ladder", frames, asked, scales, tmp_path, replicas=range(2)
        )
        shorter = plan_shorter(ladder, frames, asked, tmp_path)
        assert shorter is not None
        assert {t.settings.batch_size for t in (*forks, shorter)} == {size}


def test_forks_of_a_ladder_from_before_are_trained_as_it_was(tmp_path: Path) -> None:
    """Energies had their weight from the start; forks and a second ladder took the new schedule."""
    before = sw.TrainSettings.model_validate({"network": {"ladder": [3.0, 4.0], **SMALL}})
    given = before.model_dump(mode="json")
    for old in (False, True):
        if old:
            del given["loss"]["energy_from"]
        ladder = replace(
            untrained(ladder=[3.0, 4.0]), info={"settings": given, "step": 100, "batch_size": 1}
        )
        asked, frames = sw.ForkComparisonSettings(), [salt_frame(seed=k) for k in range(3)]
        shorter = plan_shorter(ladder, frames, asked, tmp_path)
        assert shorter is not None
        assert shorter.settings.loss.energy_from == (0.0 if old else 0.7)


def test_cutoffs_that_would_share_a_folder_are_refused() -> None:
    with pytest.raises(ValueError, match=r"differ by less than 0.001 Å"):
        sw.ForkComparisonSettings(cutoffs=(3.0, 4.2, 4.2000001))


def test_what_is_planted_is_found() -> None:
    scales = [ForkSettings(cutoff=c) for c in (3.0, 4.0, 5.0, 6.0)]
    settings = sw.ForkComparisonSettings()
    done = Learning(1000, 0.0)
    found = judge_subset(errors([1.5, 1.2, 1.0, 1.0]), scales, done, settings)
    answers = [s["system"]["answer"] for s in found["scales"]]
    assert answers == ["needed", "needed", "not needed", "not needed"]
    assert found["enough"] == 5.0
    assert found["reference"] == 3
    early = judge_subset(errors([1.5, 1.2, 1.0, 1.0]), scales, Learning(1000, 0.1), settings)
    answers = [s["system"]["answer"] for s in early["scales"]]
    assert answers == ["needed", "cannot tell", "cannot tell", "not needed"]
    assert early["enough"] == 6.0
    assert early["scales"][2]["now"]["answer"] == "not needed"


def test_each_element_has_a_slope_of_its_own() -> None:
    scales = [ForkSettings(cutoff=c) for c in (3.0, 6.0)]
    made = errors([1.2, 1.0])
    late = np.arange(300) % 2 == 0
    before = made.ladder[1] * np.where(late, 2.0, 1.0)
    found = replace(made, shorter=ShorterErrors(200, 800, before))
    settings = sw.ForkComparisonSettings()
    for member, slope in ((late, 0.5 * np.log(2.0)), (~late, 0.0)):
        for alone in (Learning(800, 0.1), None):  # the slope is known without a history
            part = judge_subset(found.only(member), scales, alone, settings)["learning"]
            assert part["slope"] == pytest.approx(slope)
            assert part["fall"] == (None if alone is None else 0.1)
    # what does not fall may be at its beginning, while the network still learns the rest
    of_all = found.learning(None, 1)
    assert of_all is not None
    for member, slope in ((late, 0.5 * np.log(2.0)), (~late, of_all.slope)):
        part = judge_subset(found.only(member), scales, of_all, settings)["learning"]
        assert part["slope"] == pytest.approx(slope)
    assert of_all.slope > 0.1


def test_the_luck_of_seeds_is_in_the_intervals() -> None:
    scales = [ForkSettings(cutoff=c) for c in (3.0, 6.0)]
    widths = []
    for luck in (0.0, 0.1):
        found = judge_subset(
            errors([1.1, 1.0], luck=luck), scales, None, sw.ForkComparisonSettings()
        )
        now = found["scales"][0]["now"]
        widths.append(now["high"] - now["low"])
    assert widths[1] > 3 * widths[0]


# -- trainings -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def structures() -> list[sw.Structure]:
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = [salt_frame(seed=k, n=8, box=8.5, index=k) for k in range(12)]
    found = [teacher.predict(f) for f in frames]
    return [
        replace(f, info={"part": k}, labels=sw.Labels(p.forces, p.energy, p.stress))
        for k, (f, p) in enumerate(zip(frames, found, strict=True))
    ]


@pytest.fixture(scope="module")
def split(structures: list[sw.Structure]) -> sw.Split:
    return sw.make_split(structures, valid=0.2, test=0.3, group_key="part")


@pytest.fixture(scope="module")
def ladder(structures: list[sw.Structure], split: sw.Split) -> sw.Potential:
    rungs = sw.Ladder([3, 4], long_range=True)
    return sw.train(
        structures, split, ladder=rungs, steps=10, network=SMALL, validations=10, device="cpu"
    )


@pytest.mark.whole
def test_forks_of_a_small_ladder(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    settings = sw.ForkComparisonSettings(cutoffs=(3.0, 3.5, 4.0), **SETTINGS)
    report = sw.compare_forks(ladder, structures, split, settings, tmp_path)
    body = report.body
    assert [(s["cutoff"], s["long"]) for s in body["scales"]] == [
        *((3.0, True), (3.5, True), (4.0, True)),
        (4.0, False),
    ]
    assert body["training"]["steps"] == 10
    assert body["learning"]["fall"] is not None
    assert body["training"]["shorter_steps"] == 2
    assert all(s["learning"]["slope"] is not None for s in body["subsets"])
    whole = body["subsets"][0]
    assert whole["reference"] == 2
    # the potentials are there, of one scale each, and have the errors of the report
    fork = sw.load_potential(tmp_path / "forks" / "3.5-1", device="cpu")
    assert fork.cutoff_range == (3.5, 3.5)
    test = [structures[k] for k in split.members("test")]
    wrong = [
        np.abs(p.forces - s.labels.forces) for p, s in zip(fork.evaluate(test), test, strict=True)
    ]
    assert whole["scales"][1]["each"][1] == pytest.approx(1e3 * np.concatenate(wrong).mean())
    assert report.verdict("all", "now").answer in tuple(Answer)
    assert "What range the system needs" in report.table()
    report.save(tmp_path)
    assert sw.Report.load(tmp_path).body == body
    # again: nothing is trained
    before = (tmp_path / "forks" / "3.5-1" / "model" / "model.json").stat().st_mtime_ns
    assert sw.compare_forks(ladder, structures, split, settings, tmp_path).body == body
    assert (tmp_path / "forks" / "3.5-1" / "model" / "model.json").stat().st_mtime_ns == before


def test_without_a_second_ladder(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    settings = sw.ForkComparisonSettings(points=2, shorter=None, **SETTINGS)
    report = sw.compare_forks(ladder, structures, split, settings, tmp_path)
    report.save(tmp_path)
    found = sw.Report.load(tmp_path).body
    assert found["training"]["shorter_steps"] is None
    assert found["learning"]["slope"] is None
    assert not (tmp_path / "shorter").exists()


@pytest.mark.slow
def test_two_processes_find_what_one_does(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    found = [
        sw.compare_forks(
            ladder,
            structures,
            split,
            sw.ForkComparisonSettings(points=2, **{**SETTINGS, "workers": workers}),
            tmp_path / str(workers),
        ).body["subsets"]
        for workers in (1, 2)
    ]
    assert found[0] == found[1]


def test_forks_of_what_has_none(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="one scale"):
        sw.compare_forks(untrained((11, 17)), structures, split, out=tmp_path)
    bare = untrained((11, 17), ladder=(3.0, 4.0), layers=1)
    with pytest.raises(InputError, match="does not say how it was trained"):
        sw.compare_forks(bare, structures, split, out=tmp_path)
    with pytest.raises(InputError, match="nothing says which frames to train on"):
        sw.compare_forks(ladder, structures, out=tmp_path)
    beyond = sw.ForkComparisonSettings(cutoffs=(3.0, 5.0))
    with pytest.raises(InputError, match="5 Å"):
        sw.compare_forks(ladder, structures, split, beyond, tmp_path)


@pytest.mark.slow
def test_workers_of_a_scheduler_find_what_this_machine_does(
    ladder: sw.Potential, structures: list[sw.Structure], split: sw.Split, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    settings = sw.ForkComparisonSettings(points=2, **SETTINGS)
    here = sw.compare_forks(ladder, structures, split, settings, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as running:
        address = running.scheduler_address
        there = sw.compare_forks(
            ladder, structures, split, settings, tmp_path / "there", on=address
        )
        again = sw.compare_forks(
            ladder, structures, split, settings, tmp_path / "there", on=address
        )
    assert there.body["subsets"] == here.body["subsets"] == again.body["subsets"]
    files = [
        {p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*")}
        for name in ("here", "there")
    ]
    assert files[0] == files[1]
