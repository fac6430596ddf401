"""Ewald sum against particle meshes: time of energy and forces, and of their second derivative.

python benchmarks/electrostatics.py

Random charges at the density of water, one thread, float32; the second mesh is torch-pme's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torchpme import CoulombPotential, P3MCalculator

from scalewise.core.quantities import COULOMB_CONSTANT
from scalewise.models import electrostatics
from scalewise.models.particle_mesh import mesh_numbers

SIZES = (200, 768, 1100, 1500, 2000, 3000, 6000)
DENSITY, SMEARING, REPEATS = 0.1, 1.25, 3

Energy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def measure(energy: Energy, positions: torch.Tensor, charges: torch.Tensor) -> tuple:
    """Milliseconds of forces and of their derivative, and the forces."""
    derivative = torch.func.grad(energy)
    forces = derivative(positions, charges)
    start = time.perf_counter()
    for _ in range(REPEATS):
        derivative(positions, charges)
    first = (time.perf_counter() - start) / REPEATS
    leaf = charges.clone().requires_grad_(True)
    start = time.perf_counter()
    for _ in range(REPEATS):
        derivative(positions, leaf).abs().sum().backward()
    return 1e3 * first, 1e3 * (time.perf_counter() - start) / REPEATS, forces


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print("atoms   ms of forces and second derivative: ewald, mesh, torch-pme   largest difference")
    for atoms in SIZES:
        edge = (atoms / DENSITY) ** (1 / 3)
        cell = edge * torch.eye(3, dtype=torch.float64)
        positions = torch.tensor(rng.uniform(0, edge, (atoms, 3)))
        charges = torch.tensor(rng.standard_normal(atoms), dtype=torch.float32)
        charges = charges - charges.mean()
        waves = tuple(w.float() for w in electrostatics.wave_numbers(cell.numpy(), SMEARING))
        numbers = tuple(n.float() for n in mesh_numbers(cell.numpy(), SMEARING))
        other = P3MCalculator(CoulombPotential(SMEARING), mesh_spacing=0.75 * SMEARING)

        def ewald(r: torch.Tensor, q: torch.Tensor, cell=cell, waves=waves) -> torch.Tensor:
            return electrostatics.ewald(r[None], q[None], cell[None], waves, SMEARING).sum()

        def mesh(r: torch.Tensor, q: torch.Tensor, cell=cell, numbers=numbers) -> torch.Tensor:
            return electrostatics.particle_mesh(
                r[None], q[None], cell[None], numbers, SMEARING
            ).sum()

        def pme(r: torch.Tensor, q: torch.Tensor, cell=cell, other=other) -> torch.Tensor:
            none = torch.zeros(0, 2, dtype=torch.int64)
            potential = other.to(dtype=q.dtype)(
                q[:, None], cell.to(q.dtype), r.to(q.dtype), none, q.new_zeros(0)
            )
            own = electrostatics.self_energy(q, SMEARING).sum()
            return COULOMB_CONSTANT * (q * potential[:, 0]).sum() + own

        found = [measure(f, positions, charges) for f in (ewald, mesh, pme)]
        times = "   ".join(f"{first:6.0f} {second:6.0f}" for first, second, _ in found)
        apart = [float((f - found[0][2]).abs().max()) for _, _, f in found[1:]]
        print(f"{atoms:5d}   {times}   {apart[0]:8.1e} {apart[1]:8.1e}", flush=True)


if __name__ == "__main__":
    main()
