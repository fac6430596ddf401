"""Evaluate single structures with programs, which are compiled when they are first needed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from scalewise.core.errors import InputError
from scalewise.models.adaptive_cutoff import AdaptiveScale
from scalewise.models.gradients import BLOCKS_FROM, Derivatives
from scalewise.models.graph import Graph
from scalewise.models.programs.compiling import (
    Network,
    Run,
    cached,
    compile_program,
    has_kernels,
    load_program,
    sizes_suit,
)
from scalewise.models.programs.inputs import Boundary, Inputs, Kind
from scalewise.models.scale import ResolvedScale

#: Atoms from which programs with kernels leave a structure to blocks: they take 50 kB of memory per
#: atom.
KERNELS_TO: Final = 240_000


class Programs:
    """The programs of a network.

    Parameters
    ----------
    network
        On its device, in its type.
    folder
        Where the programs of an exported potential lie, and what is not there is evaluated without;
        none: they are in the user's cache, and compiled when they are first needed.

    Attributes
    ----------
    kernels
        Whether all programs that were loaded have kernels.
    """

    def __init__(self, network: Network, folder: Path | None = None) -> None:
        self.network, self.folder = network, folder
        self.kernels = next(network.parameters()).device.type == "cpu"
        self._loaded: dict[Kind, Run | None] = {}

    def __call__(
        self, graph: Graph, positions: Tensor, scale: ResolvedScale | AdaptiveScale
    ) -> Derivatives | None:
        """Evaluate a graph of one structure; none: this is one for eager code.

        Programs have no sizes of zero or one, which the smallest structures have, and do not work
        in blocks, which the largest need.

        Raises
        ------
        InputError
            As :func:`scalewise.models.programs.compiling.compile_program` and ``load_program``.
        """
        if graph.cell.shape[0] > 1 or graph.bins or positions.shape[0] >= self.most:
            return None
        long_range = scale.long_range is not None
        kind = Kind(
            long_range,
            Boundary.of(graph) if long_range else Boundary.PERIODIC,
            long_range and graph.mesh is not None,
            isinstance(scale, AdaptiveScale),
        )
        inputs = Inputs.of(graph, positions, scale, kind)
        if not sizes_suit(inputs):
            return None
        run = self.run(kind)
        if run is None or positions.shape[0] >= self.most:
            return None
        torch.get_num_threads()  # PyTorch tells OpenMP only when it is asked, in each thread
        energies, smeared, forces, virial, charges, cutoffs = run(*inputs.tensors())
        energy = smeared + energies.sum()
        return Derivatives(energy, energies, forces, virial, charges, cutoffs)

    @property
    def most(self) -> int:
        """Atoms from which structures are left to blocks."""
        return KERNELS_TO if self.kernels else BLOCKS_FROM

    def run(self, kind: Kind) -> Run | None:
        """The program of a kind, compiled if need be; none: an exported potential has none."""
        if kind not in self._loaded:
            self._loaded[kind] = self._load(kind)
        return self._loaded[kind]

    def _load(self, kind: Kind) -> Run | None:
        if self.folder is not None:
            weight = next(self.network.parameters())
            given = self.folder / file_name(kind, str(weight.dtype))
            return self._checked(given, kind) if given.is_file() else None
        path = cached(self.network, kind)
        if path.is_file() and path.with_suffix(".json").is_file():
            # what is damaged in the cache is made again
            with contextlib.suppress(InputError):
                return self._checked(path, kind)
        compile_program(self.network, kind, path)
        return self._checked(path, kind)

    def _checked(self, path: Path, kind: Kind) -> Run:
        run = load_program(path, self.network, kind)
        self.kernels = self.kernels and has_kernels(path)
        return run


def file_name(kind: Kind, dtype: str) -> str:
    """Name of a program in an exported folder, such as ``periodic-long-float32.pt2``."""
    return f"{kind.name}-{dtype.removeprefix('torch.')}.pt2"
