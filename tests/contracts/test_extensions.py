"""The worked extensions in examples/: short, and kept to what every part of their kind promises."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import ase.build
import ase.io
import ase.units
import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.data import readers
from scalewise.data.reading import read_structures
from scalewise.data.structure import Labels, Structure
from scalewise.models.protocol import Scale
from scalewise.testbed import geometry, simulation
from scalewise.testbed.settings import SolutionSettings
from scalewise.testing import check_geometry, check_potential, check_reader
from support import salt_frame

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("extend_geometry", "extend_model", "extend_reader")


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is gone after the test."""
    monkeypatch.setattr(geometry, "GEOMETRIES", dict(geometry.GEOMETRIES))
    monkeypatch.setattr(readers, "READERS", dict(readers.READERS))


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # where dataclasses look for annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_an_extension_is_under_forty_lines_of_code(name: str) -> None:
    """Lines of the class or function, without blank ones, comments and docstrings."""
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    lines: set[int] = set()
    docstrings: set[int] = set()
    for top in ast.parse(text).body:
        if isinstance(top, ast.ClassDef | ast.FunctionDef) and top.name != "main":
            lines |= set(range(top.lineno, (top.end_lineno or 0) + 1))
            for node in ast.walk(top):
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                    first = node.body[0]
                    docstrings |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    source = text.splitlines()
    code = [k for k in lines - docstrings if source[k - 1].strip()]
    assert 10 < len(code) < 40


def test_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    argon = example("extend_model", monkeypatch).Argon()
    crystals = []
    for cubic, seed in ((True, 0), (False, 1)):
        atoms = ase.build.bulk("Ar", a=5.3, cubic=cubic) * (1, 1, 2)
        atoms.rattle(0.1, seed=seed)
        crystals.append(Structure.from_ase(atoms))
    cluster = ase.build.bulk("Ar", a=5.3, cubic=True)
    cluster.pbc = False
    check_potential(argon, [*crystals, Structure.from_ase(cluster)])
    lowest = [argon.evaluate(crystals[:1], Scale(c))[0].energy for c in (4.5, 6.0, 9.0)]
    assert lowest == sorted(lowest, reverse=True)


def runner(structures: list[Structure]) -> str:
    """Structures as RuNNer has them."""
    bohr, hartree = ase.units.Bohr, ase.units.Hartree
    lines = []
    for s in structures:
        lines += ["begin", "comment made by a test"]
        lines += [
            f"lattice {x!r} {y!r} {z!r}" for x, y, z in (s.cell / bohr).tolist() if s.pbc.any()
        ]
        for symbol, r, f in zip(
            s.symbols, s.positions / bohr, s.labelled_forces * bohr / hartree, strict=True
        ):
            row = [*r.tolist(), symbol, 0.0, 0.0, *f.tolist()]
            lines.append(" ".join(["atom", *map(str, row)]))
        assert s.labels.energy is not None
        lines += [f"energy {s.labels.energy / hartree!r}", "charge 0.0", "end"]
    return "\n".join(lines) + "\n"


def test_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("extend_reader", monkeypatch)
    frames = []
    for seed in range(3):
        made = salt_frame(seed)
        labels = Labels(made.labelled_forces, -3.0 * seed)
        frames.append(Structure(made.numbers, made.positions, made.cell, made.pbc, labels=labels))
    no = np.zeros(3, dtype=bool)
    frames[2] = Structure(
        frames[2].numbers, frames[2].positions, np.zeros((3, 3)), no, labels=frames[2].labels
    )
    path = tmp_path / "input.data"
    path.write_text(runner(frames))
    check_reader(module.read_runner, path, frames)
    found = read_structures(path)
    assert [s.labels.energy for s in found] == pytest.approx([0.0, -3.0, -6.0])
    path.write_text(path.read_text().removesuffix("end\n"))
    with pytest.raises(InputError, match="does not finish with 'end'"):
        read_structures(path)


WIRE = {"geometry": "wire", "box": 16.0, "cutoff": 7.0, "vacuum": 14.0, "platform": "CPU"}


def test_the_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="got 'wire'; geometries are bulk, slab, droplet"):
        SolutionSettings.model_validate(WIRE)
    wire = example("extend_geometry", monkeypatch).Wire
    settings = SolutionSettings.model_validate(WIRE)
    made = geometry.geometry_of(settings)
    assert isinstance(made, wire)
    check_geometry(made)


@pytest.mark.slow
def test_the_geometry_is_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openmm")
    example("extend_geometry", monkeypatch)
    short = {"equilibration": 0.2, "frames": 2, "spacing": 0.1, "replicas": 1}
    settings = SolutionSettings.model_validate(WIRE | short | {"replicates": {"replicas": 0}})
    frames = simulation.simulate(settings, 0).production
    assert {str(word) for frame in frames for word in frame.place} == {"interior", "surface"}


@pytest.mark.parametrize("name", ["extend_model"])
def test_an_example_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example(name, monkeypatch).main()
    assert "9 Å: -" in capsys.readouterr().out
