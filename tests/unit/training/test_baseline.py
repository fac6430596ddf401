"""What training starts from: the pair potential leaves less, and binding is no surprise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scalewise
from scalewise.core.errors import InputError
from scalewise.data.structure import Labels, Structure
from scalewise.models.density.settings import NetworkSettings
from scalewise.training import baseline
from scalewise.training.baseline import energy_offset, fit_baseline
from scalewise.training.run import train_in
from scalewise.training.settings import TrainSettings
from support import salt_frame, untrained

NETWORK = NetworkSettings(
    channels=4, hidden=8, l_max=2, cutoff=4.0, num_bessel=6, layers=1, charges=False
)


def bound(count: int, energy: float = -4.0) -> list[Structure]:
    """Frames of a potential whose atoms are bound by an energy each, and isolated atoms."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    frames = [salt_frame(seed=k, n=8, box=8.0, index=k) for k in range(count)]
    found = [teacher.predict(f) for f in frames]
    frames = [
        replace(f, info={}, labels=Labels(forces=p.forces, energy=p.energy + 8 * energy))
        for f, p in zip(frames, found, strict=True)
    ]
    alone = [
        Structure(
            np.array([z]),
            np.zeros((1, 3)),
            np.zeros((3, 3)),
            np.zeros(3, dtype=bool),
            index=count + k,
            labels=Labels(forces=np.zeros((1, 3)), energy=-100.0 * z),
        )
        for k, z in enumerate((11, 17))
    ]
    return [*frames, *alone]


def test_isolated_atoms_fix_the_composition_and_binding_is_the_shift() -> None:
    frames = bound(12)
    found = fit_baseline(frames, (11, 17), NETWORK)
    assert found.composition.energies.tolist() == pytest.approx([-1100.0, -1700.0])
    energies = [f.labels.energy for f in frames[:12]]
    assert found.shift == pytest.approx(np.mean(energies) / 8 + 1400.0, abs=1.0)


def stretched(force: float) -> list[Structure]:
    """Crystals of one atom in a cell, with energies of a parabola, +-0.04 eV on average."""
    return [
        Structure(
            np.array([11]),
            np.zeros((1, 3)),
            (3.4 + 0.05 * k) * np.eye(3),
            np.ones(3, dtype=bool),
            index=k,
            labels=Labels(np.full((1, 3), force), 0.01 * (k - 4.5) ** 2, None),
        )
        for k in range(10)
    ]


@pytest.mark.parametrize("force", [0.0, 1e-16, 1e-6])
def test_where_symmetry_leaves_no_forces_energies_give_the_scale(force: float) -> None:
    network = NETWORK.model_copy(update={"pair_baseline": False})
    energies = np.array([f.labels.energy for f in stretched(force)])
    found = fit_baseline(stretched(force), (11,), network)
    assert found.energy_scale == pytest.approx(energies.std())


def test_forces_give_the_scale_beside_binding_energies() -> None:
    network = NETWORK.model_copy(update={"pair_baseline": False})
    frames = bound(12, energy=-400.0)
    forces = np.concatenate([f.labelled_forces for f in frames])
    found = fit_baseline(frames, (11, 17), network)
    assert found.energy_scale == pytest.approx(np.sqrt(np.mean(forces**2)))


def test_an_untrained_network_has_the_shift() -> None:
    """After a step of no length, energies are within those of one atom, not hundreds of eV off."""
    frames = bound(12)
    model = scalewise.train(
        frames,
        scalewise.make_split(frames, group_key=None),
        network=NETWORK.model_dump(exclude_unset=True),
        steps=1,
        batch_size=2,
        learning_rate=1e-9,
        adam_rate=1e-9,
        device="cpu",
    )
    frame = frames[0]
    assert frame.labels.energy is not None
    assert model.predict(frame).energy == pytest.approx(frame.labels.energy, abs=8 * 1.0)


def test_the_pair_potential_leaves_smaller_forces() -> None:
    frames = bound(12)[:12]
    without = NETWORK.model_copy(update={"pair_baseline": False})
    assert fit_baseline(frames, (11, 17), NETWORK).energy_scale < (
        0.8 * fit_baseline(frames, (11, 17), without).energy_scale
    )


def test_isolated_atoms_are_taken_from_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crystal of one atom per cell came first, and hid the isolated atom of its composition."""
    frames = bound(40)
    crystal = Structure(
        np.array([11]),
        np.zeros((1, 3)),
        3.7 * np.eye(3),
        np.ones(3, dtype=bool),
        labels=Labels(forces=np.zeros((1, 3)), energy=-1104.0),
    )
    monkeypatch.setattr(baseline, "COMPARED_ATOMS", 16)
    found = fit_baseline([crystal, *frames], (11, 17), NETWORK)
    assert found.composition.energies.tolist() == pytest.approx([-1100.0, -1700.0])


def test_some_frames_have_every_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forces of every second frame: a stride of two met none of them."""
    frames = [
        replace(f, labels=replace(f.labels, forces=None)) if k % 2 == 0 else f
        for k, f in enumerate(bound(40)[:40])
    ]
    monkeypatch.setattr(baseline, "COMPARED_ATOMS", 80)
    some = baseline._some(frames)
    assert sum(f.labels.forces is not None for f in some) >= 10
    assert len(some) < 40


def test_atoms_at_one_place_are_named() -> None:
    frames = bound(6)
    twice = replace(frames[1], positions=np.zeros_like(frames[1].positions))
    with pytest.raises(InputError, match="are 0 Å apart"):
        fit_baseline([frames[0], twice, *frames[2:]], (11, 17), NETWORK)


def test_an_offset_of_all_energies_is_found_whatever_some_frames_have() -> None:
    potential, frames = untrained(seed=7, layers=1, cutoff=4.0), bound(30, energy=0.3)[:30]
    assert energy_offset(potential, frames) == pytest.approx(0.3)
    surfaces = [replace(f, labels=Labels(energy=9.0)) for f in frames[:8]]
    assert energy_offset(potential, [*surfaces, *frames[8:]]) == pytest.approx(0.3)
    bare = [replace(f, labels=Labels(forces=f.labels.forces)) for f in frames]
    assert energy_offset(potential, bare) == 0.0
    # energies of isolated atoms are exact, and stay so
    assert energy_offset(potential, bound(30, energy=0.3)) == 0.0


def test_no_training_ends_with_an_offset(tmp_path: Path) -> None:
    frames = bound(12)[:12]
    settings = TrainSettings(network=NETWORK, steps=12, validations=2, device="cpu")
    split = scalewise.make_split(frames)
    model = train_in(frames, split, settings, tmp_path)
    found = scalewise.load_potential(model)
    left = [
        (frames[k].labels.energy - found.predict(frames[k]).energy) / 8
        for k in split.members("train")
    ]
    assert np.median(left) == pytest.approx(0.0, abs=1e-9)
    before = found.composition.energies
    train_in(frames, split, settings, tmp_path)  # nothing is left to train, and to shift
    assert (scalewise.load_potential(model).composition.energies == before).all()
