"""Zeros and constants that stand for labels that were not computed, and those that are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc111
from ase.calculators.emt import EMT

from scalewise.core.progress import Messages
from scalewise.data.placeholders import find_placeholders, with_held_atoms
from scalewise.data.reading import read_structures, write_structures
from scalewise.data.structure import Labels, Structure
from scalewise.data.units import suspicions


def labelled(atoms: ase.Atoms, rattle: float, seed: int) -> Structure:
    moved = atoms.copy()
    moved.rattle(rattle, seed=seed)
    moved.calc = EMT()
    stress = moved.get_stress(voigt=False) if moved.pbc.all() else None
    labels = Labels(moved.get_forces(), float(moved.get_potential_energy()), stress)
    return Structure.from_ase(moved, labels=labels)


def crystals(count: int = 6, rattle: float = 0.1) -> list[Structure]:
    return [labelled(bulk("Cu", cubic=True), rattle, k) for k in range(count)]


def held(frame: Structure, atoms: slice = slice(0, 2)) -> Structure:
    forces = frame.labelled_forces.copy()
    forces[atoms] = 0.0
    return replace(frame, labels=replace(frame.labels, forces=forces))


def said(frames: list[Structure]) -> list[str]:
    return [one.label for one in find_placeholders(frames)]


def test_labels_that_were_computed_are_left_alone() -> None:
    assert not said(crystals())
    assert not said([])
    # forces that vanish by symmetry, on all atoms or on one
    assert not said(crystals(rattle=0.0))
    dimer = ase.Atoms("Cu3", [[0, 0, 0], [0, 0, 2.4], [0, 0, 4.8]])
    middle = labelled(dimer, 0.0, 0)
    forces = middle.labelled_forces.copy()
    forces[1] = 0.0  # between two alike, to the last digit
    assert not said([replace(middle, labels=replace(middle.labels, forces=forces))])
    # one structure several times, and turned copies of one
    assert not said([crystals(1)[0]] * 4)
    assert not said([replace(f, labels=Labels()) for f in crystals()])


@pytest.mark.parametrize("number", [1, 6])
def test_stresses_of_zero_beside_forces(number: int) -> None:
    frames = crystals()
    for k in range(number):
        labels = replace(frames[k].labels, stress=np.zeros((3, 3)))
        frames[k] = replace(frames[k], labels=labels)
    (found,) = find_placeholders(frames)
    assert found.label == "stress"
    assert found.found.startswith(f"exactly zero in {number} frame")


def test_one_energy_for_all() -> None:
    frames = [replace(f, labels=replace(f.labels, energy=-3.5)) for f in crystals()]
    assert said(frames) == ["energy"]
    assert not said(frames[:2])
    # one of them may be right by chance
    assert not said([*frames[:2], *crystals()[2:]])


def test_forces_on_atoms_that_were_held() -> None:
    frames = crystals()
    assert not with_held_atoms(frames).any()
    frames[1:] = [held(f) for f in frames[1:]]
    assert with_held_atoms(frames).tolist() == [False, True, True, True, True, True]
    assert said(frames) == ["forces"]


def test_labels_of_few_digits_are_no_placeholders() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for k in range(60):
        atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
        atoms.rattle(0.02, seed=k)
        one = labelled(atoms, 0.0, 0)
        labels = one.labels
        assert labels.forces is not None
        assert labels.stress is not None
        forces = np.round(0.02 * labels.forces, 2)
        stress = np.round(1e-3 * rng.standard_normal() * np.eye(3), 3)
        energy = round(float(labels.energy or 0.0), 1)
        frames.append(replace(one, labels=Labels(forces, energy, stress)))
    forces = np.array([f.labelled_forces for f in frames])
    assert (forces == 0).all(axis=2).any(axis=1).sum() > 20
    assert sum(bool((f.labels.stress == 0).all()) for f in frames) > 10
    found = [one.label for one in find_placeholders(frames)]
    assert "forces" not in found
    assert "stress" not in found
    energies = [f.labels.energy for f in frames]
    assert ("energy" in found) == (max(energies.count(e) for e in energies) > 30)


def test_work_on_held_atoms_is_counted(tmp_path: Path) -> None:
    """A molecule that leaves a surface whose atoms are held: nothing is wrong with the units."""
    frames = []
    for k in range(24):
        slab = fcc111("Au", (2, 2, 1), vacuum=8.0)
        add_adsorbate(slab, "Cu", 1.6 + 0.1 * k, "fcc")
        slab.pbc = False
        slab.info.clear()
        frames.append(held(labelled(slab, 0.0, 0), slice(0, 4)))
    assert not [s for s in suspicions(frames, None) if s.label == "energy"]
    write_structures(tmp_path / "a.xyz", frames)
    told: list[str] = []
    read_structures(tmp_path / "a.xyz", progress=Messages(told.append))
    assert any("were these atoms held?" in line for line in told)
