"""Structures, their labels, and checks that distances between their atoms can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ase
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int, Shaped

from scalewise.core.errors import InputError, cut, shown
from scalewise.core.quantities import (
    ENERGY_KEY,
    FILE_KEY,
    FORCES_KEY,
    MOLECULE_KEY,
    PLACE_KEY,
    STRESS_KEY,
)

#: Å: from here on positions have no digits left for 10^-7 Å, and whole lattice vectors no integer.
FARTHEST: Final = 2e8
#: Å: no edge of a cell is longer, and no lattice vector shorter.
LONGEST_EDGE: Final = 1e7
SHORTEST_EDGE: Final = 0.2
#: Å³ (of a slab Å², of a wire Å): a cell with less has no volume.
SMALLEST_VOLUME: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Labels:
    """Reference results of one structure; any part may be missing.

    Attributes
    ----------
    forces
        Forces, eV/Å [atoms, 3].
    energy
        Total energy, eV.
    stress
        Stress, eV/Å³, positive under tension [3, 3].
    """

    forces: Float[np.ndarray, "atoms 3"] | None = None
    energy: float | None = None
    stress: Float[np.ndarray, "3 3"] | None = None


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms, cell and periodicity of one frame; reference results are kept apart in ``labels``.

    Attributes
    ----------
    numbers
        Atomic numbers [atoms].
    positions
        Positions of the atoms, Å [atoms, 3].
    cell
        Lattice vectors in rows, Å [3, 3]. The vector of an axis without periodicity may be
        anything, zero too.
    pbc
        Whether the structure is periodic along each lattice vector [3]: along all for a crystal,
        two for a slab, one for a wire, none for a molecule.
    molecule
        Molecule number of each atom [atoms]; pairs inside a molecule do not interact in the
        reference force fields. Default: every atom has its own number.
    source
        File that the structure was read from, or another name of its origin.
    index
        Number of the frame in that file, from zero.
    info
        All other frame keys and their values.
    place
        Word for the place of each atom [atoms], such as ``surface``, from the column ``place`` of
        the file; none if the file has no such column.
    labels
        Reference results. No model reads them.

    Examples
    --------
    >>> positions, cell = np.eye(3), np.zeros((3, 3))
    >>> water = Structure(np.array([8, 1, 1]), positions, cell, np.zeros(3, dtype=bool))
    >>> water.symbols, water.labels.energy is None
    (['O', 'H', 'H'], True)
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    molecule: Int[np.ndarray, " atoms"] = None  # type: ignore[assignment]  # filled below
    source: str = "memory"
    index: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    place: Shaped[np.ndarray, " atoms"] | None = None
    labels: Labels = field(default_factory=Labels)

    def __post_init__(self) -> None:
        given: Any = self.molecule
        if given is None:
            object.__setattr__(self, "molecule", np.arange(len(self.numbers)))

    @classmethod
    def from_ase(cls, atoms: ase.Atoms, *, labels: Labels | None = None) -> Structure:
        """Make a structure of ASE's atoms: elements, positions, cell, periodicity and ``info``.

        Results of a calculator are not taken over; give reference results as ``labels``.
        """
        return cls(
            numbers=atoms.numbers.astype(np.int64),
            positions=atoms.positions.copy(),
            cell=np.asarray(atoms.cell).copy(),
            pbc=np.asarray(atoms.pbc).copy(),
            source="ASE atoms",
            info=dict(atoms.info),
            labels=labels or Labels(),
        )

    def to_ase(self) -> ase.Atoms:
        """Return ASE's atoms, with the labels under the keys that are read by default.

        These are the column ``REF_forces`` (eV/Å) and the frame keys ``REF_energy`` (eV) and
        ``REF_stress`` (eV/Å³).
        """
        atoms = ase.Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update(self.info)
        if self.labels.forces is not None:
            atoms.arrays[FORCES_KEY] = self.labels.forces
        if self.labels.energy is not None:
            atoms.info[ENERGY_KEY] = self.labels.energy
        if self.labels.stress is not None:
            atoms.info[STRESS_KEY] = self.labels.stress
        if self.place is not None:
            atoms.arrays[PLACE_KEY] = self.place
        if (self.molecule != np.arange(len(self.numbers))).any():
            atoms.arrays[MOLECULE_KEY] = self.molecule
        return atoms

    @property
    def where(self) -> str:
        """File and frame, for error messages."""
        return name_frame(self.source, self.index, self.info)

    @property
    def lattice(self) -> Float[np.ndarray, "3 3"]:
        """Lattice vectors, Å [3, 3]; axes without periodicity get perpendicular unit vectors.

        Examples
        --------
        >>> slab = Structure(np.array([6]), np.zeros((1, 3)), 4 * np.eye(3), np.arange(3) < 2)
        >>> abs(slab.lattice).tolist()
        [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]
        """
        return complete(self.cell, self.pbc)

    @property
    def volume(self) -> float | None:
        """Volume of the cell, Å³, by which the stress is defined; none where no stress is defined.

        No stress is defined for a structure without periodicity, and for a slab or wire whose cell
        has no volume. Vacuum in the cell of a slab or wire counts, as in ASE.
        """
        volume = abs(float(np.linalg.det(self.cell)))
        return volume if self.pbc.any() and volume > SMALLEST_VOLUME else None

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols of the atoms."""
        return [chemical_symbols[n] for n in self.numbers]

    @property
    def labelled_forces(self) -> Float[np.ndarray, "atoms 3"]:
        """Reference forces, eV/Å [atoms, 3].

        Raises
        ------
        InputError
            The structure has no reference forces.
        """
        if self.labels.forces is None:
            raise InputError(
                self.where, "no labelled forces", "Give structures with reference forces."
            )
        return self.labels.forces

    def mask(self, elements: Iterable[str]) -> Bool[np.ndarray, " atoms"]:
        """Return whether each atom is of one of the given elements [atoms]."""
        return np.isin(self.numbers, [chemical_symbols.index(e) for e in elements])

    def only(self, elements: Iterable[str]) -> Structure:
        """Return a structure of the atoms of these elements alone, with their labelled forces.

        Labels of the whole structure, energy and stress, are left out.
        """
        keep = self.mask(elements)
        forces = self.labels.forces
        return replace(
            self,
            numbers=self.numbers[keep],
            positions=self.positions[keep],
            molecule=self.molecule[keep],
            place=None if self.place is None else self.place[keep],
            labels=Labels(None if forces is None else forces[keep]),
        )


