r"""The Ewald sum on a mesh: smooth particle mesh Ewald, in time proportional to N log N.

Charges are spread over a mesh with cardinal B-splines :math:`M_p` of order p, whose Fourier
coefficients are known [1]_: the structure factor of the Ewald sum becomes that of the mesh,

.. math:: \left| \sum_i q_i e^{i k \cdot r_i} \right|^2 \approx B(k)\, |\hat Q(k)|^2, \qquad
   B(k) = \prod_a \left| \sum_{l=0}^{p-2} M_p(l + 1)\, e^{2 \pi i m_a l / n_a} \right|^{-2}

with n mesh points and the integer wave number m along each axis. The energy is twice
differentiable. Forces are its exact derivatives, so that the error of the mesh is an error of the
energy and the forces remain conservative. The function compiles like any other function of tensors.
With ``ORDER`` and ``SPACING`` forces agree with the Ewald sum to 7e-7 eV/Å on average and
5e-6 eV/Å at most (benchmarks/electrostatics.py).

References
----------
.. [1] U. Essmann, L. Perera, M. L. Berkowitz, T. Darden, H. Lee, L. G. Pedersen, J. Chem. Phys. 103
   (1995) 8577.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

#: Order p of the splines: even, as B has poles on even meshes otherwise.
ORDER: Final = 8
#: Spacing of the mesh, in widths of the smeared charges, at most.
SPACING: Final = 0.4


def mesh_numbers(cell: np.ndarray, smearing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers of the waves of a mesh along each axis, in the order of its Fourier transform.

    As many as there are points, but of the third axis, whose number of points n is even: 0 to n/2.
    """
    first, second, third = points(cell, smearing)
    return (
        torch.from_numpy(np.fft.fftfreq(first, 1.0 / first)),
        torch.from_numpy(np.fft.fftfreq(second, 1.0 / second)),
        torch.from_numpy(np.fft.rfftfreq(third, 1.0 / third)),
    )


def points(cell: np.ndarray, smearing: float) -> tuple[int, int, int]:
    """Points of the mesh along each axis: numbers whose Fourier transforms are fast."""
    least = np.maximum(np.linalg.norm(cell, axis=1) / (SPACING * smearing), ORDER)
    first, second = (next_fast_len(math.ceil(n), real=False) for n in least[:2])
    return first, second, 2 * next_fast_len(math.ceil(0.5 * least[2]), real=True)


def squared_structure_factor(
    fraction: Tensor, charges: Tensor, numbers: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Squares of the structure factor, e² [n1, n2, n3 / 2 + 1].

    Parameters
    ----------
    fraction
        Fractional coordinates [atoms, 3]; in double precision, whatever the type of the charges.
    charges
        e [atoms].
    numbers
        From :func:`mesh_numbers`.
    """
    sizes = (numbers[0].shape[0], numbers[1].shape[0], 2 * (numbers[2].shape[0] - 1))
    indices, weights = zip(
        *(_spread(fraction[:, a], sizes[a], charges.dtype) for a in range(3)), strict=True
    )
    first, second, third = indices
    plane = first[:, :, None] * sizes[1] + second[:, None, :]
    index = plane[..., None] * sizes[2] + third[:, None, None, :]
    weight = (charges[:, None, None] * weights[0][:, :, None]) * weights[1][:, None, :]
    values = weight[..., None] * weights[2][:, None, None, :]
    mesh = values.new_zeros(sizes[0] * sizes[1] * sizes[2])
    mesh = mesh.index_add(0, index.reshape(-1), values.reshape(-1))
    factor = torch.view_as_real(torch.fft.rfftn(mesh.reshape(sizes)))
    square = (factor * factor).sum(dim=-1)
    bent = [_spline_factors(n, size) for n, size in zip(numbers, sizes, strict=True)]
    return square * (bent[0][:, None, None] * bent[1][:, None] * bent[2])


def _spread(fraction: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Points along one axis that atoms are spread over, and their weights [atoms, ORDER]."""
    place = (fraction - torch.floor(fraction.detach())) * size
    nearest = torch.floor(place.detach())
    order = torch.arange(ORDER, device=fraction.device)
    index = torch.remainder(nearest.long()[:, None] - order, size)
    return index, _splines((place - nearest).to(dtype))


def _splines(x: Tensor) -> Tensor:
    """Splines M(x + k) for k = 0 ... ORDER - 1 and x from 0 to 1 [..., ORDER]."""
    values = [x, 1.0 - x]
    for n in range(3, ORDER + 1):
        before = [torch.zeros_like(x), *values, torch.zeros_like(x)]
        values = [((x + k) * before[k + 1] + (n - k - x) * before[k]) / (n - 1) for k in range(n)]
    return torch.stack(values, dim=-1)


def _spline_factors(numbers: Tensor, size: int) -> Tensor:
    """One axis' factor of B, of the waves with these numbers."""
    values = _splines(numbers.new_zeros(()))[1:]  # M(1) ... M(ORDER - 1)
    steps = torch.arange(ORDER - 1, dtype=numbers.dtype, device=numbers.device)
    angle = (2.0 * math.pi / size) * numbers[:, None] * steps
    real, imaginary = torch.cos(angle) @ values, torch.sin(angle) @ values
    return 1.0 / (real * real + imaginary * imaginary)
