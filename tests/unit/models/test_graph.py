"""Neighbor lists: in which order pairs are listed."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.models.graph import _nearest_first


@pytest.mark.parametrize("atoms", [1, 7, 2**16 - 1, 2**16, 2**16 + 1, 200_000])
def test_pairs_are_sorted_by_atom_then_distance(atoms: int) -> None:
    rng = np.random.default_rng(0)
    first, distance = rng.integers(0, atoms, 50_000), rng.uniform(size=50_000)
    expected = np.lexsort((distance, first))
    assert np.array_equal(_nearest_first(first, distance, atoms), expected)
    assert not len(_nearest_first(first[:0], distance[:0], atoms))
