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
    {"training"},
    {"doctor"},
    {"analysis"},
    {"interfaces"},
    {"simulation", "export"},
    {"trust", "distillation"},
    {"cli"},
)
FILES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py" or p.parent != ROOT)


#: Rooms whose type hints may name what is imported when it is used.
HINTS = {"reporting"}


def layer(part: str) -> int:
    return next(k for k, names in enumerate(LAYERS) if part in names)


def hints(tree: ast.AST) -> set[ast.AST]:
    """Everything below ``if TYPE_CHECKING``."""
    blocks = [
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in node.body
    ]
    return {inner for part in blocks for inner in ast.walk(part)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_points_back(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    own, tree = layer(room), ast.parse(path.read_text())
    for node in set(ast.walk(tree)) - (hints(tree) if room in HINTS else set()):
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
