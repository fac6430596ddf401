"""Subsets of atoms that an error can depend on: regimes, and bins of a distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int

from scalewise.core.errors import InputError
from scalewise.data import neighbors, regimes
from scalewise.data.structure import Structure

#: Å, the farthest that a nearest neighbor is looked for.
REACH: Final = 10.0
#: A bin with fewer atoms says little; there are fewer bins then.
FEWEST: Final = 30


def regime_members(
    frames: Sequence[Structure], ions: Mapping[str, int]
) -> dict[str, Bool[np.ndarray, " atoms"]]:
    """Atoms of all frames in each place of their column, and in each automatic regime of the ions.

    Regimes of the ions need both charges, and cells no lower than their distances (6 Å).
    """
    elements = sorted({e for f in frames for e in set(f.symbols)})
    places = {
        regime.name: np.concatenate([regimes.membership(regime, f, ions, 0.0) for f in frames])
        for regime in regimes.place_regimes(frames)
    }
    found = {}
    for regime in regimes.default_regimes(elements, ions, ())[1:]:
        reach = max(regime.above, regime.below or 0.0)
        try:
            parts = [regimes.membership(regime, f, ions, reach) for f in frames]
        except InputError:  # a cell below the reach; all else was checked by the prediction
            return places
        found[regime.name] = np.concatenate(parts)
    return found | places


def named_subsets(
    frames: Sequence[Structure], ions: Mapping[str, int]
) -> list[tuple[str, str, Bool[np.ndarray, " atoms"]]]:
    """Kind, name and members of what errors are told of: all atoms, elements, regimes."""
    numbers = np.concatenate([f.numbers for f in frames])
    found = [("all", "all", np.ones(len(numbers), dtype=bool))]
    found += [("element", symbol(z), numbers == z) for z in np.unique(numbers).tolist()]
    regimes_of = regime_members(frames, ions)
    return found + [("regime", name, of) for name, of in regimes_of.items() if of.any()]


def distinct(subsets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Sections of a document but those of an element that is all there is."""
    whole = subsets[0]["atoms"]
    return [s for s in subsets if s["kind"] != "element" or s["atoms"] < whole]


def nearest(
    frame: Structure, numbers: Sequence[int], reach: float = REACH
) -> Float[np.ndarray, "atoms elements"]:
    """Distance (Å) of each atom to the nearest atom of each element; infinite beyond ``reach``.

    An atom's own images count, so that cells may be small.
    """
    pairs = neighbors.build(frame, reach, full=True, images=True)
    column = np.searchsorted(np.array(numbers), frame.numbers)
    found = np.full(len(frame.numbers) * len(numbers), np.inf)
    np.minimum.at(found, pairs.i * len(numbers) + column[pairs.j], pairs.distance)
    return found.reshape(-1, len(numbers))


def unlike_pairs(numbers: Int[np.ndarray, " atoms"]) -> list[tuple[int, int]]:
    """Ordered pairs of different elements (atomic numbers), pairs of the rarest first."""
    present, counts = np.unique(numbers, return_counts=True)
    rare = dict(zip(present.tolist(), counts.tolist(), strict=True))
    return sorted(permutations(rare, 2), key=lambda p: (max(rare[z] for z in p), *p))


def equal_bins(
    distance: Float[np.ndarray, " atoms"], most: int, fewest: int = FEWEST
) -> list[Int[np.ndarray, " members"]]:
    """Deal atoms to bins of rising distance, equally many each; infinite distances to none.

    Examples
    --------
    >>> [b.tolist() for b in equal_bins(np.array([3.0, 1.0, np.inf, 4.0, 2.0]), 2, fewest=2)]
    [[1, 4], [0, 3]]
    """
    finite = np.flatnonzero(np.isfinite(distance))
    order = finite[np.argsort(distance[finite], kind="stable")]
    bins = min(most, len(order) // fewest)
    return np.array_split(order, bins) if bins else []


def symbol(number: int) -> str:
    """Chemical symbol."""
    return str(chemical_symbols[number])
