"""An adaptive cutoff makes one conservative energy, whatever its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.potential import Potential
from support import doubled, predict, salt_frame, untrained

KINDS = ("element", "regime", "environment")


@pytest.fixture(scope="module", params=KINDS)
def potential(request: pytest.FixtureRequest) -> Potential:
    return routed(request.param, "long")


@pytest.fixture(scope="module")
def frame() -> Structure:
    return salt_frame(seed=3, n=20, box=10.0)


def routed(kind: str, *long: str) -> Potential:
    """A potential whose cutoffs are spread over its ladder: untrained features hardly vary."""
    near = {"near": ("Na",), "within": 3.4} if kind == "regime" else {}
    potential = untrained(
        ladder=(3.5, 5.0, *long), adaptive_cutoff={"by": kind, "hidden": 4, **near}
    )
    adaptive = potential.adaptive_cutoff
    assert adaptive is not None
    if kind == "environment":
        frame = salt_frame(seed=3, n=20, box=10.0)
        with torch.no_grad():
            potential.network.centre[0].mul_(4.0)
            torch.nn.init.normal_(adaptive.first.weight, std=2.0)
            adaptive.second.weight.mul_(10.0)
            cutoffs = torch.tensor(predict(potential, frame).cutoffs)
            logit = torch.logit((cutoffs - 3.5) / 1.5).mean()
            adaptive.offset.sub_(logit)
    return potential


@pytest.fixture(autouse=True)
def several_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small frames have lists of unlike width, too, as large ones do."""
    monkeypatch.setattr("scalewise.models.binning.WHOLE", 100.0)
    monkeypatch.setattr("scalewise.models.binning.BESIDE", 0)


def moved(frame: Structure, step: np.ndarray) -> Structure:
    return replace(frame, positions=frame.positions + step)


def test_cutoffs_differ_where_they_may(potential: Potential, frame: Structure) -> None:
    cutoffs = predict(potential, frame).cutoffs
    assert potential.adaptive_cutoff is not None
    kinds = {z: np.ptp(cutoffs[frame.numbers == z]) for z in (11, 17)}
    if potential.adaptive_cutoff.settings.by == "element":
        assert max(kinds.values()) == 0
        assert cutoffs[frame.numbers == 11][0] < cutoffs[frame.numbers == 17][0]
    else:
        assert min(kinds.values()) > 0.05
    assert 3.5 < cutoffs.min() < cutoffs.max() < 5.0


def test_forces_are_those_of_the_energy(potential: Potential, frame: Structure) -> None:
    found = predict(potential, frame)
    assert np.abs(found.forces.sum(axis=0)).max() < 1e-8
    for atom, axis in ((0, 0), (5, 1), (12, 2), (19, 0)):
        step = np.zeros((20, 3))
        step[atom, axis] = 5e-5
        up, down = (predict(potential, moved(frame, s)).energy for s in (step, -step))
        assert -(up - down) / 1e-4 == pytest.approx(found.forces[atom, axis], abs=1e-6)
    given = predict(potential, frame, cutoffs=found.cutoffs)
    assert given.energy == pytest.approx(found.energy, abs=1e-9)
    if potential.adaptive_cutoff is not None and potential.adaptive_cutoff.settings.by != "element":
        # the gradient of the scale is part of the force
        assert np.abs(given.forces - found.forces).max() > 1e-3


def test_the_jacobian_of_the_forces_is_symmetric(potential: Potential, frame: Structure) -> None:
    columns = []
    for atom in range(4):
        for axis in range(3):
            step = np.zeros((20, 3))
            step[atom, axis] = 2e-6
            up, down = (predict(potential, moved(frame, s)).forces for s in (step, -step))
            columns.append(((up - down) / 4e-6)[:4].ravel())
    jacobian = np.array(columns)
    assert np.abs(jacobian - jacobian.T).max() < 1e-6


