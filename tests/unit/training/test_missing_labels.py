"""Frames that lack labels: what is missing moves nothing, and what is there is learned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scalewise
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.evaluation.settings import EvaluateSettings
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import read_structures, write_structures
from scalewise.data.splits import Split, identify
from scalewise.data.structure import Labels, Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.network import DensityNetwork
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.gradients import Evaluator
from scalewise.training.baseline import _scale
from scalewise.training.dataset import join, prepare
from scalewise.training.loss import ErrorSums, loss_terms
from scalewise.training.settings import DataSettings
from support import salt_frame, untrained

NETWORK = {"channels": 4, "hidden": 8, "l_max": 2, "cutoff": 4.0, "num_bessel": 4, "layers": 1}
PARTS = ("forces", "energy", "stress")
COMBINATIONS = [c for n in (1, 2, 3) for c in itertools.combinations(PARTS, n)]
SCORE = partial(EvaluateSettings, bootstrap=100, device="cpu")
FEW: dict[str, Any] = {"network": NETWORK, "steps": 3, "batch_size": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def frames() -> list[Structure]:
    """Sixteen frames labelled by a potential with random weights."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    found = []
    for k in range(16):
        frame = salt_frame(seed=k, n=8, box=8.0, index=k)
        predicted = teacher.predict(frame)
        labels = Labels(predicted.forces, predicted.energy, predicted.stress)
        found.append(replace(frame, labels=labels, source="memory"))
    return found


def only(frame: Structure, parts: Sequence[str]) -> Structure:
    kept = {part: getattr(frame.labels, part) for part in parts}
    return replace(frame, labels=Labels(**kept))


def roles(frames: Sequence[Structure]) -> Split:
    names = tuple("valid" if k % 4 == 0 else "train" for k in range(len(frames)))
    return Split(data=identify(frames), role=names, group=tuple(range(len(frames))))


def gradients(frames: Sequence[Structure]) -> tuple[float, list[torch.Tensor]]:
    torch.manual_seed(0)
    settings = NetworkSettings(**NETWORK)
    network = DensityNetwork(settings, (11, 17))
    composition = CompositionModel((11, 17), np.zeros(2), np.zeros((0, 2)))
    sample = join(prepare(frames, composition, settings, torch.float32))
    weights = dict(network.named_parameters())
    found = Evaluator(network)(sample.graph, sample.positions, weights=weights)
    terms, counts = loss_terms(found, sample, delta=0.01)
    value = (terms * counts).sum()
    value.backward()
    return float(value.detach()), [w.grad for w in weights.values() if w.grad is not None]


@pytest.mark.parametrize("parts", COMBINATIONS)
def test_training_on_any_labels(parts: Sequence[str], frames: list[Structure]) -> None:
    some = [only(frame, parts) for frame in frames]
    model = scalewise.train(some, roles(some), **FEW)
    # the names of the errors that a validation has are those of the labels that there are
    assert set(model.info["valid"]) == {f"{part}_mae" for part in parts}
    assert np.isfinite(model.predict(frames[0]).forces).all()
    report = scalewise.evaluate(model, some, roles(some), SCORE(role="valid"))
    (role,) = report.results["roles"]
    assert (role["forces"]["all"] is not None) == ("forces" in parts)
    assert (role["stress"] is not None) == ("stress" in parts)
    assert (role["energy"] is not None) == ("energy" in parts)


def test_a_ladder_without_forces(frames: list[Structure]) -> None:
    some = [only(frame, ["energy"]) for frame in frames]
    ladder = {**FEW, "network": {**NETWORK, "ladder": (3.0, 4.0)}}
    del ladder["network"]["cutoff"]
    model = scalewise.train(some, roles(some), **ladder)
    assert set(model.info["valid"]) == {"energy_mae"}


def test_a_file_of_all_kinds_of_frames(frames: list[Structure], tmp_path: Path) -> None:
    mixed = [only(frame, COMBINATIONS[k % len(COMBINATIONS)]) for k, frame in enumerate(frames)]
    write_structures(tmp_path / "mixed.xyz", mixed)
    said: list[str] = []
    keys = LabelKeys.of(DataSettings(), "data.")
    read = read_structures(tmp_path / "mixed.xyz", keys, progress=Messages(said.append))
    for a, b in zip(read, mixed, strict=True):
        for part in PARTS:
            assert (getattr(a.labels, part) is None) == (getattr(b.labels, part) is None)
    lacking = sum(f.labels.forces is None for f in mixed)
    assert f"{lacking} of 16 frames have no forces" in said
    model = scalewise.train(read, roles(read), **FEW)
    assert set(model.info["valid"]) == {"forces_mae", "energy_mae", "stress_mae"}
    report = scalewise.evaluate(model, read, roles(read), SCORE(role="all"))
    (role,) = report.results["roles"]
    assert role["frames"] == 16
    assert role["forces"]["all"]["atoms"] == 8 * (16 - lacking)
    assert role["energy"]["frames"] == sum(f.labels.energy is not None for f in mixed)
    assert role["stress"]["frames"] == sum(f.labels.stress is not None for f in mixed)
    label = next(
        r for r in scalewise.diagnose_data(read).results["labels"] if r["label"] == "forces"
    )
    assert label["with"] == 16 - lacking


