"""What a model is to every analysis: elements, cutoffs, long range, and results at a scale.

Our potential, a file of predictions and any ASE calculator are models; so is whatever else has
these attributes. What a model cannot do is a value that says so: ``None`` for what is not known,
and :class:`LongRange` for what it has. Other packages add kinds of models with entry points of the
group ``scalewise.models``; see :func:`scalewise.models.opening.open_model`.
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
    """Whether a model has interactions that no cutoff ends."""

    NONE = "none"
    ALWAYS = "always"
    #: It was trained with and without.
    OPTIONAL = "optional"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Scale:
    """The scale that a model is evaluated at.

    Attributes
    ----------
    cutoff
        Å, of all atoms, or of each [atoms]; none: the model's own, which may differ between atoms.
    long_range
        Whether long-range interactions act, where the model can do without.
    """

    cutoff: float | Float[np.ndarray, " atoms"] | None = None
    long_range: bool = True


#: The scale that a model chooses itself.
OWN_SCALE: Final = Scale()


@dataclass(frozen=True, eq=False)
class Ladder:
    """Scales that one potential is trained for.

    Parameters
    ----------
    cutoffs
        Å, rising; two at least.
    long_range
        Whether long range is a scale of its own: trained with and without.

    Examples
    --------
    >>> Ladder([3, 5.5], long_range=True).rungs
    (3.0, 5.5, 'long')
    """

    cutoffs: Sequence[float]
    long_range: bool = False

    @property
    def rungs(self) -> tuple[float | str, ...]:
        """Cutoffs, Å, and then ``"long"`` where long range is a scale: as in settings.

        Raises
        ------
        InputError
            Cutoffs that are no numbers.
        """
        try:
            cutoffs = [float(c) for c in self.cutoffs]
        except (TypeError, ValueError):
            remedy = "Give numbers, Å; long range is a scale with long_range=True."
            raise InputError("ladder, cutoffs", shown(self.cutoffs, 80), remedy) from None
        return (*cutoffs, *(["long"] * self.long_range))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one structure; parts that it does not know are none.

    Attributes
    ----------
    forces
        eV/Å [atoms, 3].
    energy
        eV.
    energies
        Of each atom, eV [atoms]; smeared electrostatics are shared evenly between the atoms.
    stress
        eV/Å³, positive under tension [3, 3]; none where the structure has no ``volume``: without
        periodicity, and where the cell of a slab or wire has none. Vacuum in the cell counts.
    charges
        e [atoms].
    cutoffs
        Those used, Å [atoms].
    """

    forces: Float[np.ndarray, "atoms 3"]
    energy: float | None = None
    energies: Float[np.ndarray, " atoms"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    charges: Float[np.ndarray, " atoms"] | None = None
    cutoffs: Float[np.ndarray, " atoms"] | None = None


@runtime_checkable
class InteratomicPotential(Protocol):
    """A model of forces, and perhaps of energies, for any structure of the elements it knows.

    :func:`scalewise.testing.check_potential` says whether a class keeps to it.
    """

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def elements(self) -> tuple[int, ...] | None:
        """Atomic numbers that it knows; none: not known."""

    @property
    def cutoff_range(self) -> tuple[float, float] | None:
        """Shortest and longest cutoff (Å) that it is meant for; none: not known.

        One that is longer, or not positive, is refused; a shorter one may be.
        """

    @property
    def long_range(self) -> LongRange:
        """Whether it has long-range interactions."""

    def receptive_field(self, scale: Scale) -> float | None:
        """Distance (Å) beyond which an atom has no influence on the force on another.

        It is infinite where long range acts; none: not known.
        """

    def knows_energy(self, structure: Structure) -> bool:
        """Whether the total energy of this composition means something, beyond a constant."""

    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        """Predict structures at a scale, one result each and in their order.

        Labels are not looked at, and structures are left as they are. Where there are energies,
        forces are their negative gradient, also while an atom crosses a cutoff.

        Raises
        ------
        InputError
            An unknown element, a structure without volume or with overlapping atoms, a scale that
            the model does not have: a cutoff above ``cutoff_range``, or one of several lengths
            than there are atoms; long range turned off where it acts always, or is not known.
        """


@runtime_checkable
class Preparable(Protocol):
    """A model that can list the neighbors of a structure once, for several scales."""

    def prepare(self, structure: Structure) -> Callable[[Scale], Prediction]:
        """List neighbors, and return what evaluates the structure at a scale."""


def prepare(model: InteratomicPotential, structure: Structure) -> Callable[[Scale], Prediction]:
    """Return what evaluates one structure at a scale, with what can be done once done once."""
    if isinstance(model, Preparable):
        return model.prepare(structure)
    return lambda scale: model.evaluate([structure], scale)[0]


def knows_long_range(model: InteratomicPotential, scale: Scale) -> bool:
    """Whether long range acts at this scale."""
    if model.long_range is LongRange.OPTIONAL:
        return scale.long_range
    return model.long_range is LongRange.ALWAYS
