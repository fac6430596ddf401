"""A crystal of NaCl, its (100) faces against solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from jaxtyping import Float

from scalewise.core.quantities import NM
from scalewise.testbed.geometry.base import (
    LAYER,
    Filling,
    Geometry,
    Lengths,
    Places,
    Points,
    Scene,
)

#: Å left free between the outermost plane of the crystal, half a plane spacing and the water.
GAP: Final = 1.0


@dataclass(frozen=True)
class Crystal(Geometry):
    """``cells`` unit cells of rock salt along z, then ``box`` of solution, then the next image.

    The face is square, a whole number of unit cells nearest to ``box``; it does not breathe.
    """

    breathing: ClassVar[tuple[bool, bool, bool]] = (False, False, True)
    centred: ClassVar[tuple[bool, bool, bool]] = (False, False, True)
    words: ClassVar[tuple[str, ...]] = ("crystal", "interface", "interior")

    @property
    def water_box(self) -> Lengths:
        """Edges (nm) of the box of water: the crystal's face and ``box``."""
        return np.array([self.settings.face, self.settings.face, self.settings.box]) / NM

    @property
    def volume(self) -> float:
        """Volume (Å³) of the solution."""
        return self.settings.face**2 * self.settings.box

    @property
    def crystal_pairs(self) -> int:
        """Four per unit cell."""
        return 4 * round(self.settings.face / self.settings.lattice) ** 2 * self.settings.cells

    @property
    def lattice(self) -> tuple[Points, Points]:
        """Sodium and chloride of the crystal (nm), the first plane at a quarter of a unit cell."""
        spacing = 0.5 * self.settings.lattice / NM
        n = 2 * round(self.settings.face / self.settings.lattice)
        steps = np.stack(
            np.meshgrid(*(np.arange(k) for k in (n, n, 2 * self.settings.cells)), indexing="ij"),
            axis=-1,
        ).reshape(-1, 3)
        points = (steps + 0.5) * spacing
        sodium = steps.sum(axis=1) % 2 == 0
        return points[sodium], points[~sodium]

    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Put ions in the place of waters, and the crystal below."""
        water = self.inside(water)
        thickness = (self.settings.cells * self.settings.lattice + GAP) / NM
        # no ion within a layer of the crystal, so that it does not begin as part of it
        height = water[:, 0, 2] * NM
        away = (height > LAYER) & (height < self.settings.box - LAYER)
        edges = np.array([*self.water_box[:2], np.inf])
        ions, left = self.dissolve(water[away], rng, where, edges)
        up = np.array([0.0, 0.0, thickness])
        sodium, chloride = self.lattice
        n = self.pairs
        cell = self.water_box + np.array([0.0, 0.0, thickness + GAP / NM])
        own, free = np.ones(len(sodium), dtype=bool), np.zeros(n, dtype=bool)
        return Filling(
            cell,
            np.concatenate([sodium, ions[:n] + up, chloride, ions[n:] + up]),
            np.concatenate([left, water[~away]]) + up,
            np.concatenate([own, free, own, free]),
        )

    def places(self, scene: Scene) -> Places:
        """Crystal below its outermost planes; interface from there to a layer away; interior.

        The outermost planes are found from the crystal's outermost ions, so that they move with the
        crystal as the cell breathes. An ion that left the crystal, or one that joined it, is where
        it is; water never is crystal.
        """
        z = np.abs(scene.first[:, 2] - 0.5 * scene.cell[2])
        planes = 2 * self.settings.cells
        of_crystal = np.sort(z[scene.lattice])
        # two of the planes are outermost; the median ignores ions that left
        face = float(np.median(of_crystal[-(2 * len(of_crystal) // planes) :]))
        inside = z < face - 0.25 * self.settings.lattice
        names = np.where(z < face + LAYER, "interface", "interior")
        names = np.where(inside & (scene.symbols != "O"), "crystal", names)
        height = max(float(scene.cell[2]) - 2.0 * (face + LAYER), 0.0)
        return Places(names, height * float(scene.cell[0] * scene.cell[1]))
