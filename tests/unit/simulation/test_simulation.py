"""Molecular dynamics: what is conserved, goes on after an interruption, breaks, and is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.cell import Cell

import scalewise as sw
from scalewise.core.progress import Messages
from scalewise.reporting.report import Report
from scalewise.simulation.distances import Distances
from scalewise.simulation.integrators import degrees_of_freedom, integrator, temperature
from scalewise.simulation.results import drift
from support import killed_at, untrained

SHORT: dict[str, Any] = {
    "timestep": 0.5,
    "picoseconds": 0.02,
    "log_every": 1.0,
    "save_every": 2.0,
    "restart_every": 5.0,
    "reach": 4.0,
    "dtype": "float64",
    "device": "cpu",
}
ENSEMBLES = (
    {"ensemble": "nve"},
    {"ensemble": "nvt", "thermostat": "csvr"},
    {"ensemble": "nvt", "thermostat": "langevin"},
    {"ensemble": "npt", "pressure": 1e4},
)


def settings(**more: Any) -> sw.SimulationSettings:
    return sw.SimulationSettings.model_validate({**SHORT, **more})


def salt(seed: int = 0) -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def potential(**more: Any) -> sw.Potential:
    return untrained((11, 17), layers=1, cutoff=4.0, **more)


def rows(folder: Path) -> np.ndarray:
    return np.genfromtxt(folder / "log.csv", delimiter=",", skip_header=1)


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda e: "-".join(map(str, e.values())))
def test_a_simulation_that_was_killed_does_what_it_would_have_done(
    tmp_path: Path, ensemble: dict[str, Any]
) -> None:
    model, chosen = potential(), settings(**ensemble)
    sw.simulate(model, salt(), chosen, tmp_path / "whole")
    with killed_at(27):
        sw.simulate(model, salt(), chosen, tmp_path / "parts")
    told: list[str] = []
    sw.simulate(model, salt(), chosen, tmp_path / "parts", progress=sw.Messages(told.append))
    assert told == ["goes on after 0.01 ps"]
    for name in ("log.csv", "trajectory.extxyz"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    one, other = (_counts(tmp_path / n) for n in ("whole", "parts"))
    assert one == other


def _counts(folder: Path) -> list[float]:
    found: list[float] = np.load(folder / "restart.npz")["counts"].ravel().tolist()
    return found


@pytest.mark.parametrize("ensemble", ["npt", "nve"])
@pytest.mark.parametrize("left", [False, True])
def test_a_trajectory_in_dcd_has_what_one_in_xyz_has(
    tmp_path: Path, ensemble: str, left: bool
) -> None:
    """Lengths and angles of the cell, positions turned with it, not mirrored; no frame twice."""
    pytest.importorskip("openmm")
    model, atoms = potential(), salt()
    if ensemble == "nve":
        skewed = np.array([[0, 1.0, -0.5], [0.3, 0, 0.7], [0.1, -1.2, 0]])
        atoms.set_cell(atoms.cell.array + skewed)
    if left:
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    chosen = settings(ensemble=ensemble, save_every=2.0)
    sw.simulate(model, atoms, chosen, tmp_path / "xyz")
    chosen = chosen.model_copy(update={"trajectory": "dcd"})
    with killed_at(27):
        sw.simulate(model, atoms, chosen, tmp_path / "dcd")
    sw.simulate(model, atoms, chosen, tmp_path / "dcd")
    assert not (tmp_path / "dcd/trajectory.extxyz").exists()
    frames = ase.io.read(tmp_path / "xyz/trajectory.extxyz", index=":")
    cells, positions = read_dcd(tmp_path / "dcd/trajectory.dcd")
    assert len(cells) == len(positions) == len(frames) == 11
    for cell, found, frame in zip(cells, positions, frames, strict=True):
        vectors = frame.cell.array.copy()
        vectors[2] *= frame.cell.handedness
        np.testing.assert_allclose(cell, Cell(vectors).cellpar(), rtol=1e-6)
        given = frame.positions[[1, 2, 4]] - frame.positions[0]
        assert np.linalg.det(found[[1, 2, 4]] - found[0]) == pytest.approx(
            np.linalg.det(given), abs=1e-3
        )
        turned = ase.Atoms(frame.symbols, found, cell=cell, pbc=True)
        np.testing.assert_allclose(
            turned.get_all_distances(mic=True), frame.get_all_distances(mic=True), atol=2e-5
        )


def test_a_molecule_has_no_cell_in_dcd(tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    molecule = ase.Atoms("Na2Cl2", [[0, 0, 0], [2.6, 0, 0.2], [2.6, 2.5, 0], [0, 2.6, -0.1]])
    sw.simulate(potential(), molecule, settings(trajectory="dcd", picoseconds=0.001), tmp_path)
    cells, positions = read_dcd(tmp_path / "trajectory.dcd")
    assert cells == []
    np.testing.assert_allclose(positions[0], molecule.positions, atol=1e-6)


def read_dcd(path: Path) -> tuple[list[list[float]], list[np.ndarray]]:
    """Cells (Å, degrees) and positions of a file: records, each between its size twice."""
    content, at, records = path.read_bytes(), 0, list[bytes]()
    while at < len(content):
        (size,) = struct.unpack_from("<i", content, at)
        records.append(content[at + 4 : at + 4 + size])
        assert struct.unpack_from("<i", content, at + 4 + size) == (size,)
        at += size + 8
    (header, _, _), frames = records[:3], records[3:]
    count, periodic = (
        struct.unpack_from("<i", header, 4)[0],
        struct.unpack_from("<i", header, 44)[0],
    )
    size = 3 + periodic
    assert len(frames) == count * size
    cells = []
    for record in frames[::size] if periodic else []:
        a, gamma, b, beta, alpha, c = struct.unpack("<6d", record)
        cells.append([a, b, c, *(90 - np.degrees(np.arcsin([alpha, beta, gamma])))])
    axes = [np.frombuffer(r, "<f4") for k, r in enumerate(frames) if k % size >= periodic]
    return cells, [np.stack(axes[k : k + 3], axis=1) for k in range(0, len(axes), 3)]


def test_a_shorter_simulation_than_there_is_says_how_long_it_is(tmp_path: Path) -> None:
    model, said = potential(), []
    sw.simulate(model, salt(), settings(), tmp_path)
    half = settings(picoseconds=0.5 * settings().picoseconds)
    report = sw.simulate(model, salt(), half, tmp_path, progress=Messages(said.append))
    assert any("nothing left to simulate" in line for line in said)
    assert report.settings["picoseconds"] == report.body["picoseconds"] == settings().picoseconds


def test_a_longer_simulation_goes_on_from_the_end(tmp_path: Path) -> None:
    model = potential()
    sw.simulate(model, salt(), settings(picoseconds=0.01), tmp_path / "parts")
    report = sw.simulate(model, salt(), settings(), tmp_path / "parts")
    sw.simulate(model, salt(), settings(), tmp_path / "whole")
    assert report.body["steps"] == 40
    assert np.array_equal(rows(tmp_path / "parts"), rows(tmp_path / "whole"), equal_nan=True)


@pytest.mark.parametrize("ensemble", ENSEMBLES[:2] + ENSEMBLES[3:], ids=("nve", "csvr", "npt"))
def test_the_conserved_energy_changes_with_the_square_of_the_timestep(
    tmp_path: Path, ensemble: dict[str, Any]
) -> None:
    model, spread = potential(), []
    for timestep in (0.5, 0.25):
        chosen = settings(**ensemble, timestep=timestep, log_every=0.5, temperature=2000.0)
        sw.simulate(model, salt(), chosen, tmp_path / str(timestep))
        conserved = rows(tmp_path / str(timestep))[:, 5]
        spread.append(np.ptp(conserved))
    assert spread[1] < 0.4 * spread[0]


def test_velocities_are_drawn_at_rest_and_of_the_temperature(tmp_path: Path) -> None:
    molecule = ase.Atoms("Na2Cl2", [[0, 0, 0], [2.6, 0, 0.2], [2.6, 2.5, 0], [0, 2.6, -0.1]])
    chosen = settings(ensemble="nve", temperature=321.0, picoseconds=0.001)
    report = sw.simulate(potential(), molecule, chosen, tmp_path)
    first = ase.io.read(tmp_path / "trajectory.extxyz", index=0)
    assert report.body["freedom"] == 6  # of 12, three of a drift and three of a rotation
    assert temperature(first, 6) == pytest.approx(321.0, rel=1e-6)
    assert np.abs(first.get_momenta().sum(axis=0)).max() < 1e-6
    assert np.abs(first.get_angular_momentum()).max() < 1e-5


def test_velocities_of_the_file_are_kept_unless_others_are_drawn(tmp_path: Path) -> None:
    atoms = salt()
    atoms.set_velocities(np.random.default_rng(0).normal(scale=0.01, size=(8, 3)))
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    for velocities, kept in (("auto", True), ("drawn", False)):
        chosen = settings(velocities=velocities, picoseconds=0.001)
        sw.simulate(potential(), atoms, chosen, tmp_path / velocities)
        first = ase.io.read(tmp_path / velocities / "trajectory.extxyz", index=0)
        assert np.allclose(first.get_momenta(), atoms.get_momenta(), atol=1e-6) == kept


@pytest.mark.parametrize("thermostat", ["csvr", "langevin"])
def test_thermostats_bring_the_temperature(tmp_path: Path, thermostat: str) -> None:
    """A hot start cools: kinetic energy goes into the thermostat, not into nothing."""
    chosen = settings(
        thermostat=thermostat, temperature=300.0, thermostat_time=5.0, picoseconds=0.2, log_every=5
    )
    atoms = salt()
    atoms.set_velocities(np.random.default_rng(1).normal(scale=0.08, size=(8, 3)))
    report = sw.simulate(potential(), atoms, chosen, tmp_path)
    assert rows(tmp_path)[0, 2] > 600.0
    assert report.body["temperature"]["mean"] == pytest.approx(300.0, rel=0.35)


def test_a_simulation_that_breaks_says_when_and_keeps_the_frame_before(tmp_path: Path) -> None:
    long = settings(ensemble="nve", timestep=20.0, temperature=2000.0, picoseconds=2.0)
    report = sw.simulate(potential(), salt(), long, tmp_path)
    ended = report.body["ended"]
    assert ended is not None
    assert ended["reason"]
    last = ase.io.read(tmp_path / "last.extxyz")
    assert np.isfinite(last.positions).all()
    assert last.info["step"] == ended["step"]
    assert "broke after" in report.table()


def test_another_simulation_is_not_gone_on_with(tmp_path: Path) -> None:
    sw.simulate(potential(), salt(), settings(), tmp_path)
    before = (tmp_path / "log.csv").read_bytes()
    others = (
        (potential(), salt(1), settings()),
        (potential(seed=1), salt(), settings()),
        (potential(), salt(), settings(temperature=301.0)),
    )
    for model, atoms, chosen in others:
        with pytest.raises(sw.InputError, match="another potential, structure or settings"):
            sw.simulate(model, atoms, chosen, tmp_path)
    assert (tmp_path / "log.csv").read_bytes() == before


def test_a_damaged_state_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    sw.simulate(potential(), salt(), settings(), tmp_path)
    state = (tmp_path / "restart.npz").read_bytes()
    log = (tmp_path / "log.csv").read_bytes()
    for damaged in (b"", state[: len(state) // 2], state[:-200] + bytes(200)):
        (tmp_path / "restart.npz").write_bytes(damaged)
        with pytest.raises(sw.InputError, match=r"damaged.*from last\.extxyz"):
            sw.simulate(potential(), salt(), settings(), tmp_path)
    (tmp_path / "restart.npz").write_bytes(state)
    (tmp_path / "log.csv").write_bytes(log[:-20])
    with pytest.raises(sw.InputError, match="shorter than when"):
        sw.simulate(potential(), salt(), settings(), tmp_path)


def test_what_cannot_be_simulated_is_refused(tmp_path: Path) -> None:
    model = potential()
    dimer = ase.Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]])
    for atoms, more, words in (
        (dimer, {"ensemble": "npt"}, "not periodic"),
        (dimer[:1], {}, "1 atom"),
        (ase.Atoms("NaK", [[0, 0, 0], [2.5, 0, 0]]), {}, "K"),
        (dimer, {"velocities": "file"}, "no momenta"),
        (dimer, {"cutoff": 9.0}, "9"),
        (dimer, {"hydrogen_mass": 3.0}, "no hydrogen"),
        (ase.Atoms("NaCl", [[0, 0, 0], [0.1, 0, 0]]), {}, "atoms 0 and 1 are 0.1 Å apart"),
    ):
        with pytest.raises(sw.InputError, match=words):
            sw.simulate(model, atoms, settings(**more), tmp_path / "new")
    with pytest.raises(ValueError, match="at least one step"):
        settings(picoseconds=1e-6)


def test_cutoffs_of_an_adaptive_potential_are_logged(tmp_path: Path) -> None:
    model = untrained((11, 17), layers=1, ladder=(2.5, 4.0), adaptive_cutoff={"by": "environment"})
    report = sw.simulate(model, salt(), settings(), tmp_path)
    found = report.body["cutoffs"]
    for element in ("Na", "Cl"):
        assert all(2.5 <= c <= 4.0 for c in found[element])
    last = ase.io.read(tmp_path / "trajectory.extxyz", index=-1)
    mean = last.arrays["cutoffs"][last.numbers == 11].mean()
    assert mean == pytest.approx(found["Na"][-1], abs=1e-6)
    assert report.figures()["cutoffs"] is not None


def test_a_report_is_written_and_read_again(tmp_path: Path) -> None:
    potential().save(tmp_path / "run/model")
    report = sw.simulate(tmp_path / "run", salt(), settings(), tmp_path)
    report.save(tmp_path)
    again = Report.load(tmp_path)
    assert again.table() == report.table()
    assert json.loads((tmp_path / "simulation.json").read_text()) == report.to_json()
    assert set(report.figures()) == {"course", "distances"}


def test_neighbors_of_a_crystal_are_counted() -> None:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.02, seed=0)
    distances = Distances(atoms.numbers, 6.0)
    for seed in range(20):
        atoms.rattle(0.02, seed=seed)
        distances.add(sw.Structure.from_ase(atoms))
    by_pair = {p["pair"]: p for p in distances.found()["pairs"]}
    assert by_pair["Na-Cl"]["coordination"] == pytest.approx([6.0, 6.0], abs=0.05)
    assert by_pair["Na-Cl"]["peak"] == pytest.approx(2.8, abs=0.1)
    assert by_pair["Na-Na"]["coordination"] == pytest.approx([12.0, 12.0], abs=0.05)


def test_g_of_an_ideal_gas_is_one() -> None:
    rng = np.random.default_rng(0)
    numbers = np.array([10] * 30 + [18] * 60)
    distances = Distances(numbers, 6.0)
    for _ in range(60):
        atoms = ase.Atoms(numbers, rng.uniform(0, 10, (90, 3)), cell=[10, 10, 10], pbc=True)
        distances.add(sw.Structure.from_ase(atoms))
    found = distances.found()
    far = np.array(found["r"]) > 2.0
    for pair in found["pairs"]:
        assert np.array(pair["g"])[far].mean() == pytest.approx(1.0, abs=0.02)
    mixed = next(p for p in found["pairs"] if p["pair"] == "Ne-Ar")
    assert mixed["within"][-1] == pytest.approx(60 * 4 / 3 * np.pi * 6**3 / 1000, rel=0.02)


def test_a_molecule_has_distances_but_no_g() -> None:
    water = ase.build.molecule("H2O")
    distances = Distances(water.numbers, 3.0)
    distances.add(sw.Structure.from_ase(water))
    pairs = {p["pair"]: p for p in distances.found()["pairs"]}
    assert pairs["H-O"]["g"] is None
    assert pairs["H-O"]["within"][-1] == pytest.approx(1.0)
    assert pairs["H-O"]["shortest"] == pytest.approx(0.969, abs=0.01)


@pytest.mark.whole
def test_few_atoms_at_constant_pressure_have_the_temperature() -> None:
    """Chains of ASE believe in 3N degrees of freedom: four atoms were a third too hot."""
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.calc = EMT()
    rng = np.random.default_rng(0)
    atoms.set_momenta(np.sqrt(atoms.get_masses()[:, None]) * 0.15 * rng.standard_normal((4, 3)))
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    chosen = settings(ensemble="npt", temperature=400.0, timestep=4.0, thermostat_time=100.0)
    dynamics: Any = integrator(atoms, chosen, rng, 9)
    hot = []
    for _ in range(2500):
        dynamics.step()
        hot.append(temperature(atoms, 9))
    assert np.mean(hot[500:]) == pytest.approx(400.0, rel=0.1)


def test_another_adaptive_cutoff_is_another_simulation(tmp_path: Path) -> None:
    for by in ("environment", "element"):
        model = untrained((11, 17), layers=1, ladder=(2.5, 4.0), adaptive_cutoff={"by": by})
        if by == "environment":
            sw.simulate(model, salt(), settings(), tmp_path)
            continue
        with pytest.raises(sw.InputError, match="another potential"):
            sw.simulate(model, salt(), settings(), tmp_path)


def test_velocities_of_a_drifting_structure_are_those_within_it(tmp_path: Path) -> None:
    """What a drift had was given to the atoms: they began ten times too hot."""
    atoms = salt()
    within = np.random.default_rng(0).normal(scale=0.01, size=(8, 3))
    atoms.set_velocities(within)
    mean = atoms.get_momenta().sum(axis=0) / atoms.get_masses().sum()
    atoms.set_velocities(within - mean + [0.2, 0.0, 0.0])
    report = sw.simulate(potential(), atoms, settings(picoseconds=0.001), tmp_path)
    first = ase.io.read(tmp_path / "trajectory.extxyz", index=0)
    assert np.allclose(first.get_velocities(), within - mean, atol=1e-6)
    assert report.body["velocities"] == "file"
    atoms.set_velocities(np.tile([0.2, 0.0, 0.0], (8, 1)))  # nothing but a drift
    report = sw.simulate(potential(), atoms, settings(picoseconds=0.001), tmp_path / "drift")
    assert report.body["velocities"] == "drawn"


@pytest.mark.parametrize(("thermostat", "freedom"), [("csvr", 3), ("langevin", 6), ("auto", 6)])
def test_degrees_of_freedom_of_a_molecule_are_those_that_move(
    tmp_path: Path, thermostat: str, freedom: int
) -> None:
    molecule = ase.Atoms("NaClNa", [[0, 0, 0], [2.5, 0, 0], [3.0, 2.6, 0]])
    chosen = settings(thermostat=thermostat, picoseconds=0.001)
    assert sw.simulate(potential(), molecule, chosen, tmp_path).body["freedom"] == freedom


def test_a_linear_molecule_keeps_its_third_rotation() -> None:
    line = ase.Atoms("NaClNa", [[0, 0, 0], [2.5, 0, 0], [5.0, 0, 0]])
    assert degrees_of_freedom(line, rotates=False) == 9 - 3 - 2


def test_files_of_something_else_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("precious")
    with pytest.raises(sw.InputError, match=r"has a log.csv"):
        sw.simulate(potential(), salt(), settings(), tmp_path)
    assert (tmp_path / "log.csv").read_text() == "precious"
    overlapping = ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 0.001]])
    with pytest.raises(sw.InputError):
        sw.simulate(potential(), overlapping, settings(), tmp_path / "new")
    assert not (tmp_path / "new/log.csv").exists()


def test_a_simulation_that_was_killed_early_is_gone_on_with_as_it_was(tmp_path: Path) -> None:
    with killed_at(0):
        sw.simulate(potential(), salt(), settings(), tmp_path)
    with pytest.raises(sw.InputError, match="settings"):
        sw.simulate(potential(), salt(), settings(temperature=500.0), tmp_path)
    sw.simulate(potential(), salt(), settings(), tmp_path)


@pytest.mark.parametrize("change", [(",", "x,"), ("\n", "\r\n"), ("step", "stp")])
def test_a_log_that_was_changed_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    sw.simulate(potential(), salt(), settings(), tmp_path)
    log = tmp_path / "log.csv"
    with log.open(newline="") as stream:
        text = stream.read()
    with log.open("w", newline="") as stream:
        stream.write(text.replace(*change))
    with (tmp_path / "trajectory.extxyz").open("a") as stream:
        stream.write("what came after the state")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(sw.InputError, match=r"changed since|shorter than"):
        sw.simulate(potential(), salt(), settings(picoseconds=0.03), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_last_frame_is_there_whenever_it_ends(tmp_path: Path) -> None:
    sw.simulate(potential(), salt(), settings(save_every=100.0), tmp_path)
    last = ase.io.read(tmp_path / "last.extxyz")
    assert last.info["step"] == 40
    found = np.load(tmp_path / "restart.npz")
    assert np.allclose(last.positions, found["positions"], atol=1e-6)


def test_masses_and_momenta_that_are_none_are_refused(tmp_path: Path) -> None:
    for part, value in (("masses", 0.0), ("masses", np.nan), ("momenta", np.nan)):
        atoms = salt()
        values = atoms.get_masses() if part == "masses" else np.ones((8, 3))
        values[0] = value
        atoms.set_array(part, values)
        with pytest.raises(sw.InputError, match=part):
            sw.simulate(potential(), atoms, settings(), tmp_path)


def test_own_images_are_no_neighbors_in_a_small_cell() -> None:
    rng = np.random.default_rng(0)
    distances = Distances(np.full(8, 18), 8.0)
    for _ in range(400):
        atoms = ase.Atoms("Ar8", rng.uniform(0, 5, (8, 3)), cell=[5, 5, 5], pbc=True)
        distances.add(sw.Structure.from_ase(atoms))
    found = distances.found()
    g, r = np.array(found["pairs"][0]["g"]), np.array(found["r"])
    assert g[r > 5.5].mean() == pytest.approx(1.0, abs=0.02)
    assert found["pairs"][0]["coordination"] is None  # an ideal gas has no shells
    assert found["frames"] == 400


@pytest.mark.parametrize(("thermostat", "words"), [("csvr", "not known"), ("langevin", "none is")])
def test_a_short_simulation_names_its_thermostat(
    tmp_path: Path, thermostat: str, words: str
) -> None:
    """With two rows there is no drift yet, which was taken for Langevin dynamics."""
    chosen = settings(thermostat=thermostat, picoseconds=0.001)
    table = sw.simulate(potential(), salt(), chosen, tmp_path).table()
    assert f"nvt ({thermostat})" in table
    assert words in table


def test_a_drift_is_found_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    time = np.linspace(0.0, 10.0, 500)
    held = 0
    for _ in range(100):
        noise = np.convolve(rng.standard_normal(520), np.ones(20) / 20, "same")[:500]
        found = drift({"time": time, "conserved": 8 * (3e-3 * time + 1e-2 * noise)}, 8)
        assert found is not None
        low, high = found["interval"]
        held += low < 3e-3 < high
    assert 85 <= held <= 100
    exact = drift({"time": time, "conserved": 8 * 3e-3 * time}, 8)
    assert exact is not None
    assert exact["mean"] == pytest.approx(3e-3)
    assert exact["interval"] == pytest.approx([3e-3, 3e-3])
