"""The doctor finds what was planted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from scalewise.core.errors import InputError
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
    assert "frames 1 (train) and 6 (test), 0.1" in found(diagnosis, "split")
    split = split_of(diagnosis)
    assert split.roles == ("train", "valid", "test", "ood")
    assert split.leaking_groups() == (1,)


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
    assert "most of 5 frames chain up" in text


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
    assert np.mean((mine[:, None] == mine[None])[same]) > 0.99
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


def test_a_strained_crystal_is_cut_into_blocks() -> None:
    """Forty volumes of one crystal chain up to one group: every role gets some all the same."""
    frames = []
    for k in range(40):
        one = solution(3)
        stretch = 1 + 0.005 * k
        frames.append(
            replace(
                one,
                positions=one.positions * stretch,
                cell=one.cell * stretch,
                labels=replace(one.labels, energy=0.1 * k),
            )
        )
    diagnosis = diagnose(frames)
    assert "cut into 20 blocks" in found(diagnosis, "split")
    assert set(split_of(diagnosis).roles) == {"train", "valid", "test"}
    # eight per cent in volume is no near-duplicate
    twins = find_duplicates([frames[0], frames[6]], 1.5)
    assert len(twins.first) == 0


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
    assert "one structure" in found(diagnose(both), "duplicates")
