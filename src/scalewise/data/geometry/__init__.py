"""How a cell is filled, what may breathe, and where its atoms are: one file per geometry."""

from __future__ import annotations

from typing import Final

from scalewise.config import Solution
from scalewise.data.geometry.base import Geometry
from scalewise.data.geometry.bulk import Bulk
from scalewise.data.geometry.crystal import Crystal
from scalewise.data.geometry.droplet import Droplet
from scalewise.data.geometry.pair import Pair
from scalewise.data.geometry.slab import Slab

GEOMETRIES: Final[dict[str, type[Geometry]]] = {
    "bulk": Bulk,
    "slab": Slab,
    "droplet": Droplet,
    "crystal": Crystal,
    "pair": Pair,
}


def geometry_of(settings: Solution) -> Geometry:
    """Return the geometry that the settings name."""
    return GEOMETRIES[settings.geometry](settings)
