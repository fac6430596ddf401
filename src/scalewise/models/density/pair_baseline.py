r"""A pair potential that the network corrects: repulsion of nuclei, and a fit to the forces.

.. math:: E_i = \frac12 \sum_j f(r_{ij}) \sum_n w_{z_i z_j n} b_n(r_{ij})
   + \frac12 \sum_j f(r_{ij} / d_{ij})\, k\, \frac{Z_i Z_j}{r_{ij}}\, \phi(r_{ij} / a_{ij})

with the envelope f and the Bessel functions of the network's shortest cutoff. A network is bounded:
where a bond is stretched farther than in the training data, its forces stay behind. The fit takes
the steep part of the forces from it (more than half of them in molecules), and bends on
outside the data; the screened repulsion of Ziegler, Biersack and Littmark takes over where nuclei
are closer than the sum d of their covalent radii.

References
----------
J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (1985).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from ase.data import covalent_radii
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.linalg import lsqr
from torch import Tensor, nn

from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data.neighbors import build
from scalewise.data.structure import Structure
from scalewise.models.density.radial import bessel, envelope

#: Universal screening function: weights and rates, and the length of which a is made, Å.
SCREENING: Final = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
SCREENING_LENGTH: Final = 0.46850
POWER: Final = 0.23
#: Damping of the fit, over the squares of its columns: with 1e-5 and 1e-3 forces of acetylacetone
#: at 300 K predict those at 600 K alike, with 1e-8 worse.
DAMPING: Final = 1e-4
#: Share of a column that must be left when an atom's neighbors cancel, or it is damped as if it had
#: so much: an atom and its own images push each other nowhere, but for rounding (1e-16).
CANCELLED: Final = 1e-3
#: Atoms that the fit looks at, at most, and steps of its iteration.
FITTED_ATOMS: Final = 10_000
ITERATIONS: Final = 200


class PairBaseline(nn.Module):
    """Energies of atoms from the distances to their neighbors.

    Parameters
    ----------
    elements
        Atomic numbers, in the network's order.
    cutoff
        Å; the same at every scale.
    size
        Number of Bessel functions.
    """

    coefficients: Tensor
    nuclei: Tensor
    radii: Tensor

    def __init__(self, elements: Sequence[int], cutoff: float, size: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        kinds = len(elements)
        self.register_buffer("coefficients", torch.zeros(kinds, kinds, size))
        nuclei = torch.tensor(list(elements), dtype=torch.float64)
        radii = torch.from_numpy(covalent_radii[list(elements)].copy())
        self.register_buffer("nuclei", nuclei, persistent=False)
        self.register_buffer("radii", radii, persistent=False)

    def forward(self, first: Tensor, second: Tensor, distance: Tensor, cutoffs: Tensor) -> Tensor:
        """Energies of atoms, eV [atoms].

        Parameters
        ----------
        first, second
            Index of the element of each atom [atoms, 1], and of its neighbors [atoms, neighbors].
        distance
            Å [atoms, neighbors]; what is beyond the cutoff does not count.
        cutoffs
            Å, of each atom [atoms, 1]; one that is shorter than the potential's ends it there.
        """
        ends = torch.clamp(cutoffs, max=self.cutoff)
        inside = envelope(distance, ends)
        waves = bessel(distance, self.cutoff, self.coefficients.shape[-1])
        fitted = inside * (waves * self.coefficients[first, second]).sum(dim=-1)
        return 0.5 * (fitted + self._repulsion(first, second, distance, ends)).sum(dim=1)

    def _repulsion(self, first: Tensor, second: Tensor, distance: Tensor, ends: Tensor) -> Tensor:
        rate, strength, reach = self._nuclei(first, second)
        screened = sum(w * torch.exp(-b * rate * distance) for w, b in SCREENING)
        return envelope(distance, torch.minimum(reach, ends)) * screened * (strength / distance)

    def _nuclei(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """1 / a in 1/Å, k Z Z in eV Å, and where repulsion ends, Å, of pairs of elements."""
        one, other = self.nuclei[first], self.nuclei[second]
        rate = (one**POWER + other**POWER) / SCREENING_LENGTH
        reach = torch.clamp(self.radii[first] + self.radii[second], max=self.cutoff)
        return rate, COULOMB_CONSTANT * one * other, reach

    def fit(self, frames: Sequence[Structure], elements: Sequence[int]) -> None:
        """Fit the coefficients to labelled forces, by damped least squares.

        Frames without forces are left out; of many, evenly spread ones are taken that have about
        ``FITTED_ATOMS`` atoms together.

        Parameters
        ----------
        frames
            With forces in eV/Å.
        elements
            Atomic numbers, in the network's order.

        Raises
        ------
        InputError
            As :func:`scalewise.data.neighbors.build`.
        """
        labelled = [f for f in frames if f.labels.forces is not None]
        atoms = sum(len(f.numbers) for f in labelled)
        chosen = labelled[:: max(1, -(-atoms // FITTED_ATOMS))]
        if not chosen:
            return
        matrix, gross, repelled = self._equations(_listed(chosen, elements, self.cutoff))
        wanted = np.concatenate([f.labelled_forces for f in chosen]) - repelled
        norms = np.sqrt(np.asarray(matrix.power(2).sum(axis=0)).ravel())
        least = np.maximum(norms, CANCELLED * gross)
        scale = np.where(least > 0.0, 1.0 / np.maximum(least, 1e-30), 0.0)
        scaled = matrix @ diags_array(scale)
        solved = lsqr(scaled, wanted.ravel(), damp=float(np.sqrt(DAMPING)), iter_lim=ITERATIONS)[0]
        found = torch.from_numpy((solved * scale).reshape(self.coefficients.shape))
        # the fit knows each pair of elements once
        lower = torch.tril(torch.ones(found.shape[:2], dtype=torch.bool), -1)[..., None]
        self.coefficients.copy_(torch.where(lower, found.transpose(0, 1), found))

    def evaluate(
        self, frames: Sequence[Structure], elements: Sequence[int]
    ) -> list[tuple[float, Float[np.ndarray, "atoms 3"]]]:
        """Energy of each structure, eV, and its forces, eV/Å [atoms, 3], in double precision.

        Raises
        ------
        InputError
            As :func:`scalewise.data.neighbors.build`.
        """
        found: list[tuple[float, np.ndarray]] = []
        for part in _parts(frames):
            listed = _listed(part, elements, self.cutoff)
            energies, forces = self._evaluated(listed)
            ends = np.cumsum([len(f.numbers) for f in part])[:-1]
            sums = [float(e.sum()) for e in np.split(energies, ends)]
            found += zip(sums, np.split(forces, ends), strict=True)
        return found

    def _evaluated(self, listed: _Listed) -> tuple[np.ndarray, np.ndarray]:
        """Energies [atoms] and forces [atoms, 3]."""
        coefficients = self.coefficients.double()[listed.first, listed.second]
        values, slopes = self._basis(listed.distance)
        repelled, pushing = self._repelled(listed)
        energies = (values * coefficients).sum(dim=-1) + repelled
        slope = (slopes * coefficients).sum(dim=-1) + pushing
        atoms = np.bincount(listed.atom, weights=energies.numpy(), minlength=listed.atoms)
        return 0.5 * atoms, listed.forces(slope)

    def _basis(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Bessel functions times the envelope [pairs, num_bessel], and their derivatives."""
        size, length = self.coefficients.shape[-1], self.cutoff
        waves = bessel(r, length, size)
        order = torch.arange(1, size + 1, dtype=r.dtype) * (math.pi / length)
        cosines = math.sqrt(2.0 / length) * order * torch.cos(order * r[:, None])
        turning = (cosines - waves) / r[:, None]
        ending, falling = _envelope(r, r.new_tensor(length))
        return waves * ending[:, None], turning * ending[:, None] + waves * falling[:, None]

    def _repelled(self, listed: _Listed) -> tuple[Tensor, Tensor]:
        """Energies of nuclei [pairs], and their derivatives."""
        r = listed.distance
        rate, strength, reach = (v.double() for v in self._nuclei(listed.first, listed.second))
        parts = [(w * torch.exp(-b * rate * r), b * rate) for w, b in SCREENING]
        screened, slope = sum(p for p, _ in parts), -sum(p * b for p, b in parts)
        ending, falling = _envelope(r, reach)
        bare = strength / r
        return (
            ending * bare * screened,
            bare * (falling * screened + ending * (slope - screened / r)),
        )

    def _equations(self, listed: _Listed) -> tuple[csr_array, np.ndarray, np.ndarray]:
        """Forces as linear functions of the coefficients, and those of repulsion [atoms, 3].

        Between them, the norms of the columns as if no neighbors of an atom cancelled each other.
        """
        kinds, _, size = self.coefficients.shape
        _, slopes = self._basis(listed.distance)
        _, repelled = self._repelled(listed)
        low = torch.minimum(listed.first, listed.second).numpy()
        high = torch.maximum(listed.first, listed.second).numpy()
        column = ((low * kinds + high) * size)[:, None, None] + np.arange(size)
        row = (3 * listed.atom)[:, None, None] + np.arange(3)[:, None]
        values = listed.direction[:, :, None] * slopes.numpy()[:, None, :]
        row, column = np.broadcast_arrays(row, column)
        columns = self.coefficients.numel()
        matrix = coo_array(
            (values.ravel(), (row.ravel(), column.ravel())), shape=(3 * listed.atoms, columns)
        )
        gross = np.bincount(column.ravel(), weights=values.ravel() ** 2, minlength=columns)
        return matrix.tocsr(), np.sqrt(gross), listed.forces(repelled)


