"""Pairs within a cutoff, from vesin, with the checks that a periodic box needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from vesin import NeighborList

from scalewise.data.frames import Frame
from scalewise.errors import InputError


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs i, j with the vector from i to j (Å), its length, and the lattice shift of j."""

    i: Int[np.ndarray, " pairs"]
    j: Int[np.ndarray, " pairs"]
    vector: Float[np.ndarray, "pairs 3"]
    distance: Float[np.ndarray, " pairs"]
    shift: Int[np.ndarray, "pairs 3"]

    def select(self, mask: np.ndarray) -> Pairs:
        """Keep the pairs where ``mask`` is true."""
        return Pairs(
            self.i[mask], self.j[mask], self.vector[mask], self.distance[mask], self.shift[mask]
        )


def build(frame: Frame, cutoff: float, *, full: bool = False, images: bool = False) -> Pairs:
    """Find all pairs closer than ``cutoff`` (Å), each once, or in both directions if ``full``.

    With ``images`` an atom may see its own images and one neighbour more than once, as it must in
    cells smaller than the cutoff.

    Raises
    ------
    InputError
        A cell lower than the cutoff, unless ``images``; a periodic cell without volume;
        periodicity in one or two directions only.
    """
    check_cell(frame, 0.0 if images else cutoff)
    periodic = bool(frame.pbc.all())
    finder = NeighborList(cutoff=cutoff, full_list=full, sorted=True, n_threads=1)
    i, j, shift, distance, vector = finder.compute(
        points=frame.positions, box=frame.cell, periodic=periodic, quantities="ijSdD"
    )
    return Pairs(i.astype(np.int64), j.astype(np.int64), vector, distance, shift.astype(np.int64))


def height(frame: Frame) -> float:
    """Least distance (Å) between two faces of a cell with volume."""
    faces = np.linalg.norm(np.cross(frame.cell[[1, 2, 0]], frame.cell[[2, 0, 1]]), axis=1)
    return float((abs(np.linalg.det(frame.cell)) / faces).min())


def check_cell(frame: Frame, cutoff: float) -> None:
    """Refuse cells that do not go with the cutoff; see :func:`build`."""
    if frame.pbc.any() and not frame.pbc.all():
        raise InputError(
            f"{frame.where}, key 'pbc'",
            f"periodicity {frame.pbc.tolist()}",
            "Only fully periodic and non-periodic frames can be used.",
        )
    if frame.pbc.all():
        volume = abs(np.linalg.det(frame.cell))
        if volume < 1e-6:
            raise InputError(
                f"{frame.where}, key 'Lattice'", "a cell without volume", "Write the cell."
            )
        lowest = height(frame)
        if lowest < cutoff:
            raise InputError(
                f"{frame.where}, key 'Lattice'",
                f"the cell is {lowest:.2f} Å high, lower than the cutoff of {cutoff:g} Å",
                "Use larger cells, or shorter distances in router.cutoff, branches and regimes.",
            )
