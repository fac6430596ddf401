"""Requirements of geometries of the testbed."""

from __future__ import annotations

from typing import Final

import numpy as np

from scalewise.core.quantities import NM
from scalewise.testbed.geometry.base import Filling, Geometry, Places, Scene, middle

#: nm between waters of the grid that a geometry is filled from: water has one per (0.31 nm)³.
SPACING: Final = 0.31
#: Å that no two molecules are nearer to each other than: minimization parts those that are not.
NEAREST: Final = 2.0


def check_geometry(geometry: Geometry, *, seed: int = 0) -> None:
    """Check the requirements of a geometry, without molecular dynamics.

    The cell has a positive volume and is at least twice the cutoff wide. It holds as many pairs of
    ions as the geometry states, sodium first, and whole water molecules of those given. No two
    molecules are closer than 2 Å, periodic images included. The same seed gives the same filling,
    and another seed gives other ions. The given water is not changed. Every molecule has one of the
    known places, which depends neither on its periodic image nor on its position in the list.

    Raises
    ------
    AssertionError
        A requirement that is not met.
    """
    _check_numbers(geometry)
    water = _grid(geometry.water_box)
    before = water.copy()
    first, again, other = (
        geometry.fill(water, np.random.default_rng(s), "replica 0") for s in (seed, seed, seed + 1)
    )
    np.testing.assert_array_equal(water, before, "the given water was changed")
    _check_filling(geometry, first)
    for name in ("cell", "ions", "water", "lattice"):
        same = np.array_equal(getattr(first, name), getattr(again, name))
        assert same, f"same seed, another {name}"
    assert not np.array_equal(first.ions, other.ions), "the seed means nothing"
    _check_places(geometry, _scene(geometry, first))


def _check_numbers(geometry: Geometry) -> None:
    assert geometry.pairs >= 1, "a pair of ions at least"
    assert geometry.crystal_pairs >= 0, "no negative number of pairs"
    assert geometry.volume > 0, "volume"
    assert np.shape(geometry.water_box) == (3,), "three edges of the box of water"
    assert (np.asarray(geometry.water_box) > 0).all(), "edges of the box of water are positive"
    assert len(geometry.breathing) == len(geometry.centred) == 3, "three axes"
    assert len(geometry.distances) >= 1, "a window at least"
    words = list(geometry.words)
    assert words, "a place at least"
    assert all(isinstance(w, str) and w.isidentifier() for w in words), "places are words"
    assert len(set(words)) == len(words), "each word once"


def _grid(box: np.ndarray) -> np.ndarray:
    """Waters on a grid that fills a box (nm) [waters, 3, 3]."""
    steps = [np.arange(SPACING / 2, edge, SPACING) for edge in box]
    oxygen = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return oxygen[:, None] + np.array([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])


def _check_filling(geometry: Geometry, filling: Filling) -> None:
    pairs = geometry.pairs + geometry.crystal_pairs
    cell = np.asarray(filling.cell)
    assert cell.shape == (3,), "three edges of the cell"
    assert 2 * geometry.settings.cutoff <= NM * cell.min(), "a cell twice the cutoff wide"
    assert filling.ions.shape == (2 * pairs, 3), f"{2 * pairs} ions"
    assert filling.lattice.shape == (2 * pairs,), "one entry of the lattice per ion"
    assert filling.lattice.dtype == bool, "ions are the crystal's or not"
    assert filling.lattice.sum() == 2 * geometry.crystal_pairs, "ions of the crystal"
    for name, half in (("sodium", filling.lattice[:pairs]), ("chloride", filling.lattice[pairs:])):
        assert half.sum() == geometry.crystal_pairs, f"{name} of the crystal"
    water = filling.water
    assert water.ndim == 3, "waters"
    assert water.shape[1:] == (3, 3), "three atoms of each water"
    assert np.isfinite(filling.ions).all(), "ions at finite positions"
    assert np.isfinite(water).all(), "water at finite positions"
    bonds = np.linalg.norm(water[:, 1:] - water[:, :1], axis=2)
    np.testing.assert_allclose(bonds, 0.096, atol=1e-4, err_msg="waters are whole")
    first = np.concatenate([filling.ions, water[:, 0]])
    for k, point in enumerate(first[:-1]):
        apart = first[k + 1 :] - point
        apart -= cell * np.round(apart / cell)
        nearest = NM * float(np.linalg.norm(apart, axis=1).min())
        assert nearest > NEAREST, f"molecules {nearest:.2f} Å apart"


def _scene(geometry: Geometry, filling: Filling) -> Scene:
    """A filling as a finished frame: what matters in the middle, molecules inside the cell."""
    pairs, waters = len(filling.ions) // 2, len(filling.water)
    first = np.concatenate([filling.ions, filling.water[:, 0]])
    lattice = np.concatenate([filling.lattice, np.zeros(waters, dtype=bool)])
    axes = geometry.centred
    centre = middle(first[lattice] if lattice.any() else first, filling.cell, axes)
    first = first + np.where(axes, 0.5 * filling.cell - centre, 0.0)
    first -= np.floor(first / filling.cell) * filling.cell
    symbols = np.array(["Na"] * pairs + ["Cl"] * pairs + ["O"] * waters)
    return Scene(filling.cell * NM, first * NM, symbols, lattice)


def _check_places(geometry: Geometry, scene: Scene) -> None:
    before = scene.first.copy()
    found = geometry.places(scene)
    molecules = len(scene.first)
    assert isinstance(found, Places), "places"
    assert found.names.shape == (molecules,), "one place per molecule"
    odd = sorted(set(found.names.tolist()) - set(geometry.words))
    assert not odd, f"place {odd} is not among the words"
    if found.interior is not None:
        assert 0 <= found.interior <= scene.cell.prod(), "volume of the interior"
    np.testing.assert_array_equal(geometry.places(scene).names, found.names, "same frame")
    order = np.random.default_rng(0).permutation(molecules)
    shuffled = Scene(scene.cell, scene.first[order], scene.symbols[order], scene.lattice[order])
    np.testing.assert_array_equal(
        geometry.places(shuffled).names, found.names[order], "order of molecules"
    )
    np.testing.assert_array_equal(scene.first, before, "positions were changed")
