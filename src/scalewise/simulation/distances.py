r"""Distances between atoms of a trajectory: radial distribution functions and coordination numbers.

.. math:: g_{ab}(r) = \frac{\langle n_{ab}(r) \rangle}{4 \pi r^2 \Delta r \, \rho_b}, \qquad
   N_{ab}(r) = \int_0^r \langle n_{ab} \rangle

where n counts the neighbors b that an atom a has in a shell, and :math:`\rho_b` is their mean
density, without the atom itself.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d

from scalewise.data.neighbors import build
from scalewise.data.structure import Structure

#: Å, of a shell, and of the smoothing in which peaks are looked for.
SHELL: Final = 0.05
SMOOTHED: Final = 0.1


class Distances:
    """Counts of pairs in shells, of frames of one composition.

    Parameters
    ----------
    numbers
        Atomic numbers [atoms].
    reach
        Å.
    """

    def __init__(self, numbers: Int[np.ndarray, " atoms"], reach: float) -> None:
        self.elements, self._kind = np.unique(numbers, return_inverse=True)
        self._atoms = np.bincount(self._kind)
        self.shells = max(1, round(reach / SHELL))
        kinds = len(self.elements)
        self.counts = np.zeros((kinds, kinds, self.shells))
        self.density = np.zeros(2)  # sum of inverse volumes, 1/Å³, and frames
        self.shortest = np.full((kinds, kinds), np.inf)

    def add(self, frame: Structure) -> None:
        """Count the pairs of a frame.

        Raises
        ------
        InputError
            As :func:`scalewise.data.neighbors.build`.
        """
        pairs = build(frame, self.shells * SHELL, full=True, images=True)
        first, second = self._kind[pairs.i], self._kind[pairs.j]
        shell = np.minimum((pairs.distance / SHELL).astype(np.int64), self.shells - 1)
        np.add.at(self.counts, (first, second, shell), 1.0)
        np.minimum.at(self.shortest, (first, second), pairs.distance)
        volume = float(abs(np.linalg.det(frame.cell))) if frame.pbc.all() else np.inf
        self.density += (1.0 / volume, 1.0)

    def found(self) -> dict[str, Any]:
        """Distances (Å), and of every pair of elements g, N, the shortest, and the first shell.

        g is none without volume, as in a molecule. N counts the second element around the first.
        The first shell ends at the first minimum of g after its first peak; ``coordination`` has
        the neighbors in it of an atom of the first element, and of the second.
        """
        frames = self.density[1]
        middle = SHELL * (np.arange(self.shells) + 0.5)
        pairs = []
        for a, b in combinations_with_replacement(range(len(self.elements)), 2):
            around = self.counts[a, b] / max(frames * self._atoms[a], 1.0)
            others = self._atoms[b] - (a == b)
            density = others * self.density[0] / max(frames, 1.0)
            g = around / (4.0 * np.pi * middle**2 * SHELL * density) if density > 0.0 else None
            peak, end = (None, None) if g is None else _first_shell(middle, g)
            within, ratio = np.cumsum(around), self._atoms[a] / self._atoms[b]
            pairs.append(
                {
                    "pair": "-".join(chemical_symbols[int(self.elements[k])] for k in (a, b)),
                    "g": None if g is None else g.tolist(),
                    "within": within.tolist(),
                    "shortest": float(self.shortest[a, b])
                    if np.isfinite(self.shortest[a, b])
                    else None,
                    "peak": peak,
                    "minimum": end,
                    "coordination": None
                    if end is None
                    else [n * float(within[int(end / SHELL)]) for n in (1.0, ratio)],
                }
            )
        return {"r": middle.tolist(), "pairs": pairs}


def _first_shell(
    r: Float[np.ndarray, " shells"], g: Float[np.ndarray, " shells"]
) -> tuple[float | None, float | None]:
    """Where the first peak is, and where the minimum after it; none without them."""
    smooth = gaussian_filter1d(g, SMOOTHED / SHELL)
    rises = np.diff(smooth) > 0.0
    peaks = np.flatnonzero(rises[:-1] & ~rises[1:] & (smooth[1:-1] > 1.0)) + 1
    if not len(peaks):
        return None, None
    # where it is zero, it does not fall any more
    minima = np.flatnonzero(np.diff(smooth[peaks[0] :]) >= 0.0) + peaks[0]
    end = float(r[minima[0]]) if len(minima) else None
    return float(r[peaks[0]]), end
