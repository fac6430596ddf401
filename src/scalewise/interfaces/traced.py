"""The energy as TorchScript, traced once for every method of summing the electrostatics."""

from __future__ import annotations

import warnings
from typing import Final

import torch
from torch import Tensor, nn

from scalewise.models.compiler import tracing
from scalewise.models.potential import Potential
from scalewise.models.programs.compiling import example
from scalewise.models.programs.inputs import Boundary, Inputs, Kind
from scalewise.models.programs.modules import WholeModule
from scalewise.models.protocol import Scale, knows_long_range

#: Inputs of every traced energy, whether it uses them or not.
NAMES: Final = Inputs._fields[: Inputs._fields.index("owned")]


class _Energy(nn.Module):
    """A module with the inputs of all kinds: energies of atoms [atoms], of smeared charges [1]."""

    def __init__(self, module: WholeModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; the tensors are those of ``NAMES``."""
        by_name = dict(zip(NAMES, tensors, strict=True))
        used = tuple(by_name[name] for name in self.module.names)
        energies, smeared, _, _ = self.module.energies(self.module.given(used))
        return energies, smeared


def traced_energies(potential: Potential, scale: Scale) -> dict[str, torch.jit.ScriptModule]:
    """TorchScript of the energy, by the name of :class:`Kind`, of one potential at a scale.

    A potential without long range has one, others those of cells, of cells on a mesh, of slabs and
    wires, and of isolated atoms. An adaptive cutoff acts where the scale has no cutoff.

    Raises
    ------
    InputError
        A scale that the potential does not have.
    """
    long_range = knows_long_range(potential, scale)
    adaptive = scale.cutoff is None and potential.adaptive_cutoff is not None
    kinds = [Kind(False, adaptive=adaptive)]
    if long_range:
        kinds = [
            Kind(True, boundary, mesh, adaptive)
            for boundary, mesh in (
                (Boundary.PERIODIC, False),
                (Boundary.PERIODIC, True),
                (Boundary.PARTIAL, False),
                (Boundary.ISOLATED, False),
            )
        ]
    return {kind.name: _traced(potential, kind) for kind in kinds}


def _traced(potential: Potential, kind: Kind) -> torch.jit.ScriptModule:
    own = potential._adaptive_network if kind.adaptive else None
    network = own or potential.network
    inputs = example(network, kind)
    module = _Energy(WholeModule(network, kind, inputs.names())).eval()
    tensors = tuple(_filled(inputs))
    with warnings.catch_warnings(), tracing(), torch.no_grad():
        warnings.simplefilter("ignore")
        found: torch.jit.ScriptModule = torch.jit.trace(module, tensors, check_trace=False)
    return found


def _filled(inputs: Inputs) -> list[Tensor]:
    """All inputs, with empty tensors for those that are not used."""
    return [
        torch.zeros(0) if value is None else value
        for name, value in zip(inputs._fields, inputs, strict=True)
        if name in NAMES
    ]
