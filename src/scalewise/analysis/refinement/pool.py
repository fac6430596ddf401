"""A pool of scales, and which atoms use which of them.

Atoms are told apart by geometry alone: by their element, or by element and by whether an atom of
named elements is close. Such a kind of atom is a *group*; every group uses one scale of the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

from scalewise.models.density.settings import AdaptiveCutoffSettings


def group_names(elements: Sequence[int], settings: AdaptiveCutoffSettings) -> tuple[str, ...]:
    """Names of the groups of an adaptive cutoff: elements, or elements far from and near others.

    Examples
    --------
    >>> group_names((1, 8), AdaptiveCutoffSettings(by="regime", near=("Na", "Cl")))
    ('H', 'H near Na, Cl', 'O', 'O near Na, Cl')
    """
    symbols = [str(chemical_symbols[z]) for z in elements]
    if settings.by == "element":
        return tuple(symbols)
    near = f"near {', '.join(settings.near)}"
    return tuple(name for s in symbols for name in (s, f"{s} {near}"))


@dataclass(frozen=True)
class CutoffPool:
    """Cutoffs in use, Å, rising, and the groups that use each.

    Examples
    --------
    >>> pool = CutoffPool((3.0, 5.0), ((1, 2), (0,)))
    >>> pool.lengths().tolist()
    [5.0, 3.0, 3.0]
    >>> pool.merged(0, 4.0)
    CutoffPool(scales=(4.0,), members=((0, 1, 2),))
    >>> pool.split(0, (2,), (3.0, 3.5))
    CutoffPool(scales=(3.0, 3.5, 5.0), members=((1,), (2,), (0,)))
    """

    scales: tuple[float, ...]
    members: tuple[tuple[int, ...], ...]

    @classmethod
    def single(cls, scale: float, groups: int) -> CutoffPool:
        """One scale for all groups."""
        return cls((scale,), (tuple(range(groups)),))

    @classmethod
    def of(cls, scales: Sequence[float], members: Sequence[Sequence[int]]) -> CutoffPool:
        """Make a pool; scales are put in order, and those that no group uses are dropped."""
        kept = sorted((s, tuple(sorted(m))) for s, m in zip(scales, members, strict=True) if m)
        return cls(tuple(float(s) for s, _ in kept), tuple(m for _, m in kept))

    def lengths(self) -> Float[np.ndarray, " groups"]:
        """The scale of each group, Å."""
        found = np.zeros(sum(len(m) for m in self.members))
        for scale, groups in zip(self.scales, self.members, strict=True):
            found[list(groups)] = scale
        return found

    def moved(self, scales: Sequence[float]) -> CutoffPool:
        """The same groups on other scales."""
        return CutoffPool.of(scales, self.members)

    def split(self, k: int, leaving: Sequence[int], scales: tuple[float, float]) -> CutoffPool:
        """Give some groups of scale k a scale of their own; both become ``scales``."""
        staying = tuple(g for g in self.members[k] if g not in leaving)
        others = [i for i in range(len(self.scales)) if i != k]
        return CutoffPool.of(
            [*(self.scales[i] for i in others), *scales],
            [*(self.members[i] for i in others), staying, tuple(leaving)],
        )

    def merged(self, k: int, scale: float) -> CutoffPool:
        """Let the groups of scales k and k + 1 use one."""
        others = [i for i in range(len(self.scales)) if i not in (k, k + 1)]
        return CutoffPool.of(
            [*(self.scales[i] for i in others), scale],
            [*(self.members[i] for i in others), self.members[k] + self.members[k + 1]],
        )
