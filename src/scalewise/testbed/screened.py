r"""A law of known range: screened Coulomb forces between point charges, and a short repulsion.

A verdict on the range that a system needs cannot be checked with labels from a simulation or from
electronic structure, as the true range of these labels is not known. With this law it is known. The
energy is a sum over all pairs i < j of different molecules, with every periodic image within the
reach,

.. math:: E = \sum_{i<j} s(r_{ij}) \left[ k q_i q_j \frac{e^{-r_{ij}/\lambda}}{r_{ij}}
   + \frac{K (1 - r_{ij}/d)_+^3}{r_{ij}} \right],

where k is Coulomb's constant, :math:`\lambda` the screening length, and the second term keeps atoms
other than hydrogen apart: it wins over any attraction at contact and ends, with two continuous
derivatives, at d. The switch s falls from one to zero between 0.8 and 1 of the reach, which is ten
screening lengths unless given, with two continuous derivatives too. Energies and forces are
computed exactly from this sum, without a grid. The screened term is that of Debye and Hückel
(Phys. Z. 24, 185, 1923), or of Yukawa.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float
from scipy.special import erf

from scalewise.core.errors import InputError
from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.data import neighbors
from scalewise.data.structure import Structure

#: Screening lengths after which the law ends: a pair has 4.5e-5 of its bare energy left there.
REACH: Final = 10.0
#: The switch acts from this share of the reach on.
SWITCH: Final = 0.8
#: d (Å), where the repulsion ends, and K in units of k e². With charges of one and screening over
#: 3 Å, Na and Cl rest 2.91 Å apart, about as far as they do in salt (2.82 Å).
CORE: Final = 3.5
STRENGTH: Final = 10.0

Profile = Float[np.ndarray, " pairs"]


@dataclass(frozen=True, eq=False)
class ScreenedLabels:
    """Energy and forces of the law for a frame.

    Attributes
    ----------
    energy, forces
        Total energy (eV) and forces [atoms, 3] (eV/Å).
    beyond
        Part of the forces that comes from pairs beyond each cutoff [cutoffs, atoms, 3], eV/Å.
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    beyond: Float[np.ndarray, "cutoffs atoms 3"]


