"""The sphere that a model of short range sees around an atom: held fixed, and kept from others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import ase.units
import numpy as np
from jaxtyping import Bool, Float

from scalewise.core.errors import InputError
from scalewise.data import neighbors
from scalewise.data.structure import Structure, check_cell, nearest_image

#: Å between the sphere and the wall that keeps other atoms out of it.
GAP: Final = 0.3
#: kT that it costs an atom to get from the wall to the sphere.
FIRM: Final = 16.0


@dataclass(frozen=True, eq=False)
class Sphere:
    r"""All atoms within ``radius`` (Å) of an atom of a frame, and the wall around them.

    The atoms within the wall, at ``radius`` + 0.3 Å, are held fixed. Free atoms stay outside: given
    that all atoms within the wall are known, keeping others out is no approximation. The softness
    of the wall, whose energy at the sphere is 16 kT, is an approximation: it lets free atoms a
    short way into the gap. Within the sphere no atom moves and none enters, so that a model of this
    range sees the same in every sample.
    """

    frame: Structure
    atom: int
    radius: float
    held: Bool[np.ndarray, " atoms"]

    @property
    def wall(self) -> float:
        """Å from the atom, where free atoms are pushed back."""
        return self.radius + GAP

    @classmethod
    def around(cls, frame: Structure, atom: int, radius: float) -> Sphere:
        """The sphere around one atom of a frame.

        Raises
        ------
        InputError
            A wall that meets its own image.
        """
        check_radius(frame, radius)
        empty = cls(frame, atom, radius, np.zeros(len(frame.numbers), dtype=bool))
        return replace(empty, held=empty._from_centre(frame.positions)[1] < empty.wall)

    def entered(self, positions: Float[np.ndarray, "atoms 3"]) -> bool:
        """Whether an atom that is free has come into the sphere (positions in Å)."""
        return bool((self._from_centre(positions)[1][~self.held] < self.radius).any())

    def push(
        self, positions: Float[np.ndarray, "atoms 3"], temperature: float
    ) -> Float[np.ndarray, "atoms 3"]:
        """Force (eV/Å) of the wall on every free atom: a spring from the wall inwards."""
        vectors, apart = self._from_centre(positions)
        depth = np.where(self.held, 0.0, np.clip(self.wall - apart, 0.0, None))
        outwards = vectors / np.where(apart > 0.0, apart, 1.0)[:, None]
        return stiffness(temperature) * depth[:, None] * outwards

    def _from_centre(
        self, positions: Float[np.ndarray, "atoms 3"]
    ) -> tuple[Float[np.ndarray, "atoms 3"], Float[np.ndarray, " atoms"]]:
        vectors = positions - positions[self.atom]
        # what is within half a cell is at its nearest image
        vectors = nearest_image(vectors, self.frame.lattice, self.frame.pbc)
        return vectors, np.linalg.norm(vectors, axis=1)


def stiffness(temperature: float) -> float:
    """Of the wall's spring (eV/Å²): half of it times the square of the gap is 16 kT.

    Examples
    --------
    >>> round(stiffness(300.0), 2)
    9.19
    """
    return 2.0 * FIRM * ase.units.kB * temperature / GAP**2


def check_radius(frame: Structure, radius: float) -> None:
    """Refuse a wall that meets its own image, which leaves nothing free in between.

    Raises
    ------
    InputError
        The radius and the gap reach half a cell along a periodic axis.
    """
    check_cell(frame.cell, frame.pbc, frame.where)
    least = neighbors.height(frame)
    if radius + GAP >= 0.5 * least:
        raise InputError(
            "key 'radii'",
            f"{radius:g} Å, but half of the cell of {frame.where} is {0.5 * least:.3g} Å, "
            f"and all within {GAP} Å more is held",
            f"Give radii below {0.5 * least - GAP:.3g} Å, or frames of a larger cell."
            if least > 2.0 * GAP
            else "Give frames of a larger cell.",
        )