@dataclass(frozen=True, eq=False)
class _Listed:
    """Pairs of several structures, from both ends: elements, distance, first atom, direction."""

    first: Tensor
    second: Tensor
    distance: Tensor
    atom: Int[np.ndarray, " pairs"]
    direction: Float[np.ndarray, "pairs 3"]
    atoms: int

    def forces(self, slope: Tensor) -> Float[np.ndarray, "atoms 3"]:
        """Forces of pair energies with these slopes, eV/Å."""
        along = slope.numpy()[:, None] * self.direction
        sums = [np.bincount(self.atom, weights=v, minlength=self.atoms) for v in along.T]
        return np.stack(sums, axis=1)


def _listed(frames: Sequence[Structure], elements: Sequence[int], cutoff: float) -> _Listed:
    pairs = [build(f, cutoff, full=True, images=True) for f in frames]
    types = [np.searchsorted(np.asarray(elements), f.numbers) for f in frames]
    starts = np.cumsum([0, *(len(t) for t in types)])
    distance = np.concatenate([p.distance for p in pairs])
    return _Listed(
        first=torch.from_numpy(np.concatenate([t[p.i] for t, p in zip(types, pairs, strict=True)])),
        second=torch.from_numpy(
            np.concatenate([t[p.j] for t, p in zip(types, pairs, strict=True)])
        ),
        distance=torch.from_numpy(distance),
        atom=np.concatenate([p.i + s for p, s in zip(pairs, starts[:-1], strict=True)]),
        direction=np.concatenate([p.vector for p in pairs]) / distance[:, None],
        atoms=int(starts[-1]),
    )


def _parts(frames: Sequence[Structure]) -> Iterator[list[Structure]]:
    """Structures in turn, about ``FITTED_ATOMS`` atoms at a time."""
    part: list[Structure] = []
    for frame in frames:
        part.append(frame)
        if sum(len(f.numbers) for f in part) >= FITTED_ATOMS:
            yield part
            part = []
    if part:
        yield part


def _envelope(r: Tensor, cutoff: Tensor) -> tuple[Tensor, Tensor]:
    """The envelope and its derivative."""
    u = torch.clamp(r / cutoff, max=1.0)
    return envelope(r, cutoff), -30.0 * u * u * (1.0 - u) ** 2 / cutoff
