"""Labelled frames of aqueous NaCl: physics of the labels, determinism, resuming, errors."""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.core.quantities import FORCES_KEY, KJ_PER_MOL, KJ_PER_MOL_NM, MOLECULE_KEY, NM
from scalewise.testbed import forcefield, replica, simulation, solution
from scalewise.testbed.settings import SolutionSettings

openmm = pytest.importorskip("openmm")

TINY: dict[str, Any] = {
    "box": 16.0,
    "cutoff": 7.0,
    "equilibration": 0.6,
    "frames": 3,
    "spacing": 0.1,
    "replicas": 2,
    "replicates": {"replicas": 1, "configurations": 2, "samples": 2, "spacing": 0.1},
    "platform": "CPU",
}


def tiny(**changes: Any) -> SolutionSettings:
    return SolutionSettings.model_validate(TINY | changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, solution.Manifest]:
    folder = tmp_path_factory.mktemp("made")
    return folder, solution.generate_solution(tiny(), folder, workers=2, bar=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


# -- physics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("water", "ions"),
    [("tip3p", "amber"), ("spce", "charmm")],
)
def test_force_on_an_ion_is_minus_the_derivative_of_the_energy(water: str, ions: str) -> None:
    settings = tiny(water=water, ions=ions, platform="Reference")
    box = replica.Replica(settings, 0)
    h = 1e-5  # nm
    atom = box.pairs  # the first Cl
    direction = np.array([0.6, -0.48, 0.64])
    energies = []
    for sign in (1, -1):
        moved = box.positions.copy()
        moved[atom] += sign * h * direction
        energies.append(box.snapshot(moved, {}).energy)
    slope = (energies[0] - energies[1]) / (2 * h * NM)
    force = box.snapshot(box.positions, {}).forces[atom] @ direction
    assert force == pytest.approx(-slope, rel=1e-5)


@pytest.mark.parametrize("water", ["tip3p", "spce"])
def test_charmm_without_the_slow_table_is_the_same(
    water: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(water=water, ions="charmm", platform="Reference")
    box = replica.Replica(settings, 0)
    box.positions[box.pairs] = box.positions[0] + [0.0, 0.0, 0.25]  # a contact pair
    fast = box.snapshot(box.positions, {})
    box.labels = None
    monkeypatch.setattr(replica, "merge_lennard_jones", lambda *a: None)
    slow = box.snapshot(box.positions, {})
    assert fast.energy == pytest.approx(slow.energy, rel=1e-9)
    np.testing.assert_allclose(fast.forces, slow.forces, rtol=1e-7, atol=1e-8)


def test_rigid_water_has_no_intramolecular_energy() -> None:
    box = replica.Replica(tiny(ion_pairs=1), 0)
    system = box.system(replica.LABEL_TOLERANCE)
    forces = {type(force).__name__: force for force in system.getForces()}
    for name, count in (
        ("HarmonicBondForce", "getNumBonds"),
        ("HarmonicAngleForce", "getNumAngles"),
    ):
        assert name not in forces or getattr(forces[name], count)() == 0
    assert system.getNumConstraints() == len(box.symbols) - 2


def test_masses_move_to_hydrogen_and_keep_their_sum() -> None:
    box = replica.Replica(tiny(), 0)
    system = box.system(1e-3, frozen=True)
    masses = [system.getParticleMass(i)._value for i in range(system.getNumParticles())]
    assert masses[: 2 * box.pairs] == [0.0] * (2 * box.pairs)
    assert masses[2 * box.pairs :][1:3] == [3.0, 3.0]
    assert sum(masses[2 * box.pairs :][:3]) == pytest.approx(18.015, abs=0.01)


@pytest.mark.parametrize(("water", "ions"), forcefield.FORCE_FIELDS)
def test_every_force_field_builds_a_neutral_switched_system(water: str, ions: str) -> None:
    box = replica.Replica(tiny(water=water, ions=ions), 0)
    system = box.system(1e-3)
    coulomb = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [coulomb.getParticleParameters(i)[0]._value for i in range(len(box.symbols))]
    n = box.pairs
    assert charges[: 2 * n] == [1.0] * n + [-1.0] * n
    assert sum(charges) == pytest.approx(0.0, abs=1e-9)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce | openmm.CustomNonbondedForce):
            assert force.getUseSwitchingFunction()
            assert force.getSwitchingDistance()._value == pytest.approx(0.85 * 0.7)
    assert not coulomb.getUseDispersionCorrection()


