"""Gradients of losses from first derivatives along a direction, against autograd's second ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scalewise.core.errors import InputError
from scalewise.core.machine import cache_folder
from scalewise.data.structure import Structure
from scalewise.models import directional
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import ForkSettings, NetworkSettings
from scalewise.models.directional import Directional
from scalewise.models.gradients import Derivatives, Evaluator
from scalewise.models.graph import build
from scalewise.models.graph_operations import batch, twinned
from scalewise.models.potential import Potential
from scalewise.models.programs.training import BatchKind, TrainingPrograms, fitted_buffers
from scalewise.models.scale import ResolvedScale
from support import needs_compiler, salt_frame, untrained

Weights = dict[str, Tensor]


def frames(periodic: tuple[bool, ...]) -> list[Structure]:
    """Frames of unlike size and cell; where none is periodic, molecules."""
    made = [salt_frame(seed=k, n=8 + 4 * k, box=8.0 + k) for k in range(2)]
    if any(periodic):
        return [replace(f, pbc=np.array(periodic)) for f in made]
    return [replace(f, pbc=np.zeros(3, dtype=bool), cell=np.zeros((3, 3))) for f in made]


def loss(found: Derivatives) -> Tensor:
    """Curved in energies, forces and virials, and not the same for all of them."""
    forces = found.forces * torch.linspace(0.5, 1.5, found.forces.numel()).reshape(-1, 3)
    squares = (found.energy**2).sum() + 0.3 * (found.virial**2).sum() + (forces**2).sum()
    return torch.sqrt(1.0 + squares)


def given(
    potential: Potential, periodic: tuple[bool, ...], *, long_range: bool = True, count: int = 2
) -> tuple[Any, Tensor, ResolvedScale]:
    """A batch, and a cutoff of its own for every atom."""
    structures = frames(periodic)[:count]
    elements = potential.network.elements
    structures = [
        replace(f, numbers=np.resize(np.array(elements), len(f.numbers))) for f in structures
    ]
    graph = batch([potential.graph(f) for f in structures])
    positions = torch.cat([torch.from_numpy(f.positions) for f in structures])
    settings = potential.network.settings
    shortest = settings.shortest_cutoff if settings.ladder else settings.cutoff
    cutoffs = torch.linspace(shortest, settings.cutoff, len(positions), dtype=potential.dtype)
    share = torch.ones_like(cutoffs) if settings.charges and long_range else None
    return graph, positions, ResolvedScale(cutoffs, share)


def gradient(
    run: Evaluator, potential: Potential, graph: Any, positions: Tensor, scale: ResolvedScale
) -> tuple[Derivatives, Weights]:
    """What is found, and the loss's derivatives by all weights."""
    weights = {
        n: w.detach().clone().requires_grad_(True) for n, w in potential.network.named_parameters()
    }
    found = run(graph, positions, scale=scale, weights=weights)
    loss(found).backward()
    return found.detach(), {
        n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in weights.items()
    }


def compiled(potential: Potential, programs: TrainingPrograms | None = None) -> Directional:
    library = kernel_library(potential.network.settings, potential.dtype)
    return Directional(potential.network, library, programs)


