"""How a cell is filled, what may breathe, and where its atoms are: one file per geometry."""

from __future__ import annotations

from typing import Final

from scalewise.testbed.geometry.base import Geometry
from scalewise.testbed.geometry.bulk import Bulk
from scalewise.testbed.geometry.crystal import Crystal
from scalewise.testbed.geometry.droplet import Droplet
from scalewise.testbed.geometry.pair import Pair
from scalewise.testbed.geometry.slab import Slab
from scalewise.testbed.settings import SolutionSettings

GEOMETRIES: Final[dict[str, type[Geometry]]] = {
    "bulk": Bulk,
    "slab": Slab,
    "droplet": Droplet,
    "crystal": Crystal,
    "pair": Pair,
}


def geometry_of(settings: SolutionSettings) -> Geometry:
    """Return the geometry that the settings name."""
    return GEOMETRIES[settings.geometry](settings)
