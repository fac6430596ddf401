"""The loss: terms that are comparable whatever their units, and labels that are missing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scalewise.data.structure import Labels, Structure
from scalewise.models.composition import CompositionModel
from scalewise.models.density.settings import NetworkSettings
from scalewise.models.gradients import Derivatives
from scalewise.training.dataset import Batch, frames_per_step, join, prepare
from scalewise.training.loss import LossBalance, huber, loss_terms
from scalewise.training.settings import LossSettings
from scalewise.training.state import MEMORY, TrainingProgress
from support import salt_frame

NETWORK = NetworkSettings(cutoff=4.0, charges=False)


def sample(*, energy: float | None = 2.0, stress: float | None = 0.01, scale: float = 1.0) -> Batch:
    """Eight atoms with forces of 0.5 eV/Å times ``scale``."""
    frame = salt_frame(n=8, box=8.0)
    labels = Labels(
        forces=np.full((8, 3), 0.5 * scale),
        energy=energy,
        stress=None if stress is None else stress * np.eye(3),
    )
    nothing = CompositionModel((11, 17), np.zeros(2), np.eye(2))
    return prepare([replace(frame, labels=labels)], nothing, NETWORK, torch.float64)[0]


def zero(batch: Batch) -> Derivatives:
    atoms = torch.zeros(len(batch.forces), dtype=torch.float64)
    return Derivatives(
        torch.zeros_like(batch.energy),
        atoms,
        torch.zeros_like(batch.forces),
        torch.zeros_like(batch.virial),
        atoms,
        atoms,
    )


def test_terms_are_huber_means_per_frame() -> None:
    batch = sample()
    terms, counts = loss_terms(zero(batch), batch, delta=0.01)
    assert counts.tolist() == [1, 1, 1]
    stress = float(huber(torch.tensor(1.0), 0.01)) / 3  # one of three components of each row
    wanted = [0.5 - 0.005, 2.0 / 8 - 0.0005, stress]
    assert terms.tolist() == pytest.approx(wanted)


def test_frames_without_a_label_do_not_dilute_its_mean() -> None:
    whole, lacking = sample(), sample(energy=None, stress=None)
    alone, _ = loss_terms(zero(whole), whole, delta=0.01)
    both = join([whole, lacking])
    terms, counts = loss_terms(zero(both), both, delta=0.01)
    assert counts.tolist() == [2, 1, 1]
    assert terms.tolist() == pytest.approx(alone.tolist())


def test_balance_does_not_depend_on_the_size_of_a_term() -> None:
    """Stress in other units, or ten times the forces: the same share of the loss as before."""
    settings = LossSettings(forces=1.0, energy=0.1, stress=0.2)
    shares = []
    for scale, stress in ((1.0, 0.01), (10.0, 0.01), (1.0, 3.0)):
        batch = sample(scale=scale, stress=stress)
        terms, _ = loss_terms(zero(batch), batch, settings.delta)
        parts = np.array(LossBalance.of(settings).factors(terms.tolist(), 1.0)) * np.array(
            terms.tolist()
        )
        shares.append(parts / parts[0])
    assert shares[0].tolist() == pytest.approx([1.0, 0.1, 0.2])
    assert shares[1].tolist() == pytest.approx(shares[0].tolist())
    assert shares[2].tolist() == pytest.approx(shares[0].tolist())


def test_factors_are_the_gradient_of_the_weighted_logarithms() -> None:
    """At the running means, d/dL_k of sum w log L is w / L; forces keep their own size."""
    balance = LossBalance.of(LossSettings(forces=1.0, energy=0.1, stress=0.2))
    terms = (0.3, 0.02, 0.5)
    factors = balance.factors(terms, 1.0)
    slopes = [w / t for w, t in zip(balance.weights, terms, strict=True)]
    assert factors == pytest.approx([s * terms[0] for s in slopes])


def test_energies_count_for_less_at_first() -> None:
    balance = LossBalance.of(LossSettings(energy=0.2, energy_from=0.6))
    energies = [balance.factors((1.0, 1.0, 1.0), done)[1] for done in (0.0, 0.59, 0.6, 1.0)]
    assert energies == pytest.approx([0.02, 0.02, 0.2, 0.2])
    # where no force can suffer: there is none, or they are zero by symmetry, or have no weight
    assert balance.factors((0.0, 1.0, 1.0), 0.0)[1] == balance.factors((0.0, 1.0, 1.0), 1.0)[1]
    assert balance.factors((5e-29, 1.0, 1.0), 0.0)[1] == pytest.approx(0.2)
    alone = LossBalance.of(LossSettings(forces=0.0))
    assert alone.factors((1.0, 1.0, 1.0), 0.0) == pytest.approx([0.0, 0.1, 0.1])
    always = LossBalance.of(LossSettings(energy_from=0.0))
    assert always.factors((1.0, 1.0, 1.0), 0.0) == pytest.approx([1.0, 0.1, 0.1])


def test_terms_without_labels_are_left_out() -> None:
    balance = LossBalance.of(LossSettings())
    assert balance.factors((0.3, 0.0, 0.0), 1.0) == [1.0, 0.0, 0.0]
    assert balance.factors((0.0, 0.3, 0.0), 1.0) == [0.0, 0.1, 0.0]
    assert balance.geometric_mean((0.3, 0.0, 0.0), (2, 0, 0)) == pytest.approx(0.3)


def test_forces_that_vanish_by_symmetry_are_no_measure() -> None:
    """Labels of 1e-15 eV/Å shrank the gradient of the energies by 1e29: nothing was learned."""
    factors = LossBalance.of(LossSettings()).factors((5e-29, 2.7, 6.0), 1.0)
    assert factors[1] == pytest.approx(0.1)
    assert factors[2] * 6.0 == pytest.approx(factors[1] * 2.7)
    assert factors[0] < 1e8


def test_validation_tells_small_errors_apart() -> None:
    """Below 1 meV/Å all errors were the same, so that the best model was not kept."""
    balance = LossBalance.of(LossSettings())
    errors = torch.tensor([5e-4, 2e-4])
    coarse, fine = (
        balance.geometric_mean((e, e / 10, 0.0), (1, 1, 0)) for e in huber(errors, 0.01).tolist()
    )
    assert fine < coarse


def test_geometric_mean_is_weighted() -> None:
    balance = LossBalance.of(LossSettings(forces=1.0, energy=0.5, stress=1.0))
    found = balance.geometric_mean((0.2, 0.01, 0.0), (3, 1, 0))
    assert found == pytest.approx(math.exp((math.log(0.2) + 0.5 * math.log(0.01)) / 1.5))


def test_running_means_start_where_a_label_is_first_seen() -> None:
    """One label in thousands of frames was not looked at, and its term left out."""
    progress = TrainingProgress()
    progress.count_terms((0.4, 0.0, 0.0))
    assert progress.terms == (0.4, 0.0, 0.0)
    progress.step = 1000
    progress.count_terms((0.0, 7.0, 0.0))
    assert progress.terms == (0.4, 7.0, 0.0)
    progress.count_terms((0.9, 7.0, 0.0))
    assert progress.terms == pytest.approx((0.4 + MEMORY * 0.5, 7.0, 0.0))


def test_steps_have_about_sixty_atoms() -> None:
    frames = [salt_frame(seed=k, n=8, box=8.0) for k in range(20)] * 20
    atoms = len(frames[0].numbers)
    assert frames_per_step(frames, 1) == round(60 / atoms)
    assert frames_per_step(frames, 2) == round(30 / atoms)  # in all processes
    assert frames_per_step(frames[:40], 1) == 2  # twenty steps at least
    assert frames_per_step(frames[:39], 1) == 1
    # what all processes take together hardly depends on how many they are
    open_axes = np.zeros(3, dtype=bool)
    molecule = Structure(np.ones(21, int), np.zeros((21, 3)), np.zeros((3, 3)), open_axes)
    assert [n * frames_per_step([molecule] * 900, n) for n in (1, 2, 3, 4)] == [3, 4, 3, 4]
    assert [frames_per_step([molecule] * 45, n) for n in (1, 2, 8)] == [2, 1, 1]
    alone = replace(frames[0], pbc=np.zeros(3, dtype=bool))
    assert frames_per_step([*frames, alone], 1) == round(60 / atoms)  # they share a step
