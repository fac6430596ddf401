r"""Gradients of losses on energies, forces and stresses from first derivatives of the energy alone.

With the derivatives of a loss by the energies, forces and virials of its frames f,

.. math:: a_f = \frac{\partial L}{\partial E_f}, \qquad
   u_i = \frac{\partial L}{\partial F_i}, \qquad
   S_f = \frac{\partial L}{\partial W_f},

its gradient with respect to the weights :math:`\theta` is

.. math:: \frac{\partial L}{\partial \theta} = \sum_f
   \left(a_f + D_f\right) \frac{\partial E_f}{\partial \theta}

where :math:`D_f` is the derivative along the direction in which the atoms move by :math:`-u_i`
while the cell is strained by :math:`S_f`. It is taken as a central difference,

.. math:: D_f\, g = \frac{g(+\epsilon_f) - g(-\epsilon_f)}{2 \epsilon_f},

with steps such that the root mean square displacement of the atoms is ``STEP``, and no atom moves
by more than ``LARGEST``. Kernels without second derivatives suffice. Both displaced copies are one
batch, in which the two copies of each atom are neighbors in memory: partial sums over atoms are
then as small as the difference itself, which keeps the rounding error small.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from scalewise.models.compiler import computing
from scalewise.models.density.network import AtomicProperties, DensityNetwork
from scalewise.models.graph import Graph, spread
from scalewise.models.graph_operations import twinned
from scalewise.models.programs.training import TrainingPrograms, fitted_buffers
from scalewise.models.scale import ResolvedScale
from scalewise.models.strain import energies_of, strained

#: Å, root of the mean square: shorter steps lose more to rounding, and longer ones to higher
#: derivatives (benchmarks/training_step.py).
STEP: Final = 0.001
#: Å, of the atom that moves most.
LARGEST: Final = 10 * STEP


class Directional:
    """Evaluates a network with kernels; differentiable with respect to the weights.

    Parameters
    ----------
    network
        Its own weights are not looked at.
    operations
        Such as a :class:`scalewise.models.density.kernels.library.Library`.
    programs
        That take their place for the batches that they are prepared for.
    """

    def __init__(
        self,
        network: DensityNetwork,
        operations: Any,
        programs: TrainingPrograms | None = None,
    ) -> None:
        self.operations, self.programs = operations, programs
        self._fitted = fitted_buffers(network)
        # derivatives by positions and by weights are unlike: autograd is asked for one of them
        self._fixed, self._free = copy.deepcopy(network), copy.deepcopy(network)
        for weight in self._fixed.parameters():
            weight.requires_grad_(False)

    def __call__(
        self,
        graph: Graph,
        positions: Tensor,
        scale: ResolvedScale,
        weights: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, AtomicProperties]:
        """Energies, eV [frames], forces, eV/Å [atoms, 3], virials, eV [frames, 3, 3], and the rest.

        The rest, of each atom, has no derivatives.
        """
        found: list[AtomicProperties] = []
        names = [name for name, _ in self._free.named_parameters()]
        given = [weights[name] for name in names]
        energy, forces, virial = _Gradient.apply(  # type: ignore[no-untyped-call]  # PyTorch
            self, graph, positions, scale, found, *given
        )
        return energy, forces, virial, found[0]

    def derivatives(
        self, graph: Graph, positions: Tensor, scale: ResolvedScale, weights: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, AtomicProperties]:
        """Energies, forces, virials and the rest, without derivatives."""
        if self.programs is not None:
            known = self.programs.derivatives(graph, positions, scale, weights, self._fitted)
            if known is not None:
                return known
        with torch.enable_grad():
            places = positions.detach().requires_grad_(True)
            strain = positions.new_zeros(graph.cell.shape[0], 3, 3).requires_grad_(True)
            moved, cell = strained(graph, places, strain)
            energy, found, _ = self._evaluate(graph, moved, cell, scale, weights, free=False)
            gradient, virial = torch.autograd.grad(energy.sum(), (places, strain))
        energy, rest = energy.detach(), AtomicProperties(*(value.detach() for value in found))
        return energy, -gradient.to(energy.dtype), virial.to(energy.dtype), rest

    def gradient(
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        scale: ResolvedScale,
        weights: Sequence[Tensor],
        seeds: Tensor,
    ) -> list[Tensor]:
        """Derivatives of the sum of energies times seeds, by the weights that are asked for."""
        if self.programs is not None:
            given = (graph, positions, cell, scale, weights, self._fitted, seeds)
            known = self.programs.gradient(*given)
            if known is not None:
                return [g for g, w in zip(known, weights, strict=True) if w.requires_grad]
        with torch.enable_grad():
            energy, _, own = self._evaluate(graph, positions, cell, scale, weights, free=True)
        asked = [w for w in own if w.requires_grad]
        return list(
            torch.autograd.grad(energy, asked, seeds, allow_unused=True, materialize_grads=True)
        )

    def _evaluate(
        self,
        graph: Graph,
        positions: Tensor,
        cell: Tensor,
        scale: ResolvedScale,
        weights: Sequence[Tensor],
        *,
        free: bool,
    ) -> tuple[Tensor, AtomicProperties, list[nn.Parameter]]:
        """Energy of each frame, and the properties of the atoms, with the weights that were used.

        With ``free``, they have derivatives where those given have.
        """
        network = self._free if free else self._fixed
        own = list(network.parameters())
        for parameter, weight in zip(own, weights, strict=True):
            parameter.data = weight.data
            if free:
                parameter.requires_grad_(weight.requires_grad)
        with computing(self.operations):
            found: AtomicProperties = network(graph, positions, cell, scale)
        return energies_of(graph, found), found, own


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        evaluator: Directional,
        graph: Graph,
        positions: Tensor,
        scale: ResolvedScale,
        properties: list[AtomicProperties],
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.of = evaluator, graph, positions, scale
        ctx.save_for_backward(*weights)
        energy, forces, virial, rest = evaluator.derivatives(graph, positions, scale, weights)
        properties.append(rest)
        return energy, forces, virial

    @staticmethod
    def backward(
        ctx: Any, by_energy: Tensor, by_forces: Tensor, by_virial: Tensor
    ) -> tuple[Tensor | None, ...]:
        evaluator, graph, positions, scale = ctx.of
        direction, stretch = -by_forces.double(), by_virial.double()
        step, moves = _steps(graph, direction, stretch)
        weights = ctx.saved_tensors
        if not bool(moves.any()):  # energies alone
            found = evaluator.gradient(graph, positions, graph.cell, scale, weights, by_energy)
            return _in_place(found, weights)
        ends = []
        for sign in (1.0, -1.0):
            far = spread(sign * step, graph.system_index)
            moved, cell = strained(
                graph, positions + far[:, None] * direction, (sign * step)[:, None, None] * stretch
            )
            seeds = 0.5 * by_energy.double() + moves * (sign / (2.0 * step))
            ends.append((moved, cell, seeds.to(by_energy.dtype)))
        if graph.mesh is None:
            places, cells, both = (_in_turn(*pair) for pair in zip(*ends, strict=True))
            share = None if scale.long_range is None else _in_turn(*[scale.long_range] * 2)
            twice = ResolvedScale(_in_turn(*[scale.cutoffs] * 2), share)
            found = evaluator.gradient(twinned(graph), places, cells, twice, weights, both)
        else:
            one, two = (
                evaluator.gradient(graph, moved, cell, scale, weights, seeds)
                for moved, cell, seeds in ends
            )
            found = list(torch._foreach_add(one, two))
        return _in_place(found, weights)


def _in_turn(one: Tensor, two: Tensor) -> Tensor:
    """What belongs to atoms or frames, beside what belongs to their twins."""
    return torch.stack([one, two], dim=1).flatten(0, 1)


def _in_place(found: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Derivatives by all inputs of the forward function, of which weights that ask have some."""
    left = iter(found)
    return *[None] * 5, *(next(left) if w.requires_grad else None for w in weights)


def _steps(graph: Graph, direction: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
    """The step of each frame, and whether anything moves there [frames].

    A strain moves neighbors by as much as the ends of a cutoff.
    """
    frames = graph.cell.shape[0]
    length = torch.linalg.vector_norm(direction, dim=-1)
    none, strain = length.new_zeros(frames), graph.cutoff * torch.linalg.matrix_norm(stretch)
    atoms = torch.bincount(graph.system_index, minlength=frames)
    squares = none.index_add(0, graph.system_index, length * length) / atoms
    typical = torch.sqrt(squares + strain * strain)
    largest = none.scatter_reduce(0, graph.system_index, length, "amax") + strain
    moves = largest > 0
    step = torch.minimum(STEP / typical, LARGEST / largest)
    return torch.where(moves, step, 1.0), moves
