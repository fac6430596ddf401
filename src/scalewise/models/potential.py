"""A trained potential: network, composition model, adaptive cutoff, and predictions with them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float

from scalewise.core.errors import InputError, shown
from scalewise.data.structure import Structure
from scalewise.models.adaptive_cutoff import AdaptiveCutoff, AdaptiveNetwork, AdaptiveScale
from scalewise.models.binning import bin_atoms
from scalewise.models.composition import CompositionModel
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.density.network import DensityNetwork
from scalewise.models.gradients import Derivatives, Evaluator
from scalewise.models.graph import Graph, build
from scalewise.models.graph_operations import reordered, trim_edges
from scalewise.models.programs.evaluation import Programs
from scalewise.models.protocol import OWN_SCALE, LongRange, Prediction, Scale, knows_long_range
from scalewise.models.scale import ResolvedScale

#: How much longer lists may be than a cutoff: pairs beyond it take less time than trimming does.
LONGER: Final = 1.5


@dataclass(frozen=True, eq=False)
class Potential:
    """A trained potential, which gives energies, conservative forces, stresses and charges.

    Attributes
    ----------
    network
        The density network, on a device and of a floating-point type.
    composition
        Model of the energy of the composition, one energy per element (eV), which is added to the
        energy of the network.
    info
        Settings, data and errors of the training; users may add entries.
    compiled
        Predict with programs that are compiled ahead of time, once per machine: see
        :class:`scalewise.models.programs.evaluation.Programs`.
    adaptive_cutoff
        Model that chooses the cutoff of every atom if no cutoff is given; none: all atoms have the
        cutoff of the network.
    programs
        Folder with the programs of an exported potential; none: programs are kept in the user's
        cache.
    kernels
        Predict with C++ kernels, which are compiled in seconds for the size of the network: see
        :func:`scalewise.models.density.kernels.library.kernel_library`. They run on the CPU alone.
    """

    network: DensityNetwork
    composition: CompositionModel
    info: dict[str, Any] = field(default_factory=dict)
    compiled: bool = False
    adaptive_cutoff: AdaptiveCutoff | None = None
    programs: Path | None = None
    kernels: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: compiled programs and their caches are made again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __post_init__(self) -> None:
        self.network.requires_grad_(False)
        if self.adaptive_cutoff is not None:
            self.adaptive_cutoff.requires_grad_(False)

    @cached_property
    def _adaptive_network(self) -> AdaptiveNetwork | None:
        return (
            None
            if self.adaptive_cutoff is None
            else AdaptiveNetwork(self.network, self.adaptive_cutoff)
        )

    @cached_property
    def _evaluator(self) -> Evaluator:
        has = self._has_kernels
        operations = kernel_library(self.network.settings, self.dtype) if has else None
        return Evaluator(self._adaptive_network or self.network, operations=operations)

    @property
    def _has_kernels(self) -> bool:
        return self.kernels and self.device.type == "cpu"

    @cached_property
    def _programs(self) -> Programs:
        return Programs(self._adaptive_network or self.network, self.programs)

    @property
    def name(self) -> str:
        """Name of the potential in reports."""
        return str(self.info.get("name", "scalewise"))

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the network was trained on."""
        return self.network.elements

    @property
    def ladder(self) -> tuple[float | str, ...]:
        """Scales of the ladder that the potential was trained for; empty if it has one scale.

        These are cutoffs, Å, followed by ``"long"`` if it was trained with and without long range.
        """
        settings = self.network.settings
        return settings.ladder if settings.fork is None else ()

    @property
    def cutoff_range(self) -> tuple[float, float]:
        """Shortest and longest cutoff that the potential was trained for, Å."""
        settings = self.network.settings
        return self.cutoff if settings.fork else settings.shortest_cutoff, self.cutoff

    @property
    def long_range(self) -> LongRange:
        """Whether the potential has long-range electrostatics: none, always or optional."""
        settings = self.network.settings
        if settings.long_range_optional and settings.fork is None:
            return LongRange.OPTIONAL
        return LongRange.ALWAYS if settings.own_scale[1] else LongRange.NONE

    def receptive_field(self, scale: Scale) -> float:
        r"""Distance (Å) beyond which an atom has no influence on the force on another atom.

        The energy of an atom depends on all atoms within :math:`\sum_l r_l`, the sum of the cutoffs
        of all layers. The force on an atom is the gradient of all energies that depend on its
        position, so that it depends on atoms within :math:`2 \sum_l r_l`. With long-range
        electrostatics the distance is infinite.
        """
        if knows_long_range(self, scale):
            return math.inf
        settings = self.network.settings
        cutoff = self.cutoff if scale.cutoff is None else float(np.max(scale.cutoff))
        first = settings.first_layer_cutoff
        first = cutoff if first is None else min(first, cutoff)
        return 2.0 * (first + (settings.layers - 1) * cutoff)

    def knows_energy(self, structure: Structure) -> bool:
        """Whether the training data determine the total energy of a structure's composition."""
        return self.composition.spans(structure.numbers)

    def prepare(self, structure: Structure) -> Callable[[Scale], Prediction]:
        """List the neighbors of a structure, and return a function that predicts it at a scale.

        Raises
        ------
        InputError
            As :meth:`graph`.
        """
        if not len(structure.numbers):
            return lambda scale: self.predict(structure)
        graph = self.graph(structure)

        def at(scale: Scale) -> Prediction:
            return self.finish(structure, self.evaluate_graph(graph, structure.positions, scale))

        return at

    def evaluate(
        self, structures: Sequence[Structure], scale: Scale = OWN_SCALE
    ) -> list[Prediction]:
        """Predict each of the structures at a scale.

        Raises
        ------
        InputError
            As :meth:`predict`.
        """
        return [self.prepare(structure)(scale) for structure in structures]

    def save(self, folder: Path | str) -> Path:
        """Write ``model.json`` and the weights to a folder and return it.

        Raises
        ------
        InputError
            Weights that are not finite; a folder that cannot be written to.
        """
        from scalewise.models import checkpoint  # it makes potentials, and imports this module

        checkpoint.write(Path(folder), self)
        return Path(folder)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.network.parameters()).device

    @property
    def cutoff(self) -> float:
        """Longest cutoff that an atom may have, Å."""
        return self.network.settings.own_scale[0]

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        compiled: bool | None = None,
        kernels: bool | None = None,
    ) -> Potential:
        """Return a copy on another device or of another type, with or without programs or kernels.

        Arguments that are none keep what the potential has.
        """
        place, kind = device or self.device, dtype or self.dtype
        adaptive = (
            None
            if self.adaptive_cutoff is None
            else copy.deepcopy(self.adaptive_cutoff).to(place, kind)
        )
        return replace(
            self,
            network=self.network.converted(kind).to(place),
            compiled=self.compiled if compiled is None else compiled,
            kernels=self.kernels if kernels is None else kernels,
            adaptive_cutoff=adaptive,
        )

    def graph(self, frame: Structure) -> Graph:
        """Make the graph (neighbor lists) of a frame, on the potential's device.

        Raises
        ------
        InputError
            As :func:`scalewise.models.graph.build`.
        """
        settings = self.network.settings
        smearing = settings.smearing if settings.charges else 0.0
        graph = build(
            frame,
            self.network.elements,
            settings.cutoff,
            smearing=smearing,
            near=settings.first_layer_cutoff,
        )
        return graph.to(self.device, self.dtype)

    def evaluate_graph(
        self, graph: Graph, positions: np.ndarray, scale: Scale = OWN_SCALE
    ) -> Derivatives:
        """Compute energies and their derivatives of a graph, for given positions and a scale.

        Energies of the composition are not included; :meth:`finish` adds them.

        Parameters
        ----------
        graph
            Neighbor lists from :meth:`graph`.
        positions
            Positions of the atoms, Å [atoms, 3].
        scale
            Cutoffs (default: those of the adaptive cutoff, else that of the network), and whether
            the long-range electrostatics of the network are included.

        Raises
        ------
        InputError
            A cutoff that is not positive, or longer than the network's; a number of cutoffs other
            than one or the number of atoms; long range turned off in a network that was trained
            with it alone.
        """
        check_long_range(self, scale)
        network, cutoffs, long = self.network.settings, scale.cutoff, scale.long_range
        places = torch.as_tensor(positions, device=self.device, dtype=torch.float64)
        near = None
        if (
            cutoffs is None
            and self._adaptive_network is not None
            and self.adaptive_cutoff is not None
        ):
            with torch.no_grad():
                # constants have no gradient: what they give is a scale like any other
                chosen = self.adaptive_cutoff.constants(graph.atom_types)
                if chosen is None and self.takes_lists_of(graph.cutoff, self.cutoff):
                    near, chosen = graph, self._tensor(np.full(len(positions), self.cutoff))
                elif chosen is None:
                    near = trim_edges(graph, places, network.shortest_cutoff)
                    chosen = self._adaptive_network.cutoffs(near, places, graph.cell)
            cutoffs = self._lengths(chosen)
        given = self.check_cutoffs(self.cutoff if cutoffs is None else cutoffs)
        if given.ndim and len(given) != len(positions):
            raise InputError(
                "cutoffs",
                f"{len(given)} values for {len(positions)} atoms",
                "Give one for all atoms, or one each.",
            )
        lengths = np.full(len(positions), given)
        cutoff = self._tensor(lengths)
        longest = float(lengths.max(initial=0.0))
        if longest < graph.cutoff and not self.takes_lists_of(graph.cutoff, longest):
            graph = trim_edges(graph, places, longest)
        order = None
        unlike = len(lengths) and float(lengths.min()) < float(lengths.max())
        if unlike and not (self.compiled or self._has_kernels):
            focused = bin_atoms(graph, places, cutoff)
            if focused is not None:
                graph, order = focused
                places, cutoff = places[order], cutoff[order]
        acts = long and network.own_scale[1]
        share = torch.ones_like(cutoff) if acts else None
        resolved: ResolvedScale | AdaptiveScale = ResolvedScale(cutoff, share)
        if near is not None:
            resolved = AdaptiveScale(near if order is None else reordered(near, order), share)
        with torch.no_grad():
            found = self._programs(graph, places, resolved) if self.compiled else None
            if found is None:
                if longest < graph.cutoff and not self._has_kernels:
                    graph = trim_edges(graph, places, longest)
                if isinstance(resolved, AdaptiveScale):
                    near = trim_edges(resolved.short_graph, places, network.shortest_cutoff)
                    resolved = resolved._replace(short_graph=near)
                found = self._evaluator(graph, places, scale=resolved)
        return found if order is None else found.reordered(order)

    def takes_lists_of(self, length: float, cutoff: float) -> bool:
        """Whether neighbor lists of length ``length`` (Å) can be used for a shorter ``cutoff`` (Å).

        Kernels skip pairs beyond the cutoff in less time than it takes to trim the lists, unless
        the lists are much longer than the cutoff.
        """
        has = self._has_kernels or (self.compiled and self._programs.kernels)
        return has and length <= LONGER * cutoff

    def check_cutoffs(self, cutoffs: np.ndarray | float) -> Float[np.ndarray, ...]:
        """Return cutoffs (Å) as an array, one value for all atoms or one for each [atoms].

        Raises
        ------
        InputError
            Values that are not numbers; a cutoff that is not positive, or longer than the
            network's.
        """
        try:
            lengths = np.asarray(cutoffs, dtype=float)
        except (TypeError, ValueError):
            lengths = np.array(np.nan)
        right = lengths.ndim <= 1 and bool(((lengths > 0) & (lengths <= self.cutoff)).all())
        if not right:
            raise InputError(
                "cutoffs",
                shown(cutoffs, 80),
                f"They must be positive and at most {self.cutoff:g} Å, the network's cutoff: one "
                "for all atoms, or one each.",
            )
        return lengths

    def _lengths(self, cutoffs: torch.Tensor) -> np.ndarray:
        """Cutoffs as numpy: in single precision the longest may be a rounding too long."""
        return np.minimum(cutoffs.double().cpu().numpy(), self.cutoff)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self.device, dtype=self.dtype)

    def predict(
        self, frame: Structure, *, cutoffs: np.ndarray | float | None = None, long: bool = True
    ) -> Prediction:
        """Predict one frame.

        Parameters
        ----------
        frame
            The structure; its labels are not used.
        cutoffs
            Cutoff of all atoms, or of each [atoms], Å; default: those of the adaptive cutoff, else
            that of the network.
        long
            Whether the long-range electrostatics of the network are included.

        Raises
        ------
        InputError
            An unknown element, overlapping atoms, a singular cell, a cutoff that is too long, long
            range turned off in a network that was trained with it alone; results that are not
            finite.
        """
        if not len(frame.numbers):
            nothing = np.zeros(0)
            stress = None if frame.volume is None else np.zeros((3, 3))
            return Prediction(np.zeros((0, 3)), 0.0, nothing, stress, nothing, nothing)
        return self.prepare(frame)(Scale(cutoffs, long))

    def finish(self, frame: Structure, found: Derivatives) -> Prediction:
        """Make the prediction of one structure from the network's energies and derivatives.

        The energy of the composition is added, and the virial is divided by the volume.

        Raises
        ------
        InputError
            Results that are not finite.
        """
        n = len(frame.numbers)
        own = found.energies.double().cpu().numpy()
        smeared = float(found.energy.double().sum()) - float(own.sum())
        energies = own + smeared / max(n, 1) + self.composition.energies_of(frame.numbers)
        stress = None
        if frame.volume is not None:
            stress = found.virial[0].double().cpu().numpy() / frame.volume
        predicted = Prediction(
            energy=float(energies.sum()),
            energies=energies,
            forces=found.forces.double().cpu().numpy(),
            stress=stress,
            charges=found.charges.double().cpu().numpy(),
            cutoffs=self._lengths(found.cutoffs),
        )
        _check_finite(frame, predicted)
        return predicted


def check_scale(potential: Potential, scale: Scale) -> None:
    """Check that a potential can be evaluated at a scale, before there is a structure.

    Raises
    ------
    InputError
        As :meth:`Potential.evaluate_graph`.
    """
    check_long_range(potential, scale)
    if scale.cutoff is not None:
        potential.check_cutoffs(scale.cutoff)


def check_long_range(potential: Potential, scale: Scale) -> None:
    """Refuse to turn off the long range of a network that was trained with it alone."""
    if not scale.long_range and potential.long_range is LongRange.ALWAYS:
        raise InputError(
            "long_range",
            "long range turned off, but the network was trained with it alone",
            "Train over a ladder that ends in `long`: scalewise train --ladder 3,6.5,long",
        )


def _check_finite(frame: Structure, predicted: Prediction) -> None:
    """Refuse results that are not numbers: nothing that is written or simulated may hold them."""
    values = (predicted.energies, predicted.forces, predicted.charges, predicted.stress)
    if not all(v is None or np.isfinite(v).all() for v in values):
        raise InputError(
            frame.where,
            "the potential gives values that are not finite",
            "Are its atoms far from any that it was trained on? Look at the structure; compute in "
            "float64 if it is right.",
        )