@dataclass(frozen=True)
class ScreenedLaw:
    r"""A pair law of known range: screened Coulomb forces and a short repulsion.

    .. math:: E = \sum_{i<j} s(r_{ij}) \left[ k q_i q_j \frac{e^{-r_{ij}/\lambda}}{r_{ij}}
       + \frac{K (1 - r_{ij}/d)_+^3}{r_{ij}} \right],

    over pairs of different molecules; see :mod:`scalewise.testbed.screened` for the symbols.

    Parameters
    ----------
    charges
        Charge of each element, e.
    screening
        Screening length λ, Å; the forces reach farther if it is longer.
    end
        Reach, Å, beyond which the energy is zero; default: ten screening lengths.

    Raises
    ------
    InputError
        A screening length or a reach that is not positive; a reach so short that the switch, which
        begins at 0.8 of the reach, would begin within the range d = 3.5 Å of the repulsion.

    Examples
    --------
    >>> law = ScreenedLaw({"Na": 1.0, "Cl": -1.0}, screening=2.0)
    >>> law.reach
    20.0
    """

    charges: Mapping[str, float]
    screening: float
    end: float | None = None

    def __post_init__(self) -> None:
        if not self.screening > 0:
            raise InputError(
                f"screening={self.screening:g}", "not a length", "Give Å above zero, such as 2."
            )
        if SWITCH * self.reach < CORE:
            raise InputError(
                f"reach={self.reach:g} Å",
                f"the switch would act inside the core of {CORE:g} Å",
                f"Give a reach of at least {CORE / SWITCH:.2f} Å, or a screening length of at "
                f"least {CORE / SWITCH / REACH:.2f} Å.",
            )

    @property
    def reach(self) -> float:
        """Distance beyond which the energy of a pair is zero, Å."""
        return REACH * self.screening if self.end is None else self.end

    def profile(
        self, distance: Profile, product: Profile, cored: Profile
    ) -> tuple[Profile, Profile]:
        """Energies of pairs, eV [pairs], and their derivatives by the distance, eV/Å [pairs].

        Parameters
        ----------
        distance
            Distances r, Å [pairs].
        product
            Products of the two charges, e² [pairs].
        cored
            1 for pairs with the repulsion, 0 for others [pairs].
        """
        r = distance
        bare = COULOMB_CONSTANT * product * np.exp(-r / self.screening) / r
        slope = -bare * (1.0 / r + 1.0 / self.screening)
        gap = np.maximum(1.0 - r / CORE, 0.0)
        repulsion = STRENGTH * COULOMB_CONSTANT * cored * gap**3 / r
        steep = STRENGTH * COULOMB_CONSTANT * cored * gap**2 * (3.0 / CORE + gap / r) / r
        switch, falling = _switch(r, SWITCH * self.reach, self.reach)
        total = bare + repulsion
        return total * switch, (slope - steep) * switch + total * falling

    def label(self, frame: Structure, cutoffs: Sequence[float] = ()) -> ScreenedLabels:
        """Compute energy and forces of a frame, and the parts of the forces beyond each cutoff.

        Pairs within one molecule are left out. A periodic image of an atom counts as an atom of
        another molecule, so that molecules must not be split by the boundaries of the cell.

        Parameters
        ----------
        frame
            The structure.
        cutoffs
            Cutoffs, Å: for each, the part of the forces from pairs beyond it is computed.

        Raises
        ------
        InputError
            An element without a charge; the errors of :func:`scalewise.data.neighbors.build`.
        """
        missing = sorted(set(frame.symbols) - set(self.charges))
        if missing:
            raise InputError(
                f"{frame.where}, element {', '.join(missing)}",
                f"the law has charges of {', '.join(self.charges)} alone",
                "Give a charge for every element.",
            )
        pairs = neighbors.build(frame, self.reach, images=True)
        same = frame.molecule[pairs.i] == frame.molecule[pairs.j]
        pairs = pairs.select(~same | (pairs.shift != 0).any(axis=1))
        charge = np.array([self.charges.get(s, 0.0) for s in chemical_symbols])[frame.numbers]
        heavy = (frame.numbers > 1).astype(float)
        energy, slope = self.profile(
            pairs.distance, charge[pairs.i] * charge[pairs.j], heavy[pairs.i] * heavy[pairs.j]
        )
        push = (slope / pairs.distance)[:, None] * pairs.vector  # on i
        beyond = [
            self._sum(frame, pairs.select(far := pairs.distance > c), push[far]) for c in cutoffs
        ]
        return ScreenedLabels(
            float(energy.sum()),
            self._sum(frame, pairs, push),
            np.array(beyond).reshape(len(cutoffs), len(frame.numbers), 3),
        )

    @staticmethod
    def _sum(
        frame: Structure, pairs: neighbors.Pairs, push: Float[np.ndarray, "pairs 3"]
    ) -> Float[np.ndarray, "atoms 3"]:
        n = len(frame.numbers)
        columns = [
            np.bincount(pairs.i, push[:, k], n) - np.bincount(pairs.j, push[:, k], n)
            for k in range(3)
        ]
        return np.stack(columns, axis=1)

    def beyond(self, structures: Sequence[Structure], cutoffs: Sequence[float]) -> Beyond:
        """Compute the part of the forces from pairs beyond each cutoff (Å); see :func:`beyond`."""
        return beyond(structures, self, cutoffs)


def _switch(r: Profile, begin: float, end: float) -> tuple[Profile, Profile]:
    """One before ``begin``, zero after ``end``, 1 - 10x³ + 15x⁴ - 6x⁵ between; its derivative."""
    x = np.clip((r - begin) / (end - begin), 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2), -30.0 * (x * (1.0 - x)) ** 2 / (end - begin)


