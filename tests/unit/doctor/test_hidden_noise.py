"""Noise without net forces: planted, and absent."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scalewise.data.duplicates import find_duplicates
from scalewise.data.reading import read_structures
from scalewise.data.structure import Labels, Structure
from scalewise.doctor.composition import compose
from scalewise.doctor.examine import diagnose_data
from scalewise.doctor.hidden_noise import HiddenNoise, find_hidden_noise, find_rounding
from scalewise.doctor.noise import NetForceNoise
from scalewise.doctor.noise_report import judge_noise
from scalewise.doctor.settings import DoctorSettings

EDGE = 8.0
SITES = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * EDGE / 3
NUMBERS = np.array([11, 17] * 13 + [11])
SHARED = Path(os.environ.get("SCALEWISE_DATA", Path(__file__).parents[4] / "shared/data"))


NOTHING = NetForceNoise((), (), np.zeros(0, dtype=bool), 0.0)


def springs(rng: np.random.Generator) -> np.ndarray:
    """Force constants of a crystal, eV/Å²: a law that a model could learn."""
    root = rng.standard_normal((81, 81))
    matrix = root @ root.T / 20
    matrix -= matrix.mean(axis=0)
    return matrix - matrix.mean(axis=1, keepdims=True)


def frames_of(moved: np.ndarray, forces: np.ndarray) -> list[Structure]:
    """Frames of the crystal, with labels that sum to zero."""
    forces = forces - forces.mean(axis=1, keepdims=True)
    return [
        Structure(
            NUMBERS, SITES + u, EDGE * np.eye(3), np.ones(3, dtype=bool), index=k,
            labels=Labels(f, -100.0),
        )
        for k, (u, f) in enumerate(zip(moved, forces, strict=True))
    ]  # fmt: skip


def harmonic(moved: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return -(moved.reshape(len(moved), -1) @ springs(rng)).reshape(moved.shape)


def close_frames(seed: int, sigma: float) -> list[Structure]:
    """Frames of a crystal and copies moved by 0.0003 to 0.1 Å; noise on sodium alone."""
    rng = np.random.default_rng(seed)
    base = 0.3 * rng.standard_normal((60, 27, 3))
    step = 10 ** rng.uniform(-3.5, -1, (60, 1, 1)) * rng.standard_normal((60, 27, 3))
    moved = np.concatenate([base, base + step])
    forces = harmonic(moved, rng)
    forces += sigma * (NUMBERS == 11)[:, None] * rng.standard_normal(forces.shape)
    return frames_of(moved, forces)


def look(frames: list[Structure]) -> dict[str, HiddenNoise]:
    twins = find_duplicates(frames, 0.3)
    return {e.name: e for e in find_hidden_noise(frames, twins, twins.group)}


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_between_close_frames_is_recovered(sigma: float) -> None:
    """The net force that was taken off leaves 1 - 1/27 of it, and gives others 1/27."""
    found = look(close_frames(1, sigma))
    assert found["Na"].pairs is not None
    value, low, high = found["Na"].pairs
    assert value == pytest.approx(sigma, rel=0.15)
    assert low <= sigma <= 1.1 * high
    assert found["Na"].at_least == pytest.approx(low)


def test_close_frames_without_noise_raise_no_alarm() -> None:
    alarms = [look(close_frames(seed, 0.0)) for seed in range(12)]
    assert max(e.at_least for found in alarms for e in found.values()) < 5e-4


def molecules(
    stiffness: float, spread: float, step: float, numbers: list[int], seed: int
) -> list[Structure]:
    """Molecules on springs without noise, each twice."""
    rng = np.random.default_rng(seed)
    rest = rng.uniform(-3, 3, (8, 3))
    found = []
    for _ in range(40):
        base = rest + spread * rng.standard_normal((8, 3))
        for moved in (base, base + step * rng.standard_normal((8, 3))):
            labels = Labels(-stiffness * (moved - rest), -1.0)
            frame = Structure(
                np.array(numbers), moved, np.zeros((3, 3)), np.zeros(3, dtype=bool), labels=labels
            )
            found.append(frame)
    return found


def test_unlike_molecules_share_no_line() -> None:
    """Stiff ones move little and soft ones far: together they looked like noise of 35 meV/Å."""
    stiff = molecules(40.0, 0.12, 0.008, [8] + [6] * 7, seed=0)
    soft = molecules(4.0, 0.5, 0.08, [8, 7] + [6] * 6, seed=1)
    assert all(e.at_least == 0.0 for e in look([*stiff, *soft]).values())


def test_another_charge_is_no_noise() -> None:
    """The same molecules with and without an electron, whose forces differ by a field."""
    rng = np.random.default_rng(2)
    field = 0.3 * rng.standard_normal((8, 3))
    neutral = molecules(4.0, 0.3, 0.02, [8, 7] + [6] * 6, seed=3)
    ions = [
        replace(
            f,
            positions=f.positions + 0.01 * rng.standard_normal((8, 3)),
            labels=Labels(f.labelled_forces + field, -1.0),
            info={"charge": 1},
        )
        for f in neutral
    ]
    assert all(e.at_least == 0.0 for e in look([*neutral, *ions]).values())


def test_frames_that_are_far_from_each_other_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    moved = 0.3 * rng.standard_normal((60, 27, 3))
    noisy = harmonic(moved, rng) + 0.1 * rng.standard_normal(moved.shape)
    found = look(frames_of(moved, noisy))
    assert all(e.pairs is None and e.at_least == 0.0 for e in found.values())


def liquid(amplitude: float, periods: int = 40, seed: int = 0) -> list[Structure]:
    """Atoms anywhere; on sodium a sine of the place with so many periods per edge."""
    rng = np.random.default_rng(seed)
    moved = rng.uniform(0, EDGE, (100, 27, 3))
    wave = np.sin(2 * np.pi * periods * (SITES + moved) / EDGE + 0.3)
    forces = rng.standard_normal(moved.shape)
    return frames_of(moved, forces + amplitude * (NUMBERS == 11)[:, None] * wave)


def test_a_wave_of_the_grid_is_recovered() -> None:
    found = look(liquid(0.4))
    assert found["Na"].spacing == pytest.approx(EDGE / 40)
    assert found["Na"].grid is not None
    value, low, high = found["Na"].grid
    assert low < 0.4 / np.sqrt(2) < high
    assert value == pytest.approx(0.4 / np.sqrt(2), rel=0.15)
    assert found["Cl"].grid is None
    assert 0 < found["Cl"].grid_reach < 0.4


def test_forces_that_depend_on_no_place_have_no_wave() -> None:
    """Twenty liquids without one; and a wave whose labels were shuffled over the atoms."""
    for seed in range(20):
        assert all(e.grid is None for e in look(liquid(0.0, seed=seed)).values())
    rng = np.random.default_rng(0)
    shuffled = [
        replace(f, labels=replace(f.labels, forces=rng.permutation(f.labelled_forces)))
        for f in liquid(0.4)
    ]
    assert all(e.grid is None for e in look(shuffled).values())


def test_forces_that_hold_atoms_at_their_sites_are_no_wave() -> None:
    rng = np.random.default_rng(0)
    moved = 0.1 * rng.standard_normal((200, 27, 3))
    found = look(frames_of(moved, -5.0 * moved))
    assert all(e.grid is None for e in found.values())


@pytest.mark.parametrize(("digits", "expected"), [(2, 0.01), (4, 1e-4), (12, None)])
def test_rounding_is_the_last_digit(digits: int, expected: float | None) -> None:
    frames = [
        replace(f, labels=Labels(np.round(f.labelled_forces, digits))) for f in liquid(0.0)[:5]
    ]
    assert find_rounding(frames) == expected


@pytest.mark.whole
def test_what_cannot_be_learnt_is_said() -> None:
    settings = DoctorSettings(cutoffs=(3.0,), duplicate_distance=0.3)
    report = diagnose_data(close_frames(1, 0.05), settings)
    text = " ".join(f["found"] for f in report.body["findings"] if f["subject"] == "noise")
    assert "Na, at least 4" in text
    rows = {row["element"]: row for row in report.body["noise"]["hidden"]}
    assert rows["Na"]["at_least"] == pytest.approx(50, rel=0.2)
    assert rows["Na"]["at_least"] > 0
    assert rows["Na"]["pairs"]["sigma"] == pytest.approx(50, rel=0.15)
    quiet = diagnose_data(liquid(0.0), settings)
    rows = {row["element"]: row for row in quiet.body["noise"]["hidden"]}
    assert {row["at_least"] for row in rows.values()} == {0.0}
    text = " ".join(f["found"] for f in quiet.body["findings"] if f["subject"] == "noise")
    assert "cannot be told" in text
    (advice,) = [f["remedy"] for f in quiet.body["findings"] if "cannot be told" in f["found"]]
    reach = sorted(((row["grid_seen_from"], e) for e, row in rows.items()), reverse=True)
    seen = ", ".join(f"{size:.3g} ({element})" for size, element in reach)
    assert f"not found: they would show above {seen} meV/Å." in advice


def test_what_is_from_the_grid_and_what_is_not_are_told_apart() -> None:
    waves = HiddenNoise("Na", (0.09, 0.08, 0.1), 0.046, 0.02, None)
    pairs = HiddenNoise("Cl", None, None, 0.02, (0.06, 0.013, 0.08))
    (finding,) = judge_noise(NOTHING, [waves, pairs], compose(liquid(0.0)))
    assert "Na, at least 80 (a wave of 0.046 Å); Cl, at least 13" in finding.found
    assert "Forces on Na depend on the place in the cell" in finding.remedy
    assert "Frames that are nearly the same differ in the forces on Cl." in finding.remedy


def test_why_nothing_could_be_looked_for_is_said() -> None:
    removed = NetForceNoise((), (), np.zeros(9, dtype=bool), 0.0)
    nothing = judge_noise(removed, [HiddenNoise("O", None, None, None, None)], compose(liquid(0.0)))
    assert "neither could be looked for" in nothing[0].remedy
    pairs = judge_noise(
        removed, [HiddenNoise("O", None, None, None, (0.05, 0.0, 0.12))], compose(liquid(0.0))
    )
    assert "Near-duplicates allow noise up to 120 (O) meV/Å." in pairs[0].remedy


@pytest.mark.whole
def test_sodium_in_salt_water_bears_the_grid_of_its_calculation() -> None:
    """Net forces say 89 meV/Å: nearly all of it is a wave of 0.046 Å."""
    path = SHARED / "nacl_water_revpbe0d3/all.extxyz"
    if not path.is_file():
        pytest.skip("shared data are not here")
    frames = [f for f in read_structures(path) if f.info["config_type"] != "gen3"]
    twins = find_duplicates(frames, 1.0)
    found = {e.name: e for e in find_hidden_noise(frames, twins, twins.group)}
    assert found["Na"].spacing == pytest.approx(0.046, abs=1e-4)
    assert found["Na"].grid is not None
    assert found["Na"].grid[1] < 0.089 < found["Na"].grid[2]
    assert all(found[e].grid is None for e in ("H", "O", "Cl"))
