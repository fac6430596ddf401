"""Errors that were planted are found; predictions survive their file; wrong input is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch

from scalewise.analysis.evaluation.evaluate import evaluate, run_command
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.predict import predict_file
from scalewise.analysis.evaluation.role import RoleData, describe_role
from scalewise.analysis.evaluation.score import explain, score, score_energies
from scalewise.analysis.evaluation.selection import FrameSelection, find_split, select_frames
from scalewise.analysis.evaluation.settings import EvaluateSettings, PredictSettings
from scalewise.analysis.evaluation.subsets import nearest, unlike_pairs
from scalewise.analysis.evaluation.table import is_at_floor
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data.reading import read_structures
from scalewise.data.splits import DataFile, Split, hash_file
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.potential import Potential
from scalewise.models.protocol import Prediction
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report
from scalewise.statistics.bootstrap import Resampling
from support import salt_frame, untrained

NOISE = 0.05  # eV/Å
QUICK = Resampling(seed=0, resamples=200)


@pytest.fixture(scope="module")
def potential() -> Potential:
    return untrained((11, 17), channels=4, hidden=8, layers=1, l_max=2, cutoff=4.0)


@pytest.fixture(scope="module")
def model(potential: Potential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    checkpoint.write(run / "model", potential)
    return run


def write_labels(path: Path, potential: Potential, *, noise: float = 0.0, frames: int = 20) -> Path:
    """The potential's own predictions as labels, with Gaussian noise on the forces of chlorine."""
    rng = np.random.default_rng(1)
    images = []
    for k in range(frames):
        frame = salt_frame(k, n=12, box=11.0)
        frame = dataclasses.replace(frame, positions=frame.positions.round(8))
        found = potential.predict(frame)
        forces = (
            found.forces + noise * rng.standard_normal((12, 3)) * (frame.numbers == 17)[:, None]
        )
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        atoms.arrays["REF_forces"] = forces
        atoms.info |= {"REF_energy": found.energy, "REF_stress": found.stress, "part": "ab"[k % 2]}
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")
    return path


