"""The trust card: bounds that hold what they say, and simulations that are told as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scalewise as sw
from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT
from scalewise.data.structure import Labels, Structure
from scalewise.models.protocol import Scale
from scalewise.statistics.bootstrap import Resampling
from scalewise.trust.card import _distances, _survival
from scalewise.trust.uncertainty import Bound, Disagreement, compare_scales, neighboring_scales
from support import salt_frame, untrained


def draws(seed: int, groups: int = 60, atoms: int = 40, size: float = 1.0) -> Disagreement:
    """Errors that the disagreement knows up to luck, and luck that frames share."""
    rng = np.random.default_rng(seed)
    apart = rng.gamma(2.0, 0.05, (groups, atoms))
    shared = np.exp(0.3 * rng.standard_normal((groups, 1)))
    error = size * apart * shared * np.abs(rng.standard_normal((groups, atoms)))
    return Disagreement(error.ravel(), apart.ravel(), np.repeat(np.arange(groups), atoms))


def test_a_bound_holds_what_it_says() -> None:
    for groups, atoms in ((60, 40), (10, 1), (20, 1), (12, 30)):
        held = []
        for seed in range(60 if atoms > 1 else 400):
            bound = Bound.calibrated(draws(2 * seed, groups, atoms), 0.9)
            other = draws(2 * seed + 1)
            held.append((other.error <= bound.of(other.apart)).mean())
        assert 0.89 < np.mean(held) < 0.93
    bound, other = Bound.calibrated(draws(0), 0.9), draws(1)
    found = bound.coverage(other, Resampling(0, 200))
    low, high = found["interval"]
    assert low < found["held"] < high
    assert found["correlation"] > 0.5
    wrong = bound.coverage(draws(99, size=3.0), Resampling(0, 200))
    assert wrong["interval"][1] < 0.9  # of another kind: and it shows


def test_large_frames_count_as_one_group() -> None:
    """One frame of a hundred atoms with large errors is one of twenty-one draws."""
    error = np.concatenate([np.full(100, 5.0), np.repeat(np.arange(1.0, 21.0) / 20, 10)])
    group = np.concatenate([np.zeros(100, dtype=int), np.repeat(np.arange(1, 21), 10)])
    found = Disagreement(error, np.ones(300), group)
    bound = Bound.calibrated(found, 0.9)
    assert float(bound.of(np.ones(1))[0]) == pytest.approx(1.0)


def test_scales_are_compared_with_the_next() -> None:
    potential = untrained(ladder=(3.0, 4.0, 5.0, "long"))
    found = neighboring_scales(potential, Scale())
    assert [(s.cutoff, s.long_range) for s in found] == [(4.0, True), (None, False)]
    found = neighboring_scales(potential, Scale(4.0, False))
    assert [(s.cutoff, s.long_range) for s in found] == [(3.0, False)]
    assert neighboring_scales(untrained(), Scale()) == []
    frames = [salt_frame(k, n=8) for k in range(2)]
    data = compare_scales(potential, frames, np.array([3, 7]), Scale(), SILENT)
    used, *others = (
        potential.evaluate(frames, s) for s in (Scale(), *neighboring_scales(potential, Scale()))
    )
    first = [p[0].forces - used[0].forces for p in others]
    expected = np.sqrt(np.mean([(d**2).sum(axis=1) for d in first], axis=0))
    np.testing.assert_allclose(data.apart[:8], expected, atol=1e-12)
    labels = frames[1].labels.forces
    assert labels is not None
    wrong = np.linalg.norm(used[1].forces - labels, axis=1)
    np.testing.assert_allclose(data.error[8:], wrong, atol=1e-12)
    assert data.group.tolist() == 8 * [3] + 8 * [7]


def test_survival_and_distances() -> None:
    runs: list[dict[str, Any]] = [
        {"asked": 300.0, "survived": True, "picoseconds": 20.0, "shortest": {"Na-Cl": 2.0}},
        {"asked": 300.0, "survived": False, "picoseconds": 3.0, "shortest": {"Na-Cl": None}},
        {"asked": 390.0, "survived": True, "picoseconds": 20.0, "shortest": {"Na-Cl": 2.5}},
    ]
    cold, hot = _survival(runs)
    assert (cold["survived"], cold["simulations"], cold["picoseconds"]) == (1, 2, 23.0)
    assert cold["interval"] == pytest.approx([0.0126, 0.9874], abs=1e-4)
    assert cold["at_least"] == pytest.approx(1 - 0.95**0.5, abs=1e-6)
    assert hot["interval"] == pytest.approx([0.025, 1.0])
    near = Structure(
        np.array([11, 17, 17]),
        np.array([[0.0, 0, 0], [2.3, 0, 0], [0, 3.1, 0]]),
        np.zeros((3, 3)),
        np.zeros(3, dtype=bool),
    )
    (found,) = _distances([near], runs)
    assert found == {"pair": "Na-Cl", "data": pytest.approx(2.3), "simulated": 2.0}


@pytest.mark.whole
def test_a_card_goes_on_and_names_what_broke(tmp_path: Path) -> None:
    potential = untrained(ladder=(3.0, 4.0, "long"), layers=1)
    frames = [
        replace(salt_frame(k, n=8), index=k, labels=Labels(forces=np.zeros((8, 3))))
        for k in range(12)
    ]
    settings = sw.TrustSettings(
        starts=2, picoseconds=0.01, level=0.6, block=2, bootstrap=100, device="cpu", workers=2
    )
    told: list[str] = []
    progress = sw.Messages(told.append)
    report = sw.assess_trust(potential, frames, None, settings, tmp_path, progress=progress)
    assert any("4 simulations of 0.01 ps, from 2 frames" in line for line in told)
    body = report.body
    assert [s["name"] for s in body["simulations"]] == ["300K-0", "300K-1", "390K-0", "390K-1"]
    assert {s["frame"] for s in body["simulations"]} == {0, 11}
    assert all(s["survived"] for s in body["simulations"])
    assert body["uncertainty"]["made_with"] == "half of the groups of 'all', 3 groups"
    again = sw.assess_trust(potential, frames, None, settings, tmp_path)
    assert [s["temperature"] for s in again.body["simulations"]] == [
        s["temperature"] for s in body["simulations"]
    ]
    few = settings.model_copy(update={"level": 0.9})
    found = sw.assess_trust(potential, frames, None, few, tmp_path).body["uncertainty"]
    assert "are made with 9 groups of frames or more" in found["reason"]
    shortest = settings.model_copy(update={"cutoff": 3.0, "long_range": False})
    found = sw.assess_trust(potential, frames, None, shortest, tmp_path / "short").body
    assert "no shorter scale" in found["uncertainty"]["reason"]
    one = sw.assess_trust(untrained(layers=1), frames, None, settings, tmp_path / "one")
    assert "--ladder" in one.body["uncertainty"]["reason"]
    with pytest.raises(InputError, match="cutoffs"):
        sw.assess_trust(potential, frames, None, settings.model_copy(update={"cutoff": 9.0}))
