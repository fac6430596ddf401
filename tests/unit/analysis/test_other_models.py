"""Models of other people, and structures in memory, through the public functions."""

from __future__ import annotations

from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.calculators.emt import EMT

import scalewise as sw


def copper(count: int = 12, broken: int | None = 7) -> list[sw.Structure]:
    """Rattled copper with EMT's own labels; one structure has labels that are far off."""
    found = []
    for k in range(count):
        atoms = ase.build.bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        forces = atoms.get_forces() + 0.001
        labels = sw.Labels(forces + 5.0 * (k == broken), atoms.get_potential_energy())
        found.append(sw.Structure.from_ase(atoms, labels=labels))
    return found


def test_a_model_without_cutoffs_is_evaluated_shown_and_read_again(tmp_path: Path) -> None:
    report = sw.evaluate(sw.AseModel(EMT()), copper())
    role = report.body["roles"][0]
    # structures in memory all have the index zero: they are named by their place
    assert [row["frame"] for row in role["worst_frames"] if row["broken"]] == [7]
    assert role["unbroken"]["frames"] == 11
    assert role["unbroken"]["forces"]["all"]["mae"] == pytest.approx(1.0, rel=1e-6)
    assert "µs per atom" in report.table()
    assert "<svg" in report._repr_html_()
    report.save(tmp_path)
    assert sw.Report.load(tmp_path).body == report.body


def test_structures_that_are_not_scored_need_no_labels() -> None:
    structures = copper(broken=None)
    bare = [sw.Structure(s.numbers, s.positions, s.cell, s.pbc) for s in structures[:6]]
    data = bare + structures[6:]
    split = sw.make_split(data, seed=0).model_copy(
        update={"role": ("train",) * 6 + ("test",) * 6, "group": tuple(range(12))}
    )
    report = sw.evaluate(sw.AseModel(EMT()), data, split)
    assert report.body["choice"]["scored"] == 6


def test_a_split_in_the_settings_is_read(tmp_path: Path) -> None:
    structures = copper(broken=None)
    split = sw.make_split(structures, seed=0, valid=0.25, test=0.25)
    split.save(str(tmp_path / "split.json"))
    settings = sw.EvaluateSettings(split=tmp_path / "split.json")
    report = sw.evaluate(sw.AseModel(EMT()), structures, settings=settings)
    assert report.body["choice"]["scored"] == len(split.members("test"))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda s: sw.evaluate("runs/train", s), "a str without name"),
        (lambda s: sw.refine_cutoffs("runs/train", s), "gradient of forces by the cutoff"),
        (lambda s: sw.scan_cutoffs(sw.AseModel(EMT()), s), "cutoff is not known"),
        (lambda s: sw.audit_predictions("a.xyz"), "at least two prediction files, got 1"),
        (lambda s: sw.audit_predictions(["a.xyz", "b.xyz"], sed=1), "Did you mean 'seed'"),
    ],
)
def test_what_cannot_be_asked_is_an_error_with_a_remedy(call, match: str) -> None:
    with pytest.raises(sw.InputError, match=match):
        call(copper(3))


def test_samples_of_structures_in_memory_are_kept_apart(tmp_path: Path) -> None:
    structures = [sw.Structure(s.numbers, s.positions, 3 * s.cell, s.pbc) for s in copper(3)]
    assert len(np.unique([s.index for s in structures])) == 1
    settings = sw.LocalitySettings(
        calculator="ase.calculators.emt:EMT", radii=(2.0,), atoms=3, samples=4, settling=0.002,
        spacing=0.001, timestep=1.0,
    )  # fmt: skip
    reference = sw.AseReference(EMT, {})
    sw.bound_locality(structures, reference, settings, tmp_path)
    assert len(list((tmp_path / "samples").rglob("*.npy"))) == 3
