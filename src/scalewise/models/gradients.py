r"""Energies, forces and stress from one derivative, eager or compiled.

.. math:: F_i = -\partial E / \partial r_i, \qquad
   \sigma = \frac{1}{V} \frac{\partial E}{\partial \epsilon}

with the strain :math:`\epsilon` applied to positions and cell. Training differentiates this result
again; with kernels it needs no second derivatives (:mod:`scalewise.models.directional`). Prediction
does not differentiate it.

The function that is passed to ``torch.compile`` returns energy and gradient together, from
``torch.func.grad_and_value``, since the gradients of this form with respect to the parameters are
exact. If the energy alone is compiled, the second derivative fails. Predictions that are not
compiled use the plain derivative, which takes half the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental import _config as config

from scalewise.models.adaptive_cutoff import AdaptiveNetwork, AdaptiveScale
from scalewise.models.compiler import computing
from scalewise.models.density.network import AtomicProperties, DensityNetwork
from scalewise.models.directional import Directional
from scalewise.models.graph import Graph
from scalewise.models.memory import keep_freed_memory
from scalewise.models.scale import ResolvedScale
from scalewise.models.strain import energies_of, strained

#: Atoms from which a prediction is made block by block, and atoms of a block: 80 instead of 180 kB
#: of memory per atom for a third more time (benchmarks/scaling.py).
BLOCKS_FROM = 60_000
BLOCK = 512
#: Atoms up to which kernels, which take 50 kB of memory per atom, work on all at once.
MOST_WITH_KERNELS = 240_000


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Energies of a batch of frames from the network, and their derivatives.

    Attributes
    ----------
    energy
        Energy of each frame, eV [frames].
    energies
        Energy of each atom, eV [atoms], without the electrostatics between smeared charges, which
        are not assigned to atoms.
    forces
        Forces, eV/Å [atoms, 3].
    virial
        Derivative of the energy with respect to the strain, eV [frames, 3, 3].
    charges
        Charges of the atoms, e [atoms].
    cutoffs
        Cutoffs of the atoms that were used, Å [atoms].
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor
    virial: Tensor
    charges: Tensor
    cutoffs: Tensor

    def detach(self) -> Derivatives:
        """Return the same values without gradients."""
        return Derivatives(**{f.name: getattr(self, f.name).detach() for f in fields(self)})

    def reordered(self, order: Tensor) -> Derivatives:
        """Undo a permutation of the atoms: values of atom k are moved to atom ``order[k]``."""
        back = torch.argsort(order)
        names = ("energies", "forces", "charges", "cutoffs")
        return replace(self, **{n: getattr(self, n)[back] for n in names})


Weights = Mapping[str, Tensor]
_Call = Callable[..., tuple[tuple[Tensor, Tensor], tuple[Tensor, tuple[Tensor, AtomicProperties]]]]


class Evaluator:
    """Evaluates a network and its derivatives, for the weights it is given.

    Parameters
    ----------
    network
        Its own weights serve when a call brings none.
    compiled
        Use ``torch.compile``: the first call then takes about two minutes, later ones less time
        than without (benchmarks/speed.py).
    directional
        Computes where weights are given, on the CPU and without an adaptive cutoff.
    operations
        Such as a :class:`scalewise.models.density.kernels.library.Library`: compute predictions
        with them, on the CPU.
    """

    def __init__(
        self,
        network: DensityNetwork | AdaptiveNetwork,
        *,
        compiled: bool = False,
        directional: Directional | None = None,
        operations: Any = None,
    ) -> None:
        keep_freed_memory()
        self.network = network
        self.compiled = compiled
        self.directional, self.operations = directional, operations
        self._buffers = dict(network.named_buffers())
        derivative = torch.func.grad_and_value(self._energy, argnums=(0, 1), has_aux=True)
        self._call: _Call = (
            torch.compile(derivative, dynamic=True, fullgraph=True) if compiled else derivative
        )

    def _energy(
        self,
        positions: Tensor,
        strain: Tensor,
        weights: dict[str, Tensor],
        graph: Graph,
        scale: ResolvedScale | AdaptiveScale,
    ) -> tuple[Tensor, tuple[Tensor, AtomicProperties]]:
        moved, cell = strained(graph, positions, strain)
        found = torch.func.functional_call(
            self.network, (weights, self._buffers), (graph, moved, cell, scale)
        )
        energy = energies_of(graph, found)
        return energy.sum(), (energy, found)

    def _predict(
        self, graph: Graph, positions: Tensor, strain: Tensor, scale: ResolvedScale | AdaptiveScale
    ) -> Derivatives:
        """Evaluate without a second derivative in mind: what is used up is freed at once."""
        atoms = positions.shape[0]
        operations = self.operations if atoms <= MOST_WITH_KERNELS else None
        with torch.enable_grad(), computing(operations):
            inputs = (positions.detach().requires_grad_(True), strain.requires_grad_(True))
            moved, cell = strained(graph, *inputs)
            block = BLOCK if atoms >= BLOCKS_FROM and operations is None else None
            found = self.network(graph, moved, cell, scale, block=block)
            energy = energies_of(graph, found)
            gradient, virial = torch.autograd.grad(energy.sum(), inputs)
        return _derivatives(energy, found, gradient, virial).detach()

    def __call__(
        self,
        graph: Graph,
        positions: Tensor,
        *,
        scale: ResolvedScale | AdaptiveScale | None = None,
        weights: Weights | None = None,
    ) -> Derivatives:
        """Evaluate a batch; differentiable with respect to the weights.

        Parameters
        ----------
        graph, positions
            From :func:`scalewise.models.graph.build`; Å [atoms, 3], in double precision.
        scale
            Of every atom, or lists for the adaptive cutoff that a routed network has; default: the
            network's longest for all.
        weights
            Named parameters; default: the network's own.
        """
        if scale is None:
            longest = self.network.settings.cutoff
            cutoff = graph.total_charge.new_full((positions.shape[0],), longest)
            scale = ResolvedScale(cutoff, torch.ones_like(cutoff))
        if self.directional is not None and weights is not None:
            assert isinstance(scale, ResolvedScale)
            energy, forces, virial, rest = self.directional(graph, positions, scale, weights)
            return Derivatives(energy, rest.energies, forces, virial, rest.charges, rest.cutoffs)
        if self.compiled and scale.long_range is None:  # one program for both
            scale = scale._replace(long_range=graph.total_charge.new_zeros(positions.shape[0]))
        strain = positions.new_zeros(graph.cell.shape[0], 3, 3)
        # a program of its own for large cells would seldom pay
        eager = not self.compiled or graph.mesh is not None
        if eager and weights is None and not torch.is_grad_enabled():
            return self._predict(graph, positions, strain, scale)
        own = dict(self.network.named_parameters()) if weights is None else dict(weights)
        with _any_sizes() if self.compiled else nullcontext():
            (gradient, virial), (_, (energy, found)) = self._call(
                positions, strain, own, graph, scale
            )
        return _derivatives(energy, found, gradient, virial)


def _any_sizes() -> AbstractContextManager[None]:
    """Compile no program that needs sizes to be equal which happen to be."""
    found: AbstractContextManager[None] = config.patch(use_duck_shape=False)  # type: ignore[attr-defined]  # made at import
    return found


def _derivatives(
    energy: Tensor, found: AtomicProperties, gradient: Tensor, virial: Tensor
) -> Derivatives:
    # positions are in double precision, and so is what is summed over neighbors up to here
    forces, virial = -gradient.to(energy.dtype), virial.to(energy.dtype)
    return Derivatives(energy, found.energies, forces, virial, found.charges, found.cutoffs)
