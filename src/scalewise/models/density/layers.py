r"""Layers of the density network: mixing per degree, and products on the sphere.

Features of an atom are functions on the sphere, one per channel, given by their coefficients
[(degree+1)², atoms, channels]. The first axis comes first so that every mixing of channels and
every change to the grid is one matrix product over all atoms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from scalewise.models.compiler import with_kernels
from scalewise.models.density.kernels import operations
from scalewise.models.density.spherical import SphereGrid


def degrees(degree: int) -> Tensor:
    """The degree of each component [(degree+1)²]."""
    orders = torch.arange(degree + 1)
    return orders.repeat_interleave(2 * orders + 1)


def bounded(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    r"""Leave small vectors as they are and bound large ones.

    .. math:: v \left(1 + \langle v^2 \rangle\right)^{-1/2}

    with the mean over ``dims``, which must hold whole degrees, so that rotations commute with it.
    Products of products grow with high powers of the densities: without this, a structure a little
    outside the training data got forces of 50 eV/Å.
    """
    return values * torch.rsqrt(1.0 + (values * values).mean(dim=dims, keepdim=True))


class DegreeLinear(nn.Module):
    """Mixes channels, with weights of its own for each degree: the linear equivariant map."""

    components: Tensor

    def __init__(self, inputs: int, outputs: int, degree: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(degree + 1, inputs, outputs) / math.sqrt(inputs))
        self.register_buffer("components", degrees(degree), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """[(degree+1)², atoms, inputs] to [(degree+1)², atoms, outputs]."""
        return torch.bmm(features, self.weight[self.components])


class LayerOutput(NamedTuple):
    """What a product layer says of each atom.

    Attributes
    ----------
    scalars
        Learned invariants [atoms, hidden].
    field
        The mixed functions [(degree+1)², atoms, channels].
    product
        Products of two of them, [(degree+1)², atoms, channels].
    """

    scalars: Tensor
    field: Tensor
    product: Tensor


class FieldSum(nn.Module):
    """The field and the product of an atom, weighted per degree and channel, and added."""

    components: Tensor

    def __init__(self, channels: int, degree: int) -> None:
        super().__init__()
        self.field = nn.Parameter(torch.ones(degree + 1, channels))
        self.product = nn.Parameter(torch.ones(degree + 1, channels))
        self.register_buffer("components", degrees(degree), persistent=False)

    def forward(self, described: LayerOutput) -> Tensor:
        """[(degree+1)², atoms, channels]."""
        field, product = (w[self.components][:, None] for w in (self.field, self.product))
        return field * described.field + product * described.product


class ProductLayer(nn.Module):
    r"""Products of functions on the sphere, and invariants up to order four.

    Each channel mixes two functions a and b. Their product p = ab is taken on a quadrature grid
    and projected back, exactly, to the degrees of a and b. The invariants are the mean of a and,
    in every degree l apart, the inner products

    .. math:: a_l \cdot a_l, \quad p_l \cdot a_l, \quad p_l \cdot b_l, \quad p_l \cdot p_l

    of order two, three, three and four. A network of two hidden layers reads them.
    """

    values: Tensor
    back: Tensor
    sums: Tensor

    def __init__(self, inputs: int, channels: int, hidden: int, degree: int) -> None:
        super().__init__()
        self.channels = channels
        grid = SphereGrid.exact(degree, 3)
        back = (grid.values * grid.weights[:, None]).T.contiguous()
        orders = torch.arange(degree + 1, dtype=torch.float64)
        sums = (orders[:, None] == degrees(degree)) / torch.sqrt(2.0 * orders + 1.0)[:, None]
        self.register_buffer("values", grid.values, persistent=False)
        self.register_buffer("back", back, persistent=False)
        self.register_buffer("sums", sums, persistent=False)
        self.mix = DegreeLinear(inputs, 2 * channels, degree)
        self.first = nn.Linear(channels * (1 + 4 * (degree + 1)), hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, features: Tensor, bias: Tensor) -> LayerOutput:
        """Describe atoms by [(degree+1)², atoms, inputs]; ``bias`` [atoms, hidden] is theirs."""
        if with_kernels():
            scalars, field, product = operations.product(
                features.transpose(0, 1),
                self.mix.weight,
                self.first.weight,
                bias + self.first.bias,
                self.second.weight,
                self.second.bias,
            )
            return LayerOutput(scalars, field.transpose(0, 1), product.transpose(0, 1))
        mixed = self.mix(features)
        components, atoms, _ = mixed.shape
        grid = torch.mm(self.values, mixed.reshape(components, -1))
        at_a, at_b = grid.reshape(-1, atoms, 2 * self.channels).chunk(2, dim=-1)
        product = torch.mm(self.back, (at_a * at_b).reshape(len(self.values), -1))
        product = bounded(product.reshape(components, atoms, -1), (0, 2))
        a, b = mixed.chunk(2, dim=-1)
        pairs = torch.cat([a * a, product * a, product * b, product * product], dim=-1)
        inner = torch.mm(self.sums, pairs.reshape(components, -1)).reshape(
            len(self.sums), atoms, -1
        )
        invariants = torch.cat([a[0], inner.transpose(0, 1).flatten(1)], dim=-1)
        invariants = bounded(invariants, (1,))
        scalars = functional.silu(self.first(invariants) + bias)
        return LayerOutput(functional.silu(self.second(scalars)), a, product)
