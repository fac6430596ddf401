"""Units: what looks wrong is said with its reason, and what is merely unusual passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase import units as ase_units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS

from scalewise.data.structure import Labels, Structure
from scalewise.data.units import suspicions

BOHR, HARTREE = ase_units.Bohr, ase_units.Ha
KCAL = ase_units.kcal / ase_units.mol
GPA = ase_units.GPa


def frame(atoms, index: int = 0, calculator=None) -> Structure:
    atoms.calc = EMT() if calculator is None else calculator
    periodic = bool(atoms.pbc.all())
    return Structure(
        atoms.numbers.astype(np.int64),
        atoms.positions.copy(),
        np.asarray(atoms.cell).copy(),
        np.asarray(atoms.pbc).copy(),
        index=index,
        labels=Labels(
            atoms.get_forces(),
            float(atoms.get_potential_energy()),
            atoms.get_stress(voigt=False) if periodic else None,
        ),
    )


@cache
def crystals(symbol: str = "Cu", amplitude: float = 0.08, count: int = 24) -> list[Structure]:
    """One crystal, rattled and strained anew in every frame."""
    found = []
    for k in range(count):
        atoms = bulk(symbol, cubic=True) * (2, 2, 1)
        atoms.rattle(amplitude, seed=k)
        atoms.set_cell(atoms.cell * (1 + 0.02 * np.sin(1.7 * k)), scale_atoms=True)
        found.append(frame(atoms, k))
    return found


@cache
def alloys(count: int = 20) -> list[Structure]:
    """Every frame another mixture of copper and gold: none is near another one."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True, a=rng.uniform(3.75, 4.0)) * (2, 2, 2)
        atoms.numbers[rng.random(len(atoms)) < 0.5] = 79
        atoms.rattle(0.1, seed=k)
        found.append(frame(atoms, k))
    return found


@cache
def molecules(count: int = 24) -> list[Structure]:
    found = []
    for k in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.03, seed=k)
        found.append(frame(atoms, k))
    return found


@cache
def relaxed(count: int = 4) -> list[Structure]:
    found = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        del atoms[k]
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.01 * 10.0**-k, steps=25)
        found.append(frame(atoms, k))
    return found


def two_metals() -> list[Structure]:
    """Aluminium under pressure beside copper without: two materials, each by its own law."""
    found = []
    for k in range(24):
        symbol, a = ("Al", 3.93) if k < 12 else ("Cu", 3.61)
        atoms = bulk(symbol, cubic=True, a=a) * (2, 2, 2)
        atoms.rattle(0.03, seed=k)
        found.append(frame(atoms, k))
    return found


def slabs() -> list[Structure]:
    """One slab with more and more vacuum: its stress falls as its volume grows."""
    found = []
    for k in range(14):
        atoms = fcc111("Cu", (2, 2, 3), vacuum=4.0 + 0.6 * k, periodic=True)
        atoms.rattle(0.03, seed=k)
        found.append(frame(atoms, k))
    return found


def hotter_and_larger() -> list[Structure]:
    """Cells that expand less than heat asks for: pressure and volume rise together."""
    found = []
    for k in range(20):
        atoms = bulk("Cu", cubic=True, a=3.61 * (1 + 0.0012 * k)) * (2, 2, 2)
        atoms.rattle(0.02 + 0.012 * k, seed=k)
        found.append(frame(atoms, k))
    return found


def bulk_and_dimers() -> list[Structure]:
    found = list(crystals(amplitude=0.03, count=20))
    for k, length in enumerate((1.2, 1.4, 1.6, 1.8, 2.2, 3.0)):
        found.append(frame(Atoms("Cu2", [[0, 0, 0], [length, 0, 0]]), 20 + k))
    return found


def dimers() -> list[Structure]:
    return [
        frame(Atoms("Cu2", [[0, 0, 0], [length, 0, 0]]), k)
        for k, length in enumerate(np.linspace(1.3, 4.0, 30))
    ]


def lone_atoms() -> list[Structure]:
    found = [frame(Atoms(s, [[0, 0, 0]]), k) for k, s in enumerate(("Cu", "Au", "Al"))]
    return [*found, *crystals()]


def argon() -> list[Structure]:
    found = []
    for k in range(20):
        atoms = bulk("Ar", "fcc", a=5.6, cubic=True) * (2, 2, 2)
        atoms.rattle(0.05, seed=k)
        found.append(frame(atoms, k, LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0)))
    return found


def scaled(by: Callable[[Structure], Structure], frames: list[Structure]) -> list[Structure]:
    return [by(f) for f in frames]


def said(frames: list[Structure], stress_key: str | None = "REF_stress") -> str:
    return "; ".join(f"{s.label}: {s.found} {s.frame}" for s in suspicions(frames, stress_key))


