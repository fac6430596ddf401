"""Potentials that predict with kernels find what they find without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.models import quickened as module
from scalewise.models.protocol import Scale
from scalewise.models.quickened import KERNELS_PAY, quickened
from support import needs_compiler, salt_frame, untrained

LADDER: dict[str, Any] = {"ladder": (3.0, 5.0, "long"), "l_max": 2, "first_layer_cutoff": 3.5}


@needs_compiler
@pytest.mark.parametrize("periodic", [(True,) * 3, (True, True, False), (False,) * 3], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        LADDER,
        {**LADDER, "adaptive_cutoff": {"by": "element"}},
        {**LADDER, "adaptive_cutoff": {"by": "environment"}},
    ],
    ids=str,
)
def test_predictions_are_those_without_kernels(
    settings: dict[str, Any], periodic: tuple[bool, ...]
) -> None:
    potential = untrained(**settings)
    frame = replace(salt_frame(n=20, box=9.0), pbc=np.array(periodic))
    if not any(periodic):
        frame = replace(frame, cell=np.zeros((3, 3)))
    scales = [Scale()]
    if "ladder" in settings:
        own = np.linspace(3.0, 5.0, 20)
        scales += [Scale(3.2, False), Scale(4.0, True), Scale(own, True), Scale(own, False)]
    for scale in scales:
        (expected,) = potential.evaluate([frame], scale)
        (found,) = potential.to(kernels=True).evaluate([frame], scale)
        assert found.energy == pytest.approx(expected.energy, abs=1e-10)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-10)
        if expected.stress is not None:
            np.testing.assert_allclose(found.stress, expected.stress, atol=1e-12)
        np.testing.assert_allclose(found.cutoffs, expected.cutoffs, atol=1e-12)


@needs_compiler
def test_models_of_many_atoms_get_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = untrained()
    assert quickened(potential, KERNELS_PAY - 1) is potential
    assert quickened(potential, KERNELS_PAY).kernels
    quick = potential.to(kernels=True)
    assert quickened(quick, KERNELS_PAY) is quick
    assert quickened("another model", KERNELS_PAY) == "another model"
    monkeypatch.setattr(module, "compiler_found", lambda: False)
    assert quickened(potential, KERNELS_PAY) is potential


def test_a_compiler_that_fails_leaves_the_model_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise InputError("compiled", "the compiler failed", "Compute without.")

    monkeypatch.setattr(module, "compiler_found", lambda: True)
    monkeypatch.setattr(module, "kernel_library", broken)
    potential = untrained()
    assert quickened(potential, KERNELS_PAY) is potential


@needs_compiler
def test_what_is_no_number_is_seen() -> None:
    potential = untrained(dtype=torch.float64).to(kernels=True)
    frame = salt_frame()
    graph = potential.graph(frame)
    found = potential.evaluate_graph(graph, np.full_like(frame.positions, np.nan))
    assert torch.isnan(found.forces).all()


@needs_compiler
def test_what_is_not_written_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels leave rows of pairs that are too far apart as they are in memory."""
    potential = untrained(ladder=(3.0, 5.0), charges=False)
    frame, own = salt_frame(n=20, box=9.0), np.linspace(3.0, 5.0, 20)
    (expected,) = potential.evaluate([frame], Scale(own, False))
    quick = potential.to(kernels=True)

    def empty_like(tensor: torch.Tensor) -> torch.Tensor:
        return torch.full_like(tensor, torch.nan)

    monkeypatch.setattr(torch, "empty_like", empty_like)
    (found,) = quick.evaluate([frame], Scale(own, False))
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-10)
