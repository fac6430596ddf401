"""Inner potentials: stiff directions of known vibrations, and the whole way on a small crystal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import pytest
from ase import units

import scalewise as sw
from scalewise.distillation import distill as module
from scalewise.distillation.stiffness import period, product, stiff_direction, stiffest
from scalewise.reporting.report import Report
from scalewise.simulation import run
from support import untrained

MASSES = np.array([1.0, 4.0, 16.0])


def springs(positions: np.ndarray) -> np.ndarray:
    """Each atom on three springs, the first on the stiffest."""
    constants = np.array([[50.0, 2.0, 1.0], [8.0, 4.0, 2.0], [1.0, 1.0, 1.0]])
    return -constants * positions


def test_products_and_eigenvalues_are_those_of_springs() -> None:
    """The mass-weighted Hessian of springs is diagonal: k / m, whose largest is 50."""
    positions = np.random.default_rng(0).standard_normal((3, 3))
    direction = np.random.default_rng(1).standard_normal((3, 3))
    np.testing.assert_allclose(
        product(springs, positions, direction), -springs(direction), atol=1e-9
    )
    assert not product(springs, positions, np.zeros((3, 3))).any()
    assert stiffest(springs, positions, MASSES, direction) == pytest.approx(50.0, rel=1e-9)
    assert stiffest(lambda r: 0.0 * r, positions, MASSES, direction) == 0.0
    stiff = stiff_direction(springs, positions, MASSES, direction)
    assert np.linalg.norm(stiff, axis=1).mean() == pytest.approx(1.0)
    assert abs(stiff[0, 0]) > 0.95 * np.linalg.norm(stiff)


def test_a_period_is_that_of_a_vibration() -> None:
    """3700 cm⁻¹ is 9 fs, and ω² in ASE's units is eV/Å²/u."""
    femtoseconds = 1e15 / (3700.0 * 2.99792458e10)
    omega = 2.0 * np.pi / (femtoseconds * units.fs)
    assert period(omega**2) == pytest.approx(femtoseconds, rel=1e-9)


def salt() -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def settings(**more: Any) -> sw.DistillSettings:
    given = {
        "picoseconds": 0.06,
        "timestep": 1.0,
        "frames": 20,
        "steps": 12,
        "cutoff": 3.5,
        "channels": 2,
        "l_max": 1,
        "probe": 0.15,
        "multiples": (2, 3),
        "drift": 1.0,
        "compile": "never",
        "device": "cpu",
    }
    return sw.DistillSettings.model_validate({**given, **more})


@pytest.mark.whole
def test_an_inner_potential_is_made_tried_and_used(tmp_path: Path) -> None:
    potential = untrained((11, 17), cutoff=4.0)
    report = sw.distill(potential, salt(), settings(), tmp_path)
    report.save(tmp_path)
    again = Report.load(tmp_path / "distillation.json")
    assert again.results == report.results
    body = report.body
    assert (body["formula"], body["frames"]) == ("Cl4Na4", 20)
    assert [p["inner_steps"] for p in body["probes"]] == [1, 2, 3]
    assert body["errors"]["rms"] > body["errors"]["mae"] > 0.0
    assert body["stiffness"]["left"] > 0.0
    inner = sw.load_potential(tmp_path / "model")
    assert (inner.cutoff, inner.network.settings.layers) == (3.5, 1)
    made = sw.SimulationSettings(
        inner=tmp_path / "model", picoseconds=0.1, device="cpu", compile="never"
    )
    if body["chosen"]["gain"] > 1.0:
        simulated = sw.simulate(potential, salt(), made, tmp_path / "md")
        assert simulated.results["settings"]["timestep"] == body["chosen"]["timestep"]
    else:
        assert body["warnings"]
        with pytest.raises(sw.InputError, match="no longer step"):
            sw.simulate(potential, salt(), made, tmp_path / "md")
    # everything is there: the same report without another step
    told: list[str] = []
    repeated = sw.distill(
        potential, salt(), settings(), tmp_path, progress=sw.Messages(told.append)
    )
    assert repeated.body["probes"] == body["probes"]
    assert sum("nothing left to simulate" in text for text in told) == 4
    first = np.genfromtxt(tmp_path / "probes/2/log.csv", delimiter=",", names=True)[0]
    assert first["temperature"] == pytest.approx(300.0)
    assert body["probes"][0]["timestep"] == 2.5  # at most an eighth of 20 fs
    assert body["chosen"]["gain"] == max(p["gain"] for p in body["probes"])


@pytest.mark.whole
def test_a_step_that_drifts_too_far_ends_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is kept the last is chosen; the inner step alone if nothing is."""
    potential = untrained((11, 17), cutoff=4.0)
    monkeypatch.setattr(module, "_small", lambda drift, largest: False)
    body = sw.distill(potential, salt(), settings(), tmp_path).body
    assert [p["kept"] for p in body["probes"]] == [True, False]
    assert body["warnings"] == ["no longer step is stable: the inner potential leaves too much"]
    assert body["chosen"]["timestep"] == body["chosen"]["inner_timestep"]


@pytest.mark.parametrize(
    ("mean", "ends", "small"),
    [
        (5e-5, (2e-5, 8e-5), True),
        (2e-4, (5e-5, 3.5e-4), True),
        (2e-4, (1.5e-4, 2.5e-4), False),
        (-2e-4, (-2.5e-4, -1.5e-4), False),
        (2e-4, None, False),
        (5e-5, None, True),
    ],
)
def test_a_drift_is_small_unless_its_interval_says_otherwise(
    mean: float, ends: tuple[float, float] | None, small: bool
) -> None:
    assert module._small({"mean": mean, "interval": ends}, 1e-4) == small
    assert not module._small(None, 1e-4)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"multiples": ()}, "must rise"),
        ({"multiples": (3, 2)}, "must rise"),
        ({"multiples": (1, 2)}, "must rise"),
        ({"multiples": (2, 9)}, "must rise"),
        ({"picoseconds": 0.01}, "too few steps"),
        ({"temperature": 9e4}, "hotter"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(made: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(**made)


@pytest.mark.whole
def test_a_trial_that_breaks_with_the_potential_alone_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = run._Simulation._advance

    def broken(self: Any) -> str | None:
        return "overlap" if self.settings.ensemble == "nve" else advance(self)

    monkeypatch.setattr(run._Simulation, "_advance", broken)
    with pytest.raises(sw.InputError, match="alone broke: overlap"):
        sw.distill(untrained((11, 17), cutoff=4.0), salt(), settings(), tmp_path)


def test_a_simulation_that_breaks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run._Simulation, "_advance", lambda self: "the temperature is 1e5 K")
    with pytest.raises(sw.InputError, match="for frames broke: the temperature"):
        sw.distill(untrained((11, 17), cutoff=4.0), salt(), settings(), tmp_path)
