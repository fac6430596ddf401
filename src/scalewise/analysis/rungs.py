"""Rungs of a ladder, measured: errors and wall time of every scale on the same frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scalewise.analysis.evaluation.predict import Watch
from scalewise.core.errors import InputError
from scalewise.data import neighbors
from scalewise.data.structure import Frame
from scalewise.models.opening import open_model
from scalewise.models.potential import Potential


@dataclass(frozen=True, eq=False)
class Rung:
    """One scale for all atoms: a cutoff, Å, and whether long range acts; and whose scale it is.

    Without a cutoff, the potential's router gives every atom its own.
    """

    potential: Potential
    cutoff: float | None
    long_range: bool
    name: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """What every rung did on the same frames.

    Attributes
    ----------
    errors
        Predicted minus labelled force, eV/Å [rungs, atoms, 3].
    seconds
        Of energy, forces and stress with a neighbor list that exists [rungs, frames].
    neighbors
        Mean number of neighbors of an atom [rungs].
    """

    errors: Float[np.ndarray, "rungs atoms 3"]
    seconds: Float[np.ndarray, "rungs frames"]
    neighbors: Float[np.ndarray, " rungs"]

    def cost(self, frames: Sequence[Frame]) -> Float[np.ndarray, " rungs"]:
        """Median time, µs per atom; the first frame pays for what is set up once: left out."""
        atoms = np.array([max(len(f.numbers), 1) for f in frames])
        first = int(len(frames) > 1)
        found: np.ndarray = 1e6 * np.median((self.seconds / atoms)[:, first:], axis=1)
        return found


def open_ladder(model: Path, *, device: str = "auto") -> Potential:
    """Read a potential that was trained over a ladder.

    Raises
    ------
    InputError
        A potential of one scale, or none.
    """
    potential = open_model(model, device=device)
    if not potential.network.settings.ladder:
        raise InputError(
            str(model),
            f"a potential of one scale, {potential.cutoff:g} Å",
            "Train one over a ladder: scalewise train DATA --ladder 3,6.5,long",
        )
    return potential


def ladder_rungs(potential: Potential, cutoffs: Sequence[float]) -> list[Rung]:
    """Rungs of a potential at each cutoff, with long range and, where it is switched, without.

    Raises
    ------
    InputError
        A cutoff (Å) that the potential was not trained for.
    """
    settings = potential.network.settings
    for cutoff in cutoffs:
        if not settings.shortest_cutoff <= cutoff <= settings.cutoff:
            raise InputError(
                "key 'cutoffs'",
                f"{cutoff:g} Å",
                f"The network was trained from {settings.shortest_cutoff:g} to "
                f"{settings.cutoff:g} Å; another range is trained with `scalewise train --ladder`.",
            )
    kinds = (False, True) if settings.long_range_optional else (settings.charges,)
    return [Rung(potential, cutoff, long) for long in kinds for cutoff in cutoffs]


def measure(frames: Sequence[Frame], rungs: Sequence[Rung], watch: Watch = iter) -> Measured:
    """Predict every frame at every rung, the rungs in turn, so that all share the same machine."""
    errors: list[list[np.ndarray]] = [[] for _ in rungs]
    seconds = np.zeros((len(rungs), len(frames)))
    counts, atoms = np.zeros(len(rungs)), 0
    longest = max(r.potential.cutoff if r.cutoff is None else r.cutoff for r in rungs)
    for at, frame in enumerate(watch(frames)):
        graphs = {id(r.potential): r.potential.graph(frame) for r in rungs}
        pairs = neighbors.build(frame, longest, full=True, images=True)
        for k, rung in enumerate(rungs):
            graph = graphs[id(rung.potential)]
            start = time.perf_counter()
            found = rung.potential.derivatives(
                graph, frame.positions, rung.cutoff, long=rung.long_range
            )
            seconds[k, at] = time.perf_counter() - start
            errors[k].append(found.forces.double().cpu().numpy() - frame.forces)
            counts[k] += (pairs.distance < found.cutoffs.double().cpu().numpy()[pairs.i]).sum()
        atoms += len(frame.numbers)
    return Measured(np.stack([np.concatenate(e) for e in errors]), seconds, counts / max(atoms, 1))
