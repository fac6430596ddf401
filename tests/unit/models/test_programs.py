"""Networks as functions of tensors, and compiled: the same numbers, and nothing stale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.models import checkpoint, electrostatics
from scalewise.models.adaptive_cutoff import AdaptiveScale
from scalewise.models.compiler import compiler_found
from scalewise.models.density.charge_energies import (
    long_range_energies,
    neutralised,
    short_range_energies,
)
from scalewise.models.graph_operations import trim_edges
from scalewise.models.potential import Potential
from scalewise.models.programs import compiling, evaluation
from scalewise.models.programs.compiling import compile_program, load_program, module_of
from scalewise.models.programs.evaluation import file_name
from scalewise.models.programs.inputs import Boundary, Inputs, Kind, Part
from scalewise.models.programs.modules import LocalModule, WholeModule
from scalewise.models.protocol import Scale
from scalewise.models.scale import ResolvedScale
from support import salt_frame, untrained

SLAB, FREE = np.array([True, True, False]), np.zeros(3, dtype=bool)
ENVIRONMENT = {"by": "environment", "hidden": 4}
REGIME = {"by": "regime", "near": ["Na"]}


def found_by(potential: Potential, frame: Structure, kind: Kind, cutoff: float = 4.5) -> tuple:
    """What the module of a kind finds, for these sizes and others than its example's."""
    network = potential._adaptive_network if kind.adaptive else potential.network
    graph, places = potential.graph(frame), torch.from_numpy(frame.positions)
    lengths = torch.full((len(places),), cutoff, dtype=potential.dtype)
    share = torch.ones_like(lengths) if kind.long_range else None
    scale: ResolvedScale | AdaptiveScale = ResolvedScale(lengths, share)
    if kind.adaptive:
        shortest = potential.network.settings.shortest_cutoff
        scale = AdaptiveScale(trim_edges(graph, places, shortest), share)
    inputs = Inputs.of(graph, places, scale, kind)
    return WholeModule(network, kind, inputs.names())(*inputs.tensors())


@pytest.mark.parametrize("first", [None, 3.5])
@pytest.mark.parametrize("pbc", [~FREE, SLAB, FREE], ids=["cell", "slab", "cluster"])
def test_flat_tensors_say_what_a_graph_says(pbc: np.ndarray, first: float | None) -> None:
    potential = untrained(ladder=(3.0, 5.0, "long"), first_layer_cutoff=first)
    frame = replace(salt_frame(n=12, box=9.0), pbc=pbc)
    for long_range in (True, False):
        boundary = Boundary.of(potential.graph(frame))
        found = found_by(potential, frame, Kind(long_range, boundary))
        graph = potential.graph(frame)
        expected = potential.evaluate_graph(graph, frame.positions, Scale(4.5, long_range))
        energy = found[0].sum() + found[1].sum()
        assert float(energy) == pytest.approx(float(expected.energy[0]), abs=1e-10)
        names = ("energies", "forces", "virial", "charges", "cutoffs")
        for name, value in zip(names, (found[0], *found[2:]), strict=True):
            torch.testing.assert_close(value, getattr(expected, name), atol=1e-10, rtol=0)


@pytest.mark.parametrize("chosen", [ENVIRONMENT, REGIME], ids=["environment", "regime"])
def test_adaptive_cutoffs_are_chosen_within(chosen: dict) -> None:
    potential = untrained(ladder=(3.0, 5.0), adaptive_cutoff=chosen)
    frame = salt_frame(n=12, box=9.0)
    found = found_by(potential, frame, Kind(potential.network.settings.charges, adaptive=True))
    expected = potential.predict(frame)
    np.testing.assert_allclose(found[2], expected.forces, atol=1e-10)
    np.testing.assert_allclose(found[5], expected.cutoffs, atol=1e-10)
    assert np.ptp(expected.cutoffs) > 0.01


def test_the_mesh_is_one_of_its_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    potential, frame = untrained(), salt_frame(n=12, box=9.0)
    monkeypatch.setattr(electrostatics, "PRODUCT", 1e9)
    monkeypatch.setattr(electrostatics, "BEGIN", 0.0)
    assert potential.graph(frame).mesh is not None
    found = found_by(potential, frame, Kind(True, mesh=True))
    expected = potential.predict(frame, cutoffs=4.5)
    np.testing.assert_allclose(found[2], expected.forces, atol=1e-10)


