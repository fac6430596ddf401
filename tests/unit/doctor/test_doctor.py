"""The doctor finds what was planted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.data import chemical_symbols
from rich.console import Console

from scalewise.core.errors import InputError
from scalewise.data import duplicates
from scalewise.data.duplicates import find_duplicates
from scalewise.data.reading import read_structures
from scalewise.data.splits import Split
from scalewise.data.structure import Labels, Structure
from scalewise.doctor.composition import compose, fit_energies
from scalewise.doctor.examine import diagnose_data, run_command
from scalewise.doctor.forecast import CostModel, forecast
from scalewise.doctor.geometry import count_neighbors, find_closest
from scalewise.doctor.noise import estimate_noise
from scalewise.doctor.settings import DoctorSettings
from scalewise.doctor.table import print_diagnosis
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("SCALEWISE_DATA", ROOT.parent / "shared/data"))
WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
UNIT_ENERGY = {"water": -10.0, "salt": -30.0}


def solution(seed: int, waters: int = 8, salts: int = 1, box: float = 9.5) -> Structure:
    """Water and salt on a jittered grid; energies additive, forces that sum to zero."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = rng.permutation(grid)[: waters + 2 * salts] * box / 3 + rng.uniform(0, box, 3)
    sites += 0.3 * rng.standard_normal(sites.shape)
    molecules = [site + WATER for site in sites[:waters]]
    positions = np.concatenate([*molecules, sites[waters:]])
    forces = rng.standard_normal((len(positions), 3))
    return Structure(
        numbers=np.array([8, 1, 1] * waters + [11, 17] * salts),
        positions=positions,
        cell=box * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        molecule=np.arange(len(positions)),
        labels=Labels(
            forces=forces - forces.mean(axis=0),
            energy=waters * UNIT_ENERGY["water"] + salts * UNIT_ENERGY["salt"],
        ),
    )


def move(frame: Structure, by: float, seed: int = 0) -> Structure:
    rng = np.random.default_rng(seed)
    step = by / np.sqrt(3) * rng.standard_normal(frame.positions.shape)
    return replace(frame, positions=frame.positions + step)


def write(path: Path, frames: list[Structure], **info: list) -> Path:
    images = []
    for k, f in enumerate(frames):
        atoms = ase.Atoms(f.numbers, f.positions, cell=f.cell, pbc=f.pbc)
        atoms.new_array("REF_forces", f.labelled_forces)
        if f.labels.energy is not None:
            atoms.info["REF_energy"] = f.labels.energy
        atoms.info.update({key: values[k] for key, values in info.items()})
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")
    return path


def diagnose(
    frames: list[Structure], settings: DoctorSettings | None = None, **info: list
) -> Report:
    """What is found in structures whose ``info`` has these values."""
    structures = [
        replace(f, index=k, info={**f.info, **{key: values[k] for key, values in info.items()}})
        for k, f in enumerate(frames)
    ]
    return diagnose_data(structures, settings or DoctorSettings(cutoffs=(3.0, 4.0, 12.0)))


def command(path: Path, settings: DoctorSettings) -> Report:
    """What the command finds in a file."""
    return run_command(Request(settings, Path("unused"), files=(path,)))


def split_of(report: Report) -> Split:
    split: Split = report.attachments["split"]
    return split


def found(report: Report, subject: str) -> str:
    return " | ".join(
        f"{f['severity']}: {f['found']}" for f in report.body["findings"] if f["subject"] == subject
    )


# ---------------------------------------------------------------------------------- composition


@pytest.mark.parametrize(
    ("kinds", "rank", "units"),
    [
        ([{"waters": 8}, {"waters": 6, "salts": 2}], 2, {"H2O", "NaCl"}),
        ([{"waters": 8, "salts": 0}], 1, {"H2O"}),
        ([{"waters": 4, "salts": 2}], 1, {"Na2H8Cl2O4"}),
    ],
)
def test_formula_units_span_the_compositions(kinds: list, rank: int, units: set) -> None:
    made = compose([solution(k, **kind) for k, kind in enumerate(kinds)])
    assert made.rank == rank
    if rank == 1 and kinds[0]["salts"]:
        (unit,) = made.units
        assert dict(zip(made.elements, unit.counts, strict=True)) == {
            "H": 4, "O": 2, "Na": 1, "Cl": 1
        }  # fmt: skip
    else:
        assert {u.name for u in made.units} == units


def test_unit_vectors_where_everything_is_determined() -> None:
    frames = [solution(k).only(e) for k, e in enumerate((["O"], ["H"], ["O", "H"]))]
    made = compose(frames)
    assert (made.rank, [u.name for u in made.units]) == (2, ["H", "O"])


def test_mixture_with_a_shared_element() -> None:
    """CH4 and H2O share H: the row echelon form alone would offer CO-2."""
    template = solution(0)
    frames = [
        replace(template, numbers=np.array([6] * a + [1] * (4 * a + 2 * b) + [8] * b))
        for a, b in ((1, 3), (2, 1))
    ]
    assert {u.name for u in compose(frames).units} == {"CH4", "H2O"}


