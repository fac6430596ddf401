"""Build wheel and sdist, look into them, and use the wheel in an empty environment.

    python tests/packaging/smoke.py [--out dist]

Needs the extra `dist`. Everything after the build runs outside of the repository, where only what
is in the wheel can be found: import, `--version`, `--help`, and a potential that is trained for a
few steps and predicts. It takes a few minutes, most of them to install PyTorch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "scalewise"
#: Files without which an installed package fails late, or without a word.
DATA = ("py.typed", "reporting/page.css", "study/page/page.js")
#: Writes the frames that the commands below use.
FRAMES = """
import ase, ase.io, numpy as np
from ase.calculators.lj import LennardJones

rng = np.random.default_rng(0)
grid = np.stack(np.meshgrid(*3 * [range(3)]), -1).reshape(-1, 3)
frames = []
for _ in range(20):
    positions = 4.0 * grid + 0.3 * rng.standard_normal((27, 3))
    atoms = ase.Atoms("Ar27", positions, cell=3 * [12], pbc=True)
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=5.5)
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.new_array("REF_forces", atoms.get_forces())
    atoms.calc = None
    frames.append(atoms)
ase.io.write("argon.xyz", frames, format="extxyz")
"""
IMPORTED = "import scalewise; print(scalewise.__version__, scalewise.__file__)"
COMMANDS = (
    ("--version",),
    ("--help",),
    ("doctor", "argon.xyz", "--out", "doctor"),
    ("train", "argon.xyz", "steps=4", "validations=1", "network.preset=small", "--out", "train"),
    ("predict", "train", "argon.xyz", "--out", "predicted.xyz"),
)


def call(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run a program without what this environment sets, and return what it printed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    found = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if found.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{found.stdout}\n{found.stderr}")
    return found.stdout


def build(source: Path, out: Path, *kinds: str) -> None:
    """Build some kinds of distributions of a source tree."""
    flags = [f"--{kind}" for kind in kinds]
    call(sys.executable, "-m", "build", "--no-isolation", *flags, "--outdir", out, source)


def only(folder: Path, pattern: str) -> Path:
    """Return the one file that matches."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} files match {pattern}; empty the folder")
    return found[0]


def check_wheel(wheel: Path) -> int:
    """Refuse a wheel that lacks a file of the package; return the number of its files."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {
        f"scalewise/{p.relative_to(SOURCE).as_posix()}"
        for p in SOURCE.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {f"scalewise/{name}" for name in DATA} <= ours, f"{DATA} are not in the source"
    assert ours <= names, f"missing in the wheel: {sorted(ours - names)}"
    others = {n for n in names - ours if ".dist-info/" not in n}
    assert not others, f"in the wheel by mistake: {sorted(others)}"
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names), "no licence"
    return len(names)


def check_sdist(sdist: Path, wheel: Path, scratch: Path) -> None:
    """Refuse an sdist from which another wheel is built, or that has runs or environments in it."""
    with tarfile.open(sdist) as archive:
        archive.extractall(scratch / "sdist", filter="data")
    source = only(scratch / "sdist", "scalewise-*")
    for needed in ("LICENSE", "README.md", "CHANGELOG.md", "tests", "docs"):
        assert (source / needed).exists(), f"{needed} is not in the sdist"
    for needless in (".venv", "runs", "build", "dist"):
        assert not (source / needless).exists(), f"{needless} is in the sdist"
    build(source, scratch / "again", "wheel")
    again = only(scratch / "again", "*.whl")
    assert again.read_bytes() == wheel.read_bytes(), "the sdist builds another wheel"


def try_wheel(wheel: Path, scratch: Path) -> None:
    """Install the wheel into an empty environment and use it from elsewhere."""
    place = scratch / "environment"
    venv.create(place, with_pip=True)
    python, program = place / "bin" / "python", place / "bin" / "scalewise"
    call(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    print(call(python, "-c", IMPORTED, cwd=elsewhere).strip())
    call(python, "-c", FRAMES, cwd=elsewhere)
    for words in COMMANDS:
        call(program, *words, cwd=elsewhere)
        print("ok: scalewise", *words)
    assert (elsewhere / "predicted.xyz").stat().st_size > 0


def main() -> None:
    """Build, check, try."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the results")
    out = parser.parse_args().out
    for old in out.glob("scalewise-*"):
        old.unlink()
    build(ROOT, out, "sdist", "wheel")
    wheel, sdist = only(out, "*.whl"), only(out, "*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        print(f"{wheel.name}: {check_wheel(wheel)} files, {wheel.stat().st_size / 1e3:.0f} kB")
        check_sdist(sdist, wheel, scratch)
        print(f"{sdist.name}: builds the same wheel, {sdist.stat().st_size / 1e3:.0f} kB")
        try_wheel(wheel, scratch)


if __name__ == "__main__":
    main()
