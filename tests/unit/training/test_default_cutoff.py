"""The cutoff of a network where none is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk, graphene, molecule

import scalewise as sw
from scalewise.core.files import read_json
from scalewise.training.default_cutoff import default_cutoff, with_cutoff
from scalewise.training.run import train_in
from scalewise.training.settings import TrainSettings
from support import untrained

SMALL = {"channels": 4, "hidden": 6, "layers": 1, "l_max": 2, "num_bessel": 4}


def water(seed: int = 0) -> ase.Atoms:
    """As many atoms per volume as water has, anywhere."""
    positions = 10.0 * np.random.default_rng(seed).random((100, 3))
    return ase.Atoms("OHH" * 33 + "O", positions, cell=[10.0] * 3, pbc=True)


def carbon_chain() -> ase.Atoms:
    return ase.Atoms("C", cell=[1.3, 0, 0], pbc=[True, False, False])


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (bulk("Si"), 6.0),
        (bulk("Li"), 6.5),
        (bulk("Ge"), 6.5),
        (bulk("Mo"), 6.0),
        (bulk("Ni"), 5.0),
        (bulk("NaCl", "rocksalt", a=5.64), 6.5),
        (bulk("Cu"), 5.0),
        (bulk("Al"), 6.0),
        (water(), 5.0),
        (graphene(size=(1, 1, 1), vacuum=None), 5.5),
        (graphene(size=(3, 3, 1), vacuum=15.0), 5.5),
        (carbon_chain(), 5.0),
        (molecule("C6H6"), 5.0),
        (molecule("CH3CH2OH", vacuum=8.0, pbc=True), 5.0),
        (ase.Atoms("Ar"), 5.0),
        (bulk("Si", cubic=True).repeat(3), 6.0),
    ],
    ids=lambda v: v.get_chemical_formula() if isinstance(v, ase.Atoms) else "",
)
def test_a_sparse_material_gets_a_longer_cutoff(atoms: ase.Atoms, expected: float) -> None:
    assert default_cutoff([sw.Structure.from_ase(atoms)]) == expected


def test_few_of_many_frames_are_looked_at() -> None:
    silicon, argon = sw.Structure.from_ase(bulk("Si")), sw.Structure.from_ase(ase.Atoms("Ar"))
    assert default_cutoff([argon, silicon] * 20) == 5.0  # every other one


def test_what_ends_has_no_say() -> None:
    """Isolated atoms and molecules beside a bulk."""
    silicon, copper = sw.Structure.from_ase(bulk("Si")), sw.Structure.from_ase(bulk("Cu"))
    others = [ase.Atoms("Cu"), molecule("H2O"), molecule("C6H6", vacuum=6.0, pbc=True)]
    ends = [sw.Structure.from_ase(a) for a in others]
    assert default_cutoff([copper, *ends]) == 5.0
    assert default_cutoff([silicon, *ends]) == 6.0
    assert default_cutoff(ends) == 5.0


def test_what_is_given_stays() -> None:
    frames = [sw.Structure.from_ase(bulk("Li"))]
    for network in ({"cutoff": 5.0}, {"ladder": (3.0, 5.0)}):
        settings = TrainSettings.model_validate({"network": network})
        assert with_cutoff(settings, frames) is settings
    chosen = with_cutoff(TrainSettings.model_validate({"network": {"preset": "small"}}), frames)
    assert chosen.network.cutoff == 6.5
    assert chosen.network.smearing == 6.5 / 4
    assert chosen.network.channels == 16
    assert (chosen.network.num_bessel, chosen.network.pair_bessel) == (21, 21)
    some = with_cutoff(TrainSettings.model_validate({"network": {"num_bessel": 4}}), frames)
    assert (some.network.num_bessel, some.network.pair_bessel) == (4, 21)
    kept = with_cutoff(TrainSettings.model_validate({"network": {"smearing": 1.0}}), frames)
    assert kept.network.smearing == 1.0


def test_a_training_says_which_cutoff_it_has_and_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = untrained(seed=7, layers=1, cutoff=4.0, elements=(14,))
    structures = []
    for k in range(12):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=k)
        frame = sw.Structure.from_ase(atoms)
        found = teacher.predict(frame)
        structures.append(
            replace(frame, info={"part": k}, labels=sw.Labels(found.forces, found.energy, None))
        )
    split = sw.make_split(structures, valid=0.2, test=0.2, group_key="part")
    given = {"steps": 2, "network": SMALL, "validations": 1, "device": "cpu"}
    settings = TrainSettings.model_validate(given)
    model = train_in(structures, split, settings, tmp_path, sw.Messages())
    assert "network.cutoff=6 Å: within 5 Å an atom has few neighbors" in capsys.readouterr().out
    assert sw.load_potential(model).cutoff == 6.0
    kept = read_json(tmp_path / "settings.json", "")
    assert kept["network"]["cutoff"] == 6.0
    # both the words of before and what was written go on with that run
    for again in (settings, TrainSettings.model_validate(kept)):
        train_in(structures, split, again, tmp_path, sw.Messages())
        assert "nothing left to train" in capsys.readouterr().out
    other = TrainSettings.model_validate({**given, "network": {**SMALL, "cutoff": 5.0}})
    with pytest.raises(sw.InputError):
        train_in(structures, split, other, tmp_path)
