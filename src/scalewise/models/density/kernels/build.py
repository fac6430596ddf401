"""Compile kernels for one size of network, to be linked into programs or called from Python."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import torch

from scalewise.core.errors import InputError
from scalewise.models.density.kernels.operations import SCHEMAS
from scalewise.models.density.layers import degrees
from scalewise.models.density.pair_baseline import SCREENING
from scalewise.models.density.radial import bessel_factors
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.density.spherical import SphereGrid, factors
from scalewise.models.graph import FAR

SOURCE: Final = Path(__file__).with_name("kernels.cpp")
#: Name of the library.
NAME: Final = "scalewise_kernels"
#: Bytes of the widest registers that a processor has; narrower ones take several instructions.
REGISTER: Final = 64


def tables(settings: NetworkSettings, dtype: torch.dtype) -> str:
    """C++ constants: the sizes of a network, and half of its sphere grid.

    Of every two opposite points of the grid, one is kept, with the weight of both. Components of
    even degree come first.
    """
    grid = SphereGrid.exact(settings.l_max, 3)
    degree = degrees(settings.l_max)
    order = torch.cat([(degree % 2 == parity).nonzero()[:, 0] for parity in (0, 1)])
    half = _half(grid)
    values = grid.values[half][:, order]
    back = 2.0 * grid.weights[half][:, None] * values
    real = {torch.float32: "float", torch.float64: "double"}[dtype]
    smoothness = settings.radial_smoothness
    lanes = full = REGISTER // dtype.itemsize
    while settings.channels % lanes or settings.hidden % lanes:
        lanes //= 2
    sizes = {
        "LMAX": settings.l_max,
        "CHANNELS": settings.channels,
        "HIDDEN": settings.hidden,
        "BESSEL": settings.num_bessel,
        "PAIR_BESSEL": settings.pair_bessel,
        "LANES": lanes,
        "FULL": full,
        "POINTS": len(half),
    }
    return "\n".join(
        [
            f"typedef {real} real;",
            *(f"constexpr int {name} = {size};" for name, size in sizes.items()),
            f"constexpr real CUTOFF = {settings.cutoff!r}, FAR = {FAR!r};",
            f"constexpr real WIDTH = {settings.cutoff_width or 0.0!r};",
            f"constexpr real PAIR_CUTOFF = {settings.shortest_cutoff!r};",
            f"constexpr real PAIR_NORM = {math.sqrt(2.0 / settings.shortest_cutoff)!r};",
            _array("SCREENING", torch.tensor(SCREENING, dtype=torch.float64)),
            _array("VALUES", values),
            _array("BACK", back),
            _array("NORM", bessel_factors(settings.cutoff, settings.num_bessel, smoothness)),
            _array("HARMONIC", factors(settings.l_max)),
            "",
        ]
    )


def _half(grid: SphereGrid) -> list[int]:
    """One of every two opposite points of a grid."""
    along = grid.values[:, 1:4]  # the harmonics of degree one are the coordinates
    kept: list[int] = []
    for point, place in enumerate(along):
        if all(float((place + along[other]).abs().max()) > 1e-9 for other in kept):
            kept.append(point)
    assert 2 * len(kept) == len(along)
    return kept


def _array(name: str, values: torch.Tensor) -> str:
    numbers = ", ".join(repr(float(v)) for v in values.flatten())
    return f"static const real {name}[] = {{{numbers}}};"


def build_kernels(settings: NetworkSettings, dtype: torch.dtype, folder: Path) -> None:
    """Compile the kernels of a network to a static library in a folder, for programs.

    Raises
    ------
    InputError
        No C++ compiler, or one that fails.
    """
    include = Path(torch.__file__).parent / "include"
    compiled = _compiled(settings, dtype, folder, f"-I{include}")
    _run("ar", "rcs", str(folder / f"lib{NAME}.a"), str(compiled))


def build_library(settings: NetworkSettings, dtype: torch.dtype, folder: Path) -> Path:
    """Compile the kernels of a network to a shared library in a folder, for Python.

    Raises
    ------
    InputError
        As :func:`build_kernels`.
    """
    library = folder / f"{NAME}.so"
    compiled = _compiled(settings, dtype, folder, "-DSCALEWISE_LIBRARY")
    # linked without -ffast-math, with which a library would change the arithmetic of its process
    _run(_compiler(), "-shared", *_threads(), str(compiled), "-o", str(library))
    return library


def _compiler() -> str:
    found = next((c for c in ("g++", "clang++", "c++") if shutil.which(c)), None)
    if found is None:
        raise InputError("compiled", "no C++ compiler", "Install one, such as g++.")
    return found


def _threads() -> tuple[str, ...]:
    return ("-fopenmp",) if sys.platform == "linux" else ()


def _compiled(settings: NetworkSettings, dtype: torch.dtype, folder: Path, *words: str) -> Path:
    header, compiled = folder / "tables.h", folder / f"{NAME}.o"
    header.write_text(tables(settings, dtype), encoding="utf-8")
    own = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    flags = ("-O3", own, "-ffast-math", "-fno-finite-math-only", "-std=c++17", "-fPIC")
    words = (*words, f'-DSCALEWISE_TABLES="{header}"', "-c", str(SOURCE), "-o", str(compiled))
    _run(_compiler(), *flags, *_threads(), *words)
    return compiled


def _run(*words: str) -> None:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError as error:
        remedy = f"Install {words[0]}."
        raise InputError("compiled", f"{words[0]} does not start ({error})", remedy) from error
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        errors = [line for line in lines if "error" in line] or lines[-1:]
        reason = " ".join(errors[:1])[:300]
        raise InputError("compiled", f"the compiler failed ({reason})", "Compute without.")


def declarations() -> dict[torch._ops.OpOverload, list[str]]:
    """The C functions of the operations, as PyTorch's compiler wants them declared."""
    found = {}
    for name, schema in SCHEMAS.items():
        given, given_back = schema.split("->")
        handles = ["AtenTensorHandle"] * given.count("Tensor") + ["int64_t"] * given.count("int ")
        handles += ["AtenTensorHandle*"] * given_back.count("Tensor")
        operation = getattr(torch.ops.scalewise, name).default
        found[operation] = [f"AOTITorchError aoti_torch_cpu_{name}({', '.join(handles)})"]
    return found
