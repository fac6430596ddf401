"""What a geometry decides: how the cell is filled, which edges breathe, and where atoms are.

Cells are filled in nm, as the simulation wants them; places are told in Å, from finished frames.
A place belongs to a molecule, by its first atom (oxygen, or the ion): no molecule is in two.
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
    """What a cell starts with, in nm.

    Attributes
    ----------
    cell
        Edges of the orthorhombic cell.
    ions
        Sodium first, then as many chloride.
    water
        Oxygen and two hydrogens of each.
    lattice
        Which ions are the crystal's.
    """

    cell: Lengths
    ions: Points
    water: Float[np.ndarray, "waters 3 3"]
    lattice: Bool[np.ndarray, " ions"]


@dataclass(frozen=True, eq=False)
class Scene:
    """A finished frame, molecule by molecule, in Å.

    Attributes
    ----------
    cell, first
        Edges; first atom of each molecule, inside the cell.
    symbols
        Element of that atom: Na, Cl, or O.
    lattice
        Which molecules are ions that the crystal was built of.
    """

    cell: Lengths
    first: Points
    symbols: Shaped[np.ndarray, " molecules"]
    lattice: Bool[np.ndarray, " molecules"]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the molecules of a frame are.

    Attributes
    ----------
    names
        One word per molecule.
    interior
        Volume (Å³) in which molecules get the word `interior`; none where it is not one region.
    """

    names: Shaped[np.ndarray, " molecules"]
    interior: float | None = None


@dataclass(frozen=True)
class Geometry(ABC):
    """One way to arrange solution, salt and vapour.

    Attributes
    ----------
    settings
        The solution.
    breathing
        Edges that the barostat changes; none: constant volume from the start.
    centred
        Axes along which every frame is moved so that what matters is in the middle of the cell.
    words
        The places that there are.
    """

    settings: SolutionSettings
    breathing: ClassVar[tuple[bool, bool, bool]] = (True, True, True)
    centred: ClassVar[tuple[bool, bool, bool]] = (False, False, False)
    words: ClassVar[Sequence[str]] = ("interior",)

    @property
    def distances(self) -> tuple[float | None, ...]:
        """Distances (Å) that the ions are held at, a window for each; None: they move."""
        return (None,)

    @property
    def water_box(self) -> Lengths:
        """Edges (nm) of the box that is filled with water first."""
        return np.full(3, self.settings.box / NM)

    @property
    def volume(self) -> float:
        """Volume (Å³) that the solution fills at the start."""
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
        """Number of NaCl pairs in a crystal."""
        return 0

    @abstractmethod
    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Put ions in the place of some waters of the box, and the box in its cell.

        Raises
        ------
        InputError
            The ions do not fit; ``where`` names the replica.
        """

    @abstractmethod
    def places(self, scene: Scene) -> Places:
        """Tell where every molecule of a frame is."""

    def inside(self, water: Float[np.ndarray, "waters 3 3"]) -> Float[np.ndarray, "waters 3 3"]:
        """Move whole waters so that all oxygens are between zero and the edges of the box."""
        box = self.water_box
        return water - (np.floor(water[:, 0] / box) * box)[:, None]

    def dissolve(
        self,
        water: Float[np.ndarray, "waters 3 3"],
        rng: np.random.Generator,
        where: str,
        edges: Float[np.ndarray, " 3"],
    ) -> tuple[Points, Float[np.ndarray, "waters 3 3"]]:
        """Choose waters at random that are far enough from each other; ions take their place.

        ``edges`` are those of the periodic box (nm), infinite where there are no images.
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
