"""The potential as a driver of i-PI, which runs in i-PI's own process (``ffdirect``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ase
import numpy as np
import torch
from ase.io import read

from scalewise.core.errors import InputError, shown
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.interfaces.optional import require

if TYPE_CHECKING:
    from ipi.pes.dummy import Dummy_driver
    from ipi.utils.units import unit_to_internal, unit_to_user
else:
    Dummy_driver = require("ipi.pes.dummy", "ipi").Dummy_driver
    unit_to_internal = require("ipi.utils.units", "ipi").unit_to_internal
    unit_to_user = require("ipi.utils.units", "ipi").unit_to_user


class ScalewiseDriver(Dummy_driver):  # type: ignore[misc]  # i-PI has no types
    """i-PI driver of a potential: energy, forces and virial in atomic units.

    Positions and cells are in atomic units, too.

    Parameters
    ----------
    template
        File with the elements, periodicity and total charge of the system.
    model
        Folder of a potential, or of the run that trained it.
    cutoff, long_range, skin, dtype, compiled
        As in :class:`scalewise.interfaces.ase.ScalewiseCalculator`, with lengths in Å. Values may
        be texts, as i-PI passes them, such as ``4.5``, ``False`` and ``float64``.

    Raises
    ------
    InputError
        The errors of :class:`scalewise.interfaces.ase.ScalewiseCalculator`; a number of atoms other
        than that of the template.

    Examples
    --------
    A file ``driver.py`` for the input of i-PI, as ``scalewise export --to ipi`` writes it::

        from scalewise import ScalewiseDriver

        __DRIVER_NAME__ = "scalewise"
        __DRIVER_CLASS__ = "ScalewiseDriver"
    """

    def __init__(
        self,
        template: str,
        model: str,
        cutoff: float | str | None = None,
        long_range: bool | str = True,
        skin: float | str = 1.0,
        dtype: str = "float32",
        compiled: bool | str | None = None,
        **options: Any,
    ) -> None:
        atoms = read(template)
        assert isinstance(atoms, ase.Atoms)
        self.atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self.atoms.info = dict(atoms.info)
        self.calculator = ScalewiseCalculator(
            model,
            cutoffs=None if cutoff is None or _none(cutoff) else float(cutoff),
            long_range=_true(long_range),
            skin=float(skin),
            dtype=_dtype(dtype),
            compiled=None if compiled is None or _none(compiled) else _true(compiled),
        )
        super().__init__(**options)

    def compute_structure(
        self, cell: np.ndarray, pos: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, str]:
        """Return energy (hartree), forces (hartree/bohr), virial (hartree) [3, 3] and a text.

        ``cell`` (bohr) has the lattice vectors in columns [3, 3], and ``pos`` (bohr) the positions
        of the atoms. The text is empty.
        """
        places = unit_to_user("length", "angstrom", np.asarray(pos).reshape(-1, 3))
        if len(places) != len(self.atoms):
            raise InputError(
                "i-PI", f"{len(places)} atoms for a template of {len(self.atoms)}", "Name its file."
            )
        self.atoms.positions = places
        periodic = bool(self.atoms.pbc.any())
        if periodic:
            self.atoms.set_cell(unit_to_user("length", "angstrom", np.asarray(cell).T))
        energy = self.calculator.get_property("energy", self.atoms)
        forces = self.calculator.get_property("forces", self.atoms)
        virial = np.zeros((3, 3))
        if periodic:
            stress = self.calculator.get_property("stress", self.atoms)
            virial = -self.atoms.get_volume() * stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        force = unit_to_internal("force", "ev/ang", forces.reshape(np.shape(pos)))
        energy, virial = (unit_to_internal("energy", "electronvolt", v) for v in (energy, virial))
        return energy, force, virial, ""


def _dtype(word: str) -> torch.dtype:
    found = {"float32": torch.float32, "float64": torch.float64}.get(word.strip())
    if found is None:
        raise InputError("dtype", shown(word), "Give float32 or float64.")
    return found


def _none(word: Any) -> bool:
    """Whether a word of i-PI's input means that nothing was given."""
    return str(word).strip().lower() in ("none", "")


def _true(word: bool | str) -> bool:
    """Whether a word of i-PI's input means yes."""
    return str(word).strip().lower() not in ("false", "no", "0", "off")
