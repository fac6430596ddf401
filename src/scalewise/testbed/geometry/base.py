"""Base class of geometries: initial filling, edges that the barostat changes, places of molecules.

Fillings are in nm, as OpenMM needs them; places are determined in finished frames, in Å. The place
of a molecule is that of its first atom (oxygen, or the ion), so that a molecule has one place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from jaxtyping import Bool, Float, Shaped

from scalewise.core.errors import InputError
from scalewise.core.quantities import NM
from scalewise.testbed.settings import SolutionSettings

#: Å between any two ions at the start.
ION_DISTANCE: Final = 4.0
#: Å: molecules closer to a surface or to a crystal are at it. One layer of water (3 Å) and the
#: roughness of a surface of water at this size, about 1 Å.
LAYER: Final = 4.0

_MOLAR: Final = 6.02214076e-4  # particles per Å3

Points = Float[np.ndarray, "points 3"]
Lengths = Float[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class Filling:
    """Initial contents of a cell, in nm.

    Attributes
    ----------
    cell
        Edges of the orthorhombic cell, nm [3].
    ions
        Positions of the ions, nm [ions, 3]: all sodium ions, then as many chloride ions.
    water
        Positions of the oxygen and the two hydrogens of each water molecule, nm [waters, 3, 3].
    lattice
        Whether each ion belongs to the crystal [ions].
    """

    cell: Lengths
    ions: Points
    water: Float[np.ndarray, "waters 3 3"]
    lattice: Bool[np.ndarray, " ions"]


@dataclass(frozen=True, eq=False)
class Scene:
    """A finished frame by molecules, in Å.

    Attributes
    ----------
    cell
        Edges of the cell, Å [3].
    first
        Position of the first atom of each molecule, inside the cell, Å [molecules, 3].
    symbols
        Element of the first atom of each molecule, Na, Cl or O [molecules].
    lattice
        Whether each molecule is an ion of the initial crystal [molecules].
    """

    cell: Lengths
    first: Points
    symbols: Shaped[np.ndarray, " molecules"]
    lattice: Bool[np.ndarray, " molecules"]


@dataclass(frozen=True, eq=False)
class Places:
    """Places of the molecules of a frame.

    Attributes
    ----------
    names
        Name of the place of each molecule, one word [molecules].
    interior
        Volume of the region whose molecules have the place ``interior``, Å³; none if there is no
        single such region.
    """

    names: Shaped[np.ndarray, " molecules"]
    interior: float | None = None


@dataclass(frozen=True)
class Geometry(ABC):
    """Base class of an arrangement of solution, salt and vapour.

    Attributes
    ----------
    settings
        Settings of the solution.
    breathing
        Whether the barostat changes each edge of the cell [3]; if it changes none, the volume is
        constant from the start.
    centred
        Axes along which every frame is shifted such that the slab, droplet or crystal is in the
        middle of the cell [3].
    words
        Names of all places.
    """

    settings: SolutionSettings
    breathing: ClassVar[tuple[bool, bool, bool]] = (True, True, True)
    centred: ClassVar[tuple[bool, bool, bool]] = (False, False, False)
    words: ClassVar[Sequence[str]] = ("interior",)

    @property
    def distances(self) -> tuple[float | None, ...]:
        """Distances at which the pair of ions is held, Å, one window each; None: ions are free."""
        return (None,)

    @property
    def water_box(self) -> Lengths:
        """Edges of the box that is first filled with water, nm [3]."""
        return np.full(3, self.settings.box / NM)

    @property
    def volume(self) -> float:
        """Volume of the solution at the start, Å³."""
        return self.settings.box**3

    @property
    def pairs(self) -> int:
        """Number of NaCl pairs in solution."""
        s = self.settings
        if s.ion_pairs is not None:
            return s.ion_pairs
        return max(1, round(s.concentration * _MOLAR * self.volume))

    @property
    def crystal_pairs(self) -> int:
        """Number of NaCl pairs in the crystal."""
        return 0

    @abstractmethod
    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Replace some water molecules by ions, and place the box of solution in its cell.

        Parameters
        ----------
        water
            Positions of the water molecules that fill the box, nm [waters, 3, 3].
        rng
            Random generator of the replica.
        where
            Name of the replica, for errors.

        Raises
        ------
        InputError
            The ions do not fit into the box.
        """

    @abstractmethod
    def places(self, scene: Scene) -> Places:
        """Return the place of every molecule of a frame."""

    def inside(self, water: Float[np.ndarray, "waters 3 3"]) -> Float[np.ndarray, "waters 3 3"]:
        """Shift whole water molecules (nm) such that all oxygens are inside the box."""
        box = self.water_box
        return water - (np.floor(water[:, 0] / box) * box)[:, None]

    def dissolve(
        self,
        water: Float[np.ndarray, "waters 3 3"],
        rng: np.random.Generator,
        where: str,
        edges: Float[np.ndarray, " 3"],
    ) -> tuple[Points, Float[np.ndarray, "waters 3 3"]]:
        """Replace random water molecules, at least 4 Å apart, by ions.

        ``edges`` are the edges of the periodic box, nm, infinite along axes without periodicity.
        Returns the positions of the ions (nm) [ions, 3] and the water molecules that are left (nm)
        [waters, 3, 3].

        Raises
        ------
        InputError
            The ions do not fit into the box; ``where`` names the replica.
        """
        oxygen = water[:, 0]
        chosen: list[int] = []
        for candidate in rng.permutation(len(oxygen)):
            d = oxygen[chosen] - oxygen[candidate]
            d -= np.where(np.isfinite(edges), edges, 0.0) * np.round(d / edges)
            if not chosen or np.linalg.norm(d, axis=1).min() * NM >= ION_DISTANCE:
                chosen.append(int(candidate))
            if len(chosen) == 2 * self.pairs:
                return oxygen[chosen], np.delete(water, chosen, axis=0)
        raise InputError(
            where,
            f"only {len(chosen)} of {2 * self.pairs} ions fit {ION_DISTANCE} Å apart into a box of "
            f"{self.settings.box} Å",
            "Lower concentration or ion_pairs, or enlarge box.",
        )


def middle(points: Points, cell: Lengths, axes: tuple[bool, bool, bool]) -> Float[np.ndarray, " 3"]:
    r"""Mean position on the periodic axes, :math:`L/2\pi \arg\langle e^{2\pi i x/L}\rangle`.

    It is zero on the other axes. Unlike a plain mean it does not jump when a molecule leaves the
    cell on one side and comes back on the other.
    """
    turn = np.exp(2j * np.pi * points / cell).mean(axis=0)
    return np.asarray(np.where(axes, np.angle(turn) * cell / (2 * np.pi), 0.0))


def nearest_of(points: Points, others: Points, cell: Lengths) -> Float[np.ndarray, " points"]:
    """Distance of each point to the nearest of the others, images included."""
    if not len(others):
        return np.full(len(points), np.inf)
    d = points[:, None] - others[None]
    d -= cell * np.round(d / cell)
    return np.asarray(np.linalg.norm(d, axis=2).min(axis=1))


def all_false(count: int) -> Bool[np.ndarray, " ions"]:
    """No ion of a crystal."""
    return np.zeros(count, dtype=bool)