@dataclass(frozen=True, eq=False)
class Beyond:
    """The part of the forces that comes from pairs beyond each cutoff.

    Attributes
    ----------
    cutoffs
        Å, rising.
    missing
        That part for every atom [cutoffs, atoms, 3], eV/Å.
    total
        Mean absolute force component, eV/Å.
    """

    cutoffs: tuple[float, ...]
    missing: Float[np.ndarray, "cutoffs atoms 3"]
    total: float

    @property
    def mae(self) -> Float[np.ndarray, " cutoffs"]:
        """Error (eV/Å per component) of the sum over all pairs within each cutoff."""
        return np.abs(self.missing).mean(axis=(1, 2))

    @property
    def share(self) -> Float[np.ndarray, " cutoffs"]:
        """That error as a share of the mean absolute force component."""
        return self.mae / self.total

    def error(self, other: float) -> Float[np.ndarray, " cutoffs"]:
        r"""Mean absolute error (eV/Å) at each cutoff of a model that also errs otherwise.

        The other error is Gaussian, the same at every cutoff, and independent of what is missing:
        for a component x that is missing and :math:`\sigma` the width of the other error,

        .. math:: \langle|x + \eta|\rangle = \sigma \sqrt{2/\pi}\, e^{-x^2/2\sigma^2}
           + x\, \mathrm{erf}(x / \sqrt 2 \sigma).

        Parameters
        ----------
        other
            Mean absolute value of the other error, eV/Å: √(2/π) σ.
        """
        if other <= 0.0:
            return self.mae
        width = other * np.sqrt(np.pi / 2.0)
        x = self.missing / width
        folded = other * np.exp(-0.5 * x**2) + self.missing * erf(x / np.sqrt(2.0))
        return np.asarray(folded.mean(axis=(1, 2)))

    def enough(self, min_gain: float, other: float) -> float:
        """Shortest cutoff (Å) from which on the longest saves less than ``min_gain`` of the error.

        It is what ``scalewise curve`` should find where the potential is as good as the sum of
        pairs within its cutoff, its other errors aside. As there, the longest
        cutoff means that nothing shorter is enough.

        Parameters
        ----------
        min_gain
            Share of the error that a longer range must save to pay.
        other
            Mean absolute error (eV/Å) that the model has for other reasons than its range. The
            better the model, the more a longer range saves of its error.

        Examples
        --------
        >>> missing = np.array([0.3, 0.04, 0.001, 0.0])[:, None, None] * np.ones((4, 1, 3))
        >>> found = Beyond((3.0, 4.0, 5.0, 6.0), missing, 1.0)
        >>> found.enough(0.01, other=0.02), found.enough(0.01, other=0.001)
        (5.0, 6.0)
        """
        error = self.error(other)
        gain = np.divide(error - error[-1], error, out=np.zeros_like(error), where=error > 0)
        paying = np.flatnonzero(gain >= min_gain)
        return self.cutoffs[int(paying[-1]) + 1 if len(paying) else 0]


def beyond(frames: Sequence[Structure], law: ScreenedLaw, cutoffs: Sequence[float]) -> Beyond:
    """Work out what of the law's forces comes from pairs beyond each cutoff.

    The sum over pairs is exact, images included. A potential may do better than the sum of the
    pairs it sees: what is near tells something of what is far, and with several layers it sees
    farther than its cutoff.

    Parameters
    ----------
    frames
        Configurations; their labels are not looked at.
    law
        The law.
    cutoffs
        Å, rising.

    Raises
    ------
    InputError
        No frames; cutoffs that do not rise; as :meth:`ScreenedLaw.label`.
    """
    lengths = tuple(float(c) for c in cutoffs)
    if not frames or not lengths or list(lengths) != sorted(set(lengths)):
        raise InputError(
            "beyond",
            f"{len(frames)} frames and cutoffs={list(lengths)}",
            "Give at least one frame, and cutoffs that rise.",
        )
    labels = [law.label(f, lengths) for f in frames]
    forces = np.concatenate([found.forces for found in labels])
    return Beyond(
        lengths,
        np.concatenate([found.beyond for found in labels], axis=1),
        float(np.abs(forces).mean()),
    )
