r"""Coulomb energy of charges that depend on positions, differentiable twice.

Point charges interact through :math:`1/r = \mathrm{erf}(r/\sqrt2\sigma)/r +
\mathrm{erfc}(r/\sqrt2\sigma)/r`. The second part is short-ranged and summed over the neighbor
list. The first is the field of charges smeared by :math:`\sigma`: in periodic frames an Ewald sum
over reciprocal vectors, in isolated ones a sum over all pairs [1]_. Slabs and wires are summed over
reciprocal vectors, too, without images along open axes: :mod:`scalewise.models.truncation`.

The Ewald sum is written as matrix products of one-dimensional phases. It compiles inside the model
and is the fastest choice for small cells; torch-pme's particle mesh takes over for large ones.

References
----------
.. [1] P. P. Ewald, Ann. Phys. 369 (1921) 253; M. P. Allen, D. J. Tildesley, Computer Simulation of
   Liquids, 2nd ed. (2017), section 6.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchpme import CoulombPotential, P3MCalculator
from torchpme.lib.kspace_filter import P3MKSpaceFilter

from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.models import truncation

#: Reciprocal vectors are kept up to k = REACH / smearing, and fade from 0.9 of that on, where their
#: weight exp(-k² smearing² / 2) is 5e-6: Madelung constants come out within 1e-6.
REACH = 5.5
#: Mesh spacing over smearing of the particle mesh, at most: torch-pme rounds the number of points
#: up to a power of two, and its time follows. With five nodes forces agree with the Ewald sum to
#: 5e-5 eV/Å on average.
MESH = 0.75
#: Cost of one wave of the Ewald sum and of one wave and atom, in points of the mesh: with the
#: density of water the mesh is quicker from 1500 atoms on (benchmarks/electrostatics.py), in an
#: empty cell never.
WAVE, PRODUCT = 0.7, 0.0086
#: Bytes that a wave and a point of the mesh take with their derivatives, and one phase of an atom;
#: and how many times as much a wave takes in a slab or wire (measured: 323 to 354 against 266).
WAVE_BYTES, POINT_BYTES, PHASE_BYTES = 180.0, 40.0, 40.0
TRUNCATED = 1.35


class Plan(NamedTuple):
    """How the field of one frame is summed: on a mesh or not, the memory, bytes, and the waves."""

    mesh: bool
    memory: float
    waves: float = 0.0


def wave_numbers(cell: np.ndarray, smearing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers of the reciprocal vectors shorter than ``REACH / smearing``, along each axis.

    The first axis starts at zero: k and -k contribute the same. Without smearing all are empty.
    """
    if smearing <= 0:
        empty = torch.zeros(0, dtype=torch.float64)
        return empty, empty, empty
    first, second, third = _highest(cell, smearing)
    return (
        torch.arange(0, first + 1, dtype=torch.float64),
        torch.arange(-second, second + 1, dtype=torch.float64),
        torch.arange(-third, third + 1, dtype=torch.float64),
    )


def _highest(cell: np.ndarray, smearing: float) -> tuple[int, int, int]:
    """The largest whole number of a reciprocal vector along each axis."""
    # |n_a| <= |a_a| k / (2 pi), because n_a is the projection of k on the lattice vector
    reach = REACH / smearing * np.linalg.norm(cell, axis=1) / (2 * math.pi)
    first, second, third = (int(r) for r in reach)
    return first, second, third


def plan(cell: np.ndarray | None, smearing: float, atoms: int, axes: int = 3) -> Plan:
    """Whether the mesh is quicker than the Ewald sum, and how much memory the quicker one takes.

    ``cell`` is none for isolated atoms, that of :func:`scalewise.models.truncation.box` for slabs
    and wires; ``smearing`` is zero without charges, ``axes`` the number of periodic axes.
    """
    if smearing <= 0:
        return Plan(False, 0.0)
    if cell is None:  # all pairs of atoms
        return Plan(False, PHASE_BYTES * float(atoms) ** 2)
    highest = _highest(cell, smearing)
    first, second, third = highest[0] + 1, 2 * highest[1] + 1, 2 * highest[2] + 1
    count = float(first) * second * third
    edges = np.linalg.norm(cell, axis=1)
    # torch-pme takes the power of two above
    points = float(np.prod(2.0 ** np.ceil(np.log2(2.0 * edges / (MESH * smearing) + 1.0))))
    if count * (WAVE + PRODUCT * atoms) > points:
        return Plan(True, POINT_BYTES * points)
    memory = count * WAVE_BYTES * (1.0 if axes == 3 else TRUNCATED)
    return Plan(False, memory + PHASE_BYTES * float(first) * second * atoms, count)


