"""What a caller may name as a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.data.reading import write_structures
from scalewise.data.structure import Structure
from scalewise.models.adapters.ase_calculator import AseModel
from scalewise.models.adapters.prediction_file import PredictionFile
from scalewise.models.opening import GROUP, load_potential, open_model, open_potential
from scalewise.models.potential import Potential
from scalewise.models.protocol import InteratomicPotential, LongRange, Prediction, Scale
from support import salt_frame, untrained


class Nothing:
    """A model of no forces at all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.elements = (11, 17)
        self.cutoff_range = (1.0, 2.0)
        self.long_range = LongRange.NONE

    def receptive_field(self, scale: Scale) -> float:
        return 1.0

    def knows_energy(self, structure: Structure) -> bool:
        return False

    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        return [Prediction(np.zeros_like(s.positions)) for s in structures]


def entries(monkeypatch: pytest.MonkeyPatch, **makers: Any) -> None:
    def found(group: str) -> list[SimpleNamespace]:
        if group != GROUP:
            return []
        return [
            SimpleNamespace(name=k, value=f"package:{k}", group=group, load=lambda v=v: v)
            for k, v in makers.items()
        ]

    monkeypatch.setattr("importlib.metadata.entry_points", found)


def test_folders_of_potentials_and_of_runs(tmp_path: Path) -> None:
    untrained().save(tmp_path / "run" / "model")
    for folder in (tmp_path / "run", tmp_path / "run" / "model", str(tmp_path / "run")):
        for opened in (open_model(folder), open_potential(folder), load_potential(folder)):
            assert isinstance(opened, Potential)
            assert isinstance(opened, InteratomicPotential)
    for opens in (open_model, open_potential):
        with pytest.raises(InputError, match=r"9 Å, but the network was trained with 5 Å"):
            opens(tmp_path / "run", cutoff=9.0)
        with pytest.raises(InputError, match="no such folder"):
            opens(tmp_path / "nothing")
        with pytest.raises(InputError, match=r"no potential: the folder has no model\.json\."):
            opens(tmp_path)
    (tmp_path / "simulation.json").write_text("{}")
    with pytest.raises(InputError, match=r"no model\.json \(it has simulation\.json\)"):
        open_potential(tmp_path)
    with pytest.raises(InputError, match="a file, not the folder"):
        open_potential(tmp_path / "simulation.json")
    with pytest.raises(InputError, match="model of another program"):
        open_potential("ase.calculators.emt:EMT")


def test_a_folder_that_is_named_like_a_file_or_a_kind_is_a_folder(tmp_path: Path) -> None:
    for name in ("run.xyz", "a:b"):
        untrained().save(tmp_path / name)
        assert isinstance(open_model(tmp_path / name), Potential)


def test_a_file_of_predictions(tmp_path: Path) -> None:
    salt = salt_frame()
    write_structures(tmp_path / "a.xyz", [salt])
    with pytest.raises(InputError, match="'forces': no such column"):
        open_model(tmp_path / "a.xyz")
    text = (tmp_path / "a.xyz").read_text().replace("REF_forces", "forces")
    (tmp_path / "predicted.b.extxyz").write_text(text)
    model = open_model(tmp_path / "predicted.b.extxyz")
    assert isinstance(model, PredictionFile)
    assert isinstance(model, InteratomicPotential)
    found = model.evaluate([replace(salt, index=3)], Scale())[0]
    np.testing.assert_allclose(found.forces, salt.labelled_forces, atol=1e-7)
    with pytest.raises(InputError, match="has no cutoffs"):
        open_model(tmp_path / "predicted.b.extxyz", cutoff=3.0)
    with pytest.raises(InputError, match=r"nowhere\.xyz"):
        open_model(tmp_path / "nowhere.xyz")


def test_a_calculator() -> None:
    model = open_model("ase.calculators.emt:EMT")
    assert isinstance(model, AseModel)
    assert isinstance(model, InteratomicPotential)
    with pytest.raises(InputError, match=r"model 'nothing:None': nothing:None cannot be made"):
        open_model("nothing:None")
    with pytest.raises(InputError, match="has no forces"):
        open_model("builtins:dict")


def test_a_kind_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(rest: str) -> Nothing:
        raise InputError(rest, "not there", "Write it.")

    entries(
        monkeypatch,
        nothing=Nothing,
        failing=lambda rest: 1 / 0,
        refusing=refusing,
        half=lambda rest: SimpleNamespace(name=rest, elements=None),
    )
    model = open_model("nothing:a/b.pt:3")
    assert model.name == "a/b.pt:3"
    assert open_model("nothing:x", cutoff=2.0).cutoff_range == (1.0, 2.0)
    with pytest.raises(InputError, match="3 Å, but x has at most 2 Å"):
        open_model("nothing:x", cutoff=3.0)
    with pytest.raises(InputError, match=r"'failing:x': package:failing failed \(ZeroDivision"):
        open_model("failing:x")
    with pytest.raises(InputError, match=r"x: not there\. Write it"):
        open_model("refusing:x")
    with pytest.raises(
        InputError,
        match="SimpleNamespace without cutoff_range, long_range, receptive_field, knows_energy, ev",
    ):
        open_model("half:x")
    with pytest.raises(InputError, match=r"Kinds of models: .*Did you mean 'nothing'"):
        open_model("nothin:x")
