r"""Programs for trainings, which take the weights as inputs, for batches of several frames.

Two functions are enough for :class:`scalewise.models.directional.Directional`. The first returns

.. math:: E_f, \qquad F_i = -\partial E / \partial r_i, \qquad
   W_f = \partial E_f / \partial \epsilon_f

and the second the derivatives of :math:`\sum_f s_f E_f` with respect to all weights. They serve all
trainings of networks of the same sizes and elements.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from scalewise.core.code import source_digest
from scalewise.core.errors import InputError
from scalewise.core.machine import cache_folder, processor
from scalewise.models.density.kernels.build import SOURCE
from scalewise.models.density.network import AtomicProperties, DensityNetwork
from scalewise.models.graph import SLOTS, Graph, build
from scalewise.models.graph_operations import batch, widened
from scalewise.models.programs.compiling import (
    REMEDY,
    Run,
    compile_function,
    equal,
    example_frame,
    linked_kernels,
    load_function,
)
from scalewise.models.scale import ResolvedScale
from scalewise.models.strain import energies_of, strained

#: Buffers that come from the data, and are inputs as the weights are.
FITTED: Final = ("energy_scale", "pair_baseline.coefficients")
#: What programs compute.
DERIVATIVES: Final = "derivatives"
GRADIENT: Final = "gradient"


@dataclass(frozen=True)
class BatchKind:
    """What batches a program is for.

    Attributes
    ----------
    long_range
        With charges.
    isolated
        All frames are molecules, else all are periodic along three axes; without long range, a
        program is for both.
    several
        More than one frame.
    """

    long_range: bool
    isolated: bool
    several: bool

    @property
    def name(self) -> str:
        """A word for files."""
        boundary = "isolated" if self.isolated else "periodic"
        scale = f"{boundary}-long" if self.long_range else "short"
        return "-".join(["training", scale, *["several"] * self.several])

    @classmethod
    def of(cls, graph: Graph, scale: ResolvedScale) -> BatchKind | None:
        """The kind of a batch; none: no program is for it."""
        several = graph.cell.shape[0] > 1
        if scale.long_range is None:
            return cls(False, False, several)
        mixed = graph.isolated and graph.kvectors[0].numel() > 0
        if graph.partial or mixed or graph.mesh is not None:
            return None
        return cls(True, graph.isolated, several)


class BatchInputs(NamedTuple):
    """Tensors of a batch, in the order in which programs take them; unused ones are none.

    Meanings and types are those of :class:`scalewise.models.graph.Graph` and
    :class:`scalewise.models.scale.ResolvedScale`, whose ``long_range`` is ``share``. Of
    ``first_neighbor_index`` and ``largest_system``, only the lengths matter.
    """

    positions: Tensor
    cell: Tensor
    cutoffs: Tensor
    atom_types: Tensor
    neighbor_index: Tensor
    cell_shift: Tensor
    mask: Tensor
    reverse_neighbor_index: Tensor
    system_index: Tensor
    first_neighbor_index: Tensor | None
    share: Tensor | None = None
    index_in_system: Tensor | None = None
    largest_system: Tensor | None = None
    edge_index: Tensor | None = None
    edge_cell_shift: Tensor | None = None
    total_charge: Tensor | None = None
    first_wave: Tensor | None = None
    second_wave: Tensor | None = None
    third_wave: Tensor | None = None

    @classmethod
    def of(
        cls, graph: Graph, positions: Tensor, cell: Tensor, scale: ResolvedScale, kind: BatchKind
    ) -> BatchInputs:
        """What a program of a kind takes of a batch."""
        inputs = cls(
            positions,
            cell,
            scale.cutoffs,
            graph.atom_types,
            graph.neighbor_index,
            graph.cell_shift.contiguous(),
            graph.mask,
            graph.reverse_neighbor_index,
            graph.system_index,
            graph.first_neighbor_index,
        )
        if not kind.long_range:
            return inputs
        first, second, third = (None,) * 3 if kind.isolated else graph.kvectors
        return inputs._replace(
            share=scale.long_range,
            index_in_system=graph.index_in_system,
            largest_system=positions.new_zeros(graph.largest_system),
            edge_index=graph.edge_index,
            edge_cell_shift=graph.edge_cell_shift,
            total_charge=graph.total_charge,
            first_wave=first,
            second_wave=second,
            third_wave=third,
        )

    def graph(self, kind: BatchKind, cutoff: float) -> Graph:
        """The graph that the tensors are of."""
        frames, device = self.cell.shape[0], self.atom_types.device
        none = torch.zeros(2, 0, dtype=torch.int64, device=device)
        empty = self.cutoffs.new_zeros(0)
        near, places = self.first_neighbor_index, self.largest_system
        waves = (self.first_wave, self.second_wave, self.third_wave)
        first, second, third = (empty if w is None else w for w in waves)
        edges, shifts = self.edge_index, self.edge_cell_shift
        own, total = self.index_in_system, self.total_charge
        return Graph(
            atom_types=self.atom_types,
            neighbor_index=self.neighbor_index,
            cell_shift=self.cell_shift,
            mask=self.mask,
            reverse_neighbor_index=self.reverse_neighbor_index,
            edge_index=none if edges is None else edges,
            edge_cell_shift=none.T if shifts is None else shifts,
            system_index=self.system_index,
            index_in_system=self.system_index if own is None else own,
            cell=self.cell,
            periodic_axes=self.system_index.new_full((frames,), 3),
            total_charge=self.cutoffs.new_zeros(frames) if total is None else total,
            kvectors=(first, second, third),
            cutoff=cutoff,
            largest_system=1 if places is None else places.shape[0],
            isolated=kind.long_range and kind.isolated,
            first_neighbor_index=None if near is None else self.neighbor_index[:, : near.shape[1]],
        )

    def tensors(self) -> tuple[Tensor, ...]:
        """Those that are used, in order."""
        return tuple(t for t in self if t is not None)

    def names(self) -> tuple[str, ...]:
        """Names of those that are used, in order."""
        return tuple(n for n, t in zip(self._fields, self, strict=True) if t is not None)

    def suit(self, kind: BatchKind) -> bool:
        """Whether a program takes these sizes: lengths that vary may be neither zero nor one."""
        return all(
            tensor.shape[axis] >= 2
            for name, tensor in zip(self._fields, self, strict=True)
            if tensor is not None
            for axis in _dynamic(name, kind)
        )


#: Axes of the inputs whose lengths are those of frames.
_FRAMES: Final = ("cell", "total_charge")
_DYNAMIC: Final[dict[str, tuple[int, ...]]] = {
    "neighbor_index": (0, 1),
    "cell_shift": (0, 1),
    "mask": (0, 1),
    "first_neighbor_index": (0, 1),
    "edge_index": (1,),
}


def _dynamic(name: str, kind: BatchKind) -> tuple[int, ...]:
    if name in _FRAMES and not kind.several:
        return ()
    return _DYNAMIC.get(name, (0,))


class TrainingPrograms:
    """Programs of a network's sizes and elements, compiled when they are first wanted.

    Parameters
    ----------
    network
        Its weights are not looked at.
    """

    def __init__(self, network: DensityNetwork) -> None:
        self._network = copy.deepcopy(network).requires_grad_(False)
        # energies of the pair potential have no derivatives with respect to weights
        self._bare = copy.deepcopy(self._network)
        self._bare.pair_baseline = None
        self._names = [name for name, _ in self._network.named_parameters()]
        self._loaded: dict[tuple[str, BatchKind], Run] = {}

    def prepare(self, graph: Graph, scale: ResolvedScale) -> None:
        """Compile what batches like this one are computed with, or find it in the user's cache.

        Raises
        ------
        InputError
            No C++ compiler, or one that fails; a program that computes something else than the
            network.
        """
        kind = BatchKind.of(graph, scale)
        if kind is None:
            return
        # a gradient is of a batch and its twin
        wanted = [(DERIVATIVES, kind), (GRADIENT, replace(kind, several=True))]
        self._load([key for key in wanted if key not in self._loaded])

    def derivatives(
        self,
        graph: Graph,
        positions: Tensor,
        scale: ResolvedScale,
        weights: Sequence[Tensor],
        fitted: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, AtomicProperties] | None:
        """Energies, forces, virials and the rest; none: there is no program for this batch.

        ``fitted`` are the network's buffers of ``FITTED``.
        """
        found = self._suiting(DERIVATIVES, graph, positions, graph.cell, scale)
        if found is None:
            return None
        run, tensors = found
        with torch.no_grad():
            energy, forces, virial, own, charges, long = run(*weights, *fitted, *tensors)
        return energy, forces, virial, AtomicProperties(own, charges, long, scale.cutoffs)

    def gradient(
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        scale: ResolvedScale,
        weights: Sequence[Tensor],
        fitted: Sequence[Tensor],
        seeds: Tensor,
    ) -> list[Tensor] | None:
        """Derivatives of weighted energies by all weights; none: there is no program."""
        found = self._suiting(GRADIENT, graph, positions, cell, scale)
        if found is None:
            return None
        run, tensors = found
        with torch.no_grad():
            return list(run(*weights, *fitted[:1], *tensors, seeds))

    def _suiting(
        self, what: str, graph: Graph, positions: Tensor, cell: Tensor, scale: ResolvedScale
    ) -> tuple[Run, tuple[Tensor, ...]] | None:
        kind = BatchKind.of(graph, scale)
        run = None if kind is None else self._loaded.get((what, kind))
        if kind is None or run is None:
            return None
        inputs = BatchInputs.of(graph, positions, cell, scale, kind)
        torch.get_num_threads()  # PyTorch tells OpenMP only when it is asked, in each thread
        return (run, inputs.tensors()) if inputs.suit(kind) else None

    def _load(self, wanted: Sequence[tuple[str, BatchKind]]) -> None:
        """Load programs; what is not there is compiled, with kernels that are compiled once."""
        missing = [key for key in wanted if not self._path(*key).is_file()]
        if missing:
            with linked_kernels(self._network) as kernels:
                for what, kind in missing:
                    path = self._path(what, kind)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    function, tensors, shapes = self._traced(what, kind)
                    compile_function(function, tensors, shapes, path, kernels)
        for what, kind in wanted:
            path = self._path(what, kind)
            function, tensors, _ = self._traced(what, kind)
            try:
                run = load_function(path)
                if not equal(run(*tensors), function(*tensors)):
                    raise InputError(str(path), "computes something else than the network", REMEDY)
            except InputError:
                path.unlink(missing_ok=True)  # the next training makes another
                raise
            self._loaded[what, kind] = run

    def _traced(
        self, what: str, kind: BatchKind
    ) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...], Any]:
        """A function, what it is traced with, and which of its axes vary."""
        inputs = self._example(kind)
        given, names = inputs.tensors(), inputs.names()
        weights, fitted = tuple(self._network.parameters()), fitted_buffers(self._network)
        auto = torch.export.Dim.AUTO
        shapes = [dict.fromkeys(_dynamic(name, kind), auto) or None for name in names]
        if what == DERIVATIVES:
            before = (*weights, *fitted)
            return (
                self._derivatives(kind, names),
                (*before, *given),
                (*[None] * len(before), *shapes),
            )
        before = (*weights, *fitted[:1])
        seeds = torch.linspace(0.5, 1.0, len(inputs.cell), dtype=inputs.cutoffs.dtype)
        of_seeds = {0: auto} if kind.several else None
        return (
            self._gradient(kind, names),
            (*before, *given, seeds),
            (*[None] * len(before), *shapes, of_seeds),
        )

    def _path(self, what: str, kind: BatchKind) -> Path:
        network = self._network
        # forks of a ladder compute what it computes
        settings = network.settings.model_copy(update={"fork": None})
        parts = (
            source_digest("scalewise.models.programs.training"),
            hashlib.sha256(SOURCE.read_bytes()).hexdigest(),
            torch.__version__,
            str(next(network.parameters()).dtype),
            repr(settings),
            repr(network.elements),
            " ".join(processor()),
        )
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        return cache_folder() / f"{key}-{kind.name}-{what}.pt2"

    def _example(self, kind: BatchKind) -> BatchInputs:
        settings, elements = self._network.settings, self._network.elements
        dtype = next(self._network.parameters()).dtype
        frame = example_frame(elements, 0 if kind.isolated else 3)
        graph = build(
            frame,
            elements,
            settings.cutoff,
            smearing=settings.smearing if settings.charges else 0.0,
            near=settings.first_layer_cutoff,
        ).to(dtype=dtype)
        positions = torch.from_numpy(frame.positions)
        near, slots = graph.first_neighbor_index, graph.neighbor_index.shape[1]
        if near is not None and near.shape[1] == slots:
            graph = widened(graph, slots + SLOTS)  # a program takes equal widths for one
        if kind.several:
            graph, positions = batch([graph, graph]), torch.cat([positions, positions])
        cutoffs = torch.full((len(positions),), settings.cutoff, dtype=dtype)
        scale = ResolvedScale(cutoffs, torch.ones_like(cutoffs) if kind.long_range else None)
        return BatchInputs.of(graph, positions, graph.cell, scale, kind)

    def _derivatives(
        self, kind: BatchKind, names: tuple[str, ...]
    ) -> Callable[..., tuple[Tensor, ...]]:
        """Energies, forces, virials, energies of atoms, charges, long-range energies."""
        network = self._network
        keys = [*self._names, *FITTED[: len(fitted_buffers(network))]]

        def derivatives(*given: Tensor) -> tuple[Tensor, ...]:
            state = dict(zip(keys, given, strict=False))
            inputs = _named(names, given[len(keys) :])
            graph = inputs.graph(kind, network.settings.cutoff)
            scale = ResolvedScale(inputs.cutoffs, inputs.share)

            def energy(places: Tensor, strain: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
                moved, cell = strained(graph, places, strain)
                found = torch.func.functional_call(network, state, (graph, moved, cell, scale))
                of_frames = energies_of(graph, found)
                rest = (found.energies, found.charges, found.long_range_energies)
                return of_frames.sum(), (of_frames, *rest)

            strain = torch.zeros_like(inputs.cell)
            (gradient, virial), (_, found) = torch.func.grad_and_value(
                energy, argnums=(0, 1), has_aux=True
            )(inputs.positions, strain)
            dtype = inputs.cutoffs.dtype
            return found[0], -gradient.to(dtype), virial.to(dtype), *found[1:]

        return derivatives

    def _gradient(
        self, kind: BatchKind, names: tuple[str, ...]
    ) -> Callable[..., tuple[Tensor, ...]]:
        """Derivatives of weighted energies by all weights."""
        network, keys = self._bare, self._names

        def gradient(*given: Tensor) -> tuple[Tensor, ...]:
            weights = dict(zip(keys, given, strict=False))
            scale_of_energy, *tensors, seeds = given[len(keys) :]
            inputs = _named(names, tuple(tensors))
            graph = inputs.graph(kind, network.settings.cutoff)
            scale = ResolvedScale(inputs.cutoffs, inputs.share)

            def energy(weights: dict[str, Tensor]) -> Tensor:
                state = {**weights, FITTED[0]: scale_of_energy}
                at = (graph, inputs.positions, inputs.cell, scale)
                found = torch.func.functional_call(network, state, at)
                return (seeds * energies_of(graph, found)).sum()

            found = torch.func.grad(energy)(weights)
            return tuple(found[name] for name in keys)

        return gradient


def fitted_buffers(network: DensityNetwork) -> list[Tensor]:
    """Those of ``FITTED`` that a network has."""
    own = dict(network.named_buffers())
    return [own[name] for name in FITTED if name in own]


def _named(names: tuple[str, ...], tensors: Sequence[Tensor]) -> BatchInputs:
    nothing: dict[str, Any] = dict.fromkeys(BatchInputs._fields)
    return BatchInputs(**{**nothing, **dict(zip(names, tensors, strict=True))})