def name_frame(source: str, index: int, info: Mapping[str, Any]) -> str:
    """File and frame, for error messages; of a folder, with the file in it.

    Examples
    --------
    >>> name_frame("runs", 3, {"source_file": "run2/OUTCAR"})
    'runs, frame 3 (run2/OUTCAR)'
    """
    file = info.get(FILE_KEY)
    return f"{source}, frame {index}" + ("" if file is None else f" ({cut(str(file), 100)})")


def check_positions(positions: np.ndarray, where: str) -> None:
    """Assert that positions are numbers that distances can be formed of.

    Raises
    ------
    InputError
        A position that is not finite, or farther from the origin than 2·10^8 Å.
    """
    far = np.abs(positions).max(axis=1, initial=0.0)
    odd = np.flatnonzero(~(far <= FARTHEST))
    if not len(odd):
        return
    if not np.isfinite(far[odd]).all():
        atom = int(odd[~np.isfinite(far[odd])][0])
        raise InputError(
            f"{where}, key 'positions'",
            f"atom {atom} is not at a finite position",
            "A simulation that exploded? Use a smaller time step, or better starting positions.",
        )
    raise InputError(
        f"{where}, key 'positions'",
        f"atom {odd[0]} is {far[odd[0]]:.3g} Å from the origin, where a number has no digits left "
        "for distances",
        "Write positions near the cell, such as after atoms.wrap().",
    )


