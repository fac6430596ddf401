r"""Check whether the labels of a file look like eV, Å, eV/Å and eV/Å³, and guess other units.

The sizes of labels are not enough to tell their units: relaxed structures have small forces, and
all-electron energies are huge. These relations hold in every correct file, at any level of theory:

* *stiffness*: along its shortest bond, of length r, an atom is pushed back with a force constant k.
  :math:`\kappa = k r^3 / k_e`, with the Coulomb constant :math:`k_e`, lies between 0.6 and 20 from
  lithium and argon to carbon; forces in Ha/bohr make it 51 times smaller, kcal/mol/Å 23 times
  larger;
* *work*: between two frames that are nearly alike, the energy changes by the work of forces and
  stress, :math:`\Delta E \approx -\tfrac12 \sum_i (F_i + F_i') \cdot u_i + \tfrac12 (V \sigma +
  V' \sigma') : \epsilon`;
* *compression*: a smaller volume means a larger pressure, by a bulk modulus that is known within
  two orders.

Each relation is used only if the frames determine it clearly; otherwise nothing is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalewise.data.units.bonds import Suspicion
from scalewise.data.units.energies import suspect_energies, suspect_stresses
from scalewise.data.units.forces import SHORTEST_DISTANCE, suspect_forces, suspect_lengths

if TYPE_CHECKING:
    from scalewise.data.structure import Structure

__all__ = ["SHORTEST_DISTANCE", "Suspicion", "suspect_lengths", "suspicions"]


def suspicions(frames: Sequence[Structure], stress_key: str | None = None) -> list[Suspicion]:
    """Everything about the units of labelled frames that looks wrong, most basic first."""
    found = list(suspect_lengths(frames))
    found += suspect_forces([f for f in frames if f.labels.forces is not None])
    found += suspect_energies(frames)
    if "virial" in (stress_key or "").lower() and any(f.labels.stress is not None for f in frames):
        reason = "named like a virial (eV), where a stress is expected: -virial / volume (eV/Å³)"
        return [*found, Suspicion("stress", reason)]
    return [*found, *suspect_stresses(frames)]
