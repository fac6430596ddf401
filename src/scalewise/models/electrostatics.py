r"""Coulomb energy of charges that depend on positions, differentiable twice.

Point charges interact through :math:`1/r = \mathrm{erf}(r/\sqrt2\sigma)/r +
\mathrm{erfc}(r/\sqrt2\sigma)/r`. The second part is short-ranged and summed over the neighbor
list. The first is the field of charges smeared by :math:`\sigma`: in periodic frames an Ewald sum
over reciprocal vectors, in isolated ones a sum over all pairs [1]_. Slabs and wires are summed over
reciprocal vectors, too, without images along open axes: :mod:`scalewise.models.truncation`.

The Ewald sum is written as matrix products of one-dimensional phases, and is the fastest choice for
small cells; :mod:`scalewise.models.particle_mesh` takes over for large ones.

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

from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.models import truncation
from scalewise.models.particle_mesh import points, squared_structure_factor

#: Reciprocal vectors are kept up to k = REACH / smearing, and fade from 0.9 of that on, where their
#: weight exp(-k² smearing² / 2) is 5e-6: Madelung constants come out within 1e-6.
REACH = 5.5
#: Cost of one wave of the Ewald sum, of one wave and atom, of one atom on the mesh and of the mesh
#: itself, in points of the mesh: with the density of water the mesh is quicker from 1100 atoms on
#: (benchmarks/electrostatics.py), in an empty cell never.
WAVE, PRODUCT, SPREAD, BEGIN = 1.0, 0.032, 240.0, 2e5
#: Bytes that a wave, a point of the mesh and an atom on it take with their derivatives, and one
#: phase of an atom; and how many times as much a wave takes in a slab or wire (measured: 323 to 354
#: against 266).
WAVE_BYTES, POINT_BYTES, SPREAD_BYTES, PHASE_BYTES = 180.0, 80.0, 12e3, 40.0
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
    on_mesh = float(math.prod(points(cell, smearing)))  # NumPy's integers would overflow
    if count * (WAVE + PRODUCT * atoms) > on_mesh + SPREAD * atoms + BEGIN:
        return Plan(True, POINT_BYTES * on_mesh + SPREAD_BYTES * atoms)
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
    twice = torch.where(first > 0, 2.0, 1.0).to(weight.dtype).repeat_interleave(second.shape[0])
    weight = weight * twice[None, :, None]
    if axes is not None:
        weight = weight * truncation.factors(waves, reciprocal, cell.to(charges.dtype), axes)
    square = structure_real * structure_real + structure_imaginary * structure_imaginary
    # in two steps: a compiler asks whether one long sum is long, and compiles again for the other
    field = (weight * square).sum(dim=2).sum(dim=1)
    return _of_field(field, charges.sum(dim=1), cell, volume, smearing, axes)


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
    """Weights exp(-σ²k²/2)/k² [frames, first * second, third].

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
    return torch.where(origin, torch.zeros_like(weight), weight)


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


def particle_mesh(
    positions: Tensor,
    charges: Tensor,
    cell: Tensor,
    numbers: tuple[Tensor, Tensor, Tensor],
    smearing: float,
    axes: Tensor | None = None,
) -> Tensor:
    """Energy of smeared charges in one periodic cell on a mesh [1], with their self energy.

    The same quantity as :func:`ewald`, in time proportional to N log N.

    Parameters
    ----------
    positions, charges, cell
        Å, e, Å [1, atoms, 3], [1, atoms] and [1, 3, 3].
    numbers
        From :func:`scalewise.models.particle_mesh.mesh_numbers`.
    smearing, axes
        As of :func:`ewald`.
    """
    reciprocal, volume = _reciprocal(cell)
    fraction = positions[0] @ reciprocal[0].transpose(0, 1)
    square = squared_structure_factor(fraction, charges[0], numbers)
    reciprocal, volume = reciprocal.to(charges.dtype), volume.to(charges.dtype)
    weight = _weights(reciprocal, numbers, smearing)
    if axes is not None:
        weight = weight * truncation.factors(numbers, reciprocal, cell.to(charges.dtype), axes)
    # of the third axis, half of the waves are there, as in ewald of the first
    ends = (numbers[2] == 0) | (numbers[2] == numbers[2].shape[0] - 1)
    weight = weight.reshape(square.shape) * torch.where(ends, 1.0, 2.0).to(weight.dtype)
    field = (weight * square).sum(dim=2).sum(dim=1).sum(dim=0, keepdim=True)
    return _of_field(field, charges.sum(dim=1), cell, volume, smearing, axes)


def _of_field(
    field: Tensor,
    net: Tensor,
    cell: Tensor,
    volume: Tensor,
    smearing: float,
    axes: Tensor | None,
) -> Tensor:
    """Energies, eV [frames], of weighted sums over waves and net charges."""
    if axes is not None:
        waved = COULOMB_CONSTANT * 2 * math.pi * field / volume
        return waved + truncation.net_charge(net, cell, axes, smearing)
    energy = 2 * math.pi * field - math.pi * smearing**2 * net * net
    return COULOMB_CONSTANT * energy / volume
