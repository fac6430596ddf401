"""Programs compiled ahead of time: built once for a machine, checked whenever they are loaded.

A program is a package of PyTorch's AOTInductor, which Python and C++ can run, with a file beside it
that describes what it was compiled from. It is as fast as ``torch.compile`` and needs no compiling
at the start. Programs are kept in the folder of an exported model, or in the user's cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental import _config as fx_config
from torch.fx.experimental.proxy_tensor import make_fx

from scalewise.core.code import source_digest
from scalewise.core.errors import InputError
from scalewise.core.files import read_json, replacing, write_json
from scalewise.core.machine import cache_folder, processor
from scalewise.data.structure import Structure
from scalewise.models.adaptive_cutoff import AdaptiveNetwork, AdaptiveScale
from scalewise.models.compiler import compiler_found, computing, tracing
from scalewise.models.density.kernels.build import NAME, SOURCE, build_kernels, declarations
from scalewise.models.density.kernels.operations import TRACED
from scalewise.models.density.network import DensityNetwork
from scalewise.models.graph import Graph, build
from scalewise.models.graph_operations import trim_edges
from scalewise.models.particle_mesh import mesh_numbers
from scalewise.models.programs.inputs import DYNAMIC, Boundary, Inputs, Kind, Part
from scalewise.models.programs.modules import (
    ChargesModule,
    LocalModule,
    Module,
    SmearedModule,
    WholeModule,
)
from scalewise.models.scale import ResolvedScale

#: Content of the file beside a program.
DOCUMENT: Final = "scalewise program"
SCHEMA: Final = 2
#: eV/Å and eV, in single precision, between a program and the network that it was made of, and as a
#: share of the largest number, which the example of hard atoms may have in thousands.
TOLERANCE: Final = 1e-3
RELATIVE: Final = 1e-5
#: What a program is exported with again.
REMEDY: Final = "Export the potential again, on this machine: scalewise export MODEL --to ..."

MODULES: Final[dict[Part, type[Module]]] = {
    Part.WHOLE: WholeModule,
    Part.LOCAL: LocalModule,
    Part.CHARGES: ChargesModule,
    Part.SMEARED: SmearedModule,
}

Network = DensityNetwork | AdaptiveNetwork
Run = Callable[..., tuple[Tensor, ...]]


def state_digest(network: torch.nn.Module) -> str:
    """SHA-256 of the names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def example(network: Network, kind: Kind) -> Inputs:
    """Inputs of a small structure of all elements, which a program is traced and checked with."""
    settings, elements = network.settings, network_of(network).elements
    periodic = {Boundary.PERIODIC: 3, Boundary.PARTIAL: 2, Boundary.ISOLATED: 0}[kind.boundary]
    frame = example_frame(elements, 0 if kind.near else periodic)
    weight = next(network.parameters())
    graph = build(
        frame,
        elements,
        settings.cutoff,
        smearing=settings.smearing if settings.charges else 0.0,
        near=settings.first_layer_cutoff,
    ).to(weight.device, weight.dtype)
    if kind.mesh:
        numbers = mesh_numbers(graph.cell[0].cpu().numpy(), settings.smearing)
        graph = replace(graph, mesh=numbers).to(weight.device, weight.dtype)
    places = torch.as_tensor(frame.positions, device=weight.device, dtype=torch.float64)
    inputs = Inputs.of(graph, places, _scale(network, kind, graph, places), kind)
    if kind.near:
        return inputs.shared(9, 18)
    return inputs.smeared() if kind.part is Part.SMEARED else inputs