def test_energies_of_units_are_recovered_beside_an_outlier() -> None:
    frames = [solution(k, waters=8 - k % 3, salts=k % 3) for k in range(40)]
    energies = np.array([f.labels.energy for f in frames]) + 1e-3 * np.sin(np.arange(40))
    energies[7] += 50.0
    made = compose(frames)
    fit = fit_energies(made, energies, limit=6.0)
    expected = {"H2O": UNIT_ENERGY["water"], "NaCl": UNIT_ENERGY["salt"]}
    for unit, energy in zip(made.units, fit.unit_energies, strict=True):
        assert energy == pytest.approx(expected[unit.name], abs=2e-3)
    assert np.flatnonzero(~fit.fitted).tolist() == [7]


# ----------------------------------------------------------------------------------- duplicates


def shuffled(frame: Structure, seed: int = 3) -> Structure:
    order = np.random.default_rng(seed).permutation(len(frame.numbers))
    return replace(frame, numbers=frame.numbers[order], positions=frame.positions[order])


def wrapped(frame: Structure) -> Structure:
    return replace(frame, positions=frame.positions % np.diag(frame.cell))


def shifted(frame: Structure) -> Structure:
    return replace(frame, positions=frame.positions + np.array([1.0, 2.5, 4.0]))


@pytest.mark.parametrize(
    ("change", "reordered"),
    [
        (wrapped, False),
        (shifted, False),
        (shuffled, True),
        (lambda f: shuffled(wrapped(shifted(f))), True),
    ],
    ids=["wrapped", "shifted", "shuffled", "all"],
)
def test_twins_are_found(change: Callable[[Structure], Structure], reordered: bool) -> None:
    frames = [solution(k) for k in range(12)]
    twin = change(move(frames[4], 0.4))
    result = find_duplicates([*frames, twin], 0.8)
    assert list(zip(result.first, result.second, strict=True)) == [(4, 12)]
    assert result.distance[0] == pytest.approx(0.4, abs=0.12)
    assert result.reordered.tolist() == [reordered]
    assert result.group[4] == result.group[12] == 4
    assert result.group[11] == 11


def test_twins_chain_to_groups() -> None:
    first = solution(0)
    chain = [first, move(first, 0.6, 1), solution(5)]
    chain.insert(2, move(chain[1], 0.6, 2))
    result = find_duplicates(chain, 0.7)
    assert result.group.tolist() == [0, 0, 0, 1]


def test_distance_is_the_root_mean_square_displacement() -> None:
    frame = solution(0, waters=9, salts=0)
    moved = frame.positions.copy()
    moved[0] += [0.9, 0, 0]  # one oxygen of nine
    result = find_duplicates([frame, replace(frame, positions=moved)], 1.0)
    expected = np.sqrt((0.8**2 + 8 * 0.1**2) / 9)  # less the mean displacement
    assert result.distance[0] == pytest.approx(expected, rel=1e-6)


def test_other_cells_and_compositions_are_no_twins() -> None:
    frame = solution(0)
    wider = replace(frame, cell=1.2 * frame.cell)
    other = replace(frame, numbers=np.where(frame.numbers == 11, 19, frame.numbers))
    assert len(find_duplicates([frame, wider, other], 1.0).first) == 0


def test_rotated_molecules_are_twins() -> None:
    frame = replace(solution(0), pbc=np.zeros(3, dtype=bool))
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    turned = replace(frame, positions=frame.positions @ turn + 3.0)
    other = replace(solution(1), pbc=np.zeros(3, dtype=bool))
    result = find_duplicates([frame, turned, other], 0.3)
    assert result.group.tolist() == [0, 0, 1]
    assert result.distance[0] == pytest.approx(0.0, abs=1e-6)


# ---------------------------------------------------------------------------------------- noise


def with_noise(frame: Structure, seed: int, sigma: dict[int, float]) -> Structure:
    rng = np.random.default_rng(1000 + seed)
    scale = np.array([sigma.get(int(n), 0.0) for n in frame.numbers])
    return replace(
        frame,
        labels=replace(
            frame.labels,
            forces=frame.labelled_forces + scale[:, None] * rng.standard_normal((len(scale), 3)),
        ),
    )


def test_planted_noise_is_recovered_per_unit_and_per_element() -> None:
    planted = {11: 0.3, 8: 0.05}
    frames = [with_noise(solution(k, 8 - k % 4, k % 4), k, planted) for k in range(400)]
    noise = estimate_noise(frames, compose(frames), np.arange(400))
    units = {u.name: u for u in noise.units}
    assert units["NaCl"].total == pytest.approx(0.3, rel=0.1)
    assert units["H2O"].total == pytest.approx(0.05, rel=0.2)
    elements = {e.name: e for e in noise.elements}
    for name, sigma in {"Na": 0.3, "O": 0.05, "H": 0.0, "Cl": 0.0}.items():
        low, high = elements[name].interval
        assert low <= sigma <= high, name
    assert elements["Na"].interval[0] > 0.25
    assert elements["Na"].at_most == pytest.approx(units["NaCl"].total)


def test_elements_are_told_apart_where_compositions_do() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(300):
        numbers = np.repeat([11, 17], rng.integers(1, 6, 2))
        blank = replace(solution(0), numbers=numbers, positions=np.zeros((len(numbers), 3)))
        forces = np.where(numbers == 11, 0.2, 0.05)[:, None] * rng.standard_normal(
            (len(numbers), 3)
        )
        frames.append(replace(blank, labels=replace(blank.labels, forces=forces)))
    noise = estimate_noise(frames, compose(frames), np.arange(300))
    for unit, sigma in zip(noise.units, (0.2, 0.05), strict=True):
        assert unit.interval[0] <= sigma <= unit.interval[1]


