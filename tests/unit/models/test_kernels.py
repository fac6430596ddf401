"""Kernels of compiled programs against the network that they are the products of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models.compiler import compiler_found
from scalewise.models.density import one_layer
from scalewise.models.density.kernels import build
from scalewise.models.density.kernels.build import build_kernels, tables
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.density.spherical import SphereGrid
from scalewise.models.potential import Potential
from scalewise.models.programs.compiling import compile_program, has_kernels, load_program
from scalewise.models.programs.inputs import Inputs, Kind
from scalewise.models.programs.modules import WholeModule
from scalewise.models.scale import ResolvedScale
from support import needs_compiler, salt_frame, untrained


def numbers(text: str, name: str) -> torch.Tensor:
    """An array of the tables."""
    values = text.split(f"{name}[] = {{")[1].split("}")[0]
    return torch.tensor([float(v) for v in values.split(",")], dtype=torch.float64)


@pytest.mark.parametrize("degree", range(1, 7))
def test_half_of_the_grid_multiplies_functions_as_all_of_it_does(degree: int) -> None:
    """Even and odd parts apart: (e + o)(e' + o') = (ee' + oo') + (eo' + oe')."""
    settings = NetworkSettings(l_max=degree)
    text = tables(settings, torch.float64)
    components = (degree + 1) ** 2
    values = numbers(text, "VALUES").reshape(-1, components)
    back = numbers(text, "BACK").reshape(-1, components)
    grid = SphereGrid.exact(degree, 3)
    assert 2 * len(values) == len(grid.values)
    a, b = torch.randn(2, components, dtype=torch.float64, generator=torch.manual_seed(degree))
    expected = grid.values.T @ (grid.weights * (grid.values @ a) * (grid.values @ b))
    degrees = torch.tensor([n for n in range(degree + 1) for _ in range(2 * n + 1)])
    order = torch.cat([(degrees % 2 == parity).nonzero()[:, 0] for parity in (0, 1)])
    even = int((degrees % 2 == 0).sum())
    parts = [
        (values[:, :even] @ v[order][:even], values[:, even:] @ v[order][even:]) for v in (a, b)
    ]
    (ae, ao), (be, bo) = parts
    found = torch.cat(
        [back[:, :even].T @ (ae * be + ao * bo), back[:, even:].T @ (ae * bo + ao * be)]
    )
    torch.testing.assert_close(found, expected[order], atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("channels", "hidden", "dtype", "lanes"),
    [
        (32, 64, torch.float32, 16),
        (32, 64, torch.float64, 8),
        (24, 64, torch.float32, 8),
        (12, 10, torch.float64, 2),
        (5, 7, torch.float32, 1),
    ],
)
def test_registers_hold_whole_rows(
    channels: int, hidden: int, dtype: torch.dtype, lanes: int
) -> None:
    settings = NetworkSettings(channels=channels, hidden=hidden)
    assert f"LANES = {lanes};" in tables(settings, dtype)


def checked(potential: Potential, folder: Path, cutoff: float, n: int = 150) -> None:
    """Compare a program and the network, on more atoms than one thread works on."""
    with torch.no_grad():  # a ladder begins without any conditioning
        for name, weight in potential.network.named_parameters():
            if name.startswith("conditioning"):
                weight.normal_(std=0.1, generator=torch.manual_seed(0))
    frame = salt_frame(n=n, box=17.0)
    graph, places = potential.graph(frame), torch.from_numpy(frame.positions)
    lengths = torch.linspace(3.0, cutoff, n, dtype=potential.dtype)
    kind = Kind(False)
    inputs = Inputs.of(graph, places, ResolvedScale(lengths, None), kind)
    expected = WholeModule(potential.network, kind, inputs.names())(*inputs.tensors())
    path = compile_program(potential.network, kind, folder / "program.pt2")
    run = load_program(path, potential.network, kind)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = run(*inputs.tensors())
        lost = run(torch.full_like(inputs.positions, torch.nan), *inputs.tensors()[1:])
        assert torch.isnan(lost[0]).all()  # what is not a number is seen
        torch.set_num_threads(2)
        shared = run(*inputs.tensors())
    finally:
        torch.set_num_threads(threads)
    tolerance = 1e-12 if potential.dtype is torch.float64 else 2e-5
    for one, two, value in zip(found, shared, expected, strict=True):
        torch.testing.assert_close(one, value, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(two, one, atol=0.0, rtol=0.0)


@needs_compiler
@pytest.mark.whole
def test_programs_of_a_ladder_find_what_its_network_finds(tmp_path: Path) -> None:
    """Rows that no register divides, cutoffs of their own, a first layer that sees less."""
    potential = untrained(
        ladder=(3.0, 5.0),
        first_layer_cutoff=3.5,
        l_max=2,
        channels=6,
        hidden=10,
        charges=False,
        dtype=torch.float64,
    )
    checked(potential, tmp_path, 5.0)


@needs_compiler
@pytest.mark.whole
def test_one_kernel_finds_what_a_network_of_one_layer_finds(tmp_path: Path) -> None:
    """As inner potentials are; channels fill a part of a register."""
    potential = untrained(layers=1, channels=4, hidden=10, charges=False, dtype=torch.float64)
    assert one_layer.suits(potential.network)
    checked(potential, tmp_path, 4.5)


@needs_compiler
@pytest.mark.whole
def test_one_kernel_serves_every_boundary() -> None:
    """In single precision; with cutoffs of their own, and atoms that see nothing."""
    potential = untrained(layers=1, channels=4, hidden=10, charges=False, dtype=torch.float32)
    cell = salt_frame(n=14, box=9.0).to_ase()
    slab, molecule, apart = cell.copy(), cell.copy(), cell[:2]
    slab.pbc, molecule.pbc = (True, True, False), False
    apart.pbc, apart.positions = False, [[0, 0, 0], [30, 0, 0]]
    compiled = ScalewiseCalculator(potential, compiled=True)
    for atoms in (cell, slab, molecule, apart):
        lengths = np.linspace(0.5, 5.0, len(atoms))
        for cutoffs in (None, lengths):
            compiled.cutoffs = cutoffs
            compiled.forget()
            eager = ScalewiseCalculator(potential, cutoffs=cutoffs)
            for name in ("energies", "forces", *["stress"] * bool(atoms.pbc.all())):
                found, expected = (c.get_property(name, atoms) for c in (compiled, eager))
                np.testing.assert_allclose(found, expected, atol=2e-4, rtol=2e-5)
            np.testing.assert_array_equal(
                compiled.forces_alone(atoms), compiled.get_property("forces", atoms)
            )
    assert compiled.forces_alone(cell[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    "sizes",
    [
        {"layers": 2, "charges": False},
        {"layers": 1, "charges": True},
        {"layers": 1, "charges": False, "ladder": (3.0, 5.0)},
        {"layers": 1, "charges": False, "pair_baseline": False},
    ],
    ids=str,
)
def test_other_networks_are_no_single_layers(sizes: dict) -> None:
    assert not one_layer.suits(untrained(**sizes).network)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sizes",
    [
        {"l_max": 1, "channels": 5, "hidden": 7, "layers": 3},
        {"l_max": 3, "num_bessel": 40, "pair_baseline": False},
        {"l_max": 4, "channels": 16, "hidden": 32, "layers": 1},
        {"l_max": 6, "channels": 12, "hidden": 16},
        {"preset": "large"},
    ],
    ids=str,
)
def test_programs_of_every_size_find_what_their_networks_find(
    sizes: dict, dtype: torch.dtype, tmp_path: Path
) -> None:
    checked(untrained(charges=False, dtype=dtype, **sizes), tmp_path, 4.5)


def test_a_compiler_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "kernels.cpp"
    broken.write_text("this is no C++")
    monkeypatch.setattr(build, "SOURCE", broken)
    if compiler_found():
        with pytest.raises(InputError, match=r"the compiler failed \(.*error"):
            build_kernels(NetworkSettings(), torch.float32, tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"no C\+\+ compiler"):
        build_kernels(NetworkSettings(), torch.float32, tmp_path)


@needs_compiler
@pytest.mark.whole
def test_programs_do_without_kernels_that_do_not_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "kernels.cpp"
    broken.write_text("this is no C++")
    monkeypatch.setattr(build, "SOURCE", broken)
    compiled: list[tuple[str, dict]] = []

    def compile_and_package(exported: Any, package_path: str, inductor_configs: dict) -> None:
        compiled.append((str(exported.graph), inductor_configs))
        Path(package_path).write_bytes(b"")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_and_package)
    network = untrained(layers=1, charges=False).network
    with pytest.warns(UserWarning, match=r"programs have no kernels.* the compiler failed"):
        compile_program(network, Kind(False), tmp_path / "program.pt2")
    assert not has_kernels(tmp_path / "program.pt2")
    monkeypatch.undo()
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_and_package)
    compile_program(network, Kind(False), tmp_path / "program.pt2")
    assert ["scalewise." in graph for graph, _ in compiled] == [False, True]
    assert ["aot_inductor.custom_op_libs" in options for _, options in compiled] == [False, True]
    assert has_kernels(tmp_path / "program.pt2")


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("by", ["environment", "regime", "element"])
def test_adaptive_cutoffs_are_chosen_on_lists_that_are_longer(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calculators leave lists as long as they are where programs compute."""
    monkeypatch.setenv("SCALEWISE_CACHE", str(tmp_path))
    potential = untrained(
        ladder=(3.0, 5.0, "long"),
        first_layer_cutoff=3.5,
        adaptive_cutoff={"by": by, **({"near": ["Na"]} if by == "regime" else {})},
    )
    with torch.no_grad():
        for name, weight in potential.adaptive_cutoff.named_parameters():
            if name != "offset":
                weight.normal_(std=0.3, generator=torch.manual_seed(0))
    expected = potential.predict(salt_frame(n=40, box=11.5))
    calculator = ScalewiseCalculator(potential, compiled=True)
    atoms = salt_frame(n=40, box=11.5).to_ase()
    for start in (0.0, 0.1):  # the list is built for places that are a little off
        atoms.positions[:] = salt_frame(n=40, box=11.5).positions + start
        found = calculator.get_property("forces", atoms)
        np.testing.assert_allclose(found, expected.forces, atol=1e-10)
        np.testing.assert_allclose(calculator.atom_cutoffs, expected.cutoffs, atol=1e-10)
    assert np.ptp(expected.cutoffs) > 0.01 or by == "element"