def short_range(distance: Tensor, products: Tensor, smearing: float) -> Tensor:
    r"""Energy of each pair of point charges minus that of smeared ones [pairs].

    .. math:: q_i q_j\, \mathrm{erfc}(r_{ij} / \sqrt2 \sigma) / r_{ij}

    ``products`` are the charges' [pairs].
    """
    return (
        COULOMB_CONSTANT * products * torch.erfc(distance * (math.sqrt(0.5) / smearing)) / distance
    )


def self_energy(charges: Tensor, smearing: float) -> Tensor:
    """Energy of each smeared charge in its own field, which the sums count [atoms]."""
    return (COULOMB_CONSTANT / (math.sqrt(2 * math.pi) * smearing)) * charges * charges


def ewald(
    positions: Tensor,
    charges: Tensor,
    cell: Tensor,
    waves: tuple[Tensor, ...],
    smearing: float,
    axes: Tensor | None = None,
) -> Tensor:
    r"""Energy of smeared charges in periodic cells, with their self energy [frames].

    .. math:: E = \frac{1}{2V} \sum_{k \ne 0} \frac{4 \pi}{k^2} e^{-\sigma^2 k^2 / 2}
       \left| \sum_i q_i e^{i k \cdot r_i} \right|^2 - \frac{\pi \sigma^2}{V} Q^2

    The last term lets a uniform background neutralise a net charge Q. Slabs and wires have other
    factors in place of :math:`4 \pi / k^2`, and another last term.

    Parameters
    ----------
    positions, charges
        Å, e; padded with zero charges, [frames, places, 3] and [frames, places]. Positions and cell
        may be of higher precision than charges: phases are formed in theirs, and then rounded.
    cell
        Lattice vectors in rows, Å [frames, 3, 3].
    waves
        From :func:`wave_numbers`.
    smearing
        Å.
    axes
        Number of periodic axes of each frame [frames], of which the others' cells are those of
        :func:`scalewise.models.truncation.box`; none: three. What it gives for zero is meaningless.
    """
    reciprocal, volume = _reciprocal(cell)
    first, second, third = waves
    fraction = positions @ reciprocal.transpose(1, 2)
    fraction = (fraction - torch.round(fraction.detach())).to(charges.dtype)
    reciprocal, volume = reciprocal.to(charges.dtype), volume.to(charges.dtype)
    phase = (2 * math.pi) * fraction
    cos1, sin1 = _waves(phase[..., 0], first)
    cos2, sin2 = _waves(phase[..., 1], second)
    cos3, sin3 = _waves(phase[..., 2], third)
    real = cos1[..., :, None] * cos2[..., None, :] - sin1[..., :, None] * sin2[..., None, :]
    imaginary = cos1[..., :, None] * sin2[..., None, :] + sin1[..., :, None] * cos2[..., None, :]
    real, imaginary = (v.flatten(2).transpose(1, 2) for v in (real, imaginary))
    # the third axis is the smallest array to carry the charges
    cos3, sin3 = charges[..., None] * cos3, charges[..., None] * sin3
    both = torch.cat([cos3, sin3], dim=-1)
    real_cos, real_sin = (real @ both).chunk(2, dim=-1)
    imaginary_cos, imaginary_sin = (imaginary @ both).chunk(2, dim=-1)
    structure_real = real_cos - imaginary_sin
    structure_imaginary = real_sin + imaginary_cos
    weight = _weights(reciprocal, waves, smearing)
    if axes is not None:
        weight = weight * truncation.factors(waves, reciprocal, cell.to(charges.dtype), axes)
    square = structure_real * structure_real + structure_imaginary * structure_imaginary
    net = charges.sum(dim=1)
    # in two steps: a compiler asks whether one long sum is long, and compiles again for the other
    field = (weight * square).sum(dim=2).sum(dim=1)
    if axes is not None:
        waved = COULOMB_CONSTANT * 2 * math.pi * field / volume
        return waved + truncation.net_charge(net, cell, axes, smearing)
    energy = 2 * math.pi * field - math.pi * smearing**2 * net * net
    return COULOMB_CONSTANT * energy / volume


