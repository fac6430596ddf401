"""Regimes: subsets of atoms named by a physical condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from scalewise.core.errors import InputError
from scalewise.data import neighbors
from scalewise.data.regime_settings import RegimeSettings
from scalewise.data.structure import Frame

#: Nearest counterion closer than the first minimum of g(Na-Cl) in water: a contact pair.
CONTACT = 3.6
#: Nearest counterion closer than the second minimum: one shared solvent layer.
SHARED = 6.0
#: The testbed's definition of close contact: nearest ion closer than 0.6 nm.
CLOSE = 6.0


def default_regimes(
    elements: Sequence[str], ions: Mapping[str, int], targets: Sequence[str]
) -> tuple[RegimeSettings, ...]:
    """Return `all`, the ion regimes where both charges are present, and one per target element."""
    regimes = [RegimeSettings(name="all")]
    present = [e for e in elements if e in ions]
    if {ions[e] > 0 for e in present} == {True, False}:
        only = tuple(present)
        regimes += [
            RegimeSettings(name="close_contact", elements=only, nearest="ion", below=CLOSE),
            RegimeSettings(name="contact_pair", elements=only, nearest="counterion", below=CONTACT),
            RegimeSettings(
                name="solvent_shared",
                elements=only,
                nearest="counterion",
                above=CONTACT,
                below=SHARED,
            ),
            RegimeSettings(name="free", elements=only, nearest="counterion", above=SHARED),
        ]
    regimes += [RegimeSettings(name=e, elements=(e,)) for e in targets]
    return tuple(regimes)


def place_regimes(frames: Sequence[Frame]) -> tuple[RegimeSettings, ...]:
    """Return one regime per place, ``place_surface`` for the place surface; none if all is one."""
    known = [np.unique(f.place) for f in frames if f.place is not None]
    places = sorted({str(p) for found in known for p in found})
    if len(places) == 1 and len(known) == len(frames):
        return ()
    return tuple(RegimeSettings(name=f"place_{p}", place=p) for p in places)


def nearest(
    frame: Frame, partners: Mapping[str, Sequence[str]], cutoff: float
) -> Float[np.ndarray, " atoms"]:
    """Distance (Å) to the nearest atom of the partner elements; infinite beyond the cutoff.

    Atoms whose element is no key of ``partners`` get infinity. Pairs are looked for among the
    elements that matter alone: in a salt solution those are one atom in forty.
    """
    result = np.full(len(frame.numbers), np.inf)
    involved = {*partners, *(e for others in partners.values() for e in others)}
    at = np.flatnonzero(frame.mask(involved))
    part = frame.only(involved)
    pairs = neighbors.build(part, cutoff, full=True)
    for element, others in partners.items():
        wanted = part.mask([element])[pairs.i] & part.mask(others)[pairs.j]
        np.minimum.at(result, at[pairs.i[wanted]], pairs.distance[wanted])
    return result


def partners_of(
    regime: RegimeSettings, elements: Sequence[str], ions: Mapping[str, int]
) -> dict[str, list[str]]:
    """Return, for each element, the elements whose distance the regime compares."""
    ionic = [e for e in elements if e in ions]
    if regime.nearest == "ion":
        return dict.fromkeys(elements, ionic)
    if regime.nearest == "counterion":
        return {e: [o for o in ionic if ions[o] * ions[e] < 0] for e in ionic}
    return {e: list(regime.nearest or ()) for e in elements}


def membership(
    regime: RegimeSettings, frame: Frame, ions: Mapping[str, int], cutoff: float
) -> Bool[np.ndarray, " atoms"]:
    """Return which atoms of a frame belong to a regime.

    ``cutoff`` (Å) only needs to reach the regime's bounds: what lies beyond counts as infinite.
    """
    inside = np.ones(len(frame.numbers), dtype=bool)
    if regime.elements is not None:
        inside &= frame.mask(regime.elements)
    if regime.place is not None:
        inside &= False if frame.place is None else frame.place == regime.place
    if regime.nearest is not None:
        elements = sorted(set(frame.symbols))
        distance = nearest(frame, partners_of(regime, elements, ions), cutoff)
        inside &= distance >= regime.above
        if regime.below is not None:
            inside &= distance < regime.below
    return inside


def resolve(
    settings: Literal["auto"] | Sequence[RegimeSettings],
    elements: Sequence[str],
    ions: Mapping[str, int],
    targets: Sequence[str],
) -> tuple[RegimeSettings, ...]:
    """Return the automatic regimes, or `all` and those that the user named.

    Raises
    ------
    InputError
        A regime names an element that the data do not have.
    """
    if settings == "auto":
        return default_regimes(elements, ions, targets)
    for regime in settings:
        named = {*(regime.elements or ())}
        if isinstance(regime.nearest, tuple):
            named |= {*regime.nearest}
        missing = sorted(named - set(elements))
        if missing:
            raise InputError(
                f"regime '{regime.name}'",
                f"element {', '.join(missing)} is not in the data ({', '.join(elements)})",
                "Correct the regime or drop it.",
            )
    others = [r for r in settings if r.name != "all"]
    return (RegimeSettings(name="all"), *others)
