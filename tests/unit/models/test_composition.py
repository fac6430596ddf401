"""Energies of composition: fitted, or those of isolated atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.data.references import is_isolated_atom, reference_energies
from scalewise.data.structure import Labels, Structure
from scalewise.doctor.labels import check_charges
from scalewise.models.composition import CompositionModel, count, count_all

BOX = 12.0 * np.eye(3)
NONE, FULL = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)


def structure(numbers: list[int], energy: float | None, **info: object) -> Structure:
    places = 2.0 * np.arange(3 * len(numbers), dtype=float).reshape(-1, 3)
    labels = Labels(np.zeros((len(numbers), 3)), energy)
    return Structure(np.array(numbers), places, BOX, FULL, labels=labels, info=dict(info))


def bonded(waters: int, oxygens: int) -> Structure:
    """Bound by 3 eV per water and 5 eV per oxygen of others beside the atoms' -13 and -2000 eV."""
    numbers = [1, 1, 8] * waters + [8] * oxygens
    energy = -13.0 * numbers.count(1) - 2000.0 * numbers.count(8) - 3.0 * waters - 5.0 * oxygens
    return structure(numbers, energy)


ATOMS = [structure([1], -13.0), structure([8], -2000.0)]
FRAMES = [bonded(3, 1), bonded(2, 2), bonded(4, 3), bonded(1, 5)]


def test_isolated_atoms_are_taken_exactly() -> None:
    model = CompositionModel.fit([*FRAMES, *ATOMS], (1, 8))
    assert model.describe() == {"H": -13.0, "O": -2000.0}
    fitted = CompositionModel.fit(FRAMES, (1, 8))
    assert fitted.describe() == pytest.approx({"H": -12.0, "O": -2005.0})


def test_the_other_elements_are_fitted_to_what_is_left() -> None:
    model = CompositionModel.fit([*FRAMES, ATOMS[0]], (1, 8))
    counts = count_all([f.numbers for f in FRAMES], (1, 8))
    left = np.array([f.labels.energy for f in FRAMES]) + 13.0 * counts[:, 0]
    expected = (left @ counts[:, 1]) / (counts[:, 1] @ counts[:, 1])
    assert model.describe() == pytest.approx({"H": -13.0, "O": expected})


def test_an_isolated_atom_determines_what_formula_units_do_not() -> None:
    """Of water alone only H2O is known; with an atom of oxygen hydrogen is."""
    waters = [structure([1, 1, 8] * n, -2029.0 * n) for n in (1, 2, 3)]
    assert not CompositionModel.fit(waters, (1, 8)).spans(np.array([1]))
    model = CompositionModel.fit([*waters, ATOMS[1]], (1, 8))
    assert model.spans(np.array([1]))
    assert model.describe() == pytest.approx({"H": -14.5, "O": -2000.0})


def test_isolated_atoms_alone_are_references_too() -> None:
    assert CompositionModel.fit(ATOMS, (1, 8)).energies.tolist() == [-13.0, -2000.0]


def test_of_several_the_lowest_neutral_one_counts() -> None:
    ion = structure([1], -20.0, total_charge=-1)
    triplet = structure([8], -1998.0)
    assert reference_energies([*ATOMS, ion, triplet]) == {1: -13.0, 8: -2000.0}
    assert reference_energies([structure([1], None)]) == {}


def one(cell: np.ndarray, pbc: np.ndarray, **info: object) -> Structure:
    return Structure(np.array([29]), np.zeros((1, 3)), cell, pbc, info=dict(info))


def test_what_an_isolated_atom_is() -> None:
    fcc = 1.8 * (np.ones((3, 3)) - np.eye(3))
    assert is_isolated_atom(one(np.zeros((3, 3)), NONE))
    assert is_isolated_atom(one(fcc, NONE))
    assert is_isolated_atom(one(BOX, FULL))
    assert not is_isolated_atom(one(fcc, FULL))
    assert is_isolated_atom(one(5 * np.eye(3), FULL, config_type="isolated_atom"))
    assert not is_isolated_atom(structure([29, 29], 0.0, config_type="IsolatedAtom"))


def test_counts() -> None:
    assert count(np.array([8, 1, 1]), (1, 8)).tolist() == [2, 1]
    assert count_all([np.array([8, 26]), np.zeros(0, dtype=int)], (8,)).tolist() == [[1], [0]]


@pytest.mark.parametrize("charge", ["neutral", [1.0, 2.0], np.nan, None])
def test_a_charge_that_is_no_number_is_refused_by_name(charge: object) -> None:
    atom = replace(structure([1], -13.0), info={"charge": charge})
    for read in (reference_energies, check_charges):
        with pytest.raises(InputError, match=r"key 'charge': .* a number, the charge in e"):
            read([atom])
