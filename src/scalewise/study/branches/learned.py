"""A trained potential as a branch, at one of its scales."""

from __future__ import annotations

from dataclasses import dataclass

from scalewise.data.structure import Structure
from scalewise.models.potential import Potential
from scalewise.study.branches.base import Branch, BranchPrediction


@dataclass(frozen=True, eq=False)
class LearnedBranch(Branch):
    """A potential with one cutoff (Å) for all atoms; default: its longest."""

    potential: Potential
    cutoff: float | None = None

    def predict(self, frame: Structure) -> BranchPrediction:
        """Return energies and the forces that are their negative gradient."""
        found = self.potential.predict(frame, cutoffs=self.cutoff)
        assert found.energies is not None  # of our own potential
        return BranchPrediction(found.energies, found.forces)
