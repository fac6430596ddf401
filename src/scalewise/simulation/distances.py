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
from scipy.signal import find_peaks

from scalewise.data.neighbors import build
from scalewise.data.structure import Structure

#: Å, of a shell, and of the smoothing in which peaks are looked for.
SHELL: Final = 0.05
SMOOTHED: Final = 0.1
#: How much a peak stands out, and how many times its noise.
PROMINENT: Final = 0.1
SURE: Final = 5.0


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
        other = pairs.i != pairs.j  # an atom's own images are no neighbors
        first, second = self._kind[pairs.i[other]], self._kind[pairs.j[other]]
        distance = pairs.distance[other]
        shell = np.minimum((distance / SHELL).astype(np.int64), self.shells - 1)
        np.add.at(self.counts, (first, second, shell), 1.0)
        np.minimum.at(self.shortest, (first, second), distance)
        volume = float(abs(np.linalg.det(frame.cell))) if frame.pbc.all() else np.inf
        self.density += (1.0 / volume, 1.0)

    def found(self) -> dict[str, Any]:
        """Distances (Å), and of every pair of elements g, N, the shortest, and the first shell.

        g is none without volume, as in a molecule. N counts the second element around the first.
        The first shell ends where g is lowest between its first peak and the next; peaks are those
        that stand out by five times the noise of what was counted, and by a tenth; without such a
        peak there is no shell. ``coordination`` has the neighbors in it of an atom of the first
        element, and of the second.
        """
        frames = self.density[1]
        middle = SHELL * (np.arange(self.shells) + 0.5)
        pairs = []
        for a, b in combinations_with_replacement(range(len(self.elements)), 2):
            around = self.counts[a, b] / max(frames * self._atoms[a], 1.0)
            others = self._atoms[b] - (a == b)
            density = others * self.density[0] / max(frames, 1.0)
            g = around / (4.0 * np.pi * middle**2 * SHELL * density) if density > 0.0 else None
            peak, end = (None, None) if g is None else _first_shell(middle, g, self.counts[a, b])
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
        return {"frames": int(frames), "r": middle.tolist(), "pairs": pairs}


def _first_shell(
    r: Float[np.ndarray, " shells"],
    g: Float[np.ndarray, " shells"],
    counts: Float[np.ndarray, " shells"],
) -> tuple[float | None, float | None]:
    """Where the first peak is, and where the minimum after it; none without them."""
    smooth = gaussian_filter1d(g, SMOOTHED / SHELL, mode="nearest")
    # pairs that a smoothed value is of: those within 2 sqrt(pi) widths
    window = 2.0 * np.sqrt(np.pi) * SMOOTHED / SHELL
    seen = window * gaussian_filter1d(counts, SMOOTHED / SHELL, mode="nearest")
    peaks, found = find_peaks(smooth, prominence=PROMINENT)
    noise = smooth[peaks] / np.sqrt(np.maximum(seen[peaks], 1.0))
    sure = peaks[(found["prominences"] > SURE * noise) & (seen[peaks] > SURE**2)]
    if not len(sure) or smooth[sure[0]] <= 1.0:
        return None, None
    first, following = sure[0], sure[1] if len(sure) > 1 else len(smooth)
    end = first + int(np.argmin(smooth[first:following]))
    # where it still falls at the end of the reach, the shell may go on
    return float(r[first]), None if end == len(smooth) - 1 and smooth[end] > 0.0 else float(r[end])