def _reciprocal(cell: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of the transposed cell, rows b with a_i . b_j = δ_ij, and the volume."""
    a, b, c = cell.unbind(dim=1)
    bc = torch.linalg.cross(b, c)
    signed = (a * bc).sum(dim=-1)
    rows = torch.stack([bc, torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=1)
    return rows / signed[:, None, None], signed.abs()


def _waves(phase: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    angle = phase[..., None] * numbers
    return torch.cos(angle), torch.sin(angle)


def _weights(reciprocal: Tensor, waves: tuple[Tensor, ...], smearing: float) -> Tensor:
    """Weights exp(-σ²k²/2)/k² [frames, first * second, third], k and -k counted once.

    They fall to zero between 0.9 and 1 of the reach, so that a cell may change its shape without a
    step in the energy when a reciprocal vector leaves.
    """
    first, second, third = waves
    k1 = first[:, None] * reciprocal[:, None, 0]
    k2 = second[:, None] * reciprocal[:, None, 1]
    k3 = third[:, None] * reciprocal[:, None, 2]
    k12 = (k1[:, :, None] + k2[:, None, :]).flatten(1, 2)
    k = (2 * math.pi) * (k12[:, :, None] + k3[:, None, :])
    square = (k * k).sum(dim=-1)
    origin = square < 1e-12
    square = torch.where(origin, torch.ones_like(square), square)
    u = torch.clamp((square * (smearing / REACH) ** 2 - 0.81) / 0.19, 0.0, 1.0)
    ending = 1.0 - u * u * u * (10.0 + u * (6.0 * u - 15.0))
    weight = torch.exp(-0.5 * smearing**2 * square) / square * ending
    twice = torch.where(first > 0, 2.0, 1.0).to(weight.dtype).repeat_interleave(len(second))
    return torch.where(origin, torch.zeros_like(weight), weight) * twice[None, :, None]


def open_boundary(positions: Tensor, charges: Tensor, smearing: float) -> Tensor:
    r"""Energy of smeared charges without periodicity, with their self energy [frames].

    .. math:: E = \tfrac12 \sum_{ij} q_i q_j\, \mathrm{erf}(r_{ij}/\sqrt2\sigma)/r_{ij}, \qquad
       \lim_{r \to 0} = \sqrt{2/\pi}/\sigma

    Padded like the input of :func:`ewald`.
    """
    delta = (positions[:, :, None] - positions[:, None, :]).to(charges.dtype)
    square = (delta * delta).sum(dim=-1)
    same = square < 1e-12
    distance = torch.sqrt(torch.where(same, torch.ones_like(square), square))
    kernel = torch.erf(distance * (math.sqrt(0.5) / smearing)) / distance
    kernel = torch.where(same, math.sqrt(2 / math.pi) / smearing, kernel)
    field = (kernel @ charges[..., None])[..., 0]
    return 0.5 * COULOMB_CONSTANT * (charges * field).sum(dim=1)


class _Filter(P3MKSpaceFilter):  # type: ignore[misc]
    """torch-pme's filter, times the factors of a slab or wire."""

    axes: Tensor
    _kfilter: Tensor

    def update(self, cell: Tensor | None = None, ns_mesh: Tensor | None = None) -> None:
        """As torch-pme's."""
        super().update(cell, ns_mesh)
        if not hasattr(self, "axes"):  # while it is made
            return
        shape = [int(n) for n in self.ns_mesh]
        first, second = (
            n * torch.fft.fftfreq(n, dtype=self.cell.dtype, device=self.cell.device)
            for n in shape[:2]
        )
        third = torch.arange(shape[2] // 2 + 1, dtype=self.cell.dtype, device=self.cell.device)
        reciprocal, _ = _reciprocal(self.cell[None])
        factor = truncation.factors((first, second, third), reciprocal, self.cell[None], self.axes)
        self._kfilter = self._kfilter * factor.reshape(self._kfilter.shape)


def particle_mesh(
    positions: Tensor,
    charges: Tensor,
    cell: Tensor,
    smearing: float,
    axes: Tensor | None = None,
) -> Tensor:
    """Energy of smeared charges in one periodic cell on a mesh (P3M), with their self energy.

    The same quantity as :func:`ewald`, in time proportional to N log N; not for ``torch.compile``.
    """
    calculator = P3MCalculator(
        CoulombPotential(smearing), mesh_spacing=MESH * smearing, interpolation_nodes=5
    )
    if axes is not None:
        calculator.kspace_filter = _Filter(
            cell=torch.eye(3),
            ns_mesh=torch.ones(3, dtype=torch.int64),
            interpolation_nodes=5,
            kernel=calculator.potential,
            fft_norm="backward",
            ifft_norm="forward",
            differential_order=2,
        )
        calculator.kspace_filter.axes = axes
    calculator.to(device=positions.device, dtype=charges.dtype)
    with torch.no_grad():
        whole = torch.floor(positions @ torch.linalg.inv(cell))
    inside = positions - whole @ cell
    potential = calculator(
        charges=charges[:, None],
        cell=cell.to(charges.dtype),
        positions=inside.to(charges.dtype),
        neighbor_indices=torch.zeros(0, 2, dtype=torch.int64, device=positions.device),
        neighbor_distances=charges.new_zeros(0),
    )
    # torch-pme returns half the potential, without the charges' own field
    energy = COULOMB_CONSTANT * (charges * potential[:, 0]).sum()
    energy = energy + self_energy(charges, smearing).sum()
    if axes is None:
        return energy
    net, three = charges.sum()[None], torch.full_like(axes, 3)
    other = truncation.net_charge(net, cell[None], axes, smearing)
    return (energy + other - truncation.net_charge(net, cell[None], three, smearing))[0]
