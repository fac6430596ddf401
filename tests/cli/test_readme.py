"""Every command and every example of the README, on a small configuration."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import pytest

from scalewise.models import checkpoint
from support import salt_frame, untrained

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: What makes the audit of the example's few frames quick.
QUICK = ["split.block=1", "selector.steps=40", "selector.cutoff=7.0", "pool.max_scales=4"]
#: What trains a potential of the example's frames in seconds.
SMALL_NETWORK = ["network.preset=small", "network.channels=4", "network.num_bessel=4"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def chains() -> list[list[list[str]]]:
    """Commands by section; a section that reads what an earlier one wrote goes on with that one."""
    found: list[list[list[str]]] = []
    for section in README.split("\n## "):
        shell = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
        lines = [line for block in shell for line in block.splitlines()]
        commands = [shlex.split(line) for line in lines if line.startswith("scalewise")]
        words = {word for command in commands for word in command if word.startswith("runs/")}
        for earlier in found:
            if words & {word for command in earlier for word in command}:
                earlier += commands
                break
        else:
            found += [commands] if commands else []
    return found


def small(command: list[str]) -> list[str]:
    """The same command with settings that take seconds."""
    config = str(ROOT / "configs/small.yaml")
    if command[1] == "study":
        audit = any(w.endswith(".xyz") for w in command)
        return [*command, *(QUICK if audit else [config])]
    if command[1] == "train":
        minutes = command.index("--minutes") + 1
        return [*command[:minutes], "0.1", *command[minutes + 1 :], *SMALL_NETWORK]
    if command[1] == "md":
        return [*(w for w in command if not w.startswith("picoseconds=")), "picoseconds=0.01"]
    if command[1] == "locality":
        quick = ["radii=[3]", "atoms=3", "samples=4", "elements=[Na]", "settling=0.1"]
        return [*command, *quick, "spacing=0.1"]
    if command[1] == "prove":
        minutes = command.index("--minutes") + 1
        words = ["points=2", "frames=4", "network.layers=1"]
        return [*command[:minutes], "0.03", *command[minutes + 1 :], *SMALL_NETWORK, *words]
    if command[1] == "curve":
        return [*command, "points=2"]
    if command[1] == "fork":
        return [*command, "points=2", "steps=3", "workers=1"]
    if command[1] == "refine":
        return [*command, "penalties=1", "steps=2", "fit=train"]
    if command[1] == "generate":
        return [*command, str(ROOT / "configs/small-solution.yaml")]
    return command


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_commands() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    listed = [shlex.split(line) for line in lines if line.startswith("scalewise")]
    assert sorted(command for chain in chains() for command in chain) == sorted(listed)
    assert len(chains()) > 3


@pytest.mark.readme
@pytest.mark.parametrize("chain", chains(), ids=lambda chain: "-".join(c[1] for c in chain))
def test_commands_of_the_readme_run(chain: list[list[str]], tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    labels, _, _ = load(ROOT / "examples/audit_two_models.py").write_files(tmp_path)
    shutil.copy(labels, tmp_path / "new.xyz")
    for command in chain:
        found = subprocess.run(
            [sys.executable, "-m", "scalewise.cli", *small(command)[1:]],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert found.returncode == 0, f"{shlex.join(command)}\n{found.stderr}"


@pytest.mark.readme
def test_the_example_audits_its_own_files(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, str(ROOT / "examples/audit_two_models.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert re.search(r"^contact_pair\s+needed", found.stdout, flags=re.MULTILINE)


@pytest.mark.readme
def test_the_example_of_dynamics_runs(tmp_path: Path) -> None:
    frame = salt_frame(n=12, box=9.0)
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    ase.io.write(tmp_path / "start.xyz", atoms)
    checkpoint.write(tmp_path / "model", untrained())
    found = subprocess.run(
        [sys.executable, str(ROOT / "examples/molecular_dynamics.py"), "model", "start.xyz", "20"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1].startswith("    20 steps")


@pytest.mark.readme
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, _, _ = load(ROOT / "examples/audit_two_models.py").write_files(tmp_path)
    assert labels.name == "dft.xyz"
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert found
    network = "network=dict(preset='small', channels=4, num_bessel=4, l_max=1)"
    for block in found:
        quick = block.replace("minutes=15", f"steps=4, {network}")
        quick = quick.replace("seed=0", "seed=0, valid=0.3")  # sixty structures
        assert quick != block
        exec(compile(quick, "README.md", "exec"), {})
    assert (tmp_path / "runs/curve/curve.json").is_file()
    assert (tmp_path / "runs/refined/model.json").is_file()


def test_settings_page_is_what_the_schema_says() -> None:
    page = load(ROOT / "docs/write_settings.py").text()
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