def test_removed_net_forces_are_said_to_say_nothing() -> None:
    diagnosis = diagnose([solution(k) for k in range(5)])
    assert "note: labels sum to zero in 5 frames of 5" in found(diagnosis, "noise")
    assert diagnosis.body["noise"]["units"] == []


# ------------------------------------------------------------------------------------- geometry


def test_neighbors_of_a_cubic_lattice() -> None:
    """6 at a, 12 at sqrt(2) a, 8 at sqrt(3) a; beyond the cell, images count."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    n = len(grid)
    lattice = replace(
        solution(0),
        numbers=np.full(n, 11),
        positions=2.0 * grid,
        cell=8.0 * np.eye(3),
        labels=replace(solution(0).labels, forces=np.zeros((n, 3))),
    )
    counts = count_neighbors([lattice], ["Na"], [2.1, 3.0, 3.6, 9.0], 10)
    np.testing.assert_array_equal(counts.mean[0], [6, 18, 26, 388])
    np.testing.assert_array_equal(counts.most[0], counts.high[0])
    np.testing.assert_array_equal(counts.frames, [1, 1, 1, 1])
    assert counts.pairs[0] == 6 * n
    pairs = find_closest([lattice], ["Na"])
    assert pairs[0].distance == pytest.approx(2.0)


def test_the_closest_pairs_of_many_frames_are_those_of_each() -> None:
    """Frames are searched only as far as a pair of some elements might still come closer."""
    rng = np.random.default_rng(0)
    frames = [
        Structure(
            rng.choice([1, 8, 11], 6), rng.uniform(0, 9, (6, 3)), 9.0 * np.eye(3), np.ones(3, bool)
        )
        for _ in range(40)
    ]
    elements = ["H", "O", "Na"]
    each = [find_closest([frame], elements) for frame in frames]
    for k, found in enumerate(find_closest(frames, elements)):
        distances = [pairs[k].distance or np.inf for pairs in each]
        assert found.frame == int(np.argmin(distances))
        assert found.distance == min(distances)
    same = replace(frames[0], numbers=np.full(6, 1), positions=np.zeros((6, 3)))
    (found,) = find_closest([same, frames[1], same], ["H"])[:1]
    assert (found.distance, found.frame) == (0.0, 0)


def test_forecast_is_linear() -> None:
    cost = CostModel(0.5, seconds_per_atom=1e-2, seconds_per_pair=1e-3, bytes_per_pair=1e6)
    made = forecast(
        frames=7, batch_size=2, atoms=10, pairs=100, most_pairs=300, epochs=10, cost=cost
    )
    assert made.seconds_per_epoch == pytest.approx(3 * (0.5 + 2 * (0.1 + 0.1)))
    assert made.minutes == pytest.approx(made.seconds_per_epoch / 6)
    assert made.peak_megabytes == pytest.approx(600)


# ------------------------------------------------------------------------------------- findings


def test_sound_data_give_notes_at_most() -> None:
    frames = [with_noise(solution(k, 8 - k % 2, k % 2), k, {8: 1e-3, 11: 1e-3}) for k in range(30)]
    assert "the same to the last digit in 30 frames" in found(diagnose(frames), "labels")
    frames = [
        replace(f, labels=replace(f.labels, energy=(f.labels.energy or 0.0) + 1e-3 * np.sin(k)))
        for k, f in enumerate(frames)
    ]
    diagnosis = diagnose(frames, total_charge=[0] * 30)
    assert {f["severity"] for f in diagnosis.body["findings"]} == {"note"}
    assert "rank 2 of 4" in found(diagnosis, "composition")
    assert diagnosis.body["charges"] == {"key": "total_charge", "values_e": {"0": 30}, "without": 0}
    assert diagnosis.body["neighbors"]["frames"] == [30, 30, 30]
    split = split_of(diagnosis)
    assert split.roles == ("train", "valid", "test")
    assert json.loads(json.dumps(diagnosis.to_json(), allow_nan=False)) == diagnosis.to_json()


def strong_force(frame: Structure) -> Structure:
    forces = frame.labelled_forces.copy()
    forces[0, 0] += 80.0
    return replace(frame, labels=replace(frame.labels, forces=forces))


def overlap(frame: Structure) -> Structure:
    positions = frame.positions.copy()
    positions[1] = positions[0] + [0.2, 0.0, 0.0]
    return replace(frame, positions=positions)


@pytest.mark.parametrize(
    ("change", "subject", "message"),
    [
        (strong_force, "outliers", r"warning: largest force is extreme in frame 3.* 79.1 eV/Å"),
        (
            lambda f: replace(f, labels=replace(f.labels, energy=f.labels.energy + 9)),
            "outliers",
            "energy residual .* frame 3;",
        ),
        (
            lambda f: replace(f, labels=replace(f.labels, energy=None)),
            "labels",
            r"no energy in 1 frame of 30 \(frame 3\)",
        ),
        (
            lambda f: replace(f, labels=replace(f.labels, forces=0 * f.labels.forces)),
            "labels",
            "error: all forces .* frame 3",
        ),
        (
            lambda f: replace(f, labels=replace(f.labels, forces=965 * f.labels.forces)),
            "units",
            r"error: .* units seem mixed \(frame 3\)",
        ),
        (overlap, "closest", "error: H and O are 0.2 Å apart in frame 3"),
        (
            lambda f: replace(f, pbc=np.array([True, True, False])),
            "cells",
            r"note: frames of different periodicity are mixed: pbc=TTT \(\d+\), pbc=TTF \(1\)",
        ),
    ],
)
def test_one_bad_frame_is_named(
    change: Callable[[Structure], Structure], subject: str, message: str
) -> None:
    frames = [solution(k) for k in range(30)]
    rng = np.random.default_rng(0)
    frames = [
        replace(f, labels=replace(f.labels, energy=f.labels.energy + 0.05 * rng.standard_normal()))
        for f in frames
    ]
    frames[3] = change(frames[3])
    text = found(diagnose(frames), subject)
    assert re.search(message, text), text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: replace(f, labels=replace(f.labels, forces=965 * f.labels.forces)),
            "kJ/mol/nm and kcal/mol/Å look like this",
        ),
        (lambda f: replace(f, positions=f.positions / 10, cell=f.cell / 10), "nm looks like this"),
    ],
)
def test_wrong_units_are_a_finding(change: Callable[[Structure], Structure], message: str) -> None:
    diagnosis = diagnose([change(solution(k)) for k in range(6)])
    assert diagnosis.body["findings"][0]["severity"] == "error"
    assert message in found(diagnosis, "units")


def test_charged_cells_are_named() -> None:
    diagnosis = diagnose([solution(k) for k in range(4)], charge=[0, 0, 1, 0])
    assert "warning: frame 2 is not neutral by 'charge'" in found(diagnosis, "charges")


# ---------------------------------------------------------------------------------------- split


def test_twins_stay_together() -> None:
    frames = [move(solution(k), 0.3, n) for k in range(8) for n in range(3)]
    diagnosis = diagnose(frames)
    split = split_of(diagnosis)
    assert split.group == tuple(k // 3 for k in range(24))
    assert split.leaking_groups() == ()
    assert diagnosis.body["split"]["leaking_pairs"] == 0
    assert [row["frames"] for row in diagnosis.body["split"]["roles"]] == [18, 3, 3]


def test_a_leak_in_a_given_split_is_named() -> None:
    frames = [solution(k) for k in range(6)]
    frames.append(move(frames[1], 0.2))
    roles = ["train", "train", "val", "test", "test", "ood", "test"]
    diagnosis = diagnose(frames, DoctorSettings(split_key="split", cutoffs=(3.0,)), split=roles)
    text = found(diagnosis, "split")
    assert "warning: the split leaks: near-duplicates (below 1.5 Å) of frames to train on" in text
    assert "are 1 of 3 frames of test (33%) (closest: 1 (train) and 6 (test), 0.1" in text
    assert {row["role"]: row["twin_in_train"] for row in diagnosis.body["split"]["roles"]} == {
        "train": None, "valid": 0, "test": 1, "ood": 0,
    }  # fmt: skip
    split = split_of(diagnosis)
    assert split.roles == ("train", "valid", "test", "ood")
    assert split.leaking_groups() == (1,)


def trajectory(frames: int, steps: float = 0.05) -> list[Structure]:
    """One molecule that drifts through its shapes, turned at random."""
    rng = np.random.default_rng(0)
    shape = replace(solution(0), pbc=np.zeros(3, dtype=bool))
    walk = steps * rng.standard_normal((frames, *shape.positions.shape)).cumsum(axis=0)
    turns = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(frames)]
    return [
        replace(shape, positions=(shape.positions + moved) @ turn)
        for moved, turn in zip(walk, turns, strict=True)
    ]


def test_a_trajectory_of_one_molecule_is_split_by_blocks_of_time() -> None:
    report = diagnose(trajectory(400), DoctorSettings(cutoffs=(3.0,), duplicate_distance=2.0))
    split = split_of(report)
    text = "cut into 20 blocks of frames that follow each other"
    assert text in split.made["group"]
    assert text in found(report, "split")
    assert "no order of time" not in split.made["group"]
    assert "note: all 400 frames chain up to one group of near-dup" in found(report, "split")
    assert split.group == tuple(k // 20 for k in range(400))
    for role, share in {"train": 0.75, "valid": 0.1, "test": 0.15}.items():
        assert len(split.members(role)) == pytest.approx(400 * share, abs=20)


@pytest.mark.whole
def test_frames_of_a_trajectory_in_no_order_are_said_to_be() -> None:
    order = np.random.default_rng(1).permutation(400)
    frames = [trajectory(400)[k] for k in order]
    report = diagnose(frames, DoctorSettings(cutoffs=(3.0,), duplicate_distance=2.0))
    assert "they are in no order of time" in split_of(report).made["group"]
    assert "they are in no order of time" in found(report, "split")


def test_roles_of_one_molecule_are_alike_and_leak_nothing() -> None:
    """Said in one sentence, with the share of each role, and without a warning."""
    settings = DoctorSettings(split_key="split", cutoffs=(3.0,), duplicate_distance=2.0)
    roles = ["train"] * 280 + ["valid"] * 20 + ["test"] * 100
    report = diagnose(trajectory(400), settings, split=roles)
    (finding,) = [f for f in report.body["findings"] if f["subject"] == "split"]
    assert finding["severity"] == "note"
    assert "all frames resemble one another" in finding["found"]
    twins = report.body["split"]["roles"][2]["twin_in_train"]
    assert 0 < twins <= 100
    assert f"{twins} of 100 frames of test ({twins}%)" in finding["found"]


@pytest.mark.whole
def test_roles_that_lie_beyond_the_training_are_told_from_those_between() -> None:
    """At any distance that chains a molecule up, hotter frames are near-duplicates, too."""
    settings = DoctorSettings(split_key="split", cutoffs=(3.0,), duplicate_distance=3.0)
    rng = np.random.default_rng(0)
    order = rng.permutation(400)
    frames = [trajectory(400, 0.02)[k] for k in order]
    frames[300:] = [move(f, 0.4, k) for k, f in enumerate(frames[300:])]
    roles = ["train"] * 200 + ["valid"] * 20 + ["test"] * 80 + ["hot"] * 100
    report = diagnose(frames, settings, split=roles)
    (finding,) = [f for f in report.body["findings"] if f["subject"] == "split"]
    assert (
        "Errors on valid and test are those between known frames; frames of hot are farther"
        in (finding["remedy"])
    )


def test_official_roles_are_offered() -> None:
    frames = [solution(k) for k in range(9)]
    roles = ["train"] * 5 + ["valid"] * 2 + ["test"] * 2
    report = diagnose(frames, DoctorSettings(cutoffs=(3.0,)), fold=roles)
    assert "roles under the key 'fold' (5 train, 2 valid, 2 test)" in found(report, "split")
    asked = diagnose(frames, DoctorSettings(cutoffs=(3.0,), split_key="fold"), fold=roles)
    assert "roles under the key" not in found(asked, "split")


def test_molecules_whose_heavy_atoms_have_no_shape_are_compared_by_all_atoms() -> None:
    """One oxygen is always at one place: all frames of water were copies of one."""
    rng = np.random.default_rng(0)
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    frames = [
        Structure(
            np.array([8, 1, 1]),
            water + 0.1 * rng.standard_normal((3, 3)),
            np.zeros((3, 3)),
            np.zeros(3, dtype=bool),
            labels=Labels(np.zeros((3, 3)), -14.0),
        )
        for _ in range(40)
    ]
    assert (find_duplicates(frames, 1.0).distance > 1e-3).all()
    assert set(split_of(diagnose(frames)).roles) == {"train", "valid", "test"}


def test_two_groups_are_cut_so_that_every_role_has_frames() -> None:
    frames = [move(solution(k // 20), 0.3, k) for k in range(40)]
    report = diagnose(frames)
    assert set(split_of(report).roles) == {"train", "valid", "test"}
    assert "40 frames chain up to 2 groups" in found(report, "split")
    assert "error" not in found(report, "split")


def test_given_groups_are_used() -> None:
    settings = DoctorSettings(group_key="run", cutoffs=(3.0,))
    diagnosis = diagnose([solution(k) for k in range(9)], settings, run=list("aaabbbccc"))
    split = split_of(diagnosis)
    assert split.group == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert set(split.roles) == {"train", "valid", "test"}


def test_the_split_is_written_for_the_file(tmp_path: Path) -> None:
    frames = [solution(k) for k in range(9)]
    path = write(tmp_path / "dft.xyz", frames, run=list("aaabbbccc"))
    report = command(path, DoctorSettings(group_key="run", cutoffs=(3.0,)))
    names = [p.name for p in report.save(tmp_path / "out")]
    figures = ["neighbors.png", "neighbors.svg"]
    assert names == ["doctor.json", "doctor.txt", *figures, "split.json"]
    split = Split.load(tmp_path / "out/split.json", structures=frames, data=path)
    assert split == split_of(report)
    assert split.data.file == "dft.xyz"
    assert split.group == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    document = json.loads((tmp_path / "out/doctor.json").read_text())
    assert document["provenance"]["data"] == split.data.model_dump()
    # what a file holds is what the structures in memory hold
    found_here = diagnose(frames, DoctorSettings(group_key="run"), run=list("aaabbbccc"))
    assert found_here.provenance["data"]["file"] == "memory"
    assert found_here.body["findings"] == report.body["findings"]


def test_nothing_but_twins_cannot_be_split() -> None:
    first = solution(0)
    text = found(diagnose([move(first, 0.1, k) for k in range(5)]), "split")
    assert "cut into 5 blocks of frames that follow each other" in text
    assert "all 5 frames chain up" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split_key": "splt"}, r"frame 0, key 'splt': no such frame key.*Did you mean 'split'"),
        ({"duplicate_elements": ("K",)}, "K is not in the data"),
        ({"forces_key": "REF_force"}, "Did you mean 'REF_forces'"),
    ],
)
def test_keys_that_are_not_there(tmp_path: Path, settings: dict, message: str) -> None:
    path = write(tmp_path / "dft.xyz", [solution(0)], split=["train"])
    with pytest.raises(InputError, match=message):
        command(path, DoctorSettings(**settings))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.xyz: no such file"):
        command(tmp_path / "none.xyz", DoctorSettings())


def test_a_single_atom_is_no_problem() -> None:
    atom = solution(0).only(["Na"])
    lonely = replace(
        atom,
        pbc=np.zeros(3, dtype=bool),
        cell=np.zeros((3, 3)),
        labels=replace(atom.labels, energy=-1.0),
    )
    diagnosis = diagnose([lonely])
    assert diagnosis.body["closest"][0]["distance"] is None
    assert diagnosis.body["composition"]["atoms"] == 1


# ---------------------------------------------------------------------------------- shared data


@pytest.mark.whole
def test_salt_water_from_dft(tmp_path: Path) -> None:
    """What its README says: three frames of high energy, one with a force of 35 eV/Å, groups."""
    path = SHARED / "nacl_water_revpbe0d3/all.extxyz"
    if not path.is_file():
        pytest.skip("shared data are not here")
    every = read_structures(path, check_units=False)
    frames = [f for f in every if f.info["n_pairs"] == 6 or f.info["config_type"] == "gen3"]
    kept = write(tmp_path / "part.xyz", frames, high=[bool(f.info["high_energy"]) for f in frames])
    settings = DoctorSettings(duplicate_elements=("O",), neighbor_frames=5, cutoffs=(3.0,))
    diagnosis = command(kept, settings)
    high = {k for k, f in enumerate(frames) if f.info["high_energy"]}
    strong = {k for k, f in enumerate(frames) if np.abs(f.labelled_forces).max() > 20}
    outliers = diagnosis.body["outliers"]
    assert {o["frame"] for o in outliers if o["quantity"] == "energy residual"} == high
    assert {o["frame"] for o in outliers if "force" in o["quantity"]} == strong
    assert diagnosis.body["composition"]["formula_units"] == ["NaCl", "H2O"]
    given = np.array([f.info["group"] for f in frames])
    mine = np.array(split_of(diagnosis).group)
    same = given[:, None] == given[None]
    # cells of gen3 differ, and two of its pairs by more than a strain of 0.4 %
    assert np.mean((mine[:, None] == mine[None])[same]) > 0.98
    sodium = next(e for e in diagnosis.body["noise"]["elements"] if e["element"] == "Na")
    assert 60 < sodium["sigma"] < 110


# ------------------------------------------------------------ one structure, one set of labels


@pytest.mark.parametrize("pbc", ["TTF", "FTF", "FFF"])
def test_slabs_wires_and_molecules_are_looked_at_like_crystals(pbc: str, tmp_path: Path) -> None:
    axes = np.array([c == "T" for c in pbc])
    frames = [replace(solution(k), pbc=axes) for k in range(8)]
    frames = [replace(f, cell=np.where(axes[:, None], f.cell, 0.0)) for f in frames]
    twin = replace(frames[3], positions=frames[3].positions + axes @ frames[3].cell)
    diagnosis = diagnose([*frames, twin])
    assert found(diagnosis, "cells") == ""
    assert diagnosis.body["duplicates"]["frames_with_twin"] == 2
    assert diagnosis.body["neighbors"]["frames"] == [9, 9, 9]
    diagnosis.save(tmp_path)
    assert (tmp_path / "figures").exists()


def test_one_structure_with_two_energies_is_found() -> None:
    frames = [solution(k) for k in range(8)]
    frames.append(
        replace(frames[2], labels=replace(frames[2].labels, energy=frames[2].labels.energy + 0.5))
    )
    frames.append(
        replace(
            frames[5],
            positions=frames[5].positions,
            labels=replace(frames[5].labels, forces=frames[5].labelled_forces + 0.1),
        )
    )
    frames[9].positions[4] += frames[9].cell[0]  # the same place
    text = found(diagnose(frames), "duplicates")
    assert "error: frames 2 and 8 are one structure with different labels" in text
    assert "1 such pair more" in text
    same = [solution(k) for k in range(8)] + [solution(3)]
    assert "one structure" not in found(diagnose(same), "duplicates")


def test_zero_forces_of_a_perfect_crystal_are_what_they_are() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    frames = []
    for k in range(8):
        n = len(grid)
        frames.append(
            replace(
                solution(0),
                numbers=np.where(grid.sum(axis=1) % 2, 11, 17),
                positions=(2.8 + 0.05 * k) * grid,
                cell=2 * (2.8 + 0.05 * k) * np.eye(3),
                molecule=np.arange(n),
                labels=replace(solution(0).labels, forces=np.zeros((n, 3)), energy=float(k)),
            )
        )
    text = found(diagnose(frames), "labels")
    assert "note: all forces are zero by symmetry" in text
    assert "error" not in text


def stretched(frame: Structure, by: float, energy: float = 0.0) -> Structure:
    return replace(
        frame,
        positions=frame.positions * by,
        cell=frame.cell * by,
        labels=replace(frame.labels, energy=energy),
    )


def test_a_crystal_at_many_close_volumes_is_cut_into_blocks() -> None:
    """Forty volumes of one crystal chain up to one group: every role gets some all the same."""
    frames = [stretched(solution(3), 1 + 0.001 * k, 0.1 * k) for k in range(40)]
    diagnosis = diagnose(frames)
    assert "cut into 20 blocks" in found(diagnosis, "split")
    assert set(split_of(diagnosis).roles) == {"train", "valid", "test"}


@pytest.mark.parametrize("sides", [1, 3])
def test_strained_crystals_are_no_twins_in_cells_of_any_size(sides: int) -> None:
    """Steps of an equation of state, and elastic strains of half a percent."""
    cell = crystal("Cu", 3.6)
    grid = np.stack(np.meshgrid(*[np.arange(sides)] * 3, indexing="ij"), -1).reshape(-1, 3)
    n = len(grid)
    bulk = replace(
        cell, numbers=np.full(n, 29), positions=grid @ cell.cell, cell=sides * cell.cell,
        molecule=np.arange(n), labels=Labels(np.zeros((n, 3)), -3.0 * n),
    )  # fmt: skip
    shear = np.eye(3) + 0.005 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    frames = [stretched(bulk, 1 + 0.005 * k) for k in range(6)]
    frames.append(replace(bulk, positions=bulk.positions @ shear, cell=bulk.cell @ shear))
    assert len(find_duplicates(frames, 1.5).first) == 0
    # the noise of a barostat is no other structure
    assert len(find_duplicates([bulk, stretched(bulk, 1.0005)], 1.5).first) == 1


def test_strain_counts_as_what_it_moves_atoms_by() -> None:
    frame = solution(0)
    (distance,) = find_duplicates([frame, stretched(frame, 1.002)], 1.0).distance
    assert distance == pytest.approx(0.002 * 9.5 * np.sqrt(3 / 12), rel=0.2)


@pytest.mark.parametrize("pbc", [True, False])
def test_twins_are_found_among_more_frames_than_are_all_compared(pbc: bool) -> None:
    """And copies chain up, however many: the nearest frames of a copy are copies alone."""
    frames = [replace(solution(k), pbc=np.full(3, pbc)) for k in range(300)]
    twins = [move(frames[k], 0.2, k) for k in range(0, 300, 10)]
    copies = [frames[7]] * 40
    result = find_duplicates([*frames, *twins, *copies], 0.5)
    for k, n in enumerate(range(0, 300, 10)):
        assert result.group[300 + k] == result.group[n]
    assert len(np.unique(result.group[[7, *range(330, 370)]])) == 1
    assert len(np.unique(result.group)) == 300


def test_what_chains_up_is_not_matched_among_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """An assignment takes a millisecond: of a million frames of one crystal, half an hour."""
    matched: list[int] = []

    def count(stack: object, waves: object, pairs: tuple, distance: float) -> tuple:
        matched.append(len(pairs[0]))
        return (pairs[0][:0], pairs[1][:0]), np.zeros(0)

    monkeypatch.setattr(duplicates, "matched_displacements", count)
    find_duplicates([move(solution(0), 0.2, k) for k in range(300)], 1.0)
    assert matched == [0]


def test_two_crowds_that_touch_are_one_group() -> None:
    """Each frame's nearest ones are of its own crowd; what links the crowds is farther."""
    first = solution(0)
    second = move(first, 0.3, 1)
    frames = [move(first, 0.01, k) for k in range(200)] + [
        move(second, 0.01, k) for k in range(200)
    ]
    assert set(find_duplicates(frames, 0.5).group) == {0}
    assert set(find_duplicates(frames, 0.1).group) == {0, 1}


