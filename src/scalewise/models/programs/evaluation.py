"""Evaluation of single structures by programs, which are compiled when they are first needed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

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
    """

    def __init__(self, network: Network, folder: Path | None = None) -> None:
        self.network, self.folder = network, folder
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
        most = KERNELS_TO if positions.device.type == "cpu" else BLOCKS_FROM
        if graph.cell.shape[0] > 1 or graph.bins or positions.shape[0] >= most:
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
        if run is None:
            return None
        energies, smeared, forces, virial, charges, cutoffs = run(*inputs.tensors())
        energy = smeared + energies.sum()
        return Derivatives(energy, energies, forces, virial, charges, cutoffs)

    def run(self, kind: Kind) -> Run | None:
        """The program of a kind, compiled if need be; none: an exported potential has none."""
        if kind not in self._loaded:
            self._loaded[kind] = self._load(kind)
        return self._loaded[kind]

    def _load(self, kind: Kind) -> Run | None:
        if self.folder is not None:
            weight = next(self.network.parameters())
            given = self.folder / file_name(kind, str(weight.dtype))
            return load_program(given, self.network, kind) if given.is_file() else None
        path = cached(self.network, kind)
        if path.is_file() and path.with_suffix(".json").is_file():
            # what is damaged in the cache is made again
            with contextlib.suppress(InputError):
                return load_program(path, self.network, kind)
        compile_program(self.network, kind, path)
        return load_program(path, self.network, kind)


def file_name(kind: Kind, dtype: str) -> str:
    """Name of a program in an exported folder, such as ``periodic-long-float32.pt2``."""
    return f"{kind.name}-{dtype.removeprefix('torch.')}.pt2"
