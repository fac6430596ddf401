"""Columns of shards are those of the structures in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from format_samples import structures
from scalewise.data import columns, shard_writing
from scalewise.data.reading import read_structures, without_labels
from scalewise.data.shard_writing import write_shards
from scalewise.data.shards import elements_of
from scalewise.data.structure import Labels, Structure


@pytest.fixture
def frames() -> list[Structure]:
    """Seven frames of unlike size and periodicity, of which some lack one label or all of them."""
    found = structures(7)
    found[1] = replace(found[1], labels=Labels())
    found[3] = replace(found[3], labels=replace(found[3].labels, energy=None))
    found[4] = replace(found[4], labels=replace(found[4].labels, stress=None))
    some = slice(2)
    found[5] = replace(
        found[5],
        numbers=found[5].numbers[some],
        positions=found[5].positions[some],
        molecule=found[5].molecule[some],
        pbc=np.zeros(3, dtype=bool),
        labels=Labels(found[5].labelled_forces[some]),
    )
    found[6] = replace(found[6], labels=replace(found[6].labels, forces=None))
    return found


@pytest.mark.parametrize("chosen", [slice(None), [0, 1, 4], [6, 2, 5, 5, 1], [1], []])
@pytest.mark.parametrize("size", [2, 100])
def test_shards_have_the_columns_of_structures(
    frames: list[Structure],
    chosen: slice | list[int],
    size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_writing, "FRAMES_PER_SHARD", size)
    picked = np.arange(len(frames))[chosen] if isinstance(chosen, slice) else np.array(chosen, int)
    view = write_shards(tmp_path / "shards", frames)
    if not isinstance(chosen, slice):
        view = view.take(picked)
    memory = [frames[k] for k in picked.tolist()]
    for column in (columns.sizes, columns.owners, columns.numbers, columns.positions):
        np.testing.assert_array_equal(column(view), column(memory))
    for column in (columns.forces, columns.energies, columns.cells, columns.periodicity):
        np.testing.assert_array_equal(column(view), column(memory))
    for label in ("forces", "energy", "stress"):
        np.testing.assert_array_equal(
            columns.labelled(view, label), columns.labelled(memory, label)
        )
    assert elements_of(view) == elements_of(memory)


def test_labels_that_are_not_read_are_no_column(frames: list[Structure], tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", frames)
    view = read_structures(tmp_path / "shards", forces=None)
    assert np.isnan(columns.forces(view)).all()
    assert not columns.labelled(view, "forces").any()
    assert columns.labelled(view, "energy").sum() == 4


def test_words_may_name_molecules(tmp_path: Path) -> None:
    lines = ["3", "Properties=species:S:1:pos:R:3:molecule:S:1", "O 0 0 0 WAT1", "H 0 0 1 WAT1"]
    (tmp_path / "a.xyz").write_text("\n".join([*lines, "Na 0 0 5 ION", ""]))
    (frame,) = read_structures(tmp_path / "a.xyz", without_labels())
    assert frame.molecule.tolist() == [1, 1, 0]