def example_frame(elements: Sequence[int], periodic: int) -> Structure:
    """27 atoms of all elements near the places of a lattice, periodic along so many axes."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    edge = 2.6
    return Structure(
        numbers=np.resize(np.array(elements), 27),
        positions=edge * grid + random.uniform(-0.3, 0.3, (27, 3)),
        cell=np.diag([3.0, 3.1, 3.2]) * edge if periodic else np.zeros((3, 3)),
        pbc=np.arange(3) < periodic,
        molecule=np.arange(27),
    )


def network_of(network: Network) -> DensityNetwork:
    """The network without an adaptive cutoff."""
    return network.network if isinstance(network, AdaptiveNetwork) else network


def _scale(
    network: Network, kind: Kind, graph: Graph, places: Tensor
) -> ResolvedScale | AdaptiveScale:
    longest = network_of(network).settings.own_scale[0]
    cutoffs = places.new_full((places.shape[0],), longest, dtype=graph.dtype)
    if not kind.adaptive:
        return ResolvedScale(cutoffs, None)
    return AdaptiveScale(trim_edges(graph, places, network.settings.shortest_cutoff), None)


def module_of(network: Network, kind: Kind) -> tuple[Module, Inputs]:
    """The function that a kind is, and inputs to try it with."""
    inputs = example(network, kind)
    own = network if kind.adaptive else network_of(network)
    return MODULES[kind.part](own, kind, inputs.names()).eval(), inputs


def compile_program(network: Network, kind: Kind, path: Path) -> Path:
    """Compile a network to a package, and write it and the file that describes it.

    Parameters
    ----------
    network, kind
        What is computed, in the network's type and on its device.
    path
        Of the package, which ends in ``.pt2``; beside it comes one that ends in ``.json``.

    Raises
    ------
    InputError
        No C++ compiler, or one that fails.

    Warns
    -----
    UserWarning
        The kernels do not compile; the program has none.
    """
    module, inputs = module_of(network, kind)
    tensors = inputs.tensors()
    auto = torch.export.Dim.AUTO
    shapes = tuple(dict.fromkeys(DYNAMIC.get(n, ()), auto) or None for n in inputs.names())
    suits = kind.part is not Part.SMEARED and tensors[0].device.type == "cpu"
    with linked_kernels(network if suits else None) as kernels:
        compile_function(lambda *given: module(*given), tensors, shapes, path, kernels)
    document = {
        "kind": DOCUMENT,
        "schema": SCHEMA,
        "network": state_digest(module.network),
        "dtype": str(next(network.parameters()).dtype).removeprefix("torch."),
        "inputs": list(inputs.names()),
        "device": str(tensors[0].device),
        "kernels": kernels is not None,
        "torch": torch.__version__,
        "processor": processor(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    write_json(path.with_suffix(".json"), document)
    return path


def compile_function(
    function: Callable[..., tuple[Tensor, ...]],
    tensors: tuple[Tensor, ...],
    shapes: tuple[dict[int, Any] | None, ...],
    path: Path,
    kernels: Mapping[str, Any] | None,
) -> None:
    """Compile a function of tensors to a package.

    Parameters
    ----------
    function, tensors
        What is compiled, and what it is traced with.
    shapes
        Axes of each tensor whose lengths may be others, as for ``torch.export``.
    path
        Of the package.
    kernels
        From :func:`linked_kernels`.

    Raises
    ------
    InputError
        As :func:`compile_program`.
    """
    # sums over neighbors are slower in threads; matrix products have their own
    options = {"cpp.threads": 1, **(kernels or {})}
    try:
        with _quiet(), replacing(path) as temporary:
            with fx_config.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # made at import
                with tracing(), computing(None if kernels is None else TRACED):
                    graph = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
                        *tensors
                    )
                exported = torch.export.export(graph, tensors, dynamic_shapes=shapes, strict=False)
            torch._inductor.aoti_compile_and_package(
                exported, package_path=str(temporary), inductor_configs=options
            )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        what = f"the compiler failed ({reason})"
        raise InputError("compiled", what, "Compute without.") from error


@contextmanager
def linked_kernels(network: Network | None) -> Iterator[Mapping[str, Any] | None]:
    """Build the kernels of a network; yield options with which programs are linked with them.

    There are none, and programs have PyTorch's operations alone, without a network, and where
    kernels do not compile.

    Raises
    ------
    InputError
        No C++ compiler.

    Warns
    -----
    UserWarning
        The kernels do not compile.
    """
    if not compiler_found():
        raise InputError(
            "compiled",
            "no C++ compiler, which programs are built with",
            "Install one (such as g++), or compute without compiled=True.",
        )
    # PyTorch links kernels since it has names for their functions
    links = hasattr(torch._inductor.config.aot_inductor, "custom_ops_to_c_shims")
    if network is None or not links:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="scalewise-") as place:
        try:
            dtype = next(network.parameters()).dtype
            build_kernels(network_of(network).settings, dtype, Path(place))
        except (InputError, OSError) as error:
            reason = error.found if isinstance(error, InputError) else str(error)
            what = f"programs have no kernels, and take twice the time: {reason}"
            warnings.warn(what, stacklevel=3)
            yield None
            return
        before = os.environ.get("LIBRARY_PATH")
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (place, before)))
        try:
            yield {
                "aot_inductor.custom_ops_to_c_shims": declarations(),
                "aot_inductor.custom_op_libs": [NAME],
            }
        finally:
            if before is None:
                del os.environ["LIBRARY_PATH"]
            else:
                os.environ["LIBRARY_PATH"] = before


def load_program(path: Path, network: Network, kind: Kind) -> Run:
    """Load a program, and compare it with the network.

    Raises
    ------
    InputError
        A damaged file; a program of another network, PyTorch or processor; one that computes
        something else.
    """
    document = read_json(path.with_suffix(".json"), REMEDY)
    if not isinstance(document, dict) or document.get("kind") != DOCUMENT:
        raise InputError(str(path.with_suffix(".json")), "not that of a program", REMEDY)
    module, inputs = module_of(network, kind)
    missing = sorted(set(document.get("processor", [])) - set(processor()))
    content = path.read_bytes()
    for wrong, reason in (
        (document.get("schema") != SCHEMA, "made by another version of scalewise"),
        (document.get("torch") != torch.__version__, "compiled by another version of PyTorch"),
        (document.get("network") != state_digest(module.network), "stale: of another potential"),
        (document.get("inputs") != list(inputs.names()), "made by another version of scalewise"),
        (bool(missing), f"compiled for a processor with {', '.join(missing[:3])}"),
        (document.get("sha256") != hashlib.sha256(content).hexdigest(), "damaged"),
    ):
        if wrong:
            raise InputError(str(path), reason, REMEDY)
    run = load_function(path)
    if not equal(run(*inputs.tensors()), module(*inputs.tensors())):
        raise InputError(str(path), "computes something else than the network", REMEDY)
    return run


def load_function(path: Path) -> Run:
    """Load a package.

    Raises
    ------
    InputError
        A damaged file.
    """
    try:
        with _quiet():
            run: Run = torch._inductor.aoti_load_package(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(str(path), f"damaged ({reason})", REMEDY) from error
    return run


def equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether a program finds what it should, but for rounding; numbers that are none differ."""
    return all(
        float((one - two).abs().max()) <= TOLERANCE + RELATIVE * float(two.abs().max())
        for one, two in zip(found, expected, strict=True)
    )


def has_kernels(path: Path) -> bool:
    """Whether the program at a path was compiled with kernels."""
    document = read_json(path.with_suffix(".json"), REMEDY)
    return isinstance(document, dict) and document.get("kernels") is True


def cached(network: Network, kind: Kind) -> Path:
    """Where the program of a network lies in the user's cache, whether or not it is there."""
    weight = next(network.parameters())
    parts = (
        state_digest(network),
        source_digest("scalewise.models.programs.compiling"),
        hashlib.sha256(SOURCE.read_bytes()).hexdigest(),
        torch.__version__,
        str(weight.dtype),
        str(weight.device),
        repr(network_of(network).settings),
        " ".join(processor()),
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    return cache_folder() / f"{key}-{kind.name}.pt2"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings of the compiler to itself: they are about PyTorch's own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def sizes_suit(inputs: Inputs) -> bool:
    """Whether a program takes these sizes: none of them may be zero or one."""
    return all(
        tensor.shape[axis] >= 2
        for name, tensor in zip(inputs._fields, inputs, strict=True)
        if tensor is not None
        for axis in DYNAMIC.get(name, ())
    )
