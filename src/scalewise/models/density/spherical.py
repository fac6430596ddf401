r"""Real spherical harmonics of unit vectors, and grids on the sphere that integrate them exactly.

Products of functions on the sphere couple their degrees with Gaunt coefficients. On a quadrature
grid that is exact for the degree of the product, the coupling is a pointwise product between two
matrix products. It is rotation-equivariant up to rounding, and takes the time of the matrix
products [1]_.

References
----------
.. [1] S. Luo, T. Chen, A. S. Krishnapriyan, "Enabling Efficient Equivariant Operations in the
   Fourier Basis via Gaunt Tensor Products", ICLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.integrate import lebedev_rule
from torch import Tensor, nn

from scalewise.models.compiler import is_compiling

#: Degrees of exactness for which SciPy has a Lebedev rule.
LEBEDEV = (*range(3, 32, 2), *range(35, 132, 6))


def harmonics(unit: Tensor, degree: int) -> Tensor:
    r"""Real spherical harmonics up to ``degree`` of unit vectors [..., 3], last axis (l_max+1)².

    Ordered by degree l, then m = -l ... l; scaled so that each has a mean square of one over the
    sphere, :math:`\sum_m Y_{lm}^2 = 2l + 1`. This is the reference; networks use
    :class:`Harmonics`, the same functions in a tenth of the operations.

    Examples
    --------
    >>> harmonics(torch.tensor([0.0, 0.0, 1.0]), 1)
    tensor([1.0000, 0.0000, 1.7321, 0.0000])
    """
    return torch.stack(_columns(unit.unbind(-1), degree), dim=-1)


def _columns(unit: Sequence[Tensor], degree: int) -> list[Tensor]:
    x, y, z = unit
    cosine, sine = [torch.ones_like(x)], [torch.zeros_like(x)]  # of m times the azimuth
    for m in range(degree):
        cosine.append(x * cosine[m] - y * sine[m])
        sine.append(x * sine[m] + y * cosine[m])
    legendre = _legendre(z, degree)
    columns = []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            k = abs(m)
            column = _factor(n, k) * legendre[n, k]
            columns.append(column * (sine[k] if m < 0 else cosine[k]) if m else column)
    return columns


def _factor(n: int, order: int) -> float:
    """What a harmonic is, over its Legendre polynomial and azimuth."""
    square = (2 * n + 1) * math.factorial(n - order) / math.factorial(n + order)
    return math.sqrt(2.0 * square if order else square)


def factors(degree: int) -> Tensor:
    """Of the harmonics, the factors of Legendre polynomials and azimuths [(l_max+1)²]."""
    found = [_factor(n, abs(m)) for n in range(degree + 1) for m in range(-n, n + 1)]
    return torch.tensor(found, dtype=torch.float64)


def _legendre(z: Tensor, degree: int) -> dict[tuple[int, int], Tensor]:
    """Associated Legendre functions over sin^m, by their stable upward recursion."""
    p = {}
    for m in range(degree + 1):
        p[m, m] = torch.full_like(z, math.prod(range(1, 2 * m, 2)))
        if m < degree:
            p[m + 1, m] = (2 * m + 1) * z * p[m, m]
        for n in range(m + 2, degree + 1):
            p[n, m] = ((2 * n - 1) * z * p[n - 1, m] - (n + m - 1) * p[n - 2, m]) / (n - m)
    return p


class Harmonics(nn.Module):
    r"""Spherical harmonics of unit vectors, each degree from the one before by a matrix product.

    The products of the components of degree l-1 with those of the vector hold degree l, so
    :math:`Y_l = (Y_{l-1} \otimes \hat r)\, C_l` with a constant matrix. Two operations per degree
    are what a derivative of second order wants: the closed form takes dozens. Compiled, the closed
    form is one loop, and faster than narrow matrix products.
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        points = _rule(2 * degree + 2)[0]
        values = harmonics(points, degree)
        for n in range(1, degree + 1):
            before = values[:, (n - 1) ** 2 : n * n]
            products = (before[:, :, None] * points[:, None, :]).flatten(1)
            # the products are linearly dependent: least squares needs the pseudo-inverse
            coupling = torch.linalg.pinv(products) @ values[:, n * n : (n + 1) ** 2]
            self.register_buffer(f"coupling{n}", coupling, persistent=False)

    def forward(self, unit: Tensor) -> Tensor:
        """Map [..., neighbors, 3] to [..., (l_max+1)², neighbors], as :func:`harmonics`."""
        if is_compiling():
            # views of the components, kept for the backward pass, would be compiled with the
            # strides of the first graph, and refused in the next
            components = unit.movedim(-1, 0).contiguous()
            return torch.stack(_columns(components.unbind(0), self.degree), dim=-2)
        parts = [torch.ones_like(unit[..., :1])]
        for n in range(1, self.degree + 1):
            products = (parts[-1][..., :, None] * unit[..., None, :]).flatten(-2)
            parts.append(products @ self.get_buffer(f"coupling{n}"))
        return torch.cat(parts, dim=-1).transpose(-1, -2)


def _rule(order: int) -> tuple[Tensor, Tensor]:
    """Points [points, 3] and weights of sum one, exact for polynomials of this order."""
    points, weights = lebedev_rule(next(n for n in LEBEDEV if n >= order))
    return torch.from_numpy(points.T.copy()), torch.from_numpy(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class SphereGrid:
    """Quadrature points: harmonics there [points, (l_max+1)²] and weights [points] of sum one."""

    values: Tensor
    weights: Tensor

    @classmethod
    def exact(cls, degree: int, order: int) -> SphereGrid:
        """Return the Lebedev rule exact for products of ``order`` functions of ``degree``."""
        points, weights = _rule(degree * order)
        return cls(harmonics(points, degree), weights)
