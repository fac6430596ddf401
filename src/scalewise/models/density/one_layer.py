"""Networks of one layer without charges, whose energies and forces kernels compute in one pass.

The inner potentials of r-RESPA simulations are such networks. All intermediate results of a few
atoms stay in the processor's cache.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from scalewise.models.density.kernels import operations
from scalewise.models.density.layers import ProductLayer
from scalewise.models.density.network import TYPICAL_NEIGHBOURS, DensityNetwork, listed_shifts
from scalewise.models.graph import Graph


def suits(network: object) -> bool:
    """Whether a network is one of these."""
    if not isinstance(network, DensityNetwork) or network.pair_baseline is None:
        return False
    s = network.settings  # without a ladder, the pair potential ends where the network does
    return s.layers == 1 and not s.charges and not s.ladder


def energies_and_slopes(
    network: DensityNetwork, graph: Graph, positions: Tensor, cell: Tensor, cutoffs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Energies, eV [atoms], their derivatives by positions, eV/Å, and by a strain, eV [3, 3].

    The same as :meth:`DensityNetwork.forward` and its derivatives, in a program that has kernels.
    """
    product, readout, pair = network.products[0], network.readout[0], network.pair_baseline
    assert isinstance(product, ProductLayer)
    assert isinstance(readout, nn.Linear)
    assert pair is not None
    types = graph.atom_types
    energies, d_positions, d_strain = operations.one_layer(
        positions,
        cell,
        cutoffs,
        graph.system_index,
        graph.neighbor_index,
        listed_shifts(graph),
        graph.mask,
        types,
        network.radial[0][None],
        network.centre[0][types] / math.sqrt(TYPICAL_NEIGHBOURS),
        network.source[types],
        product.mix.weight,
        product.first.weight,
        network.bias[0][types] + product.first.bias,
        product.second.weight,
        product.second.bias,
        network.energy_scale * readout.weight[0],
        pair.coefficients,
        *pair.tables(),
    )
    return energies + network.energy_scale * readout.bias, d_positions, d_strain