SIZES: dict[str, dict[str, Any]] = {
    "plain": {},
    "without charges": {"charges": False, "layers": 1},
    "hidden layers wider than all invariants": {"charges": False, "l_max": 1, "hidden": 40},
    "ladder": {
        "ladder": (3.0, 5.0, "long"),
        "first_layer_cutoff": 3.5,
        "l_max": 2,
        "channels": 6,
        "hidden": 10,
        "layers": 3,
    },
}


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "periodic", [(True, True, True), (True, True, False), (False,) * 3], ids=str
)
@pytest.mark.parametrize("name", SIZES)
def test_gradients_are_those_of_second_derivatives(
    name: str, periodic: tuple[bool, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = untrained(**SIZES[name])
    batched = given(potential, periodic)
    expected, exact = gradient(Evaluator(potential.network), potential, *batched)
    monkeypatch.setattr(directional, "STEP", 3e-5)
    run = Evaluator(potential.network, directional=compiled(potential))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, gradients = gradient(run, potential, *batched)
    finally:
        torch.set_num_threads(before)
    for field in ("energy", "energies", "forces", "virial", "charges", "cutoffs"):
        one, two = getattr(found, field), getattr(expected, field)
        torch.testing.assert_close(one, two, atol=1e-11, rtol=1e-11)
    for weight, value in exact.items():
        torch.testing.assert_close(gradients[weight], value, atol=1e-6, rtol=1e-5, msg=weight)


@needs_compiler
def test_threads_share_the_sums_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough atoms for two parts; the sums of one thread are found again, whatever its number."""
    potential = untrained(charges=False, l_max=2)
    frame = salt_frame(n=150, box=17.0)
    scale = ResolvedScale(torch.full((150,), 4.0, dtype=torch.float64), None)
    batched = (potential.graph(frame), torch.from_numpy(frame.positions), scale)
    run = Evaluator(potential.network, directional=compiled(potential))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found.append(gradient(run, potential, *batched)[1])
    finally:
        torch.set_num_threads(before)
    one, two, again = found
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-9, rtol=1e-9)
        assert torch.equal(two[name], again[name])


@needs_compiler
def test_the_error_falls_with_the_square_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = untrained()
    batched = given(potential, (True, True, True))
    run = Evaluator(potential.network, directional=compiled(potential))
    _, exact = gradient(Evaluator(potential.network), potential, *batched)
    errors = []
    for step in (2e-3, 1e-3):
        monkeypatch.setattr(directional, "STEP", step)
        monkeypatch.setattr(directional, "LARGEST", 100.0 * step)
        _, found = gradient(run, potential, *batched)
        errors.append(max(float((found[n] - exact[n]).abs().max()) for n in exact))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


@needs_compiler
def test_single_precision_is_good_to_a_hundredth() -> None:
    """With the step of trainings."""
    potential = untrained(dtype=torch.float32)
    double = untrained(dtype=torch.float64)
    batched = given(potential, (True, True, True))
    _, found = gradient(
        Evaluator(potential.network, directional=compiled(potential)), potential, *batched
    )
    _, exact = gradient(Evaluator(double.network), double, *given(double, (True, True, True)))
    joined, expected = (
        torch.cat([g[n].double().flatten() for n in sorted(exact)]) for g in (found, exact)
    )
    assert float((joined - expected).norm() / expected.norm()) < 1e-2


@needs_compiler
def test_energies_alone_have_the_gradient_of_single_precision() -> None:
    """Nothing moves, and nothing is a difference, however small the loss."""
    potential = untrained(dtype=torch.float32)
    graph, positions, scale = given(potential, (True, True, True))
    found = []
    for run in (
        Evaluator(potential.network),
        Evaluator(potential.network, directional=compiled(potential)),
    ):
        weights = {n: w.detach().clone() for n, w in potential.network.named_parameters()}
        weights["products.0.first.weight"].requires_grad_(True)
        energy = run(graph, positions, scale=scale, weights=weights).energy
        (1e-4 * energy).sum().backward()
        found.append(weights["products.0.first.weight"].grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-10, rtol=1e-3)


@needs_compiler
@pytest.mark.parametrize("name", ["products.0.first.weight", "products.0.second.bias"])
def test_weights_beside_frozen_ones_have_their_gradient(name: str) -> None:
    potential = untrained()
    graph, positions, scale = given(potential, (True, True, True))
    found = []
    for run in (
        Evaluator(potential.network),
        Evaluator(potential.network, directional=compiled(potential)),
    ):
        weights = {n: w.detach().clone() for n, w in potential.network.named_parameters()}
        weights[name].requires_grad_(True)
        loss(run(graph, positions, scale=scale, weights=weights)).backward()
        found.append(weights[name].grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-3, rtol=1e-2)
    assert float(found[0].abs().max()) > 1e-2


@needs_compiler
def test_what_has_no_label_has_no_gradient() -> None:
    """A loss on the energy of one frame moves no atom; frozen weights have no gradient."""
    potential = untrained()
    graph, positions, scale = given(potential, (True, True, True))
    run = Evaluator(potential.network, directional=compiled(potential))
    weights = {n: w.detach().clone() for n, w in potential.network.named_parameters()}
    weights["source"].requires_grad_(True)
    found = run(graph, positions, scale=scale, weights=weights)
    found.energy[0].backward()
    exact = Evaluator(potential.network)(graph, positions, scale=scale, weights=weights)
    (expected,) = torch.autograd.grad(exact.energy[0], weights["source"])
    torch.testing.assert_close(weights["source"].grad, expected, atol=1e-10, rtol=1e-10)
    assert all(w.grad is None for n, w in weights.items() if n != "source")


@needs_compiler
def test_predictions_need_no_gradient() -> None:
    potential = untrained()
    graph, positions, scale = given(potential, (True, True, True))
    run = Evaluator(potential.network, directional=compiled(potential))
    weights = dict(potential.network.named_parameters())
    with torch.no_grad():
        found = run(graph, positions, scale=scale, weights=weights)
    expected = Evaluator(potential.network)(graph, positions, scale=scale)
    torch.testing.assert_close(found.forces, expected.forces, atol=1e-11, rtol=1e-11)
    assert not found.forces.requires_grad


PROGRAMS: list[tuple[dict[str, Any], bool, bool, int]] = [
    ({"charges": False, "layers": 1, "pair_baseline": False}, True, False, 2),
    ({}, False, True, 2),
    ({"ladder": (3.0, 5.0, "long"), "first_layer_cutoff": 3.5, "l_max": 2}, True, True, 2),
    ({"l_max": 2, "layers": 3}, True, True, 1),
    ({"elements": (8,), "charges": False}, False, False, 1),
]


@needs_compiler
@pytest.mark.parametrize(
    ("settings", "is_periodic", "long_range", "count"),
    [
        PROGRAMS[0],
        *(pytest.param(*given, marks=pytest.mark.slow) for given in PROGRAMS[1:]),
    ],
    ids=str,
)
@pytest.mark.whole
def test_programs_find_what_kernels_find(
    settings: dict[str, Any],
    is_periodic: bool,
    long_range: bool,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiled once for a user, for any weights and batches, and only for their kind."""
    monkeypatch.setenv("SCALEWISE_CACHE", str(tmp_path))
    own = dict(settings)
    elements = own.pop("elements", (11, 17))
    potential = untrained(elements, **own)
    batched = given(potential, (is_periodic,) * 3, long_range=long_range, count=count)
    programs = TrainingPrograms(potential.network)
    programs.prepare(batched[0], batched[2])
    kind = BatchKind.of(batched[0], batched[2])
    assert kind is not None
    both = {("derivatives", kind), ("gradient", replace(kind, several=True))}
    assert set(programs._loaded) == both
    made = sorted(path.name for path in tmp_path.glob("*.pt2"))
    assert len(made) == 2
    other = untrained(elements, seed=1, **own)
    again = TrainingPrograms(other.network)
    again.prepare(batched[0], batched[2])
    assert sorted(path.name for path in tmp_path.glob("*.pt2")) == made
    for one, programs_of in ((potential, programs), (other, again)):
        run = Evaluator(one.network, directional=compiled(one, programs_of))
        found, gradients = gradient(run, one, *batched)
        kernels = Evaluator(one.network, directional=compiled(one))
        expected, exact = gradient(kernels, one, *batched)
        for field in ("energy", "energies", "forces", "virial", "charges", "cutoffs"):
            two = getattr(expected, field)
            torch.testing.assert_close(getattr(found, field), two, atol=1e-10, rtol=1e-10)
        for weight, value in exact.items():
            torch.testing.assert_close(gradients[weight], value, atol=1e-7, rtol=1e-6, msg=weight)
    slab = given(potential, (True, True, False), long_range=long_range, count=count)
    known = programs.derivatives(
        slab[0],
        slab[1],
        slab[2],
        tuple(potential.network.parameters()),
        fitted_buffers(potential.network),
    )
    assert (known is None) == (
        batched[2].long_range is not None
    )  # at short range, all boundaries are alike


def test_forks_share_the_programs_of_their_ladder() -> None:
    ladder = NetworkSettings(ladder=(3.0, 5.0))
    forked = ladder.forked(ForkSettings(cutoff=4.0))
    kind = BatchKind(False, False, True)
    one, two, other = (
        TrainingPrograms(DensityNetwork(settings, (1, 8)))._path("gradient", kind)
        for settings in (ladder, forked, NetworkSettings(ladder=(3.0, 6.0)))
    )
    assert one == two
    assert one != other


TINY = NetworkSettings(channels=4, hidden=6, l_max=1, cutoff=4.5)


@needs_compiler
@pytest.mark.parametrize("kept", [0, 100, 20_000])
@pytest.mark.whole
def test_a_damaged_library_is_made_again(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not loaded: that would kill the process."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("SCALEWISE_CACHE", str(first))
    kernel_library(TINY, torch.float64)
    (path,) = first.glob("*-kernels-*.so")
    # elsewhere: what is loaded already is found by its path
    second.mkdir()
    (second / path.name).write_bytes(path.read_bytes()[:kept])
    monkeypatch.setenv("SCALEWISE_CACHE", str(second))
    kernel_library(TINY, torch.float64)
    (made,) = second.glob("*.so")
    assert len(made.read_bytes()) == len(path.read_bytes())


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SCALEWISE_CACHE", str(tmp_path / "file"))
    potential = untrained(channels=4, hidden=6, l_max=1, cutoff=4.5)
    assert potential.to(kernels=True).evaluate([salt_frame()])[0].forces.shape == (8, 3)


def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SCALEWISE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InputError, match=r"no home directory.*SCALEWISE_CACHE"):
        cache_folder()


def test_twins_are_two_of_each_frame() -> None:
    """Atom beside atom, with all of their neighbors, and no more."""
    potential = untrained(first_layer_cutoff=3.5)
    graph, positions, scale = given(potential, (True, True, True))
    (expected,) = (Evaluator(potential.network)(graph, positions, scale=scale),)
    twice = ResolvedScale(*(v.repeat_interleave(2) for v in scale))  # type: ignore[union-attr]  # charges
    moved = positions.repeat_interleave(2, dim=0)
    moved[1::2] += torch.tensor([0.5, -0.2, 0.1])  # of one twin alone: it changes nothing
    found = Evaluator(potential.network)(twinned(graph), moved, scale=twice)
    for name in ("energy", "energies", "forces", "virial", "charges"):
        value = getattr(expected, name).repeat_interleave(2, dim=0)
        torch.testing.assert_close(getattr(found, name), value, atol=1e-11, rtol=1e-11)
    with pytest.raises(ValueError, match="no twin"):
        twinned(replace(graph, mesh=graph.kvectors))


@needs_compiler
def test_rounding_does_not_grow_with_the_atoms() -> None:
    """Of forces that are wrong at random, sums over atoms are small, and their terms are not."""
    network = DensityNetwork(NetworkSettings(preset="small", charges=False), (11, 17))
    frame = salt_frame(n=500, box=25.0)
    wrong = torch.randn(500, 3, dtype=torch.float64, generator=torch.manual_seed(1)) / 1500
    positions = torch.from_numpy(frame.positions)
    found = []
    for one, run in (
        (double := network.converted(torch.float64), Evaluator(double)),
        (
            network,
            Evaluator(
                network,
                directional=Directional(network, kernel_library(network.settings, torch.float32)),
            ),
        ),
    ):
        weights = {n: w.detach().clone().requires_grad_(True) for n, w in one.named_parameters()}
        own = next(iter(weights.values())).new_full((500,), network.settings.cutoff)
        graph = build(frame, (11, 17), network.settings.cutoff).to(dtype=own.dtype)
        forces = run(graph, positions, scale=ResolvedScale(own, None), weights=weights).forces
        (forces * wrong.to(own.dtype)).sum().backward()
        found.append(
            torch.cat(
                [
                    torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten()
                    for w in weights.values()
                ]
            ).double()
        )
    exact, single = found
    assert float((single - exact).norm() / exact.norm()) < 5e-3
