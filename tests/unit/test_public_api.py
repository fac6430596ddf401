"""The library as its users import it: names that exist, explain themselves and cost nothing."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import scalewise

ROOT = Path(__file__).parents[2]
SOURCE = Path(scalewise.__file__).parent
#: What the README and the examples may import.
PUBLIC = {"scalewise", "scalewise.testing"}
#: Imported when they are first used, and not before.
HEAVY = ("torch", "ase", "numpy", "scipy", "matplotlib", "pydantic", "openmm", "rich")


@pytest.mark.parametrize("name", scalewise.__all__)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    found = getattr(scalewise, name)
    assert name in dir(scalewise)
    if name == "__version__":
        return
    assert inspect.isclass(found) or inspect.isfunction(found)
    assert inspect.getdoc(found)
    # a data class without one of its own gets its signature
    assert not (found.__doc__ or "").startswith(f"{name}(")
    for member, value in vars(found).items() if inspect.isclass(found) else ():
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not member.startswith("_") and inspect.isfunction(plain):
            assert inspect.getdoc(plain), f"{name}.{member}"


def test_no_name_is_listed_twice_and_others_are_refused() -> None:
    assert [n for n, k in Counter(scalewise.__all__).items() if k > 1] == []
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = scalewise.trian


def test_what_type_checkers_see_is_what_is_imported() -> None:
    tree = ast.parse(Path(scalewise.__file__).read_text())
    seen = {
        (a.asname or a.name): node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for a in node.names
    }
    given = {
        name: f"scalewise.{where}"
        for name, where in {**scalewise._PUBLIC, **scalewise._EXTRAS}.items()
    }
    assert seen == given


def test_importing_the_library_imports_nothing_heavy_and_takes_no_time() -> None:
    code = (
        "import sys, time; began = time.process_time(); import scalewise; "
        f"print([m for m in {HEAVY} if m in sys.modules], time.process_time() - began)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, seconds = found.stdout.rsplit(maxsplit=1)
    assert heavy == "[]"
    assert float(seconds) < 0.2  # of the processor: a busy machine does not count


def imported(code: str) -> set[str]:
    """Modules of scalewise that a piece of Python imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return {name for name in found if name.split(".")[0] == "scalewise"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=lambda p: p.name)
def test_examples_import_what_is_public(path: Path) -> None:
    found = imported(path.read_text(encoding="utf-8"))
    assert found
    assert found <= PUBLIC


def test_the_readme_imports_what_is_public() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    assert set().union(*map(imported, blocks)) <= PUBLIC


def test_no_class_is_defined_twice() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