@pytest.mark.parametrize("part", PARTS)
def test_a_label_that_is_missing_moves_nothing(part: str, frames: list[Structure]) -> None:
    # with the label taken from one of two frames, the gradient is that of the other labels: the
    # difference to all labels is that of this frame with this label alone
    rest = [p for p in PARTS if p != part]
    both, alone = frames[:2], frames[1]
    _, every = gradients(both)
    _, lacking = gradients([both[0], only(alone, rest)])
    _, single = gradients([only(both[0], ()), only(alone, [part])])
    assert max(float(g.abs().max()) for g in single) > 0
    for a, b, c in zip(every, lacking, single, strict=True):
        torch.testing.assert_close(a - b, c, rtol=1e-3, atol=1e-5)


def test_no_labels_have_no_gradient(frames: list[Structure]) -> None:
    value, found = gradients([only(frame, ()) for frame in frames[:2]])
    assert value == 0.0
    assert all(float(g.abs().max()) == 0.0 for g in found)


def test_errors_count_what_has_labels(frames: list[Structure]) -> None:
    composition = CompositionModel((11, 17), np.zeros(2), np.zeros((0, 2)))
    settings = NetworkSettings(**NETWORK)
    network = DensityNetwork(settings, (11, 17))

    def means(some: Sequence[Structure]) -> dict[str, float]:
        sample = join(prepare(some, composition, settings, torch.float32))
        seen = ErrorSums.none()
        seen.add(Evaluator(network)(sample.graph, sample.positions), sample)
        return seen.means()

    first = means(frames[:1])
    assert means([frames[0], only(frames[1], ())]) == pytest.approx(first)
    both = means([frames[0], only(frames[1], ["energy"])])
    assert both["forces_mae"] == pytest.approx(first["forces_mae"])
    assert means([only(frames[0], ["stress"])]) == pytest.approx(
        {"stress_mae": first["stress_mae"]}
    )


def test_the_scale_of_energies_without_forces(frames: list[Structure]) -> None:
    composition = CompositionModel((11, 17), np.zeros(2), np.zeros((0, 2)))
    energies = [only(f, ["energy"]) for f in frames]
    meant = np.sqrt(np.mean([f.labels.energy**2 / 8 for f in energies]))
    assert _scale(energies, composition, 0.0) == pytest.approx(meant)
    assert _scale(frames, composition, 0.0) == pytest.approx(
        np.sqrt(np.mean(np.concatenate([f.labelled_forces for f in frames]) ** 2))
    )
    assert _scale([only(f, ["stress"]) for f in frames], composition, 0.0) > 0


def test_nothing_to_learn_from_is_refused(frames: list[Structure]) -> None:
    some = [only(f, ()) for f in frames]
    with pytest.raises(InputError, match=r"no frame of the role train has forces, an energy"):
        scalewise.train(some, roles(some), **FEW)


def test_a_file_without_the_column_needs_the_word_of_the_user(
    frames: list[Structure], tmp_path: Path
) -> None:
    path = tmp_path / "energies.xyz"
    write_structures(path, [only(f, ["energy"]) for f in frames])
    with pytest.raises(InputError, match=r"no such column.*data\.forces_key=null"):
        read_structures(path, LabelKeys.of(DataSettings(), "data."))
    keys = LabelKeys.of(DataSettings(forces_key=None), "data.")
    found = read_structures(path, keys)
    assert found[0].labels.energy == pytest.approx(frames[0].labels.energy)
    assert found[0].labels.forces is None


def test_what_compares_forces_leaves_frames_without_them_out(
    frames: list[Structure], tmp_path: Path
) -> None:
    some = [f if k % 2 else only(f, ["energy"]) for k, f in enumerate(frames)]
    model = untrained((11, 17), layers=1, ladder=(3.0, 4.0))
    scan = ScanSettings(role="all", bootstrap=100, points=2, device="cpu")
    report = scalewise.scan_cutoffs(model, some, None, scan)
    assert any(
        "8 frames of 'all' without labelled forces left out" in w
        for w in report.results["warnings"]
    )
    with pytest.raises(InputError, match="no frame of 'all' has labelled forces"):
        scalewise.scan_cutoffs(model, [only(f, ["energy"]) for f in frames], None, scan)
    with pytest.raises(InputError, match=r"no labelled forces, as in 8 of 16 frames"):
        scalewise.attribute_error(
            some,
            roles(some),
            AttributionSettings(minutes=0.1, role="valid", network={"ladder": (3.0, 4.0)}),
            tmp_path,
        )