def test_elements_of_few_frames_are_trained_on() -> None:
    frames = [solution(k, 9, 0) for k in range(30)]
    frames[11] = solution(11)  # the only one with ions
    diagnosis = diagnose(frames)
    assert split_of(diagnosis).role[11] == "train"
    assert "no frame to train on" not in found(diagnosis, "split")
    settings = DoctorSettings(split_key="mine", cutoffs=(3.0,))
    roles = ["train"] * 20 + ["valid"] * 5 + ["test"] * 5
    roles[11] = "test"
    diagnosis = diagnose(frames, settings, mine=roles)
    assert "Na only in test; Cl only in test" in found(diagnosis, "split")


def test_copies_are_not_parted() -> None:
    frames = [move(solution(0), 0.4, k) for k in range(30)]
    diagnosis = diagnose([*frames, *frames])
    role = split_of(diagnosis).role
    assert role[:30] == role[30:]
    assert set(role) == {"train", "valid", "test"}


def test_states_of_charge_are_no_contradiction() -> None:
    frames = [solution(k) for k in range(6)]
    both = [
        *frames,
        *(replace(f, labels=replace(f.labels, energy=f.labels.energy + 8.0)) for f in frames),
    ]
    charges = [0] * 6 + [1] * 6
    assert "one structure" not in found(diagnose(both, total_charge=charges), "duplicates")
    # of a spin nothing is told to a network
    spins = [1] * 6 + [3] * 6
    findings = diagnose(both, multiplicity=spins).body["findings"]
    (one,) = [f for f in findings if "one structure" in f["found"]]
    assert "different electronic states" in one["remedy"]
    assert "one structure" in found(diagnose(both), "duplicates")


