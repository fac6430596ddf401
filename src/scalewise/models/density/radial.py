"""Radial functions: a smooth basis, and the envelope that ends it at the cutoff of each atom."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def envelope(distance: Tensor, cutoff: Tensor, width: float | None = None) -> Tensor:
    r"""Switch from 1 to 0 at the cutoff, with two continuous derivatives.

    .. math:: f(u) = 1 - 10 u^3 + 15 u^4 - 6 u^5, \qquad
       u = \min(\max(1 + (r - r_\mathrm{cut}) / w, 0), 1)

    over the last ``width`` w of the cutoff, Å; by default over all of it. With a width, what is
    nearer than :math:`r_\mathrm{cut} - w` is the same at every cutoff.

    Its first and second derivatives vanish at both ends, so energies and forces stay smooth while
    a neighbor crosses the cutoff, or the cutoff moves across a neighbor.

    Examples
    --------
    >>> envelope(torch.tensor([0.0, 2.5, 5.0, 7.0]), torch.tensor(5.0))
    tensor([1.0000, 0.5000, 0.0000, 0.0000])
    """
    if width is None:
        u = torch.clamp(distance / cutoff, max=1.0)
    else:
        u = torch.clamp(1.0 + (distance - cutoff) / width, min=0.0, max=1.0)
    return 1.0 - u * u * u * (10.0 + u * (6.0 * u - 15.0))


def at_most(cutoff: Tensor, longest: float, width: float) -> Tensor:
    r"""The smaller of a cutoff and a bound, with three continuous derivatives, Å.

    .. math:: r - 2w\, I(u), \qquad u = \frac{r - (b - w)}{2w}, \qquad
       I(u) = u^6 - 3 u^5 + \tfrac52 u^4

    for u from 0 to 1; below, the cutoff r itself, above, the bound b. Where an adaptive cutoff
    passes the bound, a minimum would make the forces jump.

    Examples
    --------
    >>> at_most(torch.tensor([3.0, 3.75, 4.0, 4.25, 6.0]), 4.0, 0.25)
    tensor([3.0000, 3.7500, 3.9609, 4.0000, 4.0000])
    """
    u = (cutoff - (longest - width)) / (2.0 * width)
    inside = torch.clamp(u, min=0.0, max=1.0)
    passed = inside**4 * (2.5 + inside * (inside - 3.0)) + torch.clamp(u - 1.0, min=0.0)
    return cutoff - 2.0 * width * passed


def bessel(distance: Tensor, longest: float, size: int, smoothness: float = 0.0) -> Tensor:
    r"""Spherical Bessel functions of order zero [..., size].

    .. math:: b_n(r) = c\, n^{-p} \sqrt{2 / r_\mathrm{max}}\, \sin(n \pi r / r_\mathrm{max}) / r

    with the ``smoothness`` p and a constant c that keeps the mean square of the factors
    :math:`c\, n^{-p}` at one. At p = 1 all functions have one height at the origin. Weights of
    one size then make functions whose shorter waves are smaller: nearly the prior of a linear
    atomic cluster expansion [1]_.

    .. [1] D. P. Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021).

    After J. Gasteiger, J. Groß, S. Günnemann, ICLR 2020 (DimeNet).
    """
    order = torch.arange(1, size + 1, dtype=distance.dtype, device=distance.device)
    waves = torch.sin(distance[..., None] * (order * (math.pi / longest)))
    if smoothness:
        waves = waves * _heights(order, smoothness)
    return waves * (math.sqrt(2.0 / longest) / distance)[..., None]


def _heights(order: Tensor, smoothness: float) -> Tensor:
    factors = order**-smoothness
    return factors / torch.sqrt((factors * factors).mean())


def bessel_factors(longest: float, size: int, smoothness: float) -> Tensor:
    r"""What :func:`bessel` multiplies :math:`\sin(n \pi r / r_\mathrm{max}) / r` with [size]."""
    order = torch.arange(1, size + 1, dtype=torch.float64)
    return math.sqrt(2.0 / longest) * _heights(order, smoothness)
