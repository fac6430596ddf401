r"""Coulomb sums of slabs and wires in reciprocal space, without images along open axes.

A slab is put into a cell of height 2R along its normal, a wire into a cell of edges 2R across its
axis, where R is larger than the distance of any two atoms along the open axes. The interaction is
truncated at R along the open axes. It then includes every pair of the slab or wire and no images,
which are farther away than R. The Fourier transform of the truncated interaction is known [1]_. For
any dipole, only the tails of the smeared charges of the images remain, so that the energy does not
depend on R. Slab corrections [2]_ give the same energy in the limit of a high cell, for net
charges, too.

References
----------
.. [1] C. A. Rozzi et al., Phys. Rev. B 73 (2006) 205119; for a square of edge 2R around the axis of
   a wire every wave number across it times R is π times the length of a whole vector.
.. [2] I.-C. Yeh and M. L. Berkowitz, J. Chem. Phys. 111 (1999) 3155; V. Ballenegger, A. Arnold and
   J. J. Cerdà, J. Chem. Phys. 131 (2009) 094107.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scalewise.core.quantities import COULOMB_CONSTANT

#: Widths of the smeared charges that R exceeds the extent of the atoms by: erfc(6 / √2) is 2e-9,
#: and an energy differs from that with wider margins by less than 1e-8 eV/atom.
MARGIN: Final = 6.0
#: Steps and number of points of the integral of the modified Bessel functions: by the trapezoidal
#: rule, whose error is exp(-π² / step) of them.
STEP, POINTS = 0.25, 64


def box(
    lattice: np.ndarray, pbc: np.ndarray, positions: np.ndarray, smearing: float
) -> tuple[Float[np.ndarray, "3 3"], Int[np.ndarray, " 3"]]:
    """The cell in which a slab or wire is summed, Å, and the order that its axes are in.

    Periodic axes come first. Open ones are perpendicular to them, and long enough for the atoms at
    their positions (Å), whose extent is rounded up to whole Å. Isolated atoms get the unit matrix.
    """
    order = np.argsort(~pbc, kind="stable")
    cell, axes = lattice[order], int(pbc.sum())
    if axes in (0, 3) or not len(positions):
        return cell, order
    across = positions @ cell[axes:].T
    centre = 0.5 * (across.min(axis=0) + across.max(axis=0))
    extent = 2.0 * float(np.linalg.norm(across - centre, axis=1).max())
    # energies in two cells differ by 1e-8 eV, which differences over 1e-4 Å would show: sheets and
    # chains that are flat, or as wide as a round number, stay in one
    cell[axes:] *= 2.0 * (math.ceil(extent + 0.3) + MARGIN * smearing)
    return cell, order


def strained(cell: Tensor, unstrained: Tensor, axes: Tensor) -> Tensor:
    """Cells whose open axes are perpendicular again, and as long as before the strain.

    Parameters
    ----------
    cell, unstrained
        Å [frames, 3, 3], from :func:`box`.
    axes
        Number of periodic axes of each frame [frames].
    """
    a, b, c = cell.unbind(dim=1)
    edge = torch.linalg.norm(unstrained[:, 2], dim=-1, keepdim=True)
    one, three = (axes == 1)[:, None], (axes == 3)[:, None]
    along = (a * b).sum(dim=-1, keepdim=True) / (a * a).sum(dim=-1, keepdim=True)
    b = torch.where(one, edge * _unit(b - along * a), b)
    c = torch.where(three, c, edge * _unit(torch.linalg.cross(a, b)))
    return torch.stack([a, b, c], dim=1)


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.norm(vector, dim=-1, keepdim=True)


def factors(waves: tuple[Tensor, ...], reciprocal: Tensor, cell: Tensor, axes: Tensor) -> Tensor:
    r"""What the transform of the cut-off interaction is to :math:`4 \pi / k^2` [frames, n12, n3].

    .. math:: 1 - (-1)^{n_3} e^{-k_\parallel R}, \qquad
       1 + y J_1(y) K_0(x) - x J_0(y) K_1(x)

    of slabs and wires, with :math:`x = k_\parallel R` and :math:`y = k_\perp R = \pi \sqrt{n_2^2 +
    n_3^2}`. Where :math:`k_\parallel` is zero, they are :math:`1 - (-1)^{n_3}` and, as the
    potential of a charged wire is taken to be zero at R, :math:`1 - J_0(y)`.

    Parameters
    ----------
    waves
        Whole numbers along each axis; n12 runs over the first and second.
    reciprocal
        Rows b with a_i . b_j = δ_ij [frames, 3, 3].
    cell, axes
        From :func:`box`, Å [frames, 3, 3]; number of periodic axes [frames].
    """
    first, second, third = waves
    radius = 0.5 * torch.linalg.norm(cell[:, 2], dim=-1)
    k1 = first[:, None] * reciprocal[:, None, 0]
    in_plane = (k1[:, :, None] + second[:, None] * reciprocal[:, None, None, 1]).flatten(1, 2)
    square = (in_plane * in_plane).sum(dim=-1)
    origin = square < 1e-12
    k = 2 * math.pi * torch.sqrt(torch.where(origin, torch.ones_like(square), square))
    decay = torch.where(origin, torch.ones_like(k), torch.exp(-k * radius[:, None]))
    odd = torch.remainder(third, 2.0)
    slab = 1.0 - decay[..., None] * (1.0 - 2.0 * odd)
    number = torch.sqrt(second[:, None] ** 2 + third**2).double()
    j0 = torch.special.bessel_j0(math.pi * number).to(slab.dtype)
    j1 = (math.pi * number * torch.special.bessel_j1(math.pi * number)).to(slab.dtype)
    length = torch.sqrt((k1[:, 1:] ** 2).sum(dim=-1))  # but of the wave number zero
    k0, k1 = _modified_bessel(2 * math.pi * length * radius[:, None])
    others = 1.0 + j1 * k0[..., None, None] - j0 * k1[..., None, None]
    zero = (1.0 - j0).expand(cell.shape[0], 1, *j0.shape)
    wire = torch.cat([zero, others], dim=1).flatten(1, 2)
    kind = axes[:, None, None]
    return torch.where(kind == 3, 1.0, torch.where(kind == 2, slab, wire))


def _modified_bessel(x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`K_0(x) = \int_0^\infty e^{-x \cosh u} du` and :math:`x K_1(x)`, differentiable."""
    u = STEP * torch.arange(POINTS, dtype=x.dtype, device=x.device)
    weight = torch.where(u > 0, STEP, 0.5 * STEP).to(x.dtype)
    terms = weight * torch.exp(-x[..., None] * torch.cosh(u))
    return terms.sum(dim=-1), x * (terms * torch.cosh(u)).sum(dim=-1)


def net_charge(net: Tensor, cell: Tensor, axes: Tensor, smearing: float) -> Tensor:
    r"""Energy of net charges Q that the wave number zero adds, eV [frames].

    .. math:: -\frac{\pi \sigma^2}{V} Q^2, \qquad -\frac{\pi R}{2 A} Q^2, \qquad
       \frac1L \left( \frac{\pi}{8} - \ln R \right) Q^2

    of crystals, where a uniform background neutralises, and of slabs and wires, whose potential
    k=0 is :math:`-2 \pi |z| / A` and :math:`-2 \ln \rho / L`, with ρ in Å.
    """
    a, b, c = cell.unbind(dim=1)
    radius = 0.5 * torch.linalg.norm(c, dim=-1)
    area = torch.linalg.norm(torch.linalg.cross(a, b), dim=-1)
    volume = (torch.linalg.cross(a, b) * c).sum(dim=-1).abs()
    wire = (math.pi / 8 - torch.log(radius)) / torch.linalg.norm(a, dim=-1)
    slab = -0.5 * math.pi * radius / area
    found = torch.where(
        axes == 3, -math.pi * smearing**2 / volume, torch.where(axes == 2, slab, wire)
    )
    return COULOMB_CONSTANT * found.to(net.dtype) * net * net
