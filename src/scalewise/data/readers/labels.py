"""Functions with which readers attach labels to a frame."""

from __future__ import annotations

from typing import Final

import ase
import numpy as np

from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, STRESS_KEY

#: Frame key, false for a step whose electronic iteration did not converge.
CONVERGED: Final = "scf_converged"


def set_labels(
    atoms: ase.Atoms,
    *,
    energy: float | None = None,
    forces: np.ndarray | None = None,
    stress: np.ndarray | None = None,
) -> ase.Atoms:
    """Put labels where they are looked for: eV, eV/Å [atoms, 3], eV/Å³ [3, 3] or Voigt [6]."""
    if energy is not None:
        atoms.info[ENERGY_KEY] = energy
    if forces is not None:
        atoms.arrays[FORCES_KEY] = forces
    if stress is not None:
        atoms.info[STRESS_KEY] = stress
    return atoms
