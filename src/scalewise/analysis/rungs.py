"""Measure the scales of a ladder: errors and wall time of every scale on the same frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress
from scalewise.data import columns, neighbors
from scalewise.data.structure import Structure
from scalewise.models.protocol import InteratomicPotential, LongRange, Scale, prepare
from scalewise.models.quickened import quickened


@dataclass(frozen=True, eq=False)
class Rung:
    """One scale for all atoms: a cutoff, Å, and whether long range acts; and of which model.

    Without a cutoff, the model gives every atom its own.
    """

    model: InteratomicPotential
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
        Mean number of neighbors of an atom [rungs]; no number where a model does not say.
    """

    errors: Float[np.ndarray, "rungs atoms 3"]
    seconds: Float[np.ndarray, "rungs frames"]
    neighbors: Float[np.ndarray, " rungs"]

    def cost(self, frames: Sequence[Structure]) -> Float[np.ndarray, " rungs"]:
        """Median time, µs per atom; the first frame pays for what is set up once: left out."""
        atoms = np.array([max(len(f.numbers), 1) for f in frames])
        first = int(len(frames) > 1)
        found: np.ndarray = 1e6 * np.median((self.seconds / atoms)[:, first:], axis=1)
        return found


def check_range(model: InteratomicPotential) -> tuple[float, float]:
    """Return the shortest and the longest cutoff (Å) of a model that has more than one.

    Raises
    ------
    InputError
        A model of one cutoff, or of none that is known.
    """
    ends = model.cutoff_range
    if ends is None or not ends[0] < ends[1]:
        found = "a model whose cutoff is not known" if ends is None else f"one scale, {ends[1]:g} Å"
        raise InputError(
            f"model {model.name}",
            found,
            "Train one over a ladder: scalewise train DATA --ladder 3,6.5,long",
        )
    return ends


def ladder_rungs(model: InteratomicPotential, cutoffs: Sequence[float]) -> list[Rung]:
    """Rungs of a model at each cutoff, with long range and, where that is optional, without.

    Raises
    ------
    InputError
        A cutoff (Å) that the model was not trained for.
    """
    ends = model.cutoff_range
    shortest, longest = check_range(model) if ends is None else ends
    for cutoff in cutoffs:
        if not shortest <= cutoff <= longest:
            raise InputError(
                "key 'cutoffs'",
                f"{cutoff:g} Å",
                f"The network was trained from {shortest:g} to {longest:g} Å; another range is "
                "trained with `scalewise train --ladder`.",
            )
    # what cannot be turned off is not asked to be
    fixed = model.long_range is not LongRange.NONE
    kinds = (False, True) if model.long_range is LongRange.OPTIONAL else (fixed,)
    return [Rung(model, cutoff, long_range) for long_range in kinds for cutoff in cutoffs]


def measure(
    frames: Sequence[Structure], rungs: Sequence[Rung], progress: Progress = SILENT
) -> Measured:
    """Predict every frame at every rung, the rungs in turn, so that all share the same machine."""
    work = len(rungs) * float(columns.sizes(frames).sum())
    own = {id(rung.model): rung.model for rung in rungs}
    models = {key: quickened(model, work) for key, model in own.items()}
    errors: list[list[np.ndarray]] = [[] for _ in rungs]
    seconds = np.zeros((len(rungs), len(frames)))
    counts, atoms = np.zeros(len(rungs)), 0
    ends = [r.model.cutoff_range for r in rungs if r.cutoff is None]
    given = [r.cutoff for r in rungs if r.cutoff is not None]
    longest = max([*given, *(e[1] for e in ends if e is not None)])
    for at, frame in enumerate(progress.track(frames, "Predicting")):
        prepared = {key: prepare(model, frame) for key, model in models.items()}
        pairs = neighbors.build(frame, longest, full=True, images=True)
        for k, rung in enumerate(rungs):
            evaluate = prepared[id(rung.model)]
            start = time.perf_counter()
            found = evaluate(Scale(rung.cutoff, rung.long_range))
            seconds[k, at] = time.perf_counter() - start
            errors[k].append(found.forces - frame.labelled_forces)
            if found.cutoffs is None and rung.cutoff is None:
                counts[k] = np.nan  # how far it sees is not known
                continue
            used = (
                np.full(len(frame.numbers), rung.cutoff) if found.cutoffs is None else found.cutoffs
            )
            counts[k] += (pairs.distance < used[pairs.i]).sum()
        atoms += len(frame.numbers)
    return Measured(np.stack([np.concatenate(e) for e in errors]), seconds, counts / max(atoms, 1))