def test_processes_that_share_atoms_find_what_one_finds() -> None:
    r"""Charges first; then the potential on them, and the gradient of both halves together.

    A process has its own atoms first, then those whose messages they receive, then those that these
    see. In a row of atoms, it needs lists of some of the others alone.
    """
    potential = untrained(ladder=(3.0, 5.0, "long"))
    frame = _row(16)
    graph, places = potential.graph(frame), torch.from_numpy(frame.positions)
    kind = Kind(True, part=Part.LOCAL)
    settings = potential.network.settings
    inputs = Inputs.of(graph, places, _longest(frame), kind)
    module = LocalModule(potential.network, kind, inputs.names())
    charges = module(*inputs.tensors())[2].requires_grad_(True)
    moved = places.clone().requires_grad_(True)
    neutral = neutralised(charges, graph, torch.ones(16, dtype=torch.float64))
    energy = short_range_energies(graph, moved, graph.cell, neutral, settings).sum()
    smeared = long_range_energies(graph, moved, graph.cell, neutral, settings.smearing).sum()
    slope, on_charges = torch.autograd.grad(energy + smeared, (moved, charges))
    found, gradient = 0.0, slope
    for order, owned in ((np.arange(16), 7), (np.arange(16)[::-1], 9)):
        turned = _reordered(frame, order)
        listed = potential.graph(turned)
        near = Inputs.of(listed, torch.from_numpy(turned.positions), _longest(frame), kind)
        near = near._replace(potential=on_charges[order.copy()])
        seen = near.neighbor_index[:owned][near.mask[:owned]]
        described = int(seen.max()) + 1
        assert owned < described < 16
        energies, part, own = module(*near.shared(owned, described).tensors())
        assert len(energies) == len(own) == owned
        torch.testing.assert_close(own, charges[order.copy()][:owned], atol=1e-12, rtol=0)
        found, gradient = found + float(energies.sum()), gradient + part[order.copy()]
    expected = potential.evaluate_graph(graph, frame.positions)
    assert found + float((energy + smeared).detach()) == pytest.approx(
        float(expected.energy[0]), abs=1e-9
    )
    torch.testing.assert_close(-gradient, expected.forces, atol=1e-10, rtol=0)


@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
@pytest.mark.whole
def test_a_compiled_potential_gives_its_numbers_and_refuses_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One program for any number of atoms; the files beside it say what it was made of."""
    potential = untrained(layers=1, dtype=torch.float64, charges=False)
    monkeypatch.setenv("SCALEWISE_CACHE", str(tmp_path / "cache"))
    compiled = potential.to(compiled=True)
    for n, box, pbc in ((12, 9.0, ~FREE), (30, 12.0, ~FREE), (10, 8.0, SLAB), (6, 7.0, FREE)):
        frame = replace(salt_frame(n, n=n, box=box), pbc=pbc)
        expected, found = potential.predict(frame), compiled.predict(frame)
        assert found.energy == pytest.approx(expected.energy, abs=1e-10)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
        if expected.stress is not None:
            np.testing.assert_allclose(found.stress, expected.stress, atol=1e-12)
    (path,) = (tmp_path / "cache").glob("*.pt2")
    assert path.stat().st_size < 5e6
    # damaged in the cache: it is made again, here by putting it back
    content, described = path.read_bytes(), path.with_suffix(".json").read_text()
    path.write_bytes(content[:1000])

    def again(network: object, kind: Kind, where: Path) -> None:
        where.write_bytes(content)
        where.with_suffix(".json").write_text(described)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "compile_program", again)
        np.testing.assert_allclose(
            potential.to(compiled=True).predict(frame).forces, expected.forces, atol=1e-12
        )
    assert path.read_bytes() == content
    # as an exported potential: its folder has the program, and it starts compiled
    kind, model = Kind(False), tmp_path / "model"
    checkpoint.write(model, potential)
    program = model / checkpoint.PROGRAMS / file_name(kind, "float64")
    program.parent.mkdir()
    for suffix in (".pt2", ".json"):
        path.with_suffix(suffix).rename(program.with_suffix(suffix))
    monkeypatch.setattr(evaluation, "compile_program", None)
    read = checkpoint.read(model)
    assert read.compiled
    assert read._programs(read.graph(frame), torch.from_numpy(frame.positions), _longest(frame))
    np.testing.assert_allclose(read.predict(frame).forces, expected.forces, atol=1e-12)
    single = read.to(dtype=torch.float32).predict(frame)  # the folder has none: eager
    np.testing.assert_allclose(single.forces, expected.forces, atol=1e-4)
    # trained on: the weights beside the program are others
    with torch.no_grad():
        potential.network.source.add_(0.01)
    checkpoint.write(model, potential)
    with pytest.raises(InputError, match="stale"):
        checkpoint.read(model).predict(frame)
    beside = program.with_suffix(".json")
    document = json.loads(beside.read_text())
    for key, value, words in (
        ("torch", "1.0", "another version of PyTorch"),
        ("processor", ["amx_of_the_future"], "processor with amx_of_the_future"),
        ("sha256", "0" * 64, "damaged"),
    ):
        changed = {**document, "network": compiling.state_digest(potential.network), key: value}
        beside.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=words):
            load_program(program, potential.network, kind)


@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
@pytest.mark.whole
def test_a_program_is_compared_with_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision, whatever the size of its numbers."""

    class Scaled(WholeModule):
        times = 1.0

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.times * v for v in super().forward(*tensors))

    def write(exported: Any, package_path: str, inductor_configs: dict) -> None:
        Path(package_path).write_bytes(b"")

    network, kind = untrained(layers=1, charges=False).network, Kind(False)
    monkeypatch.setattr(compiling, "MODULES", {Part.WHOLE: Scaled})
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", write)
    path = compile_program(network, kind, tmp_path / "program.pt2")
    module, _ = module_of(network, kind)
    for times, change, passes in (
        (1.0, lambda v: v + 1e-4, True),
        (1.0, lambda v: v + 3e-3, False),
        (1.0, lambda v: v * torch.nan, False),
        (1e6, lambda v: v * (1.0 + 3e-6), True),
        (1e6, lambda v: v * (1.0 + 1e-4), False),
    ):
        monkeypatch.setattr(Scaled, "times", times)

        def run(*tensors: torch.Tensor, change: Any = change) -> tuple[torch.Tensor, ...]:
            return tuple(change(v) for v in module(*tensors))

        monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda _, run=run: run)
        if passes:
            load_program(path, network, kind)
            continue
        with pytest.raises(InputError, match="computes something else"):
            load_program(path, network, kind)


