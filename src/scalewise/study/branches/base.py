"""The interface of a branch: energies, and forces that are their negative gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scalewise.data.structure import Structure


@dataclass(frozen=True, eq=False)
class BranchPrediction:
    """Energies of atoms (eV, shape [atoms]) and forces (eV/Å, shape [atoms, 3])."""

    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]


class Branch(ABC):
    """A predictor at one scale, blind to labels; checked by ``scalewise.testing.check_branch``."""

    @abstractmethod
    def predict(self, frame: Structure) -> BranchPrediction:
        """Return energies and the forces that are exactly their negative gradient."""


class ForceBasis(ABC):
    r"""Energy functions whose forces are known in closed form: the columns of a linear branch.

    The energy of a branch is :math:`E = \sum_k c_k \Phi_k`, its forces are
    :math:`F = -\sum_k c_k \nabla \Phi_k`, linear in the coefficients: force matching is a
    least-squares problem [1]_.

    References
    ----------
    .. [1] S. Izvekov, G. A. Voth, J. Phys. Chem. B 109 (2005) 2469.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of functions."""

    @abstractmethod
    def energies(self, frame: Structure) -> Float[np.ndarray, "atoms functions"]:
        """Return every function's contribution to every atom."""

    @abstractmethod
    def forces(self, frame: Structure) -> Float[np.ndarray, "atoms 3 functions"]:
        """Return the force that each function exerts on every atom."""


@dataclass(frozen=True, eq=False)
class SumBranch(Branch):
    """The sum of two branches, such as electrostatics and a short-range correction."""

    first: Branch
    second: Branch

    def predict(self, frame: Structure) -> BranchPrediction:
        """Add energies and forces."""
        a, b = self.first.predict(frame), self.second.predict(frame)
        return BranchPrediction(a.energies + b.energies, a.forces + b.forces)


@dataclass(frozen=True, eq=False)
class JoinedBasis(ForceBasis):
    """The functions of one basis followed by those of another."""

    first: ForceBasis
    second: ForceBasis

    @property
    def size(self) -> int:
        """Number of functions."""
        return self.first.size + self.second.size

    def energies(self, frame: Structure) -> Float[np.ndarray, "atoms functions"]:
        """Return both parts side by side."""
        return np.concatenate([self.first.energies(frame), self.second.energies(frame)], axis=-1)

    def forces(self, frame: Structure) -> Float[np.ndarray, "atoms 3 functions"]:
        """Return both parts side by side."""
        return np.concatenate([self.first.forces(frame), self.second.forces(frame)], axis=-1)
