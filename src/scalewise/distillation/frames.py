"""Training frames of an inner potential: frames of a simulation, and displaced copies of them."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np

from scalewise.core.progress import Progress
from scalewise.data.splits import Split
from scalewise.data.splits.identity import identify
from scalewise.data.structure import Labels, Structure
from scalewise.distillation.settings import DistillSettings
from scalewise.distillation.stiffness import Positions, stiff_direction
from scalewise.interfaces.ase import ScalewiseCalculator

#: Every so many-th frame, with its displaced copies, validates.
VALIDATES = 10
#: Å: no atom is displaced farther, or by more than this at random.
FARTHEST, AT_RANDOM = 0.2, 0.02


class ForcesOf:
    """Forces of a calculator on the atoms of a frame at any positions.

    Parameters
    ----------
    calculator
        Of the potential.
    atoms
        The frame.
    """

    def __init__(self, calculator: ScalewiseCalculator, atoms: ase.Atoms) -> None:
        self.calculator = calculator
        self.atoms = Structure.from_ase(atoms).to_ase()

    def __call__(self, positions: Positions) -> Positions:
        """Forces, eV/Å [atoms, 3]."""
        self.atoms.positions = positions
        found = self.calculator.get_property("forces", self.atoms)
        return np.asarray(found, dtype=float)

    def labelled(self, positions: Positions) -> Structure:
        """The frame at these positions, with the potential's energy and forces."""
        forces = self(positions)
        energy = float(self.calculator.get_property("energy", self.atoms))
        labels = Labels(energy=energy, forces=forces)
        found = Structure.from_ase(self.atoms, labels=labels)
        found.info.clear()
        return found


def labelled_frames(
    calculator: ScalewiseCalculator,
    frames: Sequence[ase.Atoms],
    settings: DistillSettings,
    progress: Progress,
) -> tuple[list[Structure], Split]:
    """Label frames, and each of them displaced to either side along stiff directions.

    Differences of the forces of a frame and its copies are products of the Hessian: who learns them
    learns the curvature along what vibrates fastest.
    """
    random = np.random.default_rng(settings.seed)
    found: list[Structure] = []
    for frame in progress.track(frames, "Displacing"):
        forces, places = ForcesOf(calculator, frame), frame.positions.copy()
        found.append(forces.labelled(places))
        start = random.standard_normal(places.shape)
        stiff = stiff_direction(forces, places, frame.get_masses(), start)
        for side in (1.0, -1.0):
            far = side * settings.displacement * random.uniform(0.3, 1.0)
            moved = far * stiff + AT_RANDOM / np.sqrt(3.0) * random.standard_normal(places.shape)
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            moved *= np.minimum(1.0, FARTHEST / np.maximum(length, 1e-12))
            found.append(forces.labelled(places + moved))
    groups = np.repeat(np.arange(len(frames)), 3)
    roles = np.where(groups % VALIDATES == VALIDATES - 1, "valid", "train")
    split = Split(
        data=identify(found),
        made={"groups": "a frame and its copies", "roles": f"every {VALIDATES}th validates"},
        role=tuple(roles.tolist()),
        group=tuple(groups.tolist()),
    )
    return found, split
