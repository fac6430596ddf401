"""A model of one's own: Lennard-Jones argon whose cutoff may be anything from 4 to 9 Å.

    python examples/extend_model.py

It keeps to the protocol, so that every analysis takes it. Installed as a package it would declare
an entry point of the group ``scalewise.models``, and commands would take ``argon:``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase.build
import numpy as np
from ase.neighborlist import neighbor_list

from scalewise import InputError, LongRange, Prediction, Scale, Structure
from scalewise.testing import check_potential


@dataclass(frozen=True)
class Argon:
    """Lennard-Jones energies that each atom fades out towards its own cutoff."""

    name: str = "argon"
    elements: tuple[int, ...] = (18,)
    cutoff_range: tuple[float, float] = (4.0, 9.0)
    long_range: LongRange = LongRange.NONE

    def receptive_field(self, scale: Scale) -> float:
        """An atom's force depends on atoms that it sees, or that see it."""
        return 9.0 if scale.cutoff is None else float(np.max(scale.cutoff))

    def knows_energy(self, structure: Structure) -> bool:
        """Always: zero is isolated atoms."""
        return True

    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        """Sum over pairs, structure by structure."""
        return [self._one(s, scale) for s in structures]

    def _one(self, s: Structure, scale: Scale) -> Prediction:
        n, given = len(s.numbers), np.asarray(9.0 if scale.cutoff is None else scale.cutoff)
        if not (np.isin(s.numbers, self.elements).all() and np.isfinite(s.positions).all()):
            raise InputError(s.where, "not argon, or not finite", "Give structures of argon.")
        if given.shape not in ((), (n,)) or not ((given > 0) & (given <= 9.0)).all():
            raise InputError("cutoff", str(scale.cutoff), "Give one, or one per atom, up to 9 Å.")
        cutoffs, volume = np.broadcast_to(given, n), abs(np.linalg.det(s.cell))
        if s.pbc.any() and volume < 1.0:
            raise InputError(s.where, "a cell without volume", "Write the cell.")
        i, j, r, v = neighbor_list("ijdD", s.to_ase(), float(given.max()))
        if (r < 0.5).any():
            raise InputError(s.where, "atoms upon each other", "Look at the structure.")
        x, u = (3.4 / r) ** 6, np.minimum(r / cutoffs[i], 1.0)
        pair, slope = 0.0104 * 2 * (x * x - x), 0.0104 * 12 * (x - 2 * x * x) / r
        fade, fall = 1 - u**3 * (10 + u * (6 * u - 15)), -30 * (u * (1 - u)) ** 2 / cutoffs[i]
        pull = ((slope * fade + pair * fall) / r)[:, None] * v
        energies, forces = np.bincount(i, pair * fade, n), np.zeros((n, 3))
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        stress = v.T @ pull / volume if s.pbc.all() else None
        return Prediction(forces, float(energies.sum()), energies, stress, cutoffs=cutoffs)


def main() -> None:
    """Check it on small crystals, and show what its energy owes to the cutoff."""
    crystal = ase.build.bulk("Ar", a=5.3, cubic=True)
    rattled = []
    for seed in range(2):
        crystal.rattle(0.1, seed=seed)
        rattled.append(Structure.from_ase(crystal))
    check_potential(Argon(), rattled)
    for cutoff in (4.0, 6.0, 9.0):
        print(f"{cutoff:g} Å: {Argon().evaluate(rattled, Scale(cutoff))[0].energy:.4f} eV")


if __name__ == "__main__":
    main()
