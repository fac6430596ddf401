"""Some molecules with the potential, the rest with a force field: each pair counted once."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import pytest

import scalewise as sw
from scalewise.core.errors import InputError
from scalewise.interfaces.openmm import KILOJOULE, NANOMETER
from scalewise.interfaces.openmm_mixed import mixed_openmm_system
from support import untrained

openmm = pytest.importorskip("openmm")

#: Two molecules of water and an ion, Å; the first is cut in two by the end of the box.
PLACES = np.array(
    [
        *([0.2, 5.0, 5.0], [-0.7, 5.2, 5.1], [0.5, 4.0, 5.1]),
        *([4.0, 5.0, 6.0], [4.7, 5.7, 6.1], [4.5, 4.2, 5.6]),
        [8.0, 8.0, 2.0],
    ]
)
BOX = 14.0
SOLUTE = [0, 1, 2]


def force_field(particles: list[int], periodic: bool) -> Any:
    """Flexible water with a torsion that is nonsense, and sodium: of some of the particles."""
    mm = openmm
    system = mm.System()
    if periodic:
        system.setDefaultPeriodicBoxVectors(*(0.1 * BOX * np.eye(3)))
    nonbonded, bonds, angles = mm.NonbondedForce(), mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    repulsion = mm.CustomNonbondedForce("0.01/r^6")
    for force in (nonbonded, repulsion):
        method = "NoCutoff"
        if periodic:
            method = "PME" if force is nonbonded else "CutoffPeriodic"
            force.setCutoffDistance(0.65)
        force.setNonbondedMethod(getattr(type(force), method))
    nonbonded.setEwaldErrorTolerance(1e-7)
    kinds = {0: (16.0, -0.8, 0.3, 0.6), 1: (1.0, 0.4, 0.1, 0.1), 2: (1.0, 0.4, 0.1, 0.1)}
    for p in particles:
        mass, charge, sigma, epsilon = (23.0, 1.0, 0.25, 0.4) if p == 6 else kinds[p % 3]
        system.addParticle(mass)
        nonbonded.addParticle(charge, sigma, epsilon)
        repulsion.addParticle()
    index = {p: k for k, p in enumerate(particles)}
    for o in (0, 3):
        if o in index:
            h = [index[o + 1], index[o + 2]]
            for k in h:
                bonds.addBond(index[o], k, 0.1, 4e5)
            angles.addAngle(h[0], index[o], h[1], 1.9, 400.0)
            for pair in ((index[o], h[0]), (index[o], h[1]), (h[0], h[1])):
                nonbonded.addException(*pair, 0.0, 1.0, 0.0)
                repulsion.addExclusion(*pair)
    for force in (nonbonded, bonds, angles, repulsion, mm.CMMotionRemover()):
        system.addForce(force)
    return system


def evaluated(
    system: Any, places: np.ndarray, groups: set[int] | int = -1
) -> tuple[float, np.ndarray]:
    made = openmm.Context(
        system, openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatformByName("Reference")
    )
    made.setPositions(places / NANOMETER)
    state = made.getState(getEnergy=True, getForces=True, groups=groups)
    forces = state.getForces(asNumpy=True)._value * KILOJOULE / NANOMETER
    return state.getPotentialEnergy()._value * KILOJOULE, forces


def test_each_pair_is_counted_once() -> None:
    potential = untrained((1, 8), layers=1, ladder=(3.0, 4.0, "long"))
    solute = ase.Atoms("OHH", PLACES[SOLUTE])
    whole = force_field(list(range(7)), periodic=True)
    before, forces_before = evaluated(whole, PLACES)
    mixed = mixed_openmm_system(whole, potential, solute, SOLUTE)
    energy, forces = evaluated(mixed, PLACES)
    alone, forces_alone = evaluated(force_field(SOLUTE, periodic=False), PLACES[SOLUTE])
    solute.calc = sw.ScalewiseCalculator(potential)
    expected = forces_before.copy()
    expected[SOLUTE] += solute.get_forces() - forces_alone
    assert energy == pytest.approx(before - alone + solute.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(forces, expected, atol=1e-4)
    assert evaluated(whole, PLACES)[0] == before  # it was not changed
    split = PLACES.copy()
    split[1, 0] += BOX  # the molecule in two halves is one for the potential
    for k in range(mixed.getNumForces() - 1):
        mixed.getForce(k).setForceGroup(3)
    found, _ = evaluated(mixed, split, groups={0})
    assert found == pytest.approx(solute.get_potential_energy(), abs=1e-6)


def test_what_would_be_counted_twice_is_refused() -> None:
    potential = untrained((1, 8), layers=1, ladder=(3.0, 4.0, "long"))
    whole, solute = force_field(list(range(7)), periodic=True), ase.Atoms("OHH", PLACES[SOLUTE])

    def refused(match: str, system: Any = whole, atoms: Any = solute, subset: Any = SOLUTE) -> None:
        with pytest.raises(InputError, match=match):
            mixed_openmm_system(system, potential, atoms, subset)

    refused("2 numbers for 3 atoms", subset=[0, 1])
    refused("there twice", subset=[0, 1, 1])
    refused("9 of 7 particles", subset=[0, 1, 9])
    refused("of which only some are in it", subset=[0, 1, 3])
    periodic = solute.copy()
    periodic.set_cell(BOX * np.eye(3))
    periodic.pbc = True
    refused("their images would be counted", atoms=periodic)
    constrained = force_field(list(range(7)), periodic=True)
    constrained.addConstraint(0, 1, 0.1)
    mixed = mixed_openmm_system(constrained, potential, solute, SOLUTE)
    assert (constrained.getNumConstraints(), mixed.getNumConstraints()) == (1, 0)
    constrained.addConstraint(0, 3, 0.4)
    refused("a constraint of particles", system=constrained)
    polarizable = force_field(list(range(7)), periodic=True)
    polarizable.addForce(openmm.GBSAOBCForce())
    refused("a GBSAOBCForce", system=polarizable)
    massless = force_field(list(range(7)), periodic=True)
    massless.setParticleMass(1, 0.0)
    refused("particle 1 has no mass", system=massless)
