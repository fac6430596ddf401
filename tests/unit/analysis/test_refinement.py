"""Pools of scales on a ladder: how they are refined, what they cost, what the command writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch

from scalewise.analysis.refinement.frontier import choose, find_frontier, one_scale
from scalewise.analysis.refinement.objective import Objective, ScaleErrors
from scalewise.analysis.refinement.pool import CutoffPool
from scalewise.analysis.refinement.refine import refine_cutoffs, run_command
from scalewise.analysis.refinement.refiner import LadderRefiner, refine_pool, value
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT
from scalewise.data.reading import read_structures
from scalewise.data.splits import Split, make_split
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.density.settings import AdaptiveCutoffSettings
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report
from support import salt_frame, untrained

BOX = 10.0


@dataclass
class Planted:
    """Groups whose errors are parabolas of their cutoff, with noise that frames share."""

    optima: tuple[float, ...]
    share: tuple[float, ...]
    seed: int = 0
    frames: int = 40
    worst: float = 0.05
    noise: float = 0.03
    shortest: float = 3.0
    longest: float = 6.0
    block: np.ndarray = field(init=False)
    each: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.block = np.arange(self.frames)
        self.each = 1.0 + self.noise * rng.standard_normal((self.frames, len(self.optima)))

    def _losses(self, lengths: np.ndarray) -> np.ndarray:
        return np.array(self.share) * (1.0 + 0.1 * (lengths - np.array(self.optima)) ** 2)

    def errors(self, lengths: np.ndarray) -> ScaleErrors:
        cost = float(np.array(self.share) @ lengths)
        return ScaleErrors(self.each * self._losses(lengths), np.full(self.frames, cost))

    @property
    def reference(self) -> ScaleErrors:
        return self.errors(np.full(len(self.optima), self.longest))

    def gradient(
        self, lengths: np.ndarray, which: list[int], start: ScaleErrors, beyond: np.ndarray
    ) -> np.ndarray:
        each = self.each[which].mean(axis=0)
        slope = each * np.array(self.share) * 0.2 * (lengths - np.array(self.optima))
        longest = each * self._losses(np.full(len(self.optima), self.longest))
        over = beyond + (each * self._losses(lengths) - start.losses[which].mean(axis=0)) / longest
        return slope / longest.sum() + 4.0 * (over > 0) * slope / longest

    def neighbors(self, lengths: np.ndarray) -> tuple[float, np.ndarray]:
        share = np.array(self.share)
        return float(share @ lengths) / self.longest, share / self.longest


class Rugged(Planted):
    """A minimum near the middle that loses 7 %, and next to no error from 5 Å on."""

    groups = 2

    def _losses(self, lengths: np.ndarray) -> np.ndarray:
        near = 0.07 + 0.1 * (lengths - 4.0) ** 2
        return np.array(self.share) * (1.0 + np.where(lengths < 4.6, near, self._tail(lengths)))

    def _tail(self, lengths: np.ndarray) -> np.ndarray:
        return 0.106 * np.exp(-(lengths - 4.6) / 0.15)

    def gradient(
        self, lengths: np.ndarray, which: list[int], start: ScaleErrors, beyond: np.ndarray
    ) -> np.ndarray:
        near, far = 0.2 * (lengths - 4.0), -self._tail(lengths) / 0.15
        slope = np.array(self.share) * np.where(lengths < 4.6, near, far)
        whole = slope / self._losses(np.full(2, self.longest)).sum()
        return whole + 4.0 * (beyond > 0) * slope / np.array(self.share)


def refined(optima: tuple[float, ...], share: tuple[float, ...], price: float = 0.0) -> CutoffPool:
    fit, check = (Planted(optima, share, seed) for seed in (0, 1))
    refiner = LadderRefiner(steps=30)
    return refine_pool(fit, check, refiner, CutoffPool.single(4.5, len(optima)), price).pool


def test_alike_groups_are_left_with_one_scale_at_their_optimum() -> None:
    pool = refined((4.0, 4.0, 4.0), (0.6, 0.3, 0.1))
    assert pool.members == ((0, 1, 2),)
    assert pool.scales[0] == pytest.approx(4.0, abs=0.05)


def test_groups_that_differ_get_scales_of_their_own() -> None:
    pool = refined((3.5, 5.5, 3.5, 5.5), (0.3, 0.3, 0.2, 0.2))
    assert pool.members == ((0, 2), (1, 3))
    assert pool.scales == pytest.approx((3.5, 5.5), abs=0.1)


def test_a_price_shortens_what_it_pays_to_shorten() -> None:
    # dJ/dr = 0.2 (r - 5) / 1.1 + price / 6 = 0 for all groups alike
    price = 0.6
    pool = refined((5.0, 5.0), (0.5, 0.5), price)
    assert len(pool.scales) == 1
    assert pool.scales[0] == pytest.approx(5.0 - price * 1.1 / 6 / 0.2, abs=0.05)


def test_a_rare_element_that_would_lose_too_much_gets_its_own_scale() -> None:
    pool = refined((3.5, 6.0), (0.98, 0.02), 1.0)
    assert len(pool.scales) == 2
    lengths = pool.lengths()
    assert lengths[0] == pytest.approx(3.0, abs=0.1)  # and the price alone wants 4.7 of the other
    # at most 5 % worse than at its optimum: 0.1 (r - 6)² = 0.05
    assert lengths[1] == pytest.approx(6.0 - np.sqrt(0.5), abs=0.15)


def test_what_the_data_cannot_tell_apart_stays_one() -> None:
    pool = refined((4.0, 4.02), (0.5, 0.5))
    assert len(pool.scales) == 1


def test_a_minimum_near_the_middle_keeps_no_pool() -> None:
    """From the middle of the ladder, pools of all prices stayed there: none was allowed."""
    fit, check, both = (Rugged((0.0, 0.0), (0.5, 0.5), seed) for seed in (0, 1, 2))
    settings = RefineSettings()
    uniform = [one_scale(both, c) for c in np.linspace(3.0, 6.0, 6).tolist()]
    found = find_frontier(fit, check, both, uniform, settings, SILENT)
    chosen = choose(found, settings)
    assert chosen is not None
    assert chosen.excess <= settings.tolerance
    assert 4.9 < chosen.state.pool.scales[0] < 5.4


def test_the_price_is_raised_where_the_first_pool_is_allowed() -> None:
    fit, check, both = (Rugged((0.0, 0.0), (0.5, 0.5), seed) for seed in (0, 1, 2))
    settings = RefineSettings(largest_penalty=0.001, penalties=1)
    uniform = [one_scale(both, c) for c in np.linspace(3.0, 6.0, 6).tolist()]
    found = find_frontier(fit, check, both, uniform, settings, SILENT)
    assert found[0].state.price > settings.largest_penalty
    chosen = choose(found, settings)
    first = next(f for f in found if f.state.price == settings.largest_penalty)
    assert chosen.errors.neighbors.sum() < first.errors.neighbors.sum()


def test_the_cheapest_that_is_allowed_is_chosen_single_or_not() -> None:
    both = Rugged((0.0, 0.0), (0.5, 0.5), 2)
    every = [one_scale(both, c) for c in (6.0, 4.0, 5.2, 5.4)]
    assert choose(every, RefineSettings()) is every[2]
    assert choose(every[1:2], RefineSettings()) is None


def test_history_says_what_was_tried() -> None:
    fit, check = (Planted((3.5, 5.5), (0.5, 0.5), seed) for seed in (0, 1))
    state = refine_pool(fit, check, LadderRefiner(), CutoffPool.single(4.5, 2), 0.0)
    assert [line.action for line in state.history][:2] == ["move", "insert"]
    assert state.history[1].value < state.history[0].value
    assert state.history[1].value == pytest.approx(value(check, state.pool, 0.0))


# --------------------------------------------------------------------------- on a network


def labelled(count: int) -> list[Structure]:
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = [salt_frame(seed=k, n=12, box=BOX, index=k) for k in range(count)]
    return [
        replace(f, info={}, labels=replace(f.labels, forces=teacher.predict(f).forces))
        for f in frames
    ]


ROUTES = (AdaptiveCutoffSettings(by="element"), AdaptiveCutoffSettings(by="regime", near=("Na",)))


@pytest.fixture(scope="module", params=ROUTES, ids=("element", "regime"))
def objective(request: pytest.FixtureRequest) -> Objective:
    potential = untrained(ladder=(3.2, 5.0, "long"))
    return Objective(potential, request.param, labelled(3), np.arange(3), worst=0.0)


def lengths_of(objective: Objective) -> np.ndarray:
    return np.linspace(3.4, 4.6, objective.groups)


def test_the_router_of_a_pool_gives_its_cutoffs(objective: Objective) -> None:
    frame = labelled(1)[0]
    lengths = lengths_of(objective)
    cutoffs = objective.routed(lengths).predict(frame).cutoffs
    assert cutoffs.min() >= 3.4 - 1e-9
    assert cutoffs.max() <= 4.6 + 1e-9
    if objective.settings.by == "element":
        np.testing.assert_allclose(cutoffs, lengths[(frame.numbers == 17).astype(int)])


def test_the_gradient_by_cutoffs_is_that_of_the_objective(objective: Objective) -> None:
    lengths = lengths_of(objective)
    start, every = objective.errors(lengths), [0, 1, 2]
    beyond = start.over(objective.reference)[1] - 1.0
    found = objective.gradient(lengths, every, start, beyond)

    def whole(moved: np.ndarray) -> float:
        loss, elements, _ = objective.errors(moved).over(objective.reference)
        return loss + 4.0 * float(np.maximum(0.0, elements - 1.0).sum())

    for g in range(objective.groups):
        step = np.zeros(objective.groups)
        step[g] = 1e-5
        expected = (whole(lengths + step) - whole(lengths - step)) / 2e-5
        assert found[g] == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_the_table_of_neighbors_counts_those_there_are(objective: Objective) -> None:
    for cutoff in (3.3, 4.0, 5.0):
        lengths = np.full(objective.groups, cutoff)
        exact = objective.errors(lengths).over(objective.reference)[2]
        # a grid of 0.05 Å, on which three frames have steps
        assert objective.neighbors(lengths)[0] == pytest.approx(exact, abs=0.03)


def test_a_part_of_the_frames_keeps_its_errors(objective: Objective) -> None:
    lengths = lengths_of(objective)
    whole = objective.errors(lengths)
    part = objective.only(np.array([True, False, True]))
    np.testing.assert_array_equal(part.errors(lengths).losses, whole.losses[[0, 2]])
    assert len(part.reference.losses) == 2


# --------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refine")
    potential = untrained(ladder=(3.0, 4.5), dtype=torch.float32)
    checkpoint.write(out / "model", potential)
    images = []
    for k, frame in enumerate(labelled(14)):
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        atoms.arrays["REF_forces"] = frame.labelled_forces
        atoms.info["role"] = "valid" if k < 10 else "test"
        images.append(atoms)
    ase.io.write(out / "frames.xyz", images, format="extxyz")
    return out


def settings(**given: object) -> RefineSettings:
    words = {
        "split_key": "role",
        "check_units": False,
        "steps": 2,
        "penalties": 2,
        "bootstrap": 100,
    }
    return RefineSettings.model_validate({**words, "block": 1, **given})


def command(model: Path, data: Path, chosen: RefineSettings) -> Report:
    """What the command finds."""
    return run_command(Request(chosen, Path("unused"), model=str(model), files=(data,)))


@pytest.fixture(scope="module")
def generous(run: Path) -> Report:
    """What is found where nearly any loss is allowed."""
    return command(run, run / "frames.xyz", settings(tolerance=10.0, worst=10.0))


def test_refine_writes_a_potential_that_gives_every_atom_its_scale(
    run: Path, generous: Report, tmp_path: Path
) -> None:
    found = generous
    paths = found.save(tmp_path)
    # a frame is drawn where scales differ
    drawn = ["scales.png", "scales.svg"] * (len(found.body["pool"]["scales"]) > 1)
    names = ["refine.json", "refine.txt", "refine.png", "refine.svg", *drawn, "model"]
    assert [p.name for p in paths] == names
    results = json.loads((tmp_path / "refine.json").read_text())["body"]
    assert results["choice"] == {
        **results["choice"],
        "fit": 5,
        "check": 5,
        "scored": 4,
        "roles": ["test"],
    }
    assert results["chosen"] is not None
    assert 0.32 in [line["price"] for line in results["frontier"]]
    pool = results["pool"]
    frame = labelled(1)[0]
    cutoffs = checkpoint.read(tmp_path / "model").predict(frame).cutoffs
    for scale, members in zip(pool["scales"], pool["members"], strict=True):
        for g in members:
            own = cutoffs[frame.numbers == (11, 17)[g]]
            np.testing.assert_allclose(own, scale, atol=1e-3)
    whole = results["subsets"][0]["scored"]
    assert [r["name"] for r in results["scored"]] == ["longest", "single", "pool"]
    assert whole[0]["ratio"] == 1.0
    errors = [
        np.abs(found.potential.predict(f).forces - f.labelled_forces).mean()
        for f in labelled(14)[10:]
    ]
    assert whole[2]["mae"] == pytest.approx(1e3 * np.mean(errors), rel=1e-3)


def test_the_scales_of_a_frame_are_drawn_where_they_differ(
    generous: Report, tmp_path: Path
) -> None:
    found = generous
    pool = {"scales": [3.0, 4.0], "members": [[0], [1]]}
    lengths = np.array([3.0, 4.0])
    objective = Objective(
        found.potential, AdaptiveCutoffSettings(by="element"), labelled(1), np.arange(1), worst=0.0
    )
    routed = objective.routed(lengths)
    two = replace(
        found,
        body={**found.body, "pool": pool},
        attachments={"potential": routed, "scales": (routed, labelled(1)[0])},
    )
    names = [p.name for p in two.save(tmp_path)]
    figures = ("refine.png", "refine.svg", "scales.png", "scales.svg")
    assert names == ["refine.json", "refine.txt", *figures, "model"]


def split_of(structures: list[Structure]) -> Split:
    return make_split(structures, role_key="role")


@pytest.mark.whole
def test_nothing_is_routed_where_nothing_is_allowed(run: Path) -> None:
    potential, structures = (
        checkpoint.read(run / "model"),
        read_structures(run / "frames.xyz", check_units=False),
    )
    split = split_of(structures)
    found = refine_cutoffs(potential, structures, split, settings(microseconds=1e-3)).body
    assert found["chosen"] is None
    assert found["pool"]["scales"] == [4.5]
    assert "all atoms keep the longest scale" in found["warnings"][0]
    every = refine_cutoffs(potential, structures, split, settings(microseconds=1e6))
    assert every.body["chosen"] is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fit": "train"}, "no frame has the role 'train'"),
        ({"role": ("valid",)}, "on which the scales are found"),
        ({"frames": 4}, "At least 6"),
        ({"by": "regime", "near": ("K",)}, "does not know"),
    ],
)
def test_bad_input_is_refused(run: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command(run, run / "frames.xyz", settings(**given))


def test_a_potential_of_one_scale_is_refused(run: Path, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "model", untrained(dtype=torch.float32))
    with pytest.raises(InputError, match="--ladder"):
        command(tmp_path, run / "frames.xyz", settings())