def test_the_stress_is_that_of_the_energy(potential: Potential, frame: Structure) -> None:
    stress = predict(potential, frame).stress
    assert stress is not None
    energy = []
    for step in (1e-4, -1e-4):
        strain = np.eye(3)
        strain[0, 1] += step
        strained = replace(frame, positions=frame.positions @ strain.T, cell=frame.cell @ strain.T)
        energy.append(predict(potential, strained).energy)
    volume = np.linalg.det(frame.cell)
    assert (energy[0] - energy[1]) / 2e-4 / volume == pytest.approx(stress[0, 1], abs=1e-6)


def test_forces_bend_nowhere_while_a_scale_changes(potential: Potential, frame: Structure) -> None:
    # along a line on which neighbors enter and leave at changing cutoffs, third differences of
    # the energy shrink with the third power of the step: no kink in force or curvature
    direction = np.random.default_rng(0).standard_normal((20, 3))

    places = np.linspace(0.0, 0.12, 241)
    energy = np.array([predict(potential, moved(frame, p * direction)).energy for p in places])

    def third(every: int) -> float:
        return float(np.abs(np.diff(energy[::every], 3)).max())

    assert third(2) / third(1) > 6.0


def test_the_energy_is_extensive(potential: Potential, frame: Structure) -> None:
    assert potential.adaptive_cutoff is not None
    local = routed(potential.adaptive_cutoff.settings.by)
    one, two = (predict(local, f).energy for f in (frame, doubled(frame)))
    assert two == pytest.approx(2 * one, rel=1e-8)


def test_a_router_may_choose_the_longest_cutoff(frame: Structure) -> None:
    # in single precision 3.1 + (6.3 - 3.1) is longer than 6.3
    potential = untrained(
        ladder=(3.1, 6.3), dtype=torch.float32, adaptive_cutoff={"by": "element", "hidden": 4}
    )
    assert potential.adaptive_cutoff is not None
    with torch.no_grad():
        potential.adaptive_cutoff.offset.fill_(50.0)
    found = predict(potential, frame)
    longest = predict(potential, frame, cutoffs=found.cutoffs)
    assert (found.cutoffs == 6.3).all()
    np.testing.assert_allclose(found.forces, longest.forces, atol=1e-4)


def test_the_regime_is_the_neighborhood_of_its_elements(frame: Structure) -> None:
    potential = routed("regime")
    assert potential.adaptive_cutoff is not None
    cutoffs = predict(potential, frame).cutoffs
    delta = frame.positions[:, None] - frame.positions[frame.numbers == 11]
    delta -= 10.0 * np.round(delta / 10.0)
    distance = np.linalg.norm(delta, axis=2)
    distance[distance == 0] = np.inf
    far = distance.min(axis=1) > 3.4
    close = distance.min(axis=1) < 2.4
    offset = potential.adaptive_cutoff.offset.numpy()[(frame.numbers == 17).astype(int)]
    for member, change in ((far, 0.0), (close, -1.0)):
        assert member.any()
        expected = 3.5 + 1.5 / (1.0 + np.exp(-(offset + change)))
        np.testing.assert_allclose(cutoffs[member], expected[member], atol=1e-12)


@pytest.mark.parametrize(
    ("near", "message"),
    [
        ({"near": ("K",)}, "does not know"),
        ({"near": ("Na",), "within": 4.0}, r"at most 3\.5"),
    ],
)
def test_a_regime_that_cannot_be_seen_is_refused(near: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        untrained(ladder=(3.5, 5.0), adaptive_cutoff={"by": "regime", **near})


def test_a_router_survives_its_checkpoint(
    potential: Potential, frame: Structure, tmp_path: Path
) -> None:
    checkpoint.write(tmp_path, potential)
    again = checkpoint.read(tmp_path)
    np.testing.assert_allclose(
        predict(again, frame).forces, predict(potential, frame).forces, atol=1e-12
    )
    single = potential.to(dtype=torch.float32)
    assert np.abs(predict(single, frame).cutoffs - predict(potential, frame).cutoffs).max() < 1e-4
