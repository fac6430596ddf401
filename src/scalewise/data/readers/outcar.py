"""VASP's OUTCAR: every ionic step that was computed and printed with its positions.

The energy is the free energy, ``free  energy   TOTEN``, since forces and stress are its
derivatives. They are no derivatives of the energy without entropy, nor of the energy extrapolated
to zero smearing. ``in kB`` is the pressure of the cell on its surroundings, kbar: the stress has
the opposite sign. Steps that were predicted by the machine-learned force field of VASP are left
out, and so are steps printed without positions (``NWRITE=0``). Steps whose electronic iteration did
not converge have the key ``scf_converged`` with the value false: the file says so, or it reached
NELM, or the line that says that EDIFF is reached is missing for this step and not for others.

ASE's reader fails for such files, and for files with additional forces without dispersion. In runs
with more than ten kinds of atoms, OUTCAR does not list how many atoms there are of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.units import GPa

from scalewise.core.errors import InputError
from scalewise.core.wording import count
from scalewise.data.readers.labels import CONVERGED, set_labels
from scalewise.data.readers.opening import malformed, opened

GIVE: Final = "Give the OUTCAR of a run of VASP."
#: eV/Å³ of the stress, positive under tension, of a pressure in kbar.
KBAR: Final = -0.1 * GPa
#: What may follow is the same without dispersion.
_ENERGY: Final = re.compile(r"  free  energy   TOTEN  = *(\S+) eV( .*)?\r?\n")
#: An electronic iteration: the numbers of the ionic and of the electronic step.
_ITERATION: Final = re.compile(r"-+ +Iteration +\d+\( *(\d+)\)")


def read_outcar(path: Path) -> list[ase.Atoms]:
    """Read every ionic step.

    Raises
    ------
    InputError
        Not an OUTCAR, or one without a whole step; a step that is not whole.
    """
    with opened(path, GIVE, encoding="latin-1") as stream:
        run = _Run(path, stream)
        images = list(run.steps())
    for image, reached, refuted in zip(images, run.reached, run.refuted, strict=True):
        if refuted or (any(run.reached) and not reached):
            image.info[CONVERGED] = False
    if not images:
        raise InputError(
            str(path),
            "no ionic step with positions, forces and energy",
            "Did the run end before its first one? Leave it out, or give that of another run.",
        )
    return images


@dataclass
class _Run:
    """What is known at a line of the file.

    Attributes
    ----------
    reached, refuted
        For each step that was read: whether a line says that the electronic iteration reached
        EDIFF, and whether the file tells that it did not.
    whole
        The number of the line after the last step that is whole.
    """

    path: Path
    stream: IO[str]
    line: int = 0
    titles: list[str] = field(default_factory=list)
    potentials: list[str] = field(default_factory=list)
    ions: int | None = None
    numbers: np.ndarray | None = None
    cell: np.ndarray | None = None
    stress: np.ndarray | None = None
    atoms: ase.Atoms | None = None
    most: int | None = None
    iteration: int = 0
    ended: bool | None = None
    reached: list[bool] = field(default_factory=list)
    refuted: list[bool] = field(default_factory=list)
    whole: int = 0

    def next(self) -> str:
        """The next line; empty at the end."""
        self.line += 1
        return self.stream.readline()

    def steps(self) -> Iterator[ase.Atoms]:
        """Yield each step when its energy is found."""
        while text := self.next():
            if text.startswith("   TITEL"):
                self.titles.append(self._symbol(text, "="))
            elif text.startswith(" POTCAR:"):
                self.potentials.append(self._symbol(text, ":"))
            elif "NIONS =" in text:
                self.ions = int(self._numbers(text, text.split("NIONS =")[1].split(), 1)[0])
            elif "ions per type =" in text:
                self._count(text)
            elif "direct lattice vectors" in text:
                self.cell = self._rows(3, 6)[:, :3]
            elif text.startswith("  in kB"):
                self.stress = KBAR * self._numbers(text, _words(text)[2:], 6)[[0, 1, 2, 4, 5, 3]]
            elif text.startswith("   NELM   ="):
                self.most = int(self._numbers(text, text.split("=")[1].split(";")[:1], 1)[0])
            elif (found := _ITERATION.match(text)) is not None:
                self.iteration, self.ended = int(found[1]), None
            elif "aborting loop" in text:
                self.ended = "EDIFF is reached" in text
            elif "TOTAL-FORCE (eV/Angst)" in text:
                self._positions("(ML)" in text)
            elif text.startswith("  free  energy   TOTEN") and self.atoms is not None:
                yield self._labelled(text)
        self._check_ended()

    def _check_ended(self) -> None:
        if self.atoms is not None:
            at = f"{self.path}, line {self.line}"
            raise InputError(at, "no energy of the step before", self._cut)

    @property
    def _cut(self) -> str:
        if not self.whole:
            return "Was it cut off? Write it again."
        return (
            f"Was it cut off? The first {self.whole} lines hold "
            f"{count(len(self.reached), 'whole step')}: keep these alone "
            f"(head -n {self.whole}), or write the file again."
        )

    def _end_step(self) -> None:
        """Note how the electronic iteration of a step ended, and that the step is whole."""
        at_limit = self.most is not None and self.iteration >= self.most
        self.reached.append(self.ended is True)
        self.refuted.append(self.ended is False or (self.ended is None and at_limit))
        self.whole, self.ended, self.iteration = self.line, None, 0

    def _symbol(self, text: str, mark: str) -> str:
        """The element of a potential, such as Ti of PAW_PBE Ti_pv."""
        words = text.partition(mark)[2].split()
        symbol = words[1].partition("_")[0] if len(words) > 1 else ""
        if symbol not in atomic_numbers:
            remedy = "Every kind of atom must be an element: remove frames with pseudo-atoms."
            raise malformed(self.path, self.line, text, "a potential of an element belongs", remedy)
        return symbol

    def _count(self, text: str) -> None:
        counts = self._numbers(text, text.partition("=")[2].split())
        # potentials are listed, and then each is named again; some versions do not print titles
        listed = self.potentials[: max(len(self.potentials) // 2, 1)]
        kinds = self.titles or listed
        whole = (counts > 0) & (counts < 1e9) & (counts == np.round(counts))
        right = len(kinds) == len(counts) and len(counts) and whole.all()
        if not right or (self.ions is not None and counts.sum() != self.ions):
            wanted = f"numbers of {len(kinds)} kinds of atoms belong"
            remedy = "OUTCAR has ten at most. Give the vasprun.xml of the run."
            raise malformed(self.path, self.line, text, wanted, remedy)
        self.numbers = np.repeat([atomic_numbers[k] for k in kinds], counts.astype(int))
        self.titles, self.potentials, self.ions, self.stress = [], [], None, None

    def _positions(self, predicted: bool) -> None:
        self._check_ended()
        stress, self.stress = self.stress, None
        if predicted:
            self.ended, self.iteration = None, 0
            return
        if self.numbers is None or self.cell is None:
            raise InputError(f"{self.path}, line {self.line}", "forces before kinds and cell", GIVE)
        self.next()  # a ruler
        # nine columns where forces without dispersion stand behind the others
        values = self._rows(len(self.numbers), 6, 9)
        text = self.next()
        if not text.startswith(" ---"):
            raise malformed(
                self.path, self.line, text, f"{len(self.numbers)} atoms end with a ruler", self._cut
            )
        self.atoms = ase.Atoms(self.numbers, values[:, :3], cell=self.cell, pbc=True)
        set_labels(self.atoms, forces=values[:, 3:], stress=stress)

    def _labelled(self, text: str) -> ase.Atoms:
        found = _ENERGY.fullmatch(text)
        if found is None:
            raise malformed(self.path, self.line, text, "an energy in eV belongs", self._cut)
        energy = float(self._numbers(text, [found[1]], 1)[0])
        atoms, self.atoms = self.atoms, None
        assert atoms is not None  # asked for by the caller
        self._end_step()
        return set_labels(atoms, energy=energy)

    def _rows(self, count: int, *columns: int) -> np.ndarray:
        """The first six numbers of lines with one of these numbers of columns."""
        rows: list[np.ndarray] = []
        for _ in range(count):
            text = self.next()
            words = _words(text)
            rows.append(self._numbers(text, words[:6] if len(words) in columns else [], 6))
        return np.array(rows).reshape(count, 6)

    def _numbers(self, text: str, words: list[str], count: int | None = None) -> np.ndarray:
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            values = np.full(1, np.nan)
        if not np.isfinite(values).all() or (count is not None and len(values) != count):
            many = "numbers belong" if count is None else f"{count} numbers belong"
            raise malformed(self.path, self.line, text, many, self._cut)
        return values


def _words(text: str) -> list[str]:
    """The words of a line with columns of fixed width, where long negative numbers touch others."""
    return re.sub(r"(?<=\d)-", " -", text).split()
