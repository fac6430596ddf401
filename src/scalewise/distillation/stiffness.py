r"""The stiffest directions of a potential, found from its forces alone.

Products of the Hessian with a direction u are differences of forces,

.. math:: H u \approx \frac{F(r - \epsilon u) - F(r + \epsilon u)}{2 \epsilon}

and repeated products with the mass-weighted Hessian :math:`M^{-1/2} H M^{-1/2}` turn any direction
towards the stiffest ones (power iteration).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from ase import units
from jaxtyping import Float

Positions = Float[np.ndarray, "atoms 3"]
Forces = Callable[[Positions], Positions]

#: Å, of the atom that a difference moves most.
SHIFT: Final = 0.01


def product(forces: Forces, positions: Positions, direction: Positions) -> Positions:
    """The Hessian, eV/Å², times a direction."""
    largest = float(np.abs(direction).max())
    if largest == 0.0:
        return np.zeros_like(direction)
    move = SHIFT / largest * direction
    change = forces(positions - move) - forces(positions + move)
    found: Positions = change * (0.5 * largest / SHIFT)
    return found


def stiff_direction(
    forces: Forces, positions: Positions, masses: Float[np.ndarray, " atoms"], start: Positions
) -> Positions:
    """Turn a direction to stiff ones, and scale it to atoms that move by 1 in the mean.

    Two products leave a mixture of the stiff directions, not the stiffest alone.
    """
    found = start / np.sqrt(masses)[:, None]
    for _ in range(2):
        found = product(forces, positions, found) / masses[:, None]
        found = found / max(float(np.abs(found).max()), 1e-12)
    length = float(np.linalg.norm(found, axis=1).mean())
    return found / max(length, 1e-12)


def stiffest(
    forces: Forces, positions: Positions, masses: Float[np.ndarray, " atoms"], start: Positions
) -> float:
    """Largest eigenvalue of the mass-weighted Hessian by its size, eV/Å²/u, by twelve products."""
    root = np.sqrt(masses)[:, None]
    vector, value = start / np.linalg.norm(start), 0.0
    for _ in range(12):
        turned = product(forces, positions, vector / root) / root
        value = float(np.linalg.norm(turned))
        if value == 0.0:
            return 0.0
        vector = turned / value
    return value


def period(eigenvalue: float) -> float:
    r"""Period of a vibration, fs: :math:`2 \pi / \sqrt{\lambda}`."""
    return float(2.0 * np.pi / np.sqrt(eigenvalue) / units.fs)
