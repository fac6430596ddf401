"""A trained potential: network, baseline, and what is needed to predict with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from scalewise.data.frames import Frame
from scalewise.errors import InputError
from scalewise.potential.baseline import Baseline
from scalewise.potential.derivative import Derivatives, Differentiator
from scalewise.potential.graph import Graph, build
from scalewise.potential.network import Network


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the potential says of one frame.

    Attributes
    ----------
    energy
        eV.
    energies
        Of each atom, eV [atoms]; the smeared electrostatics are shared evenly between the atoms.
    forces
        eV/Å [atoms, 3].
    stress
        eV/Å³, positive under tension [3, 3]; none without periodicity.
    charges
        e [atoms].
    """

    energy: float
    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"] | None
    charges: Float[np.ndarray, " atoms"]


@dataclass(frozen=True, eq=False)
class Potential:
    """One conservative energy for any frame of known elements.

    Attributes
    ----------
    network
        On its device, in its type.
    baseline
        Energies of composition, added to the network's.
    info
        How it was made: settings, data, errors. Free for the user's own entries.
    compiled
        Use ``torch.compile``; see :class:`scalewise.potential.derivative.Differentiator`.
    """

    network: Network
    baseline: Baseline
    info: dict[str, Any] = field(default_factory=dict)
    compiled: bool = False

    def __post_init__(self) -> None:
        self.network.requires_grad_(False)

    @cached_property
    def _differentiator(self) -> Differentiator:
        return Differentiator(self.network, compiled=self.compiled)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's numbers."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def cutoff(self) -> float:
        """Longest cutoff of an atom, Å."""
        return self.network.settings.cutoff

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        compiled: bool | None = None,
    ) -> Potential:
        """Return a copy on another device, of another type, or compiled."""
        network = self.network.converted(dtype or self.dtype).to(device or self.device)
        return replace(
            self, network=network, compiled=self.compiled if compiled is None else compiled
        )

    def graph(self, frame: Frame) -> Graph:
        """List the neighbours of a frame, on the potential's device.

        Raises
        ------
        InputError
            As :func:`scalewise.potential.graph.build`.
        """
        settings = self.network.settings
        smearing = settings.smearing if settings.charges else 0.0
        graph = build(frame, self.network.elements, settings.cutoff, smearing=smearing)
        return graph.to(self.device, self.dtype)

    def derivatives(
        self, graph: Graph, positions: np.ndarray, cutoffs: np.ndarray | float | None = None
    ) -> Derivatives:
        """Evaluate a graph at positions, Å [atoms, 3], with a cutoff, Å, for all or per atom.

        Raises
        ------
        InputError
            A cutoff that is not positive, or longer than the network's.
        """
        lengths = None
        if cutoffs is not None:
            lengths = np.broadcast_to(np.asarray(cutoffs, dtype=float), len(positions))
            if not (lengths > 0).all() or float(lengths.max()) > self.cutoff:
                raise InputError(
                    "cutoffs",
                    f"values from {lengths.min():g} to {lengths.max():g} Å",
                    f"They must be positive and at most {self.cutoff:g} Å, the network's cutoff.",
                )
        with torch.no_grad():
            return self._differentiator(
                graph,
                self._tensor(positions),
                cutoffs=None if lengths is None else self._tensor(lengths.copy()),
            )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self.device, dtype=self.dtype)

    def predict(self, frame: Frame, *, cutoffs: np.ndarray | float | None = None) -> Predicted:
        """Predict one frame.

        Raises
        ------
        InputError
            An unknown element, overlapping atoms, a singular cell, a cutoff that is too long.
        """
        found = self.derivatives(self.graph(frame), frame.positions, cutoffs)
        return self.finish(frame, found)

    def finish(self, frame: Frame, found: Derivatives) -> Predicted:
        """Add the baseline to what the network found for one frame, as numpy arrays."""
        n = len(frame.numbers)
        own = found.energies.double().cpu().numpy()
        smeared = float(found.energy.double().sum()) - float(own.sum())
        base = self.baseline
        table = dict(zip(base.elements, base.energies, strict=True))
        energies = own + smeared / max(n, 1) + np.array([table[z] for z in frame.numbers.tolist()])
        stress = None
        if frame.pbc.all():
            volume = abs(float(np.linalg.det(frame.cell)))
            stress = found.virial[0].double().cpu().numpy() / volume
        return Predicted(
            energy=float(energies.sum()),
            energies=energies,
            forces=found.forces.double().cpu().numpy(),
            stress=stress,
            charges=found.charges.double().cpu().numpy(),
        )