# ----------------------------------------------------------------- sets of every size and kind


def crystal(symbol: str, edge: float, **info: object) -> Structure:
    """One atom of a face-centred crystal in its smallest cell, with forces of zero."""
    half = 0.5 * edge * (np.ones((3, 3)) - np.eye(3))
    number = np.array([chemical_symbols.index(symbol)])
    labels = Labels(np.zeros((1, 3)), -3.0)
    pbc = np.ones(3, dtype=bool)
    return Structure(number, np.zeros((1, 3)), half, pbc, labels=labels, info=dict(info))


def test_cells_of_one_atom_have_their_neighbors() -> None:
    """12 at a / sqrt(2), 6 at a, 24 at sqrt(3/2) a."""
    frames = [crystal("Cu", edge) for edge in (3.5, 3.6, 3.7)]
    diagnosis = diagnose(frames, DoctorSettings(cutoffs=(3.0, 4.0, 4.6)))
    section = diagnosis.body["neighbors"]
    assert section["elements"]["Cu"]["mean"] == [12, 18, 42]
    assert section["frames"] == [3, 3, 3]
    assert diagnosis.body["closest"][0]["distance"] == pytest.approx(3.5 / np.sqrt(2))
    assert {f["severity"] for f in diagnosis.body["findings"]} <= {"note", "warning"}
    assert found(diagnosis, "labels") == found(diagnosis, "units") == ""