RIGHT: dict[str, Callable[[], list[Structure]]] = {
    "crystal": crystals,
    "hot gold": lambda: crystals("Au", 0.2),
    "alloys": alloys,
    "molecule": molecules,
    "relaxed": relaxed,
    "hot and relaxed": lambda: [*crystals(count=16), *relaxed()],
    "perfect": lambda: [
        replace(f, labels=replace(f.labels, forces=1e-15 * f.labelled_forces))
        for f in crystals(amplitude=1e-9)
    ],
    "two metals": two_metals,
    "slabs": slabs,
    "hotter and larger": hotter_and_larger,
    "bulk and dimers": bulk_and_dimers,
    "dimers": dimers,
    "lone atoms": lone_atoms,
    "argon": argon,
    "two frames": lambda: crystals()[:2],
    "all electrons": lambda: [
        replace(f, labels=replace(f.labels, energy=f.labels.energy - 4.5e5)) for f in crystals()
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    assert said(RIGHT[name]()) == ""


@pytest.mark.parametrize("made", [crystals, molecules, alloys])
@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (BOHR / HARTREE, "forces: .*Ha/bohr"),
        (1 / KCAL, "forces: .*kcal/mol|energy: .*kcal/mol|forces: .*kJ/mol"),
        (96.485, "forces: .*kJ/mol"),
        (964.85, "forces: .*kJ/mol/nm"),
    ],
)
def test_forces_in_other_units(made, factor: float, words: str) -> None:
    pattern = words.split("|")
    text = said(
        [replace(f, labels=replace(f.labels, forces=factor * f.labels.forces)) for f in made()]
    )
    assert any(p.split(": .*")[0] in text and p.split(": .*")[1] in text for p in pattern), text


@pytest.mark.parametrize("made", [crystals, molecules, alloys])
@pytest.mark.parametrize("energies", [True, False])
def test_gradients_are_no_forces(made, energies: bool) -> None:
    labels = [f.labels if energies else replace(f.labels, energy=None, stress=None) for f in made()]
    turned = [
        replace(f, labels=replace(x, forces=-x.forces)) for f, x in zip(made(), labels, strict=True)
    ]
    assert "forces: atoms that are close pull at each other" in said(turned)


def test_positions_in_bohr_and_nanometres() -> None:
    def bohr(f: Structure) -> Structure:
        forces = f.labelled_forces * BOHR / HARTREE
        return replace(
            f,
            positions=f.positions / BOHR,
            cell=f.cell / BOHR,
            labels=replace(f.labels, forces=forces),
        )

    def nanometres(f: Structure) -> Structure:
        return replace(f, positions=f.positions / 10, cell=f.cell / 10)

    for made in (crystals, molecules):
        assert "bohr" in said(scaled(bohr, made()))
        assert said(scaled(nanometres, made())).startswith("positions: ")


def test_a_block_in_another_unit_is_named() -> None:
    frames = list(crystals(count=30))
    frames[20:] = [
        replace(f, labels=replace(f.labels, forces=f.labelled_forces * BOHR / HARTREE))
        for f in frames[20:]
    ]
    assert "units seem mixed" in said(frames)
    frames = list(crystals(count=30))
    frames[7] = replace(
        frames[7], labels=replace(frames[7].labels, forces=965 * frames[7].labelled_forces)
    )
    assert "units seem mixed 7" in said(frames)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1 / HARTREE, "energies in Ha"),
        (1 / KCAL, "energies in kcal/mol"),
        (1 / 16, "energies per atom"),
        (-1.0, "wrong sign"),
    ],
)
def test_energies_in_other_units(factor: float, words: str) -> None:
    frames = []  # without strain, the work is that of the forces
    for k in range(30):
        atoms = bulk("Cu", cubic=True) * (2, 2, 1)
        atoms.rattle(0.05 + 0.03 * (k % 3), seed=k)
        one = frame(atoms, k)
        frames.append(replace(one, labels=replace(one.labels, energy=factor * one.labels.energy)))
    assert words in said(frames)


@pytest.mark.parametrize("made", [crystals, alloys])
@pytest.mark.parametrize(
    ("factor", "words"),
    [(1 / GPA, "GPa"), (10 / GPA, "kbar"), (-10 / GPA, "kbar"), (-1.0, "other")],
)
def test_stress_in_other_units(made, factor: float, words: str) -> None:
    text = said(
        [replace(f, labels=replace(f.labels, stress=factor * f.labels.stress)) for f in made()]
    )
    assert "stress: " in text
    assert words in text


def test_two_phases_at_two_pressures_say_nothing_together() -> None:
    """Copper at rest, and an open lattice of it that is compressed: each is stiff in itself."""
    frames = []
    for k in range(24):
        dense = k < 12
        atoms = (
            bulk("Cu", "fcc", a=3.6, cubic=True) if dense else bulk("Cu", "sc", a=2.38) * (2, 2, 1)
        )
        atoms.set_cell(atoms.cell * (1 + 0.004 * np.sin(1.7 * k)), scale_atoms=True)
        atoms.rattle(0.05, seed=k)
        one = frame(atoms, k)
        frames.append(replace(one, labels=replace(one.labels, energy=None)))
    volume = [abs(np.linalg.det(f.cell)) / len(f.numbers) for f in frames]
    pressure = [-np.trace(f.labels.stress) for f in frames]
    assert np.corrcoef(volume, pressure)[0, 1] > 0.8
    assert not said(frames)


@pytest.mark.parametrize("made", [crystals, alloys])
def test_virials_are_no_stresses(made) -> None:
    frames = [
        replace(f, labels=replace(f.labels, stress=-abs(np.linalg.det(f.cell)) * f.labels.stress))
        for f in made()
    ]
    assert "virial" in said(frames)
    assert "named like a virial" in said(made(), "DFT_virial")
