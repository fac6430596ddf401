"""Small frames made without a simulation, and what tests share."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from scalewise.data.structure import Labels, Structure
from scalewise.models.adaptive_cutoff import AdaptiveCutoff
from scalewise.models.compiler import compiler_found
from scalewise.models.composition import CompositionModel
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import AdaptiveCutoffSettings, NetworkSettings
from scalewise.models.potential import Potential
from scalewise.simulation import run as simulation

needs_compiler = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made once for all workers of a run of the tests, and only read by tests.

    A fixture of wider scope is made once per worker, and once more whenever a worker comes back to
    its module.
    """
    base = factory.getbasetemp()
    if base.name.startswith("popen-"):  # of one worker, below what is of all
        base = base.parent
    folder, made = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def salt_frame(seed: int = 0, n: int = 8, box: float = 14.0, index: int = 0) -> Structure:
    """Ions of both signs at random, no closer than 2.2 Å, with noise for forces."""
    rng = np.random.default_rng(seed)
    positions: list[np.ndarray] = []
    while len(positions) < n:
        trial = rng.uniform(0, box, 3)
        delta = np.array(positions).reshape(-1, 3) - trial
        delta -= box * np.round(delta / box)
        if not positions or np.linalg.norm(delta, axis=1).min() > 2.2:
            positions.append(trial)
    return Structure(
        numbers=np.array([11, 17] * (n // 2)),
        positions=np.array(positions),
        cell=box * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        molecule=np.arange(n),
        index=index,
        labels=Labels(forces=0.3 * rng.standard_normal((n, 3))),
    )


def doubled(frame: Structure) -> Structure:
    """The frame beside its own image along the first axis, in one cell."""
    return replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions, frame.positions + frame.cell[0]]),
        cell=frame.cell * np.array([2.0, 1.0, 1.0])[:, None],
        molecule=np.arange(2 * len(frame.numbers)),
        labels=replace(frame.labels, forces=np.tile(frame.labelled_forces, (2, 1))),
    )


class Known(NamedTuple):
    """What a potential predicts: all parts are known, but stress without periodicity."""

    forces: np.ndarray
    energy: float
    energies: np.ndarray
    stress: np.ndarray | None
    charges: np.ndarray
    cutoffs: np.ndarray


def predict(
    potential: Potential,
    frame: Structure,
    *,
    cutoffs: np.ndarray | float | None = None,
    long: bool = True,
) -> Known:
    """A potential's prediction, with types that say that no part is missing."""
    found = potential.predict(frame, cutoffs=cutoffs, long=long)
    assert found.energy is not None
    assert found.energies is not None
    assert found.charges is not None
    assert found.cutoffs is not None
    return Known(
        found.forces, found.energy, found.energies, found.stress, found.charges, found.cutoffs
    )


def untrained(
    elements: tuple[int, ...] = (11, 17),
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    adaptive_cutoff: dict[str, Any] | None = None,
    **settings: Any,
) -> Potential:
    """A small potential with random weights, large enough to make every term count."""
    torch.manual_seed(seed)
    sizes = {"channels": 4, "hidden": 6, "layers": 2, "num_bessel": 5, **settings}
    sizes.setdefault("pair_bessel", sizes["num_bessel"])
    if "ladder" not in settings:
        sizes.setdefault("cutoff", 5.0)
    network = DensityNetwork(NetworkSettings.model_validate(sizes), elements, dtype)
    with torch.no_grad():
        for layer in network.readout:
            layer.weight.mul_(5.0)
        if network.pair_baseline is not None:
            own = torch.Generator().manual_seed(seed)  # other weights stay what they are without
            drawn = torch.randn(network.pair_baseline.coefficients.shape, generator=own)
            network.pair_baseline.coefficients.copy_(0.1 * (drawn + drawn.transpose(0, 1)))
        if network.settings.charges:
            network.charge.weight.mul_(10.0)
            network.element_charge.copy_(torch.linspace(0.5, -0.5, len(elements)))
        if network.settings.ladder:
            for told in (*network.conditioning_bias, *network.conditioning_radial):
                nn.init.normal_(told, std=0.3)
    baseline = CompositionModel(
        elements, np.arange(1.0, 1.0 + len(elements)), np.eye(len(elements))
    )
    adaptive = None
    if adaptive_cutoff is not None:
        adaptive = AdaptiveCutoff.of(
            network, AdaptiveCutoffSettings.model_validate(adaptive_cutoff)
        )
        with torch.no_grad():
            adaptive.offset.copy_(torch.linspace(-0.5, 0.5, len(elements)))
            if adaptive.settings.by == "environment":
                nn.init.normal_(adaptive.second.weight, std=1.5)
            if adaptive.settings.by == "regime":
                adaptive.change.fill_(-1.0)
    return Potential(network, baseline, adaptive_cutoff=adaptive)


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Interrupt the simulation inside, as by a keyboard, after so many steps."""
    advance = simulation._Simulation._advance

    def killed(run: Any) -> str | None:
        if run.step == step:
            raise KeyboardInterrupt
        return advance(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation._Simulation, "_advance", killed)
        with pytest.raises(KeyboardInterrupt):
            yield