@pytest.fixture(scope="module")
def noisy(potential: Potential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labels(tmp_path_factory.mktemp("data") / "noisy.xyz", potential, noise=NOISE)


def command(model: Path, data: Path, settings: EvaluateSettings) -> Report:
    """What the command finds."""
    return run_command(Request(settings, Path("unused"), model=str(model), files=(data,)))


def test_planted_noise_is_found(model: Path, noisy: Path, tmp_path: Path) -> None:
    found = command(model, noisy, EvaluateSettings(block=1, check_units=False))
    (role,) = found.body["roles"]
    sodium, chlorine = role["forces"]["elements"]
    low, high = chlorine["mae_interval"]
    planted = 1e3 * NOISE * np.sqrt(2 / np.pi)
    assert low < planted < high
    assert high - low < planted
    assert chlorine["rmse_interval"][0] < 1e3 * NOISE < chlorine["rmse_interval"][1]
    assert sodium["mae"] < 1e-3
    assert sodium["explained"] == pytest.approx(1.0)
    assert role["energy"]["total"]["mae"] < 1e-3
    assert role["stress"]["mae"] < 1e-3
    assert {r["name"] for r in role["forces"]["regimes"]} >= {"close_contact", "free"}
    noise = {row["element"]: row["interval"] for row in found.body["noise"]}
    assert noise["Cl"][0] < 1e3 * NOISE < noise["Cl"][1]
    assert is_at_floor(chlorine)
    assert not is_at_floor(sodium)
    paths = found.save(tmp_path)
    assert {p.name for p in paths} == {
        "evaluation.json",
        "evaluation.txt",
        "predictions.xyz",
        *(f"{name}.{kind}" for name in ("parity", "distance") for kind in ("png", "svg")),
    }
    labels = read_structures(noisy, check_units=False)
    kept = read_structures(tmp_path / "predictions.xyz", check_units=False)
    for a, b in zip(labels, kept, strict=True):
        np.testing.assert_allclose(a.labelled_forces, b.labelled_forces, atol=1e-7)


def test_no_noise_no_error(model: Path, potential: Potential, tmp_path: Path) -> None:
    data = write_labels(tmp_path / "exact.xyz", potential, frames=6)
    found = command(model / "model", data, EvaluateSettings(check_units=False))
    role = found.body["roles"][0]
    assert role["forces"]["all"]["mae"] < 1e-3
    assert role["unbroken"] is None or role["forces"]["all"]["rmse"] < 1e-3
    assert found.provenance["data"]["frames"] == 6
    assert found.body["timing"]["microseconds_per_atom"] > 0


def test_structures_in_memory_are_scored_as_their_file_is(
    potential: Potential, model: Path, noisy: Path, tmp_path: Path
) -> None:
    settings = EvaluateSettings(block=1, check_units=False)
    structures = read_structures(noisy, check_units=False)
    here = [dataclasses.replace(s, source="memory") for s in structures]
    found, filed = evaluate(potential, here, settings=settings), command(model, noisy, settings)
    one, other = (r.body["roles"][0]["forces"]["elements"][1] for r in (found, filed))
    assert one["mae"] == pytest.approx(other["mae"], rel=1e-9)
    assert one["mae_interval"] == pytest.approx(other["mae_interval"], rel=1e-9)
    assert found.provenance["data"]["file"] == "memory"
    assert filed.provenance["data"]["sha256"] == hash_file(noisy)
    scored, predicted = found.attachments["predictions"]
    np.testing.assert_array_equal(predicted[3].forces, potential.predict(scored[3]).forces)
    found.save(tmp_path)
    kept = read_structures(tmp_path / "predictions.xyz", check_units=False)
    for a, b in zip(here, kept, strict=True):
        np.testing.assert_allclose(a.labelled_forces, b.labelled_forces, atol=1e-7)


def test_predictions_read_back_equal_the_potentials(
    potential: Potential, noisy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.xyz"
    predict_file(potential, noisy, PredictSettings(check_units=False, cutoff=3.5), out)
    read_back = read_structures(
        out, forces="forces", energy="energy", stress="stress", check_units=False
    )
    images = ase.io.read(out, index=":")
    for frame, image in zip(read_back, images, strict=True):
        expected = potential.predict(frame, cutoffs=3.5)
        assert frame.labels.energy == pytest.approx(expected.energy, abs=1e-6)
        np.testing.assert_allclose(frame.labelled_forces, expected.forces, atol=1e-6)
        np.testing.assert_allclose(frame.labels.stress, expected.stress, atol=1e-8)
        np.testing.assert_allclose(image.get_charges(), expected.charges, atol=1e-6)
        np.testing.assert_allclose(image.get_potential_energies(), expected.energies, atol=1e-6)
    original = read_structures(noisy, check_units=False)
    kept = read_structures(out, check_units=False)
    np.testing.assert_allclose(original[3].labelled_forces, kept[3].labelled_forces, atol=1e-7)
    assert kept[3].info["part"] == "b"


def test_unlabelled_and_replaced_columns(potential: Potential, tmp_path: Path) -> None:
    frame = salt_frame(5)
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    bare, once, twice = (tmp_path / f"{n}.xyz" for n in ("bare", "once", "twice"))
    ase.io.write(bare, atoms, format="extxyz")
    said: list[str] = []
    progress = Messages(said.append)
    predict_file(potential, bare, PredictSettings(), once, progress=progress)
    assert said == []
    predict_file(potential, once, PredictSettings(forces_key="other"), twice, progress=progress)
    names = ("charges", "cutoffs", "energies", "energy", "forces", "free_energy", "stress")
    kept = ", ".join(f"input_{n}" for n in names)
    assert said == [f"{', '.join(names)} of once.xyz: kept in twice.xyz as {kept}"]
    thrice = tmp_path / "thrice.xyz"
    predict_file(potential, twice, PredictSettings(), thrice, progress=progress)
    assert "as those of an earlier prediction; what that one kept as input_... stays" in said[1]
    (kept,) = read_structures(thrice, forces="input_forces", energy="input_energy")
    (known,) = read_structures(twice, forces="input_forces", energy="input_energy")
    np.testing.assert_array_equal(kept.labelled_forces, known.labelled_forces)
    assert kept.labels.energy == known.labels.energy
    (first,) = read_structures(twice, forces="input_forces")
    (second,) = read_structures(twice, forces="other")
    np.testing.assert_allclose(first.labelled_forces, second.labelled_forces, atol=1e-6)
    (tmp_path / "folder.xyz").mkdir()
    before = twice.read_bytes()
    for out, message in (
        (twice, "the file that is read"),
        (tmp_path / "none" / ".." / twice.name, "the file that is read"),
        (tmp_path / "model.json", r"does not end in \.xyz or \.extxyz.*such as .*model\.xyz"),
        (tmp_path / "found.xyz.gz", r"does not end in \.xyz"),
        (tmp_path / "found.db", r"does not end in \.xyz"),
        (tmp_path / "folder.xyz", r"a folder\. Give the file to write, such as .*new\.xyz"),
    ):
        with pytest.raises(InputError, match=message):
            predict_file(potential, twice, PredictSettings(), out)
    assert twice.read_bytes() == before
    assert not (tmp_path / "none").exists()


def test_a_composition_outside_the_baseline_is_said(
    potential: Potential, noisy: Path, tmp_path: Path
) -> None:
    salt = dataclasses.replace(potential.composition, span=np.full((1, 2), np.sqrt(0.5)))
    other = dataclasses.replace(potential, composition=salt)
    frame = salt_frame(5)
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)[1:]
    ase.io.write(tmp_path / "odd.xyz", atoms, format="extxyz")
    said: list[str] = []
    settings = PredictSettings(check_units=False)
    progress = Messages(said.append)
    predict_file(other, tmp_path / "odd.xyz", settings, tmp_path / "o.xyz", progress=progress)
    assert "1 of 1 frame with a composition" in said[0]


def refused(model: Path, data: Path, match: str, **settings: object) -> None:
    with pytest.raises(InputError, match=match):
        command(model, data, EvaluateSettings.model_validate({"check_units": False, **settings}))


def test_wrong_input_is_refused(model: Path, noisy: Path, tmp_path: Path) -> None:
    refused(model, noisy, "trained with 4 Å", cutoff=4.5)
    refused(model, noisy, "Did you mean 'part'", split_key="prat")
    refused(model, noisy, "'c'; roles: a, b", split_key="part", role="c")
    refused(model, noisy, "nothing says which frames", role="test")
    (tmp_path / "model.json").write_text('{"kind": "other"}')
    refused(tmp_path, noisy, "not a scalewise potential")
    refused(tmp_path / "none", noisy, "Give the folder of a trained potential")
    if not torch.cuda.is_available():
        refused(model, noisy, "no CUDA device", device="cuda")


def split_of(path: Path, frames: int, *, sha: str | None = None) -> Split:
    role = tuple(("train", "valid", "test", "test")[k % 4] for k in range(frames))
    data = DataFile(file=path.name, sha256=sha or hash_file(path), frames=frames)
    return Split(data=data, role=role, group=tuple(k // 2 for k in range(frames)))


def chosen(
    path: Path, frames: list[Structure], settings: EvaluateSettings, model: Path
) -> FrameSelection:
    """What is scored of a file, with the split that is found for it."""
    return select_frames(frames, settings, find_split(path, frames, settings, model))


def test_the_split_beside_the_model(noisy: Path, tmp_path: Path) -> None:
    frames = read_structures(noisy, check_units=False)
    split_of(noisy, 20).save(tmp_path / "split.json")
    choice = chosen(noisy, frames, EvaluateSettings(), tmp_path / "model")
    assert choice.members["test"].tolist() == [k for k in range(20) if k % 4 >= 2]
    assert choice.how == "roles of split.json beside the model"
    assert choice.grouped == "5 groups of the split"
    assert choice.warnings == ()
    both = chosen(noisy, frames, EvaluateSettings(role=("valid", "all")), tmp_path / "model")
    assert len(both.members["all"]) == len(both.scored) == 20
    assert both.warnings == (
        "5 frames of 5 of 'valid' in a group with frames to train on",
        "5 frames of 20 of 'all' were trained on",
        "5 frames of 20 of 'all' in a group with frames to train on",
    )
    with pytest.raises(InputError, match="Did you mean 'test'"):
        chosen(noisy, frames, EvaluateSettings(role=("tets",)), tmp_path / "model")


def test_roles_that_are_not_scored_are_named(noisy: Path, tmp_path: Path) -> None:
    frames = read_structures(noisy, check_units=False)
    split = split_of(noisy, 20)
    role = tuple("hot" if k == 19 else r for k, r in enumerate(split.role))
    split.model_copy(update={"role": role}).save(tmp_path / "split.json")
    choice = chosen(noisy, frames, EvaluateSettings(), tmp_path / "model")
    assert choice.how == "roles of split.json beside the model; not scored: hot"
    for roles in (("test", "hot"), ("all",)):
        choice = chosen(noisy, frames, EvaluateSettings(role=roles), tmp_path / "model")
        assert choice.how == "roles of split.json beside the model"


def test_leaks_are_those_of_the_training_whatever_roles_are_asked_for(
    noisy: Path, tmp_path: Path
) -> None:
    frames = read_structures(noisy, check_units=False)
    for k, frame in enumerate(frames):
        frame.info.update(mine="test" if k < 10 else "train", pair=k // 2)
    split_of(noisy, 20).save(tmp_path / "split.json")
    settings = EvaluateSettings(split_key="mine", role=("test",), group_key="pair")
    assert chosen(noisy, frames, settings, tmp_path / "model").warnings == (
        "3 frames of 10 of 'test' were trained on",
        "3 frames of 10 of 'test' in a group with frames to train on",
    )
    # without the training's split, the roles that are asked for have to do
    assert chosen(noisy, frames, settings, tmp_path / "nowhere" / "model").warnings == ()


def test_a_split_of_other_data(noisy: Path, tmp_path: Path) -> None:
    frames = read_structures(noisy, check_units=False)
    other = tmp_path / "split.json"
    split_of(noisy, 20, sha=64 * "0").save(other)
    choice = chosen(noisy, frames, EvaluateSettings(), tmp_path / "model")
    assert list(choice.members) == ["all"]
    assert "split.json beside the model was not used" in choice.how
    assert "frames of the training may be among these" in choice.warnings[0]
    whole = other.read_text()
    other.write_text(whole[: len(whole) // 2])  # which frames were trained on, nobody knows
    with pytest.raises(InputError, match=r"not a split.*Restore it, or name the roles"):
        chosen(noisy, frames, EvaluateSettings(), tmp_path / "model")
    other.write_text(whole)
    with pytest.raises(InputError, match="SHA-256"):
        chosen(noisy, frames, EvaluateSettings(split=other), tmp_path / "model")


def test_scores_by_hand() -> None:
    error = np.array([[1.0, -1.0, 0.0], [2.0, 0.0, 0.0]])
    block = np.array([0, 1])
    found = score(error, block, QUICK, unit=1.0)
    assert found["mae"] == pytest.approx(4 / 6)
    assert found["rmse"] == pytest.approx(1.0)
    assert found["mae_interval"] is None
    label = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    assert explain(error, label, block, QUICK)["explained"] == pytest.approx(1 - 6 / 2)
    assert explain(error, np.ones((2, 3)), block, QUICK)["explained"] is None
    energies = score_energies(np.array([1.0, 2.0, 3.0]), np.arange(3), QUICK)
    assert energies["offset"] == pytest.approx(2000.0)
    assert energies["total"]["mae"] == pytest.approx(2000.0)
    assert energies["without_offset"]["mae"] == pytest.approx(2000 / 3)


def test_broken_frames_stand_apart() -> None:
    frames = [salt_frame(k, index=k) for k in range(12)]
    errors = [0.01 if k != 7 else 5.0 for k in range(12)]
    predicted = [
        Prediction(f.labelled_forces + e, 0.0, np.zeros(8), None, np.zeros(8), np.zeros(8))
        for f, e in zip(frames, errors, strict=True)
    ]
    role = RoleData.collect(frames, predicted, np.arange(12), np.ones(12, dtype=bool))
    assert np.flatnonzero(role.broken).tolist() == [7]
    kept = role.keep(~role.broken)
    assert len(kept.frames) == 11
    np.testing.assert_allclose(np.abs(kept.errors), 0.01)


def role_with(errors: list[float], strength: list[float], kinds: list[str]) -> RoleData:
    """Frames with errors and forces of these sizes, in eV/Å."""
    frames = []
    for k, (size, kind) in enumerate(zip(strength, kinds, strict=True)):
        frame = salt_frame(k, index=k)
        labels = dataclasses.replace(frame.labels, forces=np.full((8, 3), size))
        frames.append(
            dataclasses.replace(frame, labels=labels, info={"config_type": kind} if kind else {})
        )
    predicted = [
        Prediction(f.labelled_forces + e, 0.0, np.zeros(8), None, np.zeros(8), np.zeros(8))
        for f, e in zip(frames, errors, strict=True)
    ]
    return RoleData.collect(frames, predicted, np.arange(len(frames)), np.ones(len(frames), bool))


def test_each_kind_of_frames_has_its_errors() -> None:
    """Two surfaces whose energies were 30 meV/atom off hid among thirty crystals."""
    names = ["crystal"] * 9 + ["[red]surface"] * 2 + [""]
    frames = [
        dataclasses.replace(salt_frame(k, index=k), info={"config_type": name} if name else {})
        for k, name in enumerate(names)
    ]
    off = [0.3 if "surface" in name else 0.01 for name in names]
    predicted = [
        Prediction(f.labelled_forces + e, 0.0, np.zeros(8), None, np.zeros(8), np.zeros(8))
        for f, e in zip(frames, off, strict=True)
    ]
    frames = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, energy=-8 * e))
        for f, e in zip(frames, off, strict=True)
    ]
    role = RoleData.collect(frames, predicted, np.arange(12), np.ones(12, dtype=bool))
    floor = NoiseFloor.estimate(frames, np.arange(12), 0)
    found = describe_role(role, floor, EvaluateSettings(), QUICK)["kinds"]
    assert [(k["name"], k["frames"]) for k in found] == [("[red]surface", 2), ("crystal", 9)]
    assert found[0]["energy"]["offset"] == pytest.approx(300.0)
    assert found[0]["forces"]["mae"] == pytest.approx(300.0)
    assert found[1]["energy"]["total"]["mae"] == pytest.approx(10.0)
    # one kind is no comparison, and numbers that differ from frame to frame are no kinds
    one = role.keep(np.arange(12) < 9)
    assert describe_role(one, floor, EvaluateSettings(), QUICK)["kinds"] == []
    heated = [
        dataclasses.replace(salt_frame(k, index=k), info={"temperature": 300.0 + k})
        for k in range(31)
    ]
    many = RoleData.collect(heated, predicted[:1] * 31, np.arange(31), np.ones(31, dtype=bool))
    assert describe_role(many, floor, EvaluateSettings(), QUICK)["kinds"] == []


def test_hot_frames_are_not_broken() -> None:
    """Four times the forces and errors; twenty times, where their kind has them; nine times."""
    calm = ([0.01] * 9, [1.0] * 9)
    hot = role_with([*calm[0], 0.04], [*calm[1], 4.0], [""] * 10)
    assert not hot.broken.any()
    kinds = ["cold"] * 9 + ["hot"] * 6
    own = role_with([*calm[0], *[0.3] * 6], [*calm[1], *[1.0] * 6], kinds)
    assert not own.broken.any()
    lost = role_with([*calm[0], *[0.3] * 5, 4.0], [*calm[1], *[1.0] * 6], kinds)
    assert np.flatnonzero(lost.broken).tolist() == [14]
    cold = role_with([*calm[0][:-1], 0.4, *[0.3] * 6], [*calm[1], *[1.0] * 6], kinds)
    assert np.flatnonzero(cold.broken).tolist() == [8]
    assert not role_with([*calm[0], 0.09], [*calm[1], 0.1], [""] * 10).broken.any()
    # the model errs by little beside the forces: it knows where it is
    strong = role_with([*calm[0], 0.2], [*calm[1], 20.0], [""] * 10)
    assert not strong.broken.any()


def test_parity_leaves_out_broken_frames_and_nothing_else(
    potential: Potential, tmp_path: Path
) -> None:
    path = write_labels(tmp_path / "labels.xyz", potential, noise=1e-3, frames=9)
    images = ase.io.read(path, ":")
    images[4].arrays["REF_forces"] += 0.8 * (images[4].numbers == 11)[:, None]
    ase.io.write(path, images, format="extxyz")
    frames = read_structures(path, check_units=False)
    found = evaluate(potential, frames, settings=EvaluateSettings(block=1)).body
    assert [w["frame"] for w in found["roles"][0]["worst_frames"] if w["broken"]] == [4]
    assert found["roles"][0]["broken"] == 1
    for section in found["parity"]:
        # nine frames of six atoms, one frame left out; of the rest every component is counted
        assert sum(section["count"]) + section["outside"] == 8 * 6 * 3


def test_nearest_of_each_element_in_a_small_cell() -> None:
    frame = Structure(
        numbers=np.array([11, 17, 17]),
        positions=np.array([[0.0, 0, 0], [2.5, 0, 0], [0, 0, 4.5]]),
        cell=6.0 * np.eye(3),
        pbc=np.ones(3, dtype=bool),
    )
    found = nearest(frame, [11, 17], reach=7.0)
    np.testing.assert_allclose(found[0], [6.0, 1.5])
    np.testing.assert_allclose(found[1, 0], 2.5)
    assert np.isinf(nearest(frame, [11, 17], reach=1.0)).all()
    assert unlike_pairs(np.array([1, 1, 1, 8, 8, 11])) == [
        (8, 11),
        (11, 8),
        (1, 8),
        (1, 11),
        (8, 1),
        (11, 1),
    ]


def test_floor_of_mixed_elements() -> None:
    floor = NoiseFloor({11: 0.04, 17: 0.0}, {11: (0.03, 0.05), 17: None})
    both = floor.beside(np.array([11, 17]))
    assert both["rmse_floor"] == pytest.approx(40 / np.sqrt(2))
    assert both["mae_floor"] == pytest.approx(20 * np.sqrt(2 / np.pi))
    assert both["rmse_floor_interval"] is None
    assert floor.beside(np.array([11, 11]))["rmse_floor_interval"] == pytest.approx([30, 50])
    assert NoiseFloor({}, {}).beside(np.array([11]))["mae_floor"] is None
