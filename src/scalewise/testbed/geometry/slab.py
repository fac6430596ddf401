"""Solution with vapour on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from scalewise.core.quantities import NM
from scalewise.testbed.geometry.base import (
    LAYER,
    Filling,
    Geometry,
    Lengths,
    Places,
    Scene,
    all_false,
)


@dataclass(frozen=True)
class Slab(Geometry):
    """A slab, ``box`` wide and thick, and ``vacuum`` between it and its images along z."""

    breathing: ClassVar[tuple[bool, bool, bool]] = (False, False, False)
    centred: ClassVar[tuple[bool, bool, bool]] = (False, False, True)
    words: ClassVar[tuple[str, ...]] = ("interior", "surface")

    @property
    def cell(self) -> Lengths:
        """Edges, nm."""
        return self.water_box + np.array([0.0, 0.0, self.settings.vacuum / NM])

    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Put ions in the place of waters and vacuum above and below."""
        raised = self.inside(water) + np.array([0.0, 0.0, 0.5 * self.settings.vacuum / NM])
        edges = np.array([*self.water_box[:2], np.inf])
        ions, left = self.dissolve(raised, rng, where, edges)
        return Filling(self.cell, ions, left, all_false(len(ions)))

    def places(self, scene: Scene) -> Places:
        """Surface is what is within a layer of the mean surface, or outside of it.

        A slab of constant density between -h and h is h/2 from its middle on average, hence h.
        """
        z = np.abs(scene.first[:, 2] - 0.5 * scene.cell[2])
        inner = 2.0 * float(z.mean()) - LAYER
        area = float(scene.cell[0] * scene.cell[1])
        return Places(np.where(z > inner, "surface", "interior"), 2.0 * max(inner, 0.0) * area)
