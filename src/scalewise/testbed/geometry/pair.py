"""One pair of ions in water, held at set distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from jaxtyping import Float

from scalewise.core.quantities import NM
from scalewise.testbed.geometry.base import (
    Filling,
    Geometry,
    Places,
    Scene,
    all_false,
    nearest_of,
)

#: Å, the first minimum of g(r) between the ion and oxygen in TIP3P (Joung and Cheatham 2008).
SHELLS: Final = {"Na": 3.2, "Cl": 3.8}


@dataclass(frozen=True)
class Pair(Geometry):
    """A cube of water around Na and Cl; a window of frames for each distance in turn."""

    words: ClassVar[tuple[str, ...]] = ("pair", "shell", "interior")

    @property
    def distances(self) -> tuple[float | None, ...]:
        """Those of the settings."""
        return self.settings.distances

    @property
    def pairs(self) -> int:
        """One."""
        return 1

    def fill(
        self, water: Float[np.ndarray, "waters 3 3"], rng: np.random.Generator, where: str
    ) -> Filling:
        """Put Na in the place of a water, Cl in that of one at about the first distance."""
        oxygen = water[:, 0]
        sodium = int(rng.integers(len(oxygen)))
        d = oxygen - oxygen[sodium]
        d -= self.water_box * np.round(d / self.water_box)
        length = np.linalg.norm(d, axis=1)
        length[sodium] = np.inf
        chloride = int(np.abs(length - self.settings.distances[0] / NM).argmin())
        ions = np.stack([oxygen[sodium], oxygen[sodium] + d[chloride]])
        left = np.delete(water, [sodium, chloride], axis=0)
        return Filling(self.water_box, ions, left, all_false(2))

    def places(self, scene: Scene) -> Places:
        """The pair; water of which an ion holds the oxygen in its first shell; interior."""
        names = np.full(len(scene.first), "interior")
        for element, reach in SHELLS.items():
            ions = scene.first[scene.symbols == element]
            names[nearest_of(scene.first, ions, scene.cell) < reach] = "shell"
        names[scene.symbols != "O"] = "pair"
        return Places(names)
