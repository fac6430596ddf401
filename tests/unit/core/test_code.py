"""The hash of the code that a result depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import scalewise
from scalewise.core.code import source_digest, source_files
from scalewise.core.errors import InputError

FAKE = {
    "__init__.py": "import typing\nif typing.TYPE_CHECKING:\n    from fake import typed\n",
    "start.py": "import fake.plain\nfrom fake.parts import one\nfrom fake.name import value\n",
    "plain.py": "import os\n\ndef later():\n    from fake import deferred\n    return deferred\n",
    "parts/__init__.py": "from .two import number\n",
    "parts/one.py": "from ..name import value\nfrom . import three\n",
    "parts/two.py": "number = 2\n",
    "parts/three.py": "from fake import start  # a circle\n",
    "parts/four.py": "number = 4\n",
    "name.py": "value = 1\n",
    "deferred.py": "value = 2\n",
    "typed.py": "value = 3\n",
    "unused.py": "import fake.start\n",
}
USED = {"start", "plain", "parts", "parts.one", "parts.two", "parts.three", "name", "deferred"}


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    for name, text in FAKE.items():
        path = tmp_path / "fake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_imports_are_followed(fake: Path) -> None:
    assert set(source_files("fake.start", fake)) == {"fake", *(f"fake.{n}" for n in USED)}
    assert set(source_files("fake.parts.two", fake)) == {
        "fake", "fake.parts", "fake.parts.two"
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(FAKE))
def test_the_digest_changes_with_what_is_imported_alone(fake: Path, name: str) -> None:
    before = source_digest("fake.start", fake)
    assert source_digest("fake.start", fake) == before
    path = fake / "fake" / name
    path.write_text(path.read_text() + "# changed\n")
    unused = name in ("parts/four.py", "typed.py", "unused.py")
    assert (source_digest("fake.start", fake) == before) == unused


def test_the_package_is_found(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(fake)
    assert source_digest("fake.start") == source_digest("fake.start", fake)


def test_a_missing_module_is_named(fake: Path) -> None:
    with pytest.raises(InputError, match=r"fake\.strat.*no such module"):
        source_digest("fake.strat", fake)
    with pytest.raises(InputError, match="no such package"):
        source_digest("surely_no_such_package.module")


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("data/splits/trajectories.py", True),
        ("study/branches/pair.py", True),
        ("scales/oracle.py", True),
        ("statistics/bootstrap.py", True),
        ("training/trainer.py", False),
        ("study/run.py", False),
        ("study/page/page.py", False),
        ("testbed/solution.py", False),
    ],
)
def test_a_stage_of_a_study_depends_on_what_it_imports(
    tmp_path: Path, changed: str, again: bool
) -> None:
    source = Path(scalewise.__file__).parent
    shutil.copytree(source, tmp_path / "scalewise", ignore=shutil.ignore_patterns("__pycache__"))
    before = source_digest("scalewise.study.stage", tmp_path)
    assert before == source_digest("scalewise.study.stage")
    path = tmp_path / "scalewise" / changed
    path.write_text(path.read_text() + "# changed\n")
    assert (source_digest("scalewise.study.stage", tmp_path) != before) == again
