"""The interface of models that all analyses use: elements, cutoffs, long range, predictions.

Potentials of scalewise, files of predictions and ASE calculators are models, and so is any other
object with these attributes. A property that is not known is ``None``, and :class:`LongRange` says
which long-range interactions a model has. Other packages add kinds of models with entry points of
the group ``scalewise.models``; see :func:`scalewise.models.opening.open_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from scalewise.core.errors import InputError, shown
from scalewise.data.structure import Structure


class LongRange(StrEnum):
    """Whether a model has long-range interactions, which do not end at a cutoff.

    ``NONE``: it has none. ``ALWAYS``: it has them, and cannot be evaluated without. ``OPTIONAL``:
    it was trained with and without them. ``UNKNOWN``: the model does not tell.
    """

    NONE = "none"
    ALWAYS = "always"
    #: The model was trained with and without long range.
    OPTIONAL = "optional"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Scale:
    """The length scale at which a model is evaluated.

    Attributes
    ----------
    cutoff
        Cutoff of all atoms, or of each atom [atoms], Å; none: the cutoff that the model chooses,
        which may differ between atoms.
    long_range
        Whether long-range interactions are included, if the model can be evaluated without them.

    Raises
    ------
    InputError
        ``long_range`` that is neither true nor false.
    """

    cutoff: float | Float[np.ndarray, " atoms"] | None = None
    long_range: bool = True

    def __post_init__(self) -> None:
        """Refuse words such as ``"false"``, which Python takes for true."""
        if not isinstance(self.long_range, bool | np.bool_):
            raise InputError("long_range", shown(self.long_range, 60), "Give True or False.")


#: The scale that a model chooses itself.
OWN_SCALE: Final = Scale()


@dataclass(frozen=True, eq=False)
class Ladder:
    """The scales that one potential is trained for.

    Parameters
    ----------
    cutoffs
        Cutoffs, Å, rising; at least two.
    long_range
        Whether long range is a scale of its own: the potential is then trained both with and
        without long-range electrostatics.

    Examples
    --------
    >>> Ladder([3, 5.5], long_range=True).rungs
    (3.0, 5.5, 'long')
    """

    cutoffs: Sequence[float]
    long_range: bool = False

    @property
    def rungs(self) -> tuple[float | str, ...]:
        """Cutoffs, Å, followed by ``"long"`` if long range is a scale, as in the settings.

        Raises
        ------
        InputError
            Cutoffs that are not numbers.
        """
        try:
            cutoffs = [float(c) for c in self.cutoffs]
        except (TypeError, ValueError):
            remedy = "Give numbers, Å; long range is a scale with long_range=True."
            raise InputError("ladder, cutoffs", shown(self.cutoffs, 80), remedy) from None
        return (*cutoffs, *(["long"] * self.long_range))


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction of a model for one structure; results that the model does not have are none.

    Attributes
    ----------
    forces
        Forces, eV/Å [atoms, 3].
    energy
        Total energy, eV.
    energies
        Energy of each atom, eV [atoms]. The part of the electrostatics between smeared charges is
        divided evenly between the atoms.
    stress
        Stress, eV/Å³, positive under tension [3, 3]; none if ``Structure.volume`` is none, that is,
        without periodicity, and for a slab or wire whose cell has no volume. Vacuum in the cell
        counts as volume.
    charges
        Charges of the atoms, e [atoms].
    cutoffs
        Cutoffs at which the atoms were evaluated, Å [atoms].
    """

    forces: Float[np.ndarray, "atoms 3"]
    energy: float | None = None
    energies: Float[np.ndarray, " atoms"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    charges: Float[np.ndarray, " atoms"] | None = None
    cutoffs: Float[np.ndarray, " atoms"] | None = None


@runtime_checkable
class InteratomicPotential(Protocol):
    """A model that predicts forces, and possibly energies, of structures of known elements.

    :func:`scalewise.testing.check_potential` checks whether an object fulfils this interface.
    """

    @property
    def name(self) -> str:
        """Name of the model in reports."""

    @property
    def elements(self) -> tuple[int, ...] | None:
        """Atomic numbers of the elements that the model can predict; none: not known."""

    @property
    def cutoff_range(self) -> tuple[float, float] | None:
        """Shortest and longest cutoff (Å) that the model is made for; none: not known.

        A model refuses cutoffs that are longer than this range or not positive. It may refuse
        shorter cutoffs, too.
        """

    @property
    def long_range(self) -> LongRange:
        """Whether the model has long-range interactions."""

    def receptive_field(self, scale: Scale) -> float | None:
        """Distance (Å) beyond which an atom has no influence on the force on another atom.

        The distance is infinite if long-range interactions are included; none: not known.
        """

    def knows_energy(self, structure: Structure) -> bool:
        """Whether the model determines the total energy of this composition without an offset."""

    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        """Predict structures at a scale; returns one prediction for each, in their order.

        The model does not read labels and does not change the structures. If it predicts energies,
        forces are their negative gradient, also when an atom crosses a cutoff.

        Raises
        ------
        InputError
            An unknown element; a structure without volume or with overlapping atoms; a scale that
            the model does not have: a cutoff above ``cutoff_range``, or cutoffs whose number is not
            that of the atoms; long range turned off in a model that always has it, or of which it
            is not known.
        """


@runtime_checkable
class Preparable(Protocol):
    """A model that can list the neighbors of a structure once, for several scales."""

    def prepare(self, structure: Structure) -> Callable[[Scale], Prediction]:
        """List neighbors, and return a function that predicts the structure at a scale."""


def prepare(model: InteratomicPotential, structure: Structure) -> Callable[[Scale], Prediction]:
    """Return a function that predicts one structure at a scale; neighbors are listed once."""
    if isinstance(model, Preparable):
        return model.prepare(structure)
    return lambda scale: model.evaluate([structure], scale)[0]


def knows_long_range(model: InteratomicPotential, scale: Scale) -> bool:
    """Whether the model has long-range interactions at this scale."""
    if model.long_range is LongRange.OPTIONAL:
        return scale.long_range
    return model.long_range is LongRange.ALWAYS
