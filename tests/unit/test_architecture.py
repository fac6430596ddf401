"""Imports point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scalewise

ROOT = Path(scalewise.__file__).parent
#: A module may import from its own layer and from those before it.
LAYERS = (
    {"core"},
    {"statistics"},
    {"reporting"},
    {"data"},
    {"testbed"},
    {"models"},
    {"scales"},
    {"study", "testing"},
    {"doctor"},
    {"training"},
    {"analysis"},
    {"interfaces"},
    {"cli"},
)
FILES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py" or p.parent != ROOT)


def layer(part: str) -> int:
    return next(k for k, names in enumerate(LAYERS) if part in names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_points_back(path: Path) -> None:
    own = layer(path.relative_to(ROOT).parts[0].removesuffix(".py"))
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scalewise."):
            names = [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("scalewise.")]
        for name in names:
            assert layer(name.split(".")[1]) <= own, f"{path.name} imports {name}"


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("torch", "ase", "openmm", "matplotlib", "scipy")
    code = f"import sys, scalewise.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
