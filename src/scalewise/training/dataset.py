"""Training frames as tensors (graph, positions, labels), in an order given by the seed.

The neighbor lists of a frame are built when it is needed, in threads that run some steps ahead of
the training, and are kept as long as there is memory. Frames may be in shards on disk; then only
the frames in use are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from threading import Lock
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from scalewise.data import columns
from scalewise.data.shards import ShardedStructures
from scalewise.data.structure import Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.graph import Graph, build
from scalewise.models.graph_operations import batch, trim_edges

#: Atoms of a step, in all processes: a long training in larger steps had larger errors outside its
#: data (one set, one seed; docs/findings.md).
ATOMS_PER_STEP = 60
#: Steps of an epoch at least, before steps get smaller: of 45 frames, steps of one or two
#: generalise better than steps of five or ten (docs/findings.md).
STEPS_PER_EPOCH = 20
#: Bytes of prepared frames that are kept in memory, of each role.
ROOM = float(512 << 20)
#: Threads that prepare batches, and how many steps they may be ahead.
THREADS = 2
AHEAD = 4


@dataclass(frozen=True, eq=False)
class Batch:
    """One frame or a batch of them; labels that are missing have a weight of zero.

    Attributes
    ----------
    graph, positions, forces
        The input, positions in double precision, and the label of every atom [atoms, 3].
    has_forces
        Whether the forces of a frame are known [frames].
    energy, has_energy
        Total energy above that of the composition model, eV, and whether it is known [frames].
    virial, has_stress
        Volume times stress, eV [frames, 3, 3], and whether it is known [frames].
    volume
        Å³, or one where a frame has none [frames].
    names
        File and number of each frame.
    """

    graph: Graph
    positions: Tensor
    forces: Tensor
    has_forces: Tensor
    energy: Tensor
    has_energy: Tensor
    virial: Tensor
    has_stress: Tensor
    volume: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> Batch:
        """Move to a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, graph=self.graph.to(device), **moved)


_TENSORS = (
    *("positions", "forces", "has_forces", "energy", "has_energy", "virial", "has_stress"),
    "volume",
)


@dataclass(frozen=True, eq=False)
class TrainingSamples(Sequence[Batch]):
    """Structures as batches of one frame: neighbors are listed when one is asked for.

    Attributes
    ----------
    frames
        The structures.
    composition
        Energies are those above it.
    network
        Says how far neighbors are.
    dtype
        Of labels and graph.
    """

    frames: Sequence[Structure]
    composition: CompositionModel
    network: NetworkSettings
    dtype: torch.dtype
    _kept: dict[int, Batch] = field(init=False, repr=False, default_factory=dict)
    _room: list[float] = field(init=False, repr=False, default_factory=lambda: [ROOM])
    _lock: Lock = field(init=False, repr=False, default_factory=Lock)

    def __reduce__(self) -> tuple[type[TrainingSamples], tuple[Any, ...]]:
        """Leave out what is kept: other processes list their own neighbors."""
        return TrainingSamples, (self.frames, self.composition, self.network, self.dtype)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def atoms(self) -> float:
        """Of a frame, on average."""
        return float(columns.sizes(self.frames).mean())

    @overload
    def __getitem__(self, key: int) -> Batch: ...
    @overload
    def __getitem__(self, key: slice) -> TrainingSamples: ...
    def __getitem__(self, key: int | slice) -> Batch | TrainingSamples:
        """Prepare one frame, or take it from those that are kept; of a slice, prepare nothing.

        Raises
        ------
        InputError
            As :func:`scalewise.models.graph.build`.
        """
        if isinstance(key, slice):
            return replace(self, frames=self.frames[key])
        kept = self._kept.get(key)
        if kept is None:
            kept = self._prepared(self.frames[key])
            size = _size(kept)
            with self._lock:
                if size <= self._room[0] and key not in self._kept:
                    self._room[0] -= size
                    self._kept[key] = kept
        return kept

    def _prepared(self, frame: Structure) -> Batch:
        network, elements = self.network, self.composition.elements
        graph = build(
            frame,
            elements,
            network.cutoff,
            smearing=network.smearing if network.charges else 0.0,
            near=network.first_layer_cutoff,
        )
        if network.fork is not None and network.fork.cutoff < graph.cutoff:
            # not built so short: the pairs of the electrostatics are those of the ladder
            positions = torch.as_tensor(frame.positions, dtype=torch.float64)
            graph = trim_edges(graph, positions, network.fork.cutoff)
        return _sample(frame, graph.to(dtype=self.dtype), self.composition, self.dtype)


