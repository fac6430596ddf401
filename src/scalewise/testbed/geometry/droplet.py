"""A drop of solution in vapour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from scalewise.core.quantities import NM
from scalewise.testbed.geometry.base import LAYER, Filling, Geometry, Places, Scene, all_false


@dataclass(frozen=True)
class Droplet(Geometry):
    """A drop of diameter ``box``, and ``vacuum`` between it and its images in every direction.

    It stays periodic, so that one law labels all geometries: the drops feel each other as dipoles.
    """

    breathing: ClassVar[tuple[bool, bool, bool]] = (False, False, False)
    centred: ClassVar[tuple[bool, bool, bool]] = (True, True, True)
    words: ClassVar[tuple[str, ...]] = ("interior", "surface")

    @property
    def volume(self) -> float:
        """Volume (Å³) of the drop at the start."""
        return float(np.pi / 6.0 * self.settings.box**3)

    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Cut a sphere out of the water, put ions in the place of some, and vacuum around."""
        radius = 0.5 * self.settings.box / NM
        water = self.inside(water)
        inside = np.linalg.norm(water[:, 0] - radius, axis=1) < radius
        moved = water[inside] + 0.5 * self.settings.vacuum / NM
        ions, left = self.dissolve(moved, rng, where, np.full(3, np.inf))
        cell = self.water_box + self.settings.vacuum / NM
        return Filling(cell, ions, left, all_false(len(ions)))

    def places(self, scene: Scene) -> Places:
        """Surface is what is within a layer of the mean surface, or outside of it.

        A sphere of constant density and radius R has a mean r of 3R/4, hence R.
        """
        r = np.linalg.norm(scene.first - 0.5 * scene.cell, axis=1)
        inner = 4.0 / 3.0 * float(r.mean()) - LAYER
        volume = 4.0 / 3.0 * np.pi * max(inner, 0.0) ** 3
        return Places(np.where(r > inner, "surface", "interior"), float(volume))