def mixture(seed: int, elements: int) -> Structure:
    """Atoms of a few of many elements, and sodium chloride in its fixed ratio."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice([z for z in range(3, elements + 5) if z not in (11, 17)], 4)
    numbers = np.concatenate([rng.choice(kinds, 10), np.tile([11, 17], rng.integers(1, 4))])
    base = solution(seed)
    n = len(numbers)
    forces = 0.1 * rng.standard_normal((n, 3))
    return replace(
        base, numbers=numbers, positions=base.positions[:n], molecule=np.arange(n),
        labels=Labels(forces, float(numbers.sum() + 0.01 * n * rng.standard_normal())),
    )  # fmt: skip


def test_many_elements_are_told_in_few_lines() -> None:
    frames = [mixture(k, 30) for k in range(500)]
    made = compose(frames)
    assert made.rank == len(made.elements) - 1
    assert "NaCl" in [u.name for u in made.units]
    assert all(u.atoms == 1 for u in made.units if u.name != "NaCl")
    diagnosis = diagnose(frames, DoctorSettings(cutoffs=(3.0,), duplicate_distance=0.1))
    console = Console(record=True, width=100, file=StringIO())
    print_diagnosis({**diagnosis.body, "data": {"file": "mixed.xyz"}}, console)
    text = console.export_text()
    assert len(text.splitlines()) < 150
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "and 22 more" in text
    noisy = [f for f in diagnosis.body["findings"] if f["subject"] == "noise"]
    assert [f["found"][:44] for f in noisy if f["severity"] == "warning"] == [
        "force labels of 32 elements carry noise, in "
    ]


def test_small_ratios_are_found_beside_a_host_of_many_atoms() -> None:
    host = [np.array([14] * 4000 + [5] * a + [15] * (3 * a) + [32] * (a % 2)) for a in (1, 2, 4, 5)]
    template = solution(0)
    made = compose([replace(template, numbers=n, positions=np.zeros((len(n), 3))) for n in host])
    assert made.rank == 3
    assert {u.name for u in made.units} == {"Si", "Ge", "BP3"}


def lone_atom(symbol: str, energy: float, box: float = 15.0) -> Structure:
    return replace(
        crystal(symbol, 3.6),
        cell=box * np.eye(3),
        labels=Labels(np.zeros((1, 3)), energy),
        info={"config_type": "IsolatedAtom"},
    )


def test_isolated_atoms_are_references_and_no_outliers() -> None:
    """Far off the line of the others, they are trained on and named."""
    frames = [stretched(crystal("Cu", 3.6), 1 + 0.01 * k, -3.0 + 0.01 * k) for k in range(12)]
    report = diagnose([*frames, lone_atom("Cu", 0.5)], DoctorSettings(cutoffs=(3.0,)))
    assert "isolated atoms give reference energies (eV): Cu 0.5000, all" in found(
        report, "energies"
    )
    assert found(report, "outliers") == ""
    assert split_of(report).role[12] == "train"
    assert report.body["energies"]["unit_energies"]["Cu"] == pytest.approx(-2.945, abs=0.01)
    twice = [*frames, lone_atom("Cu", 0.5), lone_atom("Cu", 1.5, 20.0)]
    report = diagnose(twice, DoctorSettings(cutoffs=(3.0,)))
    assert "isolated atoms of Cu differ by up to 1 eV" in found(report, "energies")
    water = [solution(k) for k in range(8)]
    report = diagnose([*water, lone_atom("O", -7.0)], DoctorSettings(cutoffs=(3.0,)))
    assert "O -7.0000; H, Na, Cl have none and are fitted" in found(report, "energies")


def salty(offset: dict[int, float], scatter: float) -> Report:
    """Sixty frames of three compositions, with these energies (meV/atom) beside the fit."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(60):
        one = solution(k, 8 - k % 3, 1 + k % 3)
        beside = offset.get(k % 3, 0.0) + scatter * rng.standard_normal()
        energy = one.labels.energy + 1e-3 * len(one.numbers) * beside
        frames.append(replace(one, labels=replace(one.labels, energy=energy)))
    return diagnose(frames, DoctorSettings(cutoffs=(3.0,)))


def test_energies_that_differ_between_compositions_are_named() -> None:
    report = salty({0: 8.0, 2: 8.0}, 0.5)
    text = found(report, "energies")
    assert re.search(r"note: energies differ more between compositions \([2-8].* than within", text)
    rows = report.body["energies"]["compositions"]
    assert [row["frames"] for row in rows] == [20, 20, 20]
    assert {row["formula"] for row in rows} == {"NaClH16O8", "Na2Cl2H14O7", "NaClH4O2"}
    for row in rows:
        assert row["scatter_mev_per_atom"] == pytest.approx(0.5, rel=0.5)
    mean = [row["offset_mev_per_atom"] for row in rows]
    assert np.ptp(mean) > 5.0  # two units of three compositions take up a part of it
    console = Console(record=True, width=100, file=StringIO())
    print_diagnosis({**report.body, "data": {"file": "salt.xyz"}}, console)
    assert "Energy beside the fit" in console.export_text()
    assert found(salty({}, 0.5), "energies") == ""
    assert found(salty({0: 1.0, 2: 1.0}, 20.0), "energies") == ""
