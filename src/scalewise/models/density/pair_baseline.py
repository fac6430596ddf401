r"""A pair potential that the network corrects: repulsion of nuclei, and a fit to the forces.

.. math:: E_i = \frac12 \sum_j f(r_{ij}) \sum_n w_{z_i z_j n} b_n(r_{ij})
   + \frac12 \sum_j f(r_{ij} / d_{ij})\, k\, \frac{Z_i Z_j}{r_{ij}}\, \phi(r_{ij} / a_{ij})

with the envelope f and the Bessel functions :math:`b_n` of the network's shortest cutoff. Outputs
of a network are bounded: if a bond is stretched farther than in the training data, the forces of
the network are too small. The fitted pair potential describes a smooth part of the forces and
extrapolates beyond the data. The screened repulsion of Ziegler, Biersack and Littmark acts where
nuclei are closer than the sum d of their covalent radii.

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
from scalewise.models.density.kernels import operations
from scalewise.models.density.radial import bessel, envelope
from scalewise.models.graph import check_apart

#: Universal screening function: weights and rates, and the length of which a is made, Å.
SCREENING: Final = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
SCREENING_LENGTH: Final = 0.46850
POWER: Final = 0.23
#: Damping of the curvature, over the summed squares of what single pairs exert. Networks predict
#: hot molecules best, and learn few frames best, on potentials that are as smooth as that
#: (docs/findings.md).
DAMPING: Final = 1e-2
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

    def energies(
        self, first: Tensor, types: Tensor, index: Tensor, vectors: Tensor, cutoffs: Tensor
    ) -> Tensor:
        """The same by kernels, of vectors, Å [n, neighbors, 3].

        ``first`` are the types of the atoms that have lists [n], ``types`` those of all, ``index``
        the neighbors [n, neighbors].
        """
        reach = torch.clamp(cutoffs[:, 0], max=self.cutoff)
        return operations.pair_energies(
            vectors, reach, first, types, index, self.coefficients, self.tables()
        )

    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rates, strengths and ends of the repulsion of all pairs of elements [kinds, kinds]."""
        kinds = torch.arange(len(self.nuclei), device=self.nuclei.device)
        return self._nuclei(kinds[:, None], kinds[None, :])

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
        r"""Fit the coefficients w to labelled forces F, by least squares with damped curvature.

        .. math:: \min_w |F - A w|^2 + \lambda \sum_{zz'} s_{zz'}^2 \sum_{n=1}^N n^4 w_{zz'n}^2,
           \qquad s_{zz'}^2 = \frac1N \sum_n \frac1{n^2} \sum_{\mathrm{pairs}\ zz'}
           \Bigl(\frac{\mathrm{d}(f b_n)}{\mathrm{d}r}\Bigr)^2

        with λ = ``DAMPING`` and N functions. The curvature of function n grows with n², so that the
        potential bends no more than the forces ask for: what it predicts between the distances of
        few frames is smooth, and the network can correct it. Where the forces of pairs cancel by
        symmetry, as those of an atom with its own images do, columns of A vanish, but not s: such
        coefficients stay zero. Frames without forces are left out; of many atoms, about
        ``FITTED_ATOMS`` are taken.

        Parameters
        ----------
        frames
            With forces in eV/Å.
        elements
            Atomic numbers, in the network's order.

        Raises
        ------
        InputError
            As :func:`scalewise.models.graph.build`.
        """
        labelled = [f for f in frames if f.labels.forces is not None]
        atoms = sum(len(f.numbers) for f in labelled)
        chosen = labelled[:: max(1, -(-atoms // FITTED_ATOMS))]
        if not chosen:
            return
        listed = _listed(chosen, elements, self.cutoff).of_some_atoms(FITTED_ATOMS)
        matrix, squares, repelled = self._equations(listed)
        wanted = np.concatenate([f.labelled_forces for f in chosen])[listed.counted] - repelled
        scale = _scale_of_curvature(squares, self.coefficients.shape[-1])
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
            As :func:`scalewise.models.graph.build`.
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
        """Forces as linear functions of coefficients, sums of squares, repulsion [counted, 3]."""
        kinds, _, size = self.coefficients.shape
        _, slopes = self._basis(listed.distance)
        _, repelled = self._repelled(listed)
        low = torch.minimum(listed.first, listed.second).numpy()
        high = torch.maximum(listed.first, listed.second).numpy()
        column = ((low * kinds + high) * size)[:, None, None] + np.arange(size)
        row = (3 * listed.row)[:, None, None] + np.arange(3)[:, None]
        values = listed.direction[:, :, None] * slopes.numpy()[:, None, :]
        row, column = np.broadcast_arrays(row, column)
        matrix = coo_array(
            (values.ravel(), (row.ravel(), column.ravel())),
            shape=(3 * len(listed.counted), self.coefficients.numel()),
        )
        squares = np.bincount(
            column[:, 0].ravel(), weights=slopes.numpy().ravel() ** 2, minlength=matrix.shape[1]
        )
        return matrix.tocsr(), squares, listed.forces(repelled)[listed.counted]


@dataclass(frozen=True, eq=False)
class _Listed:
    """Pairs of several structures, from both ends: elements, distance, first atom, direction.

    ``counted`` are the atoms whose pairs are all there.
    """

    first: Tensor
    second: Tensor
    distance: Tensor
    atom: Int[np.ndarray, " pairs"]
    direction: Float[np.ndarray, "pairs 3"]
    atoms: int
    counted: Int[np.ndarray, " counted"]

    @property
    def row(self) -> Int[np.ndarray, " pairs"]:
        """The place of the first atom among those that are counted."""
        return np.searchsorted(self.counted, self.atom)

    def of_some_atoms(self, most: int) -> _Listed:
        """Pairs of some atoms with all their neighbors: the matrix of a fit has rows for them."""
        if self.atoms <= most:
            return self
        counted = np.sort(np.random.default_rng(0).choice(self.atoms, most, replace=False))
        kept = np.isin(self.atom, counted)
        return _Listed(
            first=self.first[torch.from_numpy(kept)],
            second=self.second[torch.from_numpy(kept)],
            distance=self.distance[torch.from_numpy(kept)],
            atom=self.atom[kept],
            direction=self.direction[kept],
            atoms=self.atoms,
            counted=counted,
        )

    def forces(self, slope: Tensor) -> Float[np.ndarray, "atoms 3"]:
        """Forces of pair energies with these slopes, eV/Å."""
        along = slope.numpy()[:, None] * self.direction
        sums = [np.bincount(self.atom, weights=v, minlength=self.atoms) for v in along.T]
        return np.stack(sums, axis=1)


def _scale_of_curvature(squares: np.ndarray, size: int) -> np.ndarray:
    """1 / (s n²) of all coefficients, as in :meth:`PairBaseline.fit`; 0 where there is no pair."""
    order = np.arange(1, size + 1)
    strength = np.sqrt((squares.reshape(-1, size) / order**2).mean(axis=1, keepdims=True))
    bending = strength * order**2
    return np.divide(1.0, bending, out=np.zeros_like(bending), where=bending > 0.0).ravel()


def _listed(frames: Sequence[Structure], elements: Sequence[int], cutoff: float) -> _Listed:
    pairs = [build(f, cutoff, full=True, images=True) for f in frames]
    for frame, listed in zip(frames, pairs, strict=True):
        check_apart(frame, listed)
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
        counted=np.arange(starts[-1]),
    )


def _parts(frames: Sequence[Structure]) -> Iterator[list[Structure]]:
    """Structures in turn, about ``FITTED_ATOMS`` atoms at a time."""
    part: list[Structure] = []
    atoms = 0
    for frame in frames:
        part.append(frame)
        atoms += len(frame.numbers)
        if atoms >= FITTED_ATOMS:
            yield part
            part, atoms = [], 0
    if part:
        yield part


def _envelope(r: Tensor, cutoff: Tensor) -> tuple[Tensor, Tensor]:
    """The envelope and its derivative."""
    u = torch.clamp(r / cutoff, max=1.0)
    return envelope(r, cutoff), -30.0 * u * u * (1.0 - u) ** 2 / cutoff
