"""A file of predictions as a model, which predicts the structures of the file and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import ase
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float
from scipy.spatial import cKDTree

from scalewise.core.errors import InputError, shown
from scalewise.data.keys import LabelKeys
from scalewise.data.readers import read_file
from scalewise.data.reading import convert_images
from scalewise.data.structure import Structure, check_cell, check_positions, check_same_atoms
from scalewise.models.protocol import OWN_SCALE, LongRange, Prediction, Scale

#: Å: farther, an atom is another; as in check_same_atoms.
MOVED: Final = 1e-3
#: Numbers that tell positions apart; so many that hardly two structures are alike in all of them.
PROJECTIONS: Final = 8
#: States of the same atoms that may have predictions of their own.
STATES: Final = ("charge", "total_charge", "spin", "multiplicity")


class PredictionFile:
    """A model whose predictions are read from a file, where they are looked up by structure.

    A structure matches a frame of the file if it has the same atoms in the same order, periodicity
    and cell, and no atom is more than 10^-3 Å away, modulo lattice vectors. If the structure and
    the frame both state charge or spin, these must be equal, too. The first match is taken.

    Parameters
    ----------
    path
        An extxyz file, or a file of another format that :mod:`scalewise.data.readers` reads.
    forces, charges
        Columns of the forces (eV/Å) and of the charges (e); charges none: they are not read.
    energy, stress
        Frame keys of the energy (eV) and of the stress (eV/Å³), which the file may lack; none: they
        are not read.
    name
        Name of the model in reports; default: the name of the file without its suffix.
    check_units
        Refuse predictions whose units do not look like eV and Å.

    Raises
    ------
    InputError
        A file that is missing or malformed; a frame without the column of forces; units that look
        wrong.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        forces: str = "forces",
        energy: str | None = "energy",
        stress: str | None = "stress",
        charges: str | None = "charges",
        name: str | None = None,
        check_units: bool = True,
    ) -> None:
        options = {"forces": "forces", "energy": "energy", "stress": "stress"}
        keys = LabelKeys(
            forces, energy, stress, options=options, check_units=check_units, complete=True
        )
        images = read_file(path)
        self.path = Path(path)
        self._name = name or self.path.name.split(".")[0] or self.path.name
        self.structures = convert_images(images, str(path), keys)
        self._charges = [_charges(image, charges) for image in images]
        members: dict[tuple[bytes, bytes], list[int]] = {}
        for k, structure in enumerate(self.structures):
            members.setdefault(_atoms(structure), []).append(k)
        self._indices = {
            atoms: _Index(found, cKDTree([_projected(self.structures[k]) for k in found]))
            for atoms, found in members.items()
        }

    @property
    def name(self) -> str:
        """Name of the model in reports."""
        return self._name

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers of the elements in the file."""
        return tuple(np.unique(np.concatenate([s.numbers for s in self.structures])).tolist())

    @property
    def cutoff_range(self) -> tuple[float, float] | None:
        """None: the cutoffs of the model that made the file are not known."""
        return None

    @property
    def long_range(self) -> LongRange:
        """``UNKNOWN``: the file does not tell."""
        return LongRange.UNKNOWN

    def receptive_field(self, scale: Scale) -> float | None:
        """None: the receptive field of the model that made the file is not known."""
        return None

    def knows_energy(self, structure: Structure) -> bool:
        """Whether the file has the energy of a frame with this composition."""
        return np.sort(structure.numbers).tobytes() in self._with_energy

    @cached_property
    def _with_energy(self) -> frozenset[bytes]:
        known = (s for s in self.structures if s.labels.energy is not None)
        return frozenset(np.sort(s.numbers).tobytes() for s in known)

    def evaluate(
        self, structures: Sequence[Structure], scale: Scale = OWN_SCALE
    ) -> list[Prediction]:
        """Look up the predictions of the structures.

        Raises
        ------
        InputError
            A structure that the file does not hold; a scale with a cutoff, or with long range
            turned off.
        """
        if scale.cutoff is not None or not scale.long_range:
            what = "cutoff" if scale.cutoff is not None else "long_range"
            asked = shown(scale.cutoff, 80) if what == "cutoff" else "long range turned off"
            raise InputError(
                what,
                f"{asked}, but {self.path} holds predictions of one scale",
                "Leave it out, or give a file of predictions at that scale.",
            )
        return [self._prediction(self.find(structure)) for structure in structures]

    def find(self, structure: Structure) -> int:
        """Return the number of the frame that matches a structure, from zero.

        Raises
        ------
        InputError
            The file does not hold the structure; positions that are not finite or too far from the
            origin; a cell without volume.
        """
        check_positions(structure.positions, structure.where)
        check_cell(structure.cell, structure.pbc, structure.where)
        index = self._indices.get(_atoms(structure))
        for k in [] if index is None else index.near(structure):
            if _same(structure, self.structures[k]):
                return k
        unknown = sorted(set(structure.numbers.tolist()) - set(self.elements))
        if unknown:
            found = f"it has no {chemical_symbols[unknown[0]]}"
        elif index is None:
            found = "no frame has these atoms in this order"
        else:
            found = f"none of its {len(index.members)} frames of these atoms has them there"
        raise InputError(
            structure.where,
            f"not in {self.path}: {found}",
            "Predict every structure, and keep positions, cell and the order of atoms.",
        )

    def _prediction(self, k: int) -> Prediction:
        """A copy of what the file has of a frame."""
        labels, charges = self.structures[k].labels, self._charges[k]
        return Prediction(
            forces=self.structures[k].labelled_forces.copy(),
            energy=labels.energy,
            stress=None
            if labels.stress is None or self.structures[k].volume is None
            else labels.stress.copy(),
            charges=None if charges is None else charges.copy(),
        )


def _charges(image: ase.Atoms, key: str | None) -> np.ndarray | None:
    """Charges (e) [atoms] of an image; none without, or where they are something else."""
    if key is None:
        return None
    results = image.calc.results if image.calc is not None else {}
    found = np.asarray(image.arrays.get(key, results.get(key)))
    right = found.shape == (len(image),) and found.dtype.kind in "iuf"
    return found.astype(float) if right and np.isfinite(found).all() else None


def _atoms(structure: Structure) -> tuple[bytes, bytes]:
    """Atoms in their order, and periodicity."""
    return structure.numbers.astype(np.int64).tobytes(), structure.pbc.tobytes()


def _same(asked: Structure, known: Structure) -> bool:
    """Whether a structure is that of the file, and in the same state where both tell it."""
    try:
        check_same_atoms([known], [asked])
    except InputError:
        return False
    both = [k for k in STATES if k in asked.info and k in known.info]
    return all(bool(np.all(asked.info[k] == known.info[k])) for k in both)


@dataclass(frozen=True, eq=False)
class _Index:
    """Frames of the same atoms, found by a few numbers that hardly change while atoms hardly move.

    With f the fraction of each position along a lattice vector and h the height of the cell along
    it, ``h / 2 pi (cos, sin)(2 pi f)`` is the same modulo lattice vectors, and changes by no more
    than the atom moves. So does a position across periodic axes. Projected on a random unit vector
    over all atoms and axes, it changes by the root of the sum of squares at most.

    Attributes
    ----------
    members
        Positions in the file.
    tree
        Their numbers.
    """

    members: list[int]
    tree: cKDTree

    def near(self, structure: Structure) -> list[int]:
        """Frames that may be the structure, in the order of the file."""
        # twice the bound, since a cell may differ by as much as a position
        reach = 2.0 * MOVED * max(1.0, np.sqrt(3.0 * len(structure.numbers)))
        found = self.tree.query_ball_point(_projected(structure), reach, p=np.inf)
        return [self.members[k] for k in sorted(found)]


def _projected(structure: Structure) -> Float[np.ndarray, " projections"]:
    """Numbers (Å) that change little while atoms and cell do, see :class:`_Index`."""
    pbc, reciprocal = structure.pbc, np.linalg.inv(structure.lattice)
    fractions = structure.positions @ reciprocal
    height = 1.0 / np.linalg.norm(reciprocal[:, pbc], axis=0)
    angle = 2.0 * np.pi * fractions[:, pbc]
    waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    positions = np.concatenate([waves * np.tile(height / (2.0 * np.pi), 2), fractions[:, ~pbc]], 1)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((PROJECTIONS, positions.size))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return np.concatenate([weights @ positions.reshape(-1), structure.cell[pbc].reshape(-1)])
