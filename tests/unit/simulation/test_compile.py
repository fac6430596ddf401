"""When a simulation is compiled: where it pays, and where it was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import scalewise as sw
from scalewise.simulation import run
from scalewise.simulation.settings import COMPILE_PAYS
from support import salt_frame, untrained


@pytest.mark.parametrize(
    ("compile_", "steps", "exported", "compiler", "expected"),
    [
        ("auto", 10, False, True, False),
        ("auto", COMPILE_PAYS // 8, False, True, True),
        ("auto", COMPILE_PAYS // 8, False, False, False),
        ("auto", 10, True, True, True),
        ("never", COMPILE_PAYS // 8, True, True, False),
        ("always", 10, False, True, True),
    ],
)
def test_programs_are_used_where_they_pay(
    compile_: Any,
    steps: int,
    exported: bool,
    compiler: bool,
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []

    class StopError(Exception):
        pass

    def calculator(potential: sw.Potential, **options: Any) -> None:
        used.append(options["compiled"])
        raise StopError

    monkeypatch.setattr(run, "ScalewiseCalculator", calculator)
    monkeypatch.setattr(run, "compiler_found", lambda: compiler)
    frame = salt_frame(n=8)
    settings = sw.SimulationSettings(
        picoseconds=0.0005 * steps, timestep=0.5, compile=compile_, device="cpu"
    )
    potential = replace(untrained(), compiled=exported)
    with pytest.raises(StopError):
        sw.simulate(potential, frame.to_ase(), settings, tmp_path)
    assert used == [expected]