def test_ions_start_apart_and_concentration_counts() -> None:
    box = replica.Replica(tiny(concentration=4.0), 0)
    assert box.pairs == round(4.0 * 6.02214076e-4 * 16.0**3)
    ions = box.positions[: 2 * box.pairs]
    d = ions[:, None] - ions[None]
    d -= box.cell * np.round(d / box.cell)
    distance = np.linalg.norm(d, axis=2)[np.triu_indices(len(ions), 1)]
    assert distance.min() * NM >= 4.0


# -- files -----------------------------------------------------------------------------------------


def test_frames_carry_labels_molecules_and_keys(made: tuple[Path, solution.Manifest]) -> None:
    folder, manifest = made
    frames = ase.io.read(folder / "replica-01.extxyz", ":")
    assert len(frames) == 3
    assert [a.info["frame"] for a in frames] == [0, 1, 2]
    assert [a.info["time"] for a in frames] == pytest.approx([0.1, 0.2, 0.3])
    for atoms in frames:
        assert atoms.calc is None
        assert atoms.pbc.all()
        assert atoms.info["replica"] == 1
        assert np.isfinite(atoms.info["REF_energy"])
    atoms = frames[0]
    molecules = atoms.arrays[MOLECULE_KEY]
    pairs = manifest["replicas"][1]["ion_pairs"]
    assert molecules[: 2 * pairs].tolist() == list(range(2 * pairs))
    assert np.bincount(molecules)[2 * pairs :].tolist() == [3] * manifest["replicas"][1]["waters"]
    oxygen = np.flatnonzero(atoms.numbers == 8)
    for hydrogen in (1, 2):  # molecules are whole, and rigid
        bond = np.linalg.norm(atoms.positions[oxygen + hydrogen] - atoms.positions[oxygen], axis=1)
        np.testing.assert_allclose(bond, 0.9572, atol=1e-4)
    ions = atoms.arrays[FORCES_KEY][: 2 * pairs]
    assert 100 < np.abs(ions).mean() / KJ_PER_MOL_NM < 500
    assert np.abs(atoms.arrays[FORCES_KEY].sum(axis=0)).max() < 0.05  # PME conserves roughly


def test_labels_agree_with_tight_double_precision(made: tuple[Path, solution.Manifest]) -> None:
    assert all(r["label_error"] < 1e-4 for r in made[1]["replicas"])


def test_labels_on_disk_belong_to_the_positions_on_disk(
    made: tuple[Path, solution.Manifest],
) -> None:
    atoms = ase.io.read(made[0] / "replicates-01.extxyz", "-1")
    box = replica.Replica(tiny(platform="Reference"), 1)
    box.cell = atoms.cell.lengths() / NM
    again = box.snapshot(atoms.positions / NM, {})
    np.testing.assert_allclose(again.forces, atoms.arrays[FORCES_KEY], atol=1e-3)
    assert again.energy == pytest.approx(atoms.info["REF_energy"], abs=0.1 * KJ_PER_MOL)


def test_replicates_hold_the_ions_and_move_the_water(made: tuple[Path, solution.Manifest]) -> None:
    folder, manifest = made
    frames = ase.io.read(folder / "replicates-01.extxyz", ":")
    keys = [(a.info["configuration"], a.info["sample"]) for a in frames]
    assert keys == [(0, 0), (0, 1), (1, 0), (1, 1)]
    n = 2 * manifest["replicas"][1]["ion_pairs"]
    production = ase.io.read(folder / "replica-01.extxyz", ":")
    for atoms in frames:
        source = production[atoms.info["frame"]]
        np.testing.assert_array_equal(atoms.positions[:n], source.positions[:n])
        assert np.abs(atoms.positions[n:] - source.positions[n:]).max() > 0.05
    assert not np.array_equal(frames[0].positions[:n], frames[2].positions[:n])
    assert np.abs(frames[0].arrays[FORCES_KEY] - frames[1].arrays[FORCES_KEY])[:n].mean() > 0.01
    assert not (folder / "replicates-00.extxyz").exists()


