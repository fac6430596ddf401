"""`scalewise generate` as a user meets it: every geometry in a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

from scalewise.core.quantities import FORCES_KEY, PLACE_KEY

TINY = [
    "box=16",
    "cutoff=7",
    "equilibration=0.2",
    "frames=2",
    "spacing=0.1",
    "replicas=1",
    "replicates.replicas=0",
    "platform=CPU",
]


def generate(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("openmm")
    command = [sys.executable, "-m", "scalewise.cli", "generate", *words, "--workers", "1"]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "--out", "out"],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["geometry=pair", "distances=[3.0]", "law=screened", "screening=0.8"], {"pair", "shell"}),
        pytest.param(["geometry=slab"], {"interior", "surface"}, marks=pytest.mark.slow),
        pytest.param(
            ["geometry=droplet", "ion_pairs=1"], {"interior", "surface"}, marks=pytest.mark.slow
        ),
        pytest.param(
            ["geometry=crystal"], {"crystal", "interface", "interior"}, marks=pytest.mark.slow
        ),
    ],
)
def test_every_geometry_writes_frames_with_places(
    words: list[str], places: set[str], tmp_path: Path
) -> None:
    found = generate(*TINY, *words, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    frames = ase.io.read(tmp_path / "out/replica-00.extxyz", ":")
    assert len(frames) == 2
    for atoms in frames:
        assert places <= set(atoms.arrays[PLACE_KEY])
        assert np.isfinite(atoms.arrays[FORCES_KEY]).all()
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["frames"] == 2
    if "law=screened" in words:
        assert {a.info["distance"] for a in frames} == {3.0}
        assert manifest["law"]["screening"] == 0.8
        assert manifest["law"]["beyond"]["8"] == 0.0


def test_settings_of_another_geometry_are_refused(tmp_path: Path) -> None:
    found = generate(*TINY, "distances=[3.0]", cwd=tmp_path)
    assert found.returncode == 2
    assert "means nothing with geometry=bulk" in found.stderr
