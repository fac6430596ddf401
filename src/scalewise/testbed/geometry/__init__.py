"""Geometries of the testbed, one file each: bulk, slab, droplet, crystal and pair of ions.

Other packages add geometries with entry points of the group ``scalewise.geometries``, whose names
are values of the setting ``geometry``; a script calls :func:`register_geometry`.
"""

from __future__ import annotations

from typing import Final

from scalewise.core.errors import InputError, did_you_mean, shown
from scalewise.core.extensions import declared, imported
from scalewise.testbed.geometry.base import Geometry
from scalewise.testbed.geometry.bulk import Bulk
from scalewise.testbed.geometry.crystal import Crystal
from scalewise.testbed.geometry.droplet import Droplet
from scalewise.testbed.geometry.pair import Pair
from scalewise.testbed.geometry.slab import Slab
from scalewise.testbed.settings import BUILT_IN, SolutionSettings

GROUP: Final = "scalewise.geometries"
GEOMETRIES: Final[dict[str, type[Geometry]]] = {
    "bulk": Bulk,
    "slab": Slab,
    "droplet": Droplet,
    "crystal": Crystal,
    "pair": Pair,
}


def register_geometry(name: str, geometry: type[Geometry]) -> None:
    """Register a geometry, so that the setting ``geometry`` accepts its name.

    Replicas are simulated in separate processes, which import the script that was started: call
    this function at the top level of the script, not under ``if __name__ == "__main__":``.

    Parameters
    ----------
    name
        Name of the geometry, one word.
    geometry
        Subclass of :class:`scalewise.Geometry`.

    Raises
    ------
    InputError
        A name that is not one word, or that is the name of a built-in geometry; an object that is
        not a subclass of ``Geometry``.
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise InputError("name", shown(name, 80), "Give a plain word, such as wire.")
    if name in BUILT_IN:
        raise InputError("name", f"there is a geometry '{name}'", "Choose another name.")
    if not (isinstance(geometry, type) and issubclass(geometry, Geometry)):
        raise InputError("geometry", shown(geometry, 80), "Give a subclass of Geometry.")
    GEOMETRIES[name] = geometry


def known_geometries() -> tuple[str, ...]:
    """Names of all geometries: ours, those registered, those that other packages declare."""
    return tuple(dict.fromkeys([*GEOMETRIES, *declared(GROUP)]))


def geometry_of(settings: SolutionSettings) -> Geometry:
    """Return the geometry that the settings name.

    Raises
    ------
    InputError
        A name that is no longer known; what another package declares cannot be imported, or is no
        geometry.
    """
    name = settings.geometry
    if name in GEOMETRIES:
        return GEOMETRIES[name](settings)
    others = declared(GROUP)
    if name not in others:
        raise InputError(
            "key 'geometry'",
            f"no geometry '{name}' here; there are {', '.join(known_geometries())}",
            f"Register it where the script is imported.{did_you_mean(name, known_geometries())}",
        )
    made = imported(others[name])
    if not (isinstance(made, type) and issubclass(made, Geometry)):
        raise InputError(
            f"entry point '{name}' of {GROUP}", shown(made, 80), "It must name a Geometry."
        )
    return made(settings)