def _row(n: int) -> Structure:
    """Atoms in a row, of which few see each other."""
    frame = replace(salt_frame(n=n, box=9.0), pbc=FREE)
    along = np.stack([1.7 * np.arange(n), np.zeros(n), np.zeros(n)], axis=1)
    return replace(frame, positions=along + 0.1 * frame.positions)


def _reordered(frame: Structure, order: np.ndarray) -> Structure:
    per_atom = ("numbers", "positions", "molecule")
    return replace(frame, **{name: getattr(frame, name)[order] for name in per_atom})


def _longest(frame: Structure) -> ResolvedScale:
    return ResolvedScale(torch.full((len(frame.numbers),), 5.0, dtype=torch.float64), None)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_atoms_that_are_only_seen_have_no_lists(adaptive: bool, layers: int) -> None:
    """What a process finds of its own atoms is what one process finds of them."""
    chosen = ENVIRONMENT if adaptive else None
    potential = untrained(ladder=(3.0, 5.0, "long"), layers=layers, adaptive_cutoff=chosen)
    frame, kind = _row(24), Kind(True, part=Part.LOCAL, adaptive=adaptive)
    graph, places = potential.graph(frame), torch.from_numpy(frame.positions)
    scale: ResolvedScale | AdaptiveScale = _longest(frame)
    if adaptive:
        shortest = potential.network.settings.shortest_cutoff
        scale = AdaptiveScale(trim_edges(graph, places, shortest), None)
    inputs = Inputs.of(graph, places, scale, kind)
    network = potential._adaptive_network if adaptive else potential.network
    module = LocalModule(network, kind, inputs.names())
    whole = module(*inputs.tensors())
    # atoms are 1.7 Å apart: those of all layers but the last see three further ones each
    own, described = 6, 6 + 3 * (layers - 1)
    energies, gradient, charges = module(*inputs.shared(own, described).tensors())
    torch.testing.assert_close(energies, whole[0][:own], atol=1e-12, rtol=0)
    torch.testing.assert_close(charges, whole[2][:own], atol=1e-12, rtol=0)
    assert not gradient[described + 3 :].any()


@pytest.mark.slow
@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "kind",
    [
        Kind(True),
        Kind(True, mesh=True),
        Kind(True, Boundary.PARTIAL),
        Kind(True, Boundary.ISOLATED),
        Kind(True, adaptive=True),
        Kind(True, part=Part.LOCAL),
        Kind(True, part=Part.CHARGES),
        Kind(True, part=Part.LOCAL, adaptive=True),
        Kind(True, part=Part.CHARGES, adaptive=True),
        Kind(True, part=Part.SMEARED),
        Kind(True, mesh=True, part=Part.SMEARED),
    ],
    ids=lambda kind: kind.name,
)
def test_every_kind_compiles(kind: Kind, dtype: torch.dtype, tmp_path: Path) -> None:
    chosen = ENVIRONMENT if kind.adaptive else None
    potential = untrained(ladder=(3.0, 5.0, "long"), dtype=dtype, adaptive_cutoff=chosen)
    network = potential._adaptive_network or potential.network
    path = compile_program(network, kind, tmp_path / "program.pt2")
    run = load_program(path, network, kind)
    module, inputs = module_of(network, kind)
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    for found, expected in zip(run(*inputs.tensors()), module(*inputs.tensors()), strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_without_a_compiler_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SCALEWISE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"no C\+\+ compiler"):
        untrained().to(compiled=True).predict(salt_frame(n=12, box=9.0))