def test_replicas_and_seeds_differ(made: tuple[Path, solution.Manifest]) -> None:
    seeds = {replica.seed_of(tiny(seed=s), r) for s in (0, 1) for r in range(8)}
    assert len(seeds) == 16
    first, second = (ase.io.read(made[0] / f"replica-0{r}.extxyz", "0") for r in (0, 1))
    assert len(first) != len(second) or not np.allclose(first.positions, second.positions)


def test_lost_and_damaged_replicas_come_back_with_the_same_bytes(
    made: tuple[Path, solution.Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both replicas are simulated again, by one worker where `made` used two."""
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    before = contents(folder)
    with (folder / "replica-00.extxyz").open("a") as stream:
        stream.write("junk")
    (folder / "replicates-01.extxyz").unlink()
    assert solution.generate_solution(tiny(), folder, workers=1, bar=False) == made[1]
    assert contents(folder) == before
    monkeypatch.setattr(solution, "_run", lambda *a: pytest.fail("made again"))
    (folder / "manifest.json").unlink()
    assert solution.generate_solution(tiny(), folder, bar=False) == made[1]
    assert contents(folder) == before


def test_a_damaged_record_does_not_count(
    made: tuple[Path, solution.Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    (folder / "replica-01.json").write_text("{")
    assert solution._finished(tiny(), folder, 1) is None
    assert solution._finished(tiny(), folder, 0) is not None
    assert solution._finished(tiny(seed=1), folder, 0) is None


def test_manifest_is_complete(made: tuple[Path, solution.Manifest]) -> None:
    folder, manifest = made
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert manifest["digest"] == tiny().digest()
    assert manifest["force_field"]["file"] == "amber14/tip3p.xml"
    assert set(manifest["versions"]) == {"scalewise", "openmm", "ase", "numpy"}
    assert [c["quantity"] for c in manifest["checks"]] == [
        "temperature",
        "density",
        "energy drift",
        "label error",
    ]
    assert solution.summary(manifest).row_count == 4


# -- checks ----------------------------------------------------------------------------------------


def replica_report(**changes: Any) -> dict[str, Any]:
    report = {
        "replica": 0,
        "ion_pairs": 10,
        "edge": 20.0,
        "density": 1.05,
        "temperature": 300.0,
        "temperature_error": 1.0,
        "label_error": 1e-5,
        "drift": 1e-3,
        "drift_error": 1e-3,
    }
    return report | changes


@pytest.mark.parametrize(
    ("quantity", "changes"),
    [
        ("temperature", {"temperature": 310.0}),
        ("density", {"density": 0.95}),
        ("energy drift", {"drift": -5e-3}),
        ("label error", {"label_error": 0.01}),
    ],
)
def test_checks_flag_what_is_off(quantity: str, changes: dict[str, float]) -> None:
    good = solution._checks(SolutionSettings(), [replica_report()])
    assert all(check["ok"] for check in good)
    bad = solution._checks(
        SolutionSettings(), [replica_report(), replica_report(replica=1, **changes)]
    )
    assert [c["quantity"] for c in bad if not c["ok"]] == [quantity]
    assert "replica 1" in next(c["sentence"] for c in bad if not c["ok"]) or quantity[0] == "l"


def test_density_has_no_reference_at_other_temperatures() -> None:
    checks = solution._checks(SolutionSettings(temperature=400.0), [replica_report(density=0.5)])
    assert checks[1]["ok"]


def test_standard_error_counts_memory() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(size=4000)
    assert simulation.standard_error(white) == pytest.approx(4000**-0.5, rel=0.1)
    red = np.empty(4000)
    red[0] = 0.0
    for i in range(1, 4000):
        red[i] = 0.8 * red[i - 1] + 0.6 * white[i]
    assert simulation.standard_error(red) == pytest.approx(3 * 4000**-0.5, rel=0.2)
    assert simulation.standard_error(white[:3]) is None
    assert simulation.standard_error(np.ones(9)) is None


# -- errors ----------------------------------------------------------------------------------------


def test_other_settings_are_refused(made: tuple[Path, solution.Manifest]) -> None:
    with pytest.raises(InputError, match=r"concentration=2\.0 \(now 1\.0\)"):
        solution.generate_solution(tiny(concentration=1.0), made[0], bar=False)
    with pytest.raises(InputError, match=r"replicates\.samples=2 \(now 3\)"):
        solution.generate_solution(tiny(replicates=TINY["replicates"] | {"samples": 3}), made[0])


def test_strange_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "replica-00.extxyz").write_text("mine")
    with pytest.raises(InputError, match=r"no settings\.json"):
        solution.generate_solution(tiny(), tmp_path, bar=False)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(InputError, match="not readable"):
        solution.generate_solution(tiny(), tmp_path, bar=False)
    assert (tmp_path / "replica-00.extxyz").read_text() == "mine"


def test_failure_in_a_worker_names_the_replica(tmp_path: Path) -> None:
    settings = tiny(ion_pairs=60, replicas=1)
    with pytest.raises(InputError, match=r"replica 0: only \d+ of 120 ions fit"):
        solution.generate_solution(settings, tmp_path, workers=1, bar=False)
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


def test_explosion_names_replica_and_time() -> None:
    run = replica.Replica(tiny(), 1)
    context = run._start(run.system(1e-3), run.positions)
    context.setVelocities(np.full((len(run.symbols), 3), np.nan))
    with pytest.raises(InputError, match=r"replica 1 at 0\.00 ps: the simulation failed"):
        list(run._advance(context, 1.0))
    with pytest.raises(InputError, match=r"replica 1 at 0\.00 ps"):
        run.snapshot(run.positions * np.nan, {})


def test_shrunken_cell_is_named() -> None:
    run = replica.Replica(tiny(cutoff=7.8, pressure=1e6, equilibration=4.0), 0)
    with pytest.raises(InputError, match=r"below twice the cutoff.*enlarge box"):
        run.equilibrate()


def test_missing_openmm_gives_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("openmm"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'openmm"):
        solution.generate_solution(tiny(), tmp_path, bar=False)


def test_unknown_platform_lists_the_known() -> None:
    settings = tiny(platform="CUDA")
    platforms = [openmm.Platform.getPlatform(i).getName() for i in range(2)]
    if "CUDA" in platforms:
        pytest.skip("CUDA is there")
    with pytest.raises(InputError, match="Reference, CPU"):
        forcefield.platform_name(settings)


def test_stopping_leaves_no_partial_files(tmp_path: Path) -> None:
    """What Ctrl-C does to a worker: the tick raises, nothing is written."""

    class Board(dict[int, float]):
        value = 1

    solution._board, solution._stop = Board(), Board()
    try:
        with pytest.raises(solution._StoppedError):
            solution._job(tiny(), tmp_path, 0)
    finally:
        solution._board = solution._stop = None
    assert not list(tmp_path.iterdir())


def test_import_needs_neither_openmm_nor_torch() -> None:
    code = "import sys, scalewise.testbed.solution; print({'openmm', 'torch'} & set(sys.modules))"
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert found.strip() == "set()"


@pytest.mark.slow
def test_workers_of_a_scheduler_simulate_the_same_bytes(
    made: tuple[Path, solution.Manifest], tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as running:
        address = running.scheduler_address
        found = solution.generate_solution(tiny(), tmp_path / "there", on=address, bar=False)
    assert found == made[1]
    for file in sorted(made[0].glob("*.extxyz")):
        assert (tmp_path / "there" / file.name).read_bytes() == file.read_bytes()