def complete(cell: np.ndarray, pbc: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Put unit vectors, perpendicular to all others, in the place of lattice vectors of open axes.

    Of a cell that :func:`check_cell` passed, the volume is then that of a crystal's cell (Å³), the
    area of a slab's (Å²) or the length of a wire's (Å).
    """
    axes, lattice = int(pbc.sum()), np.where(pbc[:, None], cell, np.eye(3)).astype(float)
    # not by a decomposition, whose vectors turn or change sign where the cell hardly changes
    if axes == 1:
        a, b, c = int(pbc.argmax()) + np.array([0, -2, -1])
        along = _unit(lattice[a])
        across = lattice[b] if abs(lattice[b] @ along) < 0.9 else lattice[c]
        lattice[b] = _unit(across - (across @ along) * along)
        lattice[c] = np.cross(along, lattice[b])
    if axes == 2:
        c = int(pbc.argmin())
        lattice[c] = _unit(np.cross(lattice[c - 2], lattice[c - 1]))
    return lattice


def complete_all(
    cells: Float[np.ndarray, "frames 3 3"], pbc: Bool[np.ndarray, "frames 3"]
) -> Float[np.ndarray, "frames 3 3"]:
    """As :func:`complete`, of many cells."""
    lattices = np.array(cells, dtype=float)
    for k in np.flatnonzero(~pbc.all(axis=1)).tolist():
        lattices[k] = complete(cells[k], pbc[k])
    return lattices


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), np.finfo(float).tiny))


def heights(lattice: Float[np.ndarray, "... 3 3"]) -> Float[np.ndarray, "... axes"]:
    """Distances between opposite faces of cells with volume, Å, along each lattice vector."""
    sides = np.cross(lattice[..., [1, 2, 0], :], lattice[..., [2, 0, 1], :])
    volume = np.abs(np.linalg.det(lattice))
    return np.asarray(volume[..., None] / np.linalg.norm(sides, axis=-1))


def nearest_image(
    vectors: Float[np.ndarray, "... 3"], lattice: np.ndarray, pbc: np.ndarray
) -> Float[np.ndarray, "... 3"]:
    """Vectors (Å) less the whole lattice vectors, along periodic axes, that are nearest to them."""
    if not pbc.any():
        return vectors
    turns = np.round(vectors @ np.linalg.inv(lattice)) * pbc
    return np.asarray(vectors - turns @ lattice)


def check_cell(cell: np.ndarray, pbc: np.ndarray, where: str) -> None:
    """Assert that lattice vectors are numbers and, where periodic, span a volume, area or length.

    Raises
    ------
    InputError
        Values that are not finite or absurdly large; lattice vectors of periodic axes that span
        nothing, or are so skewed that numbers cannot tell them apart.
    """
    key = f"{where}, key 'Lattice'"
    if not np.isfinite(cell).all() or np.abs(cell).max() > LONGEST_EDGE:
        raise InputError(
            key,
            f"the cell {shown(cell.tolist())}",
            f"Lattice vectors must be finite and at most {LONGEST_EDGE:g} Å long.",
        )
    if not pbc.any():
        return
    volume = abs(float(np.linalg.det(complete(cell, pbc))))
    edges = np.linalg.norm(cell[pbc], axis=1)
    span, unit = [("length", "Å"), ("area", "Å²"), ("volume", "Å³")][len(edges) - 1]
    if volume < SMALLEST_VOLUME:
        along = "" if pbc.all() else f" along pbc={''.join('FT'[int(p)] for p in pbc)}"
        remedy = "Write the cell or, of a molecule, that nothing is periodic: pbc=FFF in extxyz."
        raise InputError(key, f"periodic{along}, but the cell has no {span}", remedy)
    shortest = float(edges.min())
    if shortest < SHORTEST_EDGE:
        raise InputError(
            key,
            f"an edge of {shortest:.3g} Å, along which atoms would lie upon each other",
            "Write the cell, or convert it to Å.",
        )
    if volume < 1e-3 * float(edges.prod()):
        raise InputError(
            key,
            f"edges of {' and '.join(f'{e:.3g}' for e in edges)} Å around {span} of "
            f"{volume:.3g} {unit}: the cell is skewed",
            "Describe the same lattice by shorter vectors: ase.build.niggli_reduce(atoms).",
        )


def check_labelled(structures: Sequence[Structure]) -> None:
    """Assert that all structures have labelled forces.

    Raises
    ------
    InputError
        How many have none, and which is the first.
    """
    lacking = [s for s in structures if s.labels.forces is None]
    if lacking:
        raise InputError(
            lacking[0].where,
            f"no labelled forces, as in {len(lacking)} of {len(structures)} frames",
            "Forces are what is compared here: leave such frames out of the file.",
        )


def check_same_atoms(reference: Sequence[Structure], other: Sequence[Structure]) -> None:
    """Assert that two files hold the same atoms in the same order.

    Raises
    ------
    InputError
        Different numbers of frames or atoms, another atom order, or moved atoms.
    """
    first, second = reference[0].source, other[0].source
    if len(reference) != len(other):
        raise InputError(
            second,
            f"{len(other)} frames, but {first} has {len(reference)}",
            "Predict every frame of the labelled file, in its order.",
        )
    for a, b in zip(reference, other, strict=True):
        if len(a.numbers) != len(b.numbers):
            found = f"{len(b.numbers)} atoms, but {len(a.numbers)} in {first}"
        elif (a.numbers != b.numbers).any():
            atom = int(np.flatnonzero(a.numbers != b.numbers)[0])
            found = f"atom {atom} is {b.symbols[atom]}, but {a.symbols[atom]} in {first}"
        elif (a.pbc != b.pbc).any() or np.abs((a.cell - b.cell)[a.pbc]).max(initial=0.0) > 1e-3:
            found = f"its cell or periodicity is not that of {first}"
        elif _displaced(a, b) > 1e-3:
            found = f"an atom is {_displaced(a, b):.3g} Å from where {first} has it"
        else:
            continue
        raise InputError(b.where, found, "Write both files with the same frames and atom order.")


def _displaced(a: Structure, b: Structure) -> float:
    """Largest distance between equal atoms, modulo lattice vectors."""
    delta = nearest_image(a.positions - b.positions, a.lattice, a.pbc)
    return float(np.linalg.norm(delta, axis=1).max(initial=0.0))