def prefetched(samples: Sequence[Batch], steps: Iterable[Sequence[int]]) -> Iterator[Batch]:
    """Yield the batch of each step, prepared in threads while others are trained on.

    Raises
    ------
    InputError
        As :class:`TrainingSamples`, at the step of the frame.
    """

    def joined(members: Sequence[int]) -> Batch:
        return join([samples[k] for k in members])

    with ThreadPoolExecutor(THREADS) as pool:
        ahead: deque[Future[Batch]] = deque()
        try:
            for members in steps:
                ahead.append(pool.submit(joined, members))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _size(sample: Batch) -> float:
    """Bytes of what a batch holds."""
    values = [getattr(sample, name) for name in _TENSORS]
    values += [getattr(sample.graph, f.name) for f in fields(sample.graph)]
    return float(sum(v.nbytes for v in values if isinstance(v, Tensor)))


def prepare(
    frames: Sequence[Structure],
    composition: CompositionModel,
    network: NetworkSettings,
    dtype: torch.dtype,
    *,
    known: bool = False,
) -> TrainingSamples:
    """List neighbors and convert labels, of frames in memory at once.

    Of shards, and of frames that are ``known`` to be sound, nothing is listed before it is asked
    for: a short training asks for few of them.

    Raises
    ------
    InputError
        As :func:`scalewise.models.graph.build`.
    """
    samples = TrainingSamples(frames, composition, network, dtype)
    if not known and not isinstance(frames, ShardedStructures):
        for _ in samples:  # what is wrong with a frame is said before the training
            pass
    return samples


def _sample(
    frame: Structure, graph: Graph, composition: CompositionModel, dtype: torch.dtype
) -> Batch:
    energy = (
        0.0
        if frame.labels.energy is None
        else frame.labels.energy - composition.energy(frame.numbers)
    )
    volume, stress = frame.volume, frame.labels.stress
    known = stress is not None and volume is not None
    virial = np.zeros((3, 3)) if stress is None or volume is None else stress * volume

    forces = frame.labels.forces

    def number(value: float) -> Tensor:
        return torch.tensor([value], dtype=dtype)

    return Batch(
        graph=graph,
        # vectors between neighbors are formed in double precision, then rounded
        positions=torch.as_tensor(frame.positions, dtype=torch.float64),
        forces=torch.as_tensor(
            np.zeros_like(frame.positions) if forces is None else forces, dtype=dtype
        ),
        has_forces=number(float(forces is not None)),
        energy=number(energy),
        has_energy=number(float(frame.labels.energy is not None)),
        virial=torch.as_tensor(virial, dtype=dtype)[None],
        has_stress=number(float(known)),
        volume=number(1.0 if volume is None else volume),
        names=(frame.where,),
    )


def frames_per_step(frames: Sequence[Structure], processes: int) -> int:
    """Frames of each process that make a step of about ``ATOMS_PER_STEP`` atoms in all of them.

    Few frames make smaller steps, ``STEPS_PER_EPOCH`` of them in an epoch at least. Each process
    has one frame at least.

    Examples
    --------
    >>> water = Structure(np.array([8, 1, 1]), np.eye(3), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    >>> frames_per_step([water] * 1000, 1), frames_per_step([water] * 40, 2)
    (20, 1)
    """
    atoms = float(columns.sizes(frames).mean())
    together = min(round(ATOMS_PER_STEP / atoms), len(frames) // STEPS_PER_EPOCH)
    return max(1, round(together / processes))


def join(samples: Sequence[Batch]) -> Batch:
    """Make one batch of several samples."""
    if len(samples) == 1:
        return samples[0]
    joined = {name: torch.cat([getattr(s, name) for s in samples]) for name in _TENSORS}
    names = tuple(n for s in samples for n in s.names)
    return replace(samples[0], graph=batch([s.graph for s in samples]), names=names, **joined)


def in_batches(members: Sequence[int], size: int) -> list[list[int]]:
    """Divide samples into batches of a size; a last one that is alone goes to the one before.

    Examples
    --------
    >>> in_batches(range(7), 3)
    [[0, 1, 2], [3, 4, 5, 6]]
    """
    found = [list(members[k : k + size]) for k in range(0, len(members), size)]
    if size > 1 and len(found) > 1 and len(found[-1]) == 1:
        found[-2:] = [found[-2] + found[-1]]
    return found


def epoch_batches(
    count: int, *, seed: int, epoch: int, batch_size: int, rank: int = 0, processes: int = 1
) -> Iterator[list[int]]:
    """Yield the samples of each step of one epoch for one process.

    The order depends on seed and epoch alone. A step takes ``batch_size * processes`` samples, so
    n processes see together what one process sees with an n times larger batch. What does not
    fill the last step is left out, another part in every epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    whole = min(batch_size * processes, count)
    for start in range(0, count - whole + 1, whole):
        share = order[start : start + whole][rank::processes]
        if len(share):
            yield share.tolist()
