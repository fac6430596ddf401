"""Any ASE calculator as a model."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import ase
import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError

from scalewise.core.errors import InputError, shown
from scalewise.core.extensions import reason
from scalewise.data.structure import Structure, check_cell, check_positions
from scalewise.models.protocol import OWN_SCALE, LongRange, Prediction, Scale

_OTHER = "Leave the cutoff out, or give a model that was trained for several cutoffs."


def find_calculator(named: str, arguments: Mapping[str, Any], *, where: str) -> type:
    """Import the class that ``module:Class`` names, and assert that it takes the arguments.

    Raises
    ------
    InputError
        No such module or class, or arguments that it does not take; ``where`` says what named it.
    """
    module, _, name = named.partition(":")
    try:
        make: type = getattr(importlib.import_module(module), name)
        make(**arguments)
    except Exception as error:  # whatever the import of other people's code raises
        raise InputError(
            where,
            f"{named} cannot be made ({reason(error)})",
            "Give module:Class of an ASE calculator, and its arguments={...}.",
        ) from error
    return make


class AseModel:
    """A model of an ASE calculator, with forces (eV/Å) and the other results of the calculator.

    The other results are the energy and energies of atoms (eV), stress (eV/Å³) and charges (e), if
    the calculator implements them.

    Parameters
    ----------
    calculator
        ASE calculator that implements forces. It gets copies of the atoms with their ``info``, such
        as charge and spin.
    name
        Name of the model in reports; default: the name of the calculator's class.
    cutoff
        Cutoff of the calculator's model, Å, if it is known; the model is then evaluated at this
        cutoff and at no other.

    Raises
    ------
    InputError
        A calculator without forces; a cutoff that is not positive and finite.

    Examples
    --------
    >>> model = AseModel.named("ase.calculators.emt:EMT")
    >>> copper = Structure(np.array([29, 29]), 2.2 * np.eye(3)[:2], np.eye(3), np.zeros(3, bool))
    >>> model.evaluate([copper])[0].forces.shape
    (2, 3)
    """

    def __init__(
        self, calculator: Any, *, name: str | None = None, cutoff: float | None = None
    ) -> None:
        found = getattr(calculator, "implemented_properties", ())
        if not callable(getattr(calculator, "get_property", None)) or "forces" not in found:
            raise InputError(
                "calculator", f"{shown(calculator, 80)} has no forces", "Give an ASE calculator."
            )
        if cutoff is not None and not (math.isfinite(cutoff) and cutoff > 0):
            raise InputError("cutoff", f"{cutoff:g} Å", "Give a length in Å, or leave it out.")
        self.calculator = calculator
        self.cutoff = None if cutoff is None else float(cutoff)
        self._name = name or type(calculator).__name__
        self._implemented = frozenset(found)

    @classmethod
    def named(
        cls, named: str, *, name: str | None = None, cutoff: float | None = None, **arguments: Any
    ) -> Self:
        """Make a model of the calculator class ``module:Class``, with its keyword arguments.

        Raises
        ------
        InputError
            No such class, or arguments that it does not take; a calculator without forces.
        """
        make = find_calculator(named, arguments, where=f"calculator '{named}'")
        return cls(make(**arguments), name=name, cutoff=cutoff)

    @property
    def name(self) -> str:
        """Name of the model in reports."""
        return self._name

    @property
    def elements(self) -> tuple[int, ...] | None:
        """None: the elements that the calculator knows are not known."""
        return None

    @property
    def cutoff_range(self) -> tuple[float, float] | None:
        """The given cutoff as both ends of the range, Å; none if no cutoff was given."""
        return None if self.cutoff is None else (self.cutoff, self.cutoff)

    @property
    def long_range(self) -> LongRange:
        """``UNKNOWN``: a calculator does not tell."""
        return LongRange.UNKNOWN

    def receptive_field(self, scale: Scale) -> float | None:
        """None, as the number of message-passing layers of the calculator is not known."""
        return None

    def knows_energy(self, structure: Structure) -> bool:
        """Whether the calculator implements energies."""
        return "energy" in self._implemented

    def evaluate(
        self, structures: Sequence[Structure], scale: Scale = OWN_SCALE
    ) -> list[Prediction]:
        """Compute the structures one after the other.

        Raises
        ------
        InputError
            A cutoff other than the given one, or long range turned off; a structure for which the
            calculator fails or gives results that are not finite.
        """
        return [self._predict(structure, scale) for structure in structures]

    def _check_scale(self, scale: Scale, atoms: int) -> None:
        if not scale.long_range:
            raise InputError(
                "long_range",
                f"long range turned off, but nobody knows what {self.name} has of it",
                "Leave it on.",
            )
        if scale.cutoff is None:
            return
        if self.cutoff is None:
            raise InputError("cutoff", f"{self.name} is a calculator without cutoffs", _OTHER)
        lengths = np.asarray(scale.cutoff, dtype=float)
        if lengths.shape not in ((), (atoms,)) or not (lengths == self.cutoff).all():
            raise InputError(
                "cutoff",
                f"{shown(scale.cutoff, 80)}, but {self.name} has {self.cutoff:g} Å",
                _OTHER,
            )

    def _predict(self, structure: Structure, scale: Scale) -> Prediction:
        self._check_scale(scale, len(structure.numbers))
        check_positions(structure.positions, structure.where)
        check_cell(structure.cell, structure.pbc, structure.where)
        atoms = ase.Atoms(
            structure.numbers,
            structure.positions,
            cell=structure.cell,
            pbc=structure.pbc,
            info=copy.deepcopy(structure.info),
        )
        if callable(reset := getattr(self.calculator, "reset", None)):
            reset()  # ASE's caches do not look at info: another charge would get the same results
        try:
            forces = np.array(self.calculator.get_property("forces", atoms), dtype=float)
            energy = self._found("energy", atoms)
            energies, charges = self._found("energies", atoms), self._found("charges", atoms)
            stress = None if structure.volume is None else self._found("stress", atoms)
        except Exception as error:  # calculators raise what they like
            raise InputError(
                structure.where,
                f"{self.name} cannot compute it ({reason(error)})",
                "Does the calculator know these elements? Look at the structure.",
            ) from error
        values = (forces, energy, energies, charges, stress)
        if not all(v is None or np.isfinite(v).all() for v in values):
            raise InputError(
                structure.where,
                f"{self.name} gives values that are not finite",
                "Are atoms upon each other? Look at the structure.",
            )
        if stress is not None and stress.shape == (6,):
            stress = stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]  # Voigt's order
        total = None if energy is None else float(energy)
        return Prediction(forces, total, energies, stress, charges)

    def _found(self, what: str, atoms: ase.Atoms) -> np.ndarray | None:
        """A result as numbers; none where the calculator has it not, or not for these atoms."""
        if what not in self._implemented:
            return None
        try:
            found = self.calculator.get_property(what, atoms)
        except PropertyNotImplementedError:
            return None
        return None if found is None else np.array(found, dtype=float)
