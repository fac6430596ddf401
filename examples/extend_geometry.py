"""A geometry of one's own for the testbed: a wire of solution in vapour.

    python examples/extend_geometry.py

It fills a cylinder along z, says what is its surface, and is generated like ours, with
``geometry=wire``. Installed as a package it would declare an entry point ``wire`` of the group
``scalewise.geometries``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

import scalewise as sw
from scalewise.testing import check_geometry

#: Å: depth of the surface, as in the slab and the droplet; and of a nm.
LAYER, NM = 4.0, 10.0


@dataclass(frozen=True)
class Wire(sw.Geometry):
    """A cylinder, ``box`` wide and long, and ``vacuum`` between it and its images beside it."""

    breathing: ClassVar[tuple[bool, bool, bool]] = (False, False, False)
    centred: ClassVar[tuple[bool, bool, bool]] = (True, True, False)
    words: ClassVar[tuple[str, ...]] = ("interior", "surface")

    @property
    def volume(self) -> float:
        """Volume (Å³) of the cylinder."""
        return float(np.pi / 4.0 * self.settings.box**3)

    def fill(self, water: np.ndarray, rng: np.random.Generator, where: str) -> sw.Filling:
        """Cut a cylinder out of the water, and put ions in the place of some."""
        radius = 0.5 * self.settings.box / NM
        water = self.inside(water)
        within = np.linalg.norm(water[:, 0, :2] - radius, axis=1) < radius
        around = np.array([1.0, 1.0, 0.0]) * self.settings.vacuum / NM
        edges = np.array([np.inf, np.inf, self.water_box[2]])
        ions, left = self.dissolve(water[within] + 0.5 * around, rng, where, edges)
        return sw.Filling(self.water_box + around, ions, left, np.zeros(len(ions), dtype=bool))

    def places(self, scene: sw.Scene) -> sw.Places:
        """Surface is a layer deep; a full circle of radius R has a mean r of 2R/3, hence R."""
        r = np.linalg.norm(scene.first[:, :2] - 0.5 * scene.cell[:2], axis=1)
        inner = max(1.5 * float(r.mean()) - LAYER, 0.0)
        volume = np.pi * inner**2 * float(scene.cell[2])
        return sw.Places(np.where(r > inner, "surface", "interior"), volume)


sw.register_geometry("wire", Wire)  # the processes that simulate import this file again

if __name__ == "__main__":
    settings = sw.SolutionSettings(geometry="wire", replicas=2, frames=10)
    check_geometry(Wire(settings))
    sw.generate_solution(settings, Path("wire"))
