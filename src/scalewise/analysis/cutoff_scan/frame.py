"""One of the scored frames, with the cutoff that each of its atoms needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from scalewise.analysis.rungs import Measured, Rung
from scalewise.data.structure import Structure

#: Atoms that are shown, at most.
MOST_ATOMS: Final = 5000


def settled_cutoffs(
    forces: Float[np.ndarray, "scales atoms 3"], cutoffs: Sequence[float], tolerance: float
) -> Float[np.ndarray, " atoms"]:
    """Shortest cutoff (Å) from which on an atom's force stays within a tolerance of the longest's.

    Parameters
    ----------
    forces
        Predictions at rising cutoffs, or their errors, eV/Å.
    cutoffs
        Å, rising.
    tolerance
        eV/Å, of the length of the difference.

    Examples
    --------
    >>> forces = np.zeros((3, 2, 3))
    >>> forces[:, 0, 0] = 0.5, 0.1, 0.0
    >>> settled_cutoffs(forces, (3.0, 4.0, 5.0), tolerance=0.2).tolist()
    [4.0, 3.0]
    """
    away = np.linalg.norm(forces - forces[-1], axis=-1) > tolerance
    # scales after the last one that is away; of the longest itself nothing is
    first = len(cutoffs) - np.argmax(away[::-1], axis=0)
    return np.asarray(cutoffs)[np.where(away.any(axis=0), first, 0)]


def typical_frame(
    numbers: Int[np.ndarray, " frames"],
    frames: Sequence[Structure],
    measured: Measured,
    rungs: Sequence[Rung],
    reference: int,
) -> dict[str, Any] | None:
    """Return the frame of median error for ``curve.json``; none where all have too many atoms.

    An atom needs the shortest cutoff from which on its force differs from that at the longest scale
    by no more than the mean length of this scale's errors over all frames.

    Parameters
    ----------
    numbers
        Of the frames, in the data.
    frames, measured, rungs
        What was scored.
    reference
        The longest scale.
    """
    starts = np.cumsum([0, *(len(f.numbers) for f in frames)])
    size = np.linalg.norm(measured.errors[reference], axis=1)
    mean = np.array([size[a:b].mean() for a, b in pairwise(starts.tolist())])
    small = [k for k in np.argsort(mean) if len(frames[k].numbers) <= MOST_ATOMS]
    if not small:
        return None
    k = small[len(small) // 2]
    # cutoffs rise among them, and the reference is the last
    own = [r for r, rung in enumerate(rungs) if _of_one_kind(rung, rungs[reference])]
    forces = measured.errors[own, starts[k] : starts[k + 1]]
    tolerance = float(size.mean())
    cutoffs = [float(rungs[r].cutoff or 0.0) for r in own]
    frame = frames[k]
    return {
        "number": int(numbers[k]),
        "atomic_numbers": frame.numbers.tolist(),
        "positions": frame.positions.round(4).tolist(),
        "cell": frame.cell.round(6).tolist(),
        "pbc": frame.pbc.tolist(),
        "cutoffs": settled_cutoffs(forces, cutoffs, tolerance).tolist(),
        "range": [cutoffs[0], cutoffs[-1]],
        "tolerance": 1e3 * tolerance,
    }


def _of_one_kind(rung: Rung, reference: Rung) -> bool:
    return not rung.name and rung.long_range == reference.long_range and rung.cutoff is not None
