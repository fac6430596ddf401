"""Solution everywhere, as in the testbed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scalewise.testbed.geometry.base import Filling, Geometry, Places, Scene, all_false


@dataclass(frozen=True)
class Bulk(Geometry):
    """A periodic cube of solution."""

    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Put ions in the place of waters."""
        ions, left = self.dissolve(water, rng, where, self.water_box)
        return Filling(self.water_box, ions, left, all_false(len(ions)))

    def places(self, scene: Scene) -> Places:
        """All is interior."""
        return Places(np.full(len(scene.first), "interior"), float(scene.cell.prod()))
