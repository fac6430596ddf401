"""Ewald sum against particle mesh: time of energy and forces, and of their second derivative.

python benchmarks/electrostatics.py

Random charges at the density of water, one thread, float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from scalewise.models import electrostatics

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
    print("atoms   ewald ms: forces, second   mesh ms: forces, second   largest difference eV/Å")
    for atoms in SIZES:
        edge = (atoms / DENSITY) ** (1 / 3)
        cell = edge * torch.eye(3)
        positions = torch.tensor(rng.uniform(0, edge, (atoms, 3)), dtype=torch.float32)
        charges = torch.tensor(rng.standard_normal(atoms), dtype=torch.float32)
        charges = charges - charges.mean()
        waves = tuple(w.float() for w in electrostatics.wave_numbers(cell.numpy(), SMEARING))

        def ewald(r: torch.Tensor, q: torch.Tensor, cell=cell, waves=waves) -> torch.Tensor:
            return electrostatics.ewald(r[None], q[None], cell[None], waves, SMEARING).sum()

        def mesh(r: torch.Tensor, q: torch.Tensor, cell=cell) -> torch.Tensor:
            return electrostatics.particle_mesh(r, q, cell, SMEARING)

        a, b = (measure(f, positions, charges) for f in (ewald, mesh))
        difference = float((a[2] - b[2]).abs().max())
        print(
            f"{atoms:5d}   {a[0]:15.0f} {a[1]:8.0f}   {b[0]:14.0f} {b[1]:8.0f}   {difference:10.1e}"
        )


if __name__ == "__main__":
    main()
