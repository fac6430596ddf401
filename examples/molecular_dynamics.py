"""Molecular dynamics with a trained potential, at constant temperature.

python examples/molecular_dynamics.py runs/train/model start.xyz
"""

from __future__ import annotations

import sys

import ase.io
import ase.units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from scalewise import ScalewiseCalculator

model, start = sys.argv[1:3]
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
atoms = ase.io.read(start, index=0)
atoms.calc = ScalewiseCalculator(model)
MaxwellBoltzmannDistribution(atoms, temperature_K=300)
dynamics = Langevin(
    atoms, 0.5 * ase.units.fs, temperature_K=300, friction=0.01 / ase.units.fs, fixcm=False
)
for _ in range(10):
    dynamics.run(steps // 10)
    energy = atoms.get_potential_energy() / len(atoms)
    print(f"{dynamics.nsteps:6d} steps  {energy:10.4f} eV/atom  {atoms.get_temperature():5.0f} K")
