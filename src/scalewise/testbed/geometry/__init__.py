"""How a cell is filled, what may breathe, and where its atoms are: one file per geometry.

Other packages add geometries with entry points of the group ``scalewise.geometries``, named like
the word of the setting ``geometry``; a script calls :func:`register_geometry`.
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
    """Let the setting ``geometry`` take another name.

    Replicas are simulated in processes of their own, which import the script that was started
    again: call this where the script is imported, not under ``if __name__ == "__main__":``.

    Raises
    ------
    InputError
        Not a plain word; the name of one of ours; something that is no geometry.
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
