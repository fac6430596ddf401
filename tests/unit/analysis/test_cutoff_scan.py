"""The ladder's settings, how its scales are drawn in training, and its curve."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones

from scalewise.analysis.cutoff_scan.frame import settled_cutoffs, typical_frame
from scalewise.analysis.cutoff_scan.range import judge_range, shortest_enough
from scalewise.analysis.cutoff_scan.scan import run_command, scan_cutoffs
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.locality.against import read_against
from scalewise.analysis.rungs import Measured, Rung
from scalewise.core.errors import InputError
from scalewise.core.loading import load
from scalewise.data import neighbors
from scalewise.data.reading import read_structures
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.adapters.ase_calculator import AseModel
from scalewise.models.composition import CompositionModel
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.graph import build
from scalewise.models.potential import Potential
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report
from scalewise.statistics.bootstrap import Resampling
from scalewise.training.baseline import TrainingBaseline
from scalewise.training.cutoff_penalty import BLUR, neighbors_cost, update_multiplier
from scalewise.training.dataset import prepare
from scalewise.training.distributed import run
from scalewise.training.job import Job
from scalewise.training.run import split_for, train_in
from scalewise.training.scale_sampler import ScaleDraw, at_scale, draw_scale, validation_scales
from scalewise.training.settings import TrainSettings
from scalewise.training.state import TrainingProgress
from support import once, salt_frame, untrained

LADDER = ("network.ladder=[3.0,4.5,long]",)
WORDS = (
    *("network.channels=4", "network.hidden=8", "network.l_max=2", "network.num_bessel=4"),
    *("network.layers=1", "device=cpu", "epochs=30", "validations=3", *LADDER),
)


def test_the_ladder_says_what_is_longest_and_whether_there_are_charges() -> None:
    network = load(TrainSettings, None, LADDER).network
    assert (network.cutoff, network.shortest_cutoff, network.charges) == (4.5, 3.0, True)
    assert network.smearing == pytest.approx(4.5 / 4)
    assert network.long_range_optional
    local = load(TrainSettings, None, ["network.ladder=[3,6]"]).network
    assert (local.cutoff, local.charges, local.long_range_optional) == (6.0, False, False)
    assert load(TrainSettings, None, []).network.cutoffs == (5.0,)
    again = NetworkSettings.model_validate(json.loads(network.model_dump_json()))
    assert again == network


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["network.ladder=[3]"], "two cutoffs"),
        (["network.ladder=[long,3,5]"], "`long` at its end"),
        (["network.ladder=[5,3]"], "must rise"),
        (["network.ladder=[3,5]", "network.cutoff=6"], "must end at cutoff=6"),
        (["network.ladder=[3,5]", "network.charges=true"], "contradict"),
        (["network.ladder=[3,far]"], "got 'far'"),
        (["scale_sampling.longest=0.8", "scale_sampling.mixed=0.3"], "more than all steps"),
        (["adaptive_cutoff.by=element"], "needs a ladder"),
        (["freeze=true"], "give start"),
        ([*LADDER, "adaptive_cutoff.by=regime"], "needs the elements"),
        ([*LADDER, "adaptive_cutoff.near=[Na]"], "contradict"),
        ([*LADDER, "adaptive_cutoff.by=element", "compile=always"], "without compiled code"),
    ],
)
def test_a_ladder_that_is_none_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(TrainSettings, None, words)


def test_the_scales_of_the_steps_are_drawn_in_their_shares() -> None:
    shares = {"longest": 0.3, "shortest": 0.2, "mixed": 0.1, "without_long": 0.4}
    words = [*LADDER, "seed=5", *(f"scale_sampling.{k}={v}" for k, v in shares.items())]
    settings = load(TrainSettings, None, words)
    drawn = [draw_scale(settings, k) for k in range(4000)]
    assert drawn[:50] == [draw_scale(settings, k) for k in range(50)]
    kinds = Counter(
        "mixed" if d.per_atom_seed else {4.5: "longest", 3.0: "shortest"}.get(d.cutoff, "between")
        for d in drawn
    )
    found = {k: v / 4000 for k, v in kinds.items()}
    expected = {"longest": 0.3, "shortest": 0.2, "mixed": 0.1, "between": 0.4}
    assert found == pytest.approx(expected, abs=0.03)
    assert np.mean([d.long_range for d in drawn]) == pytest.approx(0.6, abs=0.03)
    between = [d.cutoff for d in drawn if d.cutoff not in (3.0, 4.5)]
    assert min(between) < 3.1
    assert max(between) > 4.4
    assert draw_scale(load(TrainSettings, None, []), 1) == ScaleDraw(5.0, None, True)
    routed = load(
        TrainSettings, None, [*words, "adaptive_cutoff.by=element", "adaptive_cutoff.share=0.25"]
    )
    assert np.mean([draw_scale(routed, k).adaptive for k in range(4000)]) == pytest.approx(
        0.25, abs=0.03
    )


def test_a_sample_is_pruned_to_its_scale_and_keeps_its_labels() -> None:
    settings = load(TrainSettings, None, WORDS)
    network = settings.network
    frame = salt_frame(n=12, box=9.0)
    (sample,) = prepare([frame], CompositionModel.fit([frame], (11, 17)), network, torch.float64)
    short, scale = at_scale(sample, ScaleDraw(3.0, None, False), network)
    assert (scale.cutoffs == 3.0).all()
    assert scale.long_range is None
    assert short.graph.neighbor_index.shape[1] < sample.graph.neighbor_index.shape[1]
    assert short.graph.edge_index is sample.graph.edge_index
    assert short.forces is sample.forces
    mixed, scale = at_scale(sample, ScaleDraw(4.5, (0, 2, 7), True), network)
    assert mixed.graph is sample.graph
    assert 3.0 <= float(scale.cutoffs.min()) < float(scale.cutoffs.max()) <= 4.5
    assert [d.cutoff for d in validation_scales(settings).values()] == [4.5, 3.75, 3.0]


def labelled(count: int) -> list[Structure]:
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = [salt_frame(seed=k, n=8, box=8.0, index=k) for k in range(count)]
    found = [teacher.predict(f) for f in frames]
    return [
        replace(
            f, info={}, labels=replace(f.labels, energy=p.energy, forces=p.forces, stress=p.stress)
        )
        for f, p in zip(frames, found, strict=True)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "ladder", train_a_ladder)


def train_a_ladder(out: Path) -> None:
    settings, frames = load(TrainSettings, None, WORDS), labelled(12)
    baseline = CompositionModel.fit(frames, (11, 17))
    samples = prepare(frames, baseline, settings.network, torch.float32)
    run(
        Job(
            settings,
            samples[:8],
            samples[8:],
            TrainingBaseline(baseline, 1.0),
            "digest",
            out,
            batch_size=settings.batch_size or 1,
        )
    )
    images = []
    for frame in labelled(20)[12:]:
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = (
            frame.labelled_forces,
            frame.labels.energy,
        )
        atoms.info["part"] = str(frame.index)
        images.append(atoms)
    ase.io.write(out / "test.xyz", images, format="extxyz")


def test_a_ladder_is_trained_and_logged_at_three_scales(trained: Path) -> None:
    lines = (trained / "log.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    nothing = 1e3 * np.mean([np.abs(f.labelled_forces).mean() for f in labelled(12)[8:]])
    assert float(last["forces_mae"]) < 0.8 * nothing
    assert float(last["forces_mae_middle"]) < 0.8 * nothing
    # without long range: three frames in a hundred, too few to learn from in this toy
    assert float(last["forces_mae_shortest"]) > 0
    network = checkpoint.read(trained / "model").network
    assert any(float(w.abs().max()) > 0 for w in network.conditioning_radial)


def test_the_price_rises_while_the_router_costs_less_than_it_may() -> None:
    progress = TrainingProgress(multiplier=0.1)
    for _ in range(300):
        update_multiplier(progress, routed=1.0, longest=1.0, tolerance=0.01)
    assert progress.multiplier > 1.0
    for _ in range(400):
        update_multiplier(progress, routed=1.04, longest=1.0, tolerance=0.01)
    assert progress.excess == pytest.approx(0.04, abs=1e-3)
    for _ in range(3000):
        update_multiplier(progress, routed=1.0, longest=1.0, tolerance=0.01)
    assert progress.multiplier == 100.0


def test_neighbors_are_counted_where_they_are_a_little_blurred() -> None:
    frame = salt_frame(seed=3, n=20, box=10.0)
    graph = build(frame, (11, 17), 5.0)
    positions = torch.as_tensor(frame.positions)
    lengths = np.random.default_rng(0).uniform(3.0, 4.5, 20)
    pairs = neighbors.build(frame, 5.0, full=True, images=True)

    def counted(reach: np.ndarray) -> float:
        shifts = np.linspace(-0.5 * BLUR, 0.5 * BLUR, 2001)
        return float(np.mean([(pairs.distance < (reach + s)[pairs.i]).sum() for s in shifts]))

    found = neighbors_cost(graph, positions, torch.as_tensor(lengths))
    expected = counted(lengths) / counted(np.full(20, 5.0))
    assert float(found) == pytest.approx(expected, rel=1e-3)
    everything = torch.full((20,), 5.0, dtype=torch.float64)
    assert float(neighbors_cost(graph, positions, everything)) == pytest.approx(1.0)


def train_on_test(run: Path, settings: TrainSettings, out: Path) -> None:
    """Train on the structures beside a run."""
    structures = read_structures(run / "test.xyz", check_units=False)
    train_in(structures, split_for(structures, settings.data, settings.seed), settings, out)


#: An adaptive cutoff alone has few weights, which bear long steps.
ALONE = (
    *("adam_rate=0.02", "learning_rate=0.04", "ema=0.98", "validations=3"),
    *("data.check_units=false", "data.test=0", "data.group_key=part"),
)


@pytest.mark.parametrize("kind", ["element", "environment"])
@pytest.mark.whole
def test_a_router_is_trained_on_a_network_that_stays(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    words = (
        f"adaptive_cutoff.by={kind}",
        "freeze=true",
        f"start={trained}",
        "adaptive_cutoff.tolerance=0.5",
    )
    settings = load(TrainSettings, None, [*words, *ALONE, "epochs=60"])
    train_on_test(trained, settings, tmp_path)
    before, after = (checkpoint.read(p / "model") for p in (trained, tmp_path))
    assert after.adaptive_cutoff is not None
    for name, weight in before.network.state_dict().items():
        assert (after.network.state_dict()[name] == weight).all()
    assert np.array_equal(after.composition.energies, before.composition.energies)
    # far below the tolerance, the price rises until it is paid; a network that has learned more
    # wants longer cutoffs first, while the price is low
    start, frame = 3.0 + 0.7 * 1.5, labelled(1)[0]
    assert column(tmp_path, "multiplier")[-1] > 10.0
    assert after.predict(frame).cutoffs.mean() < start - 0.7
    cost = column(tmp_path, "cost_adaptive")
    assert cost[-1] < cost[0] < 1.0
    other = load(
        TrainSettings, None, [f"start={trained}", "network.cutoff=4.0", "data.group_key=part"]
    )
    with pytest.raises(InputError, match="keeps its network"):
        train_on_test(trained, other, tmp_path / "other")


@pytest.mark.whole
def test_a_given_price_stays_and_a_higher_one_buys_less(trained: Path, tmp_path: Path) -> None:
    costs, lengths = [], []
    for price in (0.0, 30.0):
        out = tmp_path / f"{price:g}"
        words = (
            "adaptive_cutoff.by=element",
            "freeze=true",
            f"start={trained}",
            f"adaptive_cutoff.penalty={price}",
        )
        train_on_test(trained, load(TrainSettings, None, [*words, *ALONE, "epochs=20"]), out)
        assert set(column(out, "multiplier")) == {price}
        costs.append(column(out, "cost_adaptive")[-1])
        lengths.append(checkpoint.read(out / "model").predict(labelled(1)[0]).cutoffs.mean())
    assert costs[1] < costs[0] - 0.05
    assert lengths[1] < 3.2 < lengths[0]  # it goes all the way


def column(run: Path, name: str) -> list[float]:
    """Of the log of a training."""
    lines = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    return [float(row[lines[0].index(name)]) for row in lines[1:]]


def test_network_and_router_are_trained_together(tmp_path: Path) -> None:
    settings = load(TrainSettings, None, [*WORDS, "epochs=10", "adaptive_cutoff.by=environment"])
    frames = labelled(12)
    baseline = CompositionModel.fit(frames, (11, 17))
    samples = prepare(frames, baseline, settings.network, torch.float32)
    run(
        Job(
            settings,
            samples[:8],
            samples[8:],
            TrainingBaseline(baseline, 1.0),
            "digest",
            tmp_path,
            batch_size=settings.batch_size or 1,
        )
    )
    found = checkpoint.read(tmp_path / "model")
    assert found.adaptive_cutoff is not None
    assert float(found.adaptive_cutoff.second.weight.abs().max()) > 0
    assert len(set(found.predict(frames[0]).cutoffs.tolist())) > 2


def command(model: Path, data: Path, settings: ScanSettings) -> Report:
    """What the command finds."""
    return run_command(Request(settings, Path("unused"), model=str(model), files=(data,)))


def test_the_curve_has_every_scale_with_its_error_and_its_cost(
    trained: Path, tmp_path: Path
) -> None:
    settings = ScanSettings(points=3, block=1, check_units=False, bootstrap=100)
    report = command(trained, trained / "test.xyz", settings)
    found = report.body
    scales = [(s["cutoff"], s["long"]) for s in found["scales"]]
    assert scales == [(c, long) for long in (False, True) for c in (3.0, 3.75, 4.5)]
    assert found["reference"] == 5
    names = [s["name"] for s in found["subsets"]]
    assert names[:3] == ["all", "Na", "Cl"]
    whole = found["subsets"][0]["scales"]
    assert whole[5]["ratio"] == 1.0
    assert whole[5]["longer"]["answer"] == "not needed"
    assert found["subsets"][0]["enough"] in (3.0, 3.75, 4.5)
    predicted = checkpoint.read(trained / "model")
    errors = [
        np.abs(predicted.predict(f, cutoffs=3.75, long=False).forces - f.labelled_forces).mean()
        for f in labelled(20)[12:]
    ]
    assert whole[1]["mae"] == pytest.approx(1e3 * np.mean(errors), rel=1e-4)
    counts = [s["neighbors"] for s in found["scales"]]
    assert counts[0] < counts[1] < counts[2]
    assert all(s["cost"] > 0 for s in found["scales"])
    assert found["model"]["folder"] == str(trained)
    paths = report.save(tmp_path)
    assert [p.name for p in paths] == ["curve.json", "curve.txt", "curve.png", "curve.svg"]
    assert json.loads(paths[0].read_text())["body"]["reference"] == 5
    assert read_against(paths[0])["reach"] == [6.0, 7.5, 9.0]
    structures = read_structures(trained / "test.xyz", check_units=False)
    fewer = settings.model_copy(update={"frames": 3})
    few = scan_cutoffs(predicted, structures, settings=fewer).body
    assert few["choice"]["scored"] == 3
    assert few["subsets"][0]["atoms"] == 24


def test_a_longer_scale_is_needed_where_it_was_planted_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    block = np.repeat(np.arange(40), 25)
    base = np.abs(rng.standard_normal(1000))
    # scales of equal error but for their own luck, and a short one that is worse
    noise = 0.05 * rng.standard_normal((3, 1000))
    absolute = np.abs(base + noise) * np.array([1.1, 1.0, 1.0])[:, None]
    resampling = Resampling(seed=0, resamples=300)
    found = judge_range(absolute, 2, block, resampling, min_gain=0.02, alpha=0.05)
    assert [v.answer for v in found] == ["needed", "not needed", "not needed"]
    assert found[0].gain == pytest.approx(1 - 1 / 1.1, abs=0.01)
    assert shortest_enough([3.0, 4.0, 5.0], found) == 4.0
    few = judge_range(absolute[:, :50], 2, block[:50], resampling, min_gain=0.02, alpha=0.05)
    assert [v.answer for v in few] == ["cannot tell", "cannot tell", "not needed"]


def test_a_longer_scale_is_hardly_ever_said_to_be_needed_where_it_is_not() -> None:
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        block = np.repeat(np.arange(15), 20)
        base = np.abs(rng.standard_normal(300))
        absolute = np.abs(base + 0.2 * rng.standard_normal((4, 300)))
        resampling = Resampling(seed=seed, resamples=200)
        found = judge_range(absolute, 3, block, resampling, min_gain=0.001, alpha=0.05)
        wrong += any(v.answer == "needed" for v in found)
    # 5 % of 200 with three standard errors of a binomial
    assert wrong <= 10 + 3 * (200 * 0.05 * 0.95) ** 0.5


def test_a_potential_of_one_scale_is_compared_with_the_ladder_there(
    trained: Path, tmp_path: Path
) -> None:
    single = untrained(layers=1, cutoff=4.0, dtype=torch.float32)
    checkpoint.write(tmp_path / "single", single)
    settings = ScanSettings(
        cutoffs=(3.0, 4.5), singles=(tmp_path / "single",), block=1, check_units=False
    )
    data = trained / "test.xyz"
    found = command(trained, data, settings).body
    scales = [(s["cutoff"], s["long"], s["single"]) for s in found["scales"]]
    assert scales[-1] == (4.0, True, str(tmp_path / "single"))
    assert (4.0, True, None) in scales
    whole = found["subsets"][0]["scales"]
    own = scales.index((4.0, True, None))
    assert whole[-1]["over_single"] == pytest.approx(whole[own]["mae"] / whole[-1]["mae"])
    with pytest.raises(InputError, match=r"one scale, 4 Å.*--ladder"):
        command(tmp_path / "single", data, ScanSettings(check_units=False))
    with pytest.raises(InputError, match=r"'cutoffs': 2\.5 Å.*from 3 to 4\.5"):
        command(trained, data, ScanSettings(cutoffs=(2.5, 4.0), check_units=False))


def test_a_single_model_of_unknown_reach_has_no_number_of_neighbors(trained: Path) -> None:
    """It was said to have none at all."""
    ladder: Potential = checkpoint.read(trained / "model")
    settings = ScanSettings(cutoffs=(3.0, 4.5), block=1, bootstrap=100)
    single = AseModel(LennardJones(sigma=2.5, rc=4.0))
    report = scan_cutoffs(ladder, labelled(20)[12:], settings=settings, singles=(single,))
    assert report.body["scales"][0]["neighbors"] > 0
    assert report.body["scales"][-1]["neighbors"] is None
    assert "–" in report.table()


def test_single_potentials_in_memory_are_compared_by_name(trained: Path, tmp_path: Path) -> None:
    single = replace(untrained(layers=1, cutoff=4.0, dtype=torch.float32), info={"name": "four"})
    ladder: Potential = checkpoint.read(trained / "model")
    settings = ScanSettings(cutoffs=(3.0, 4.5), block=1, bootstrap=100)
    found = scan_cutoffs(ladder, labelled(20)[12:], settings=settings, singles=(single,)).body
    last = found["scales"][-1]
    assert (last["cutoff"], last["long"], last["single"]) == (4.0, True, "four")
    assert found["subsets"][0]["scales"][-1]["over_single"] > 0
    path = single.save(tmp_path / "four")
    named = settings.model_copy(update={"singles": (path,)})
    again = scan_cutoffs(ladder, labelled(20)[12:], settings=named).body
    assert again["scales"][-1]["single"] == str(path)


def test_the_cutoff_an_atom_needs_is_where_its_force_settles() -> None:
    forces = np.zeros((4, 3, 3))
    forces[:3, 0, 1] = 0.3, 0.05, 0.2  # comes near, goes away again
    forces[:3, 1, 2] = 0.05, 0.0, 0.09
    forces[:3, 2] = 0.07  # 0.12 in all: components add up
    found = settled_cutoffs(forces, (3.0, 4.0, 5.0, 6.0), tolerance=0.1)
    assert found.tolist() == [6.0, 3.0, 6.0]
    assert settled_cutoffs(forces, (3.0, 4.0, 5.0, 6.0), tolerance=1.0).tolist() == [3.0] * 3


def test_the_frame_that_is_shown_is_the_one_of_median_error() -> None:
    frames = [salt_frame(seed=k, n=2, box=8.0, index=k) for k in range(5)]
    errors = np.zeros((4, 10, 3))
    errors[3] = np.repeat([0.1, 0.5, 0.3, 0.2, 0.4], 2)[:, None]
    errors[2] = errors[3]
    errors[1] = errors[3] + np.where(np.arange(10) == 5, 2.0, 0.0)[:, None]
    model = object()
    rungs = [Rung(model, c, long) for long in (False, True) for c in (3.0, 4.0)]
    errors[[0, 1, 2, 3]] = errors[[2, 2, 1, 3]]
    measured = Measured(errors, np.ones((4, 5)), np.ones(4))
    found = typical_frame(np.arange(10, 15), frames, measured, rungs, 3)
    assert found is not None
    assert found["number"] == 12
    assert found["cutoffs"] == [3.0, 4.0]
    assert found["range"] == [3.0, 4.0]
    assert found["tolerance"] == pytest.approx(1e3 * 0.3 * 3**0.5)
    assert found["positions"] == pytest.approx(frames[2].positions, abs=1e-4)
    big = [replace(f, numbers=np.ones(6000, dtype=int)) for f in frames[:1]]
    errors = np.zeros((4, 6000, 3))
    measured = Measured(errors, np.ones((4, 1)), np.ones(4))
    assert typical_frame(np.arange(1), big, measured, rungs, 3) is None
