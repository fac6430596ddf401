"""One potential in every engine: forces beside the ASE calculator's, and the time of a step.

python benchmarks/engines.py MODEL STRUCTURE [--repeat A B C] [--steps N] [--dtype TYPE]

The structure is repeated. Steps of NVE begin at 300 K and are timed in CPU seconds of this
process, one thread, after ten that are not; the reference is one evaluation with lists as they are,
eager and as a program, and the step of ASE. Neighbor lists, their trimming and the engine's own
work are what a step takes longer. LAMMPS' pair style and the programs are exported first, below
--out (default: a temporary folder).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet

import scalewise as sw
from scalewise.data.structure import Structure
from scalewise.export.command import export_potential
from scalewise.export.settings import ExportSettings
from scalewise.interfaces.ase import ScalewiseCalculator

WARM = 10


def clock(step: Callable[[int], object], steps: int) -> float:
    """Milliseconds of CPU of one step."""
    step(WARM)
    start = time.process_time()
    step(steps)
    return 1e3 * (time.process_time() - start) / steps


def moving(atoms: ase.Atoms) -> ase.Atoms:
    found = atoms.copy()
    spread = (units.kB * 300 * found.get_masses()[:, None]) ** 0.5
    rng = np.random.default_rng(0)
    found.set_momenta(spread * rng.standard_normal((len(found), 3)))
    return found


def by_ase(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    found = moving(atoms)
    found.calc = ScalewiseCalculator(model, dtype=dtype)
    forces = found.get_forces()
    return forces, VelocityVerlet(found, 0.5 * units.fs).run


def by_metatomic(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    from metatomic_ase import MetatomicCalculator

    from scalewise.interfaces.metatomic import metatomic_model

    potential = sw.load_potential(model).to(dtype=dtype)
    found = moving(atoms)
    with tempfile.TemporaryDirectory() as folder:
        metatomic_model(potential).save(f"{folder}/potential.pt")
        found.calc = MetatomicCalculator(f"{folder}/potential.pt", device="cpu")
        forces = found.get_forces()
    return forces, VelocityVerlet(found, 0.5 * units.fs).run


def by_openmm(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    import openmm
    from openmm import unit

    system = sw.openmm_system(sw.load_potential(model), atoms, dtype=dtype)
    integrator = openmm.VerletIntegrator(0.0005)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(0.1 * atoms.positions)
    context.setVelocitiesToTemperature(300, 1)
    state = context.getState(forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(
        unit.kilojoule_per_mole / unit.angstrom
    ) * (units.kJ / units.mol)
    return forces, lambda steps: context and integrator.step(steps)


def by_torchsim(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    import torch_sim as ts

    from scalewise.interfaces.torchsim import TorchSimModel

    potential = TorchSimModel(model, dtype=dtype)
    state = ts.io.atoms_to_state([atoms], torch.device("cpu"), torch.float64)
    forces = potential(state)["forces"].double().numpy()
    init, update = ts.integrators.nve(
        model=potential,
        dt=torch.tensor(0.5 * units.fs, dtype=torch.float64),
        kT=torch.tensor(0.0257),
    )
    held = [init(state)]

    def run(steps: int) -> None:
        for _ in range(steps):
            held[0] = update(held[0])

    return forces, run


def by_ipi(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    from ipi.utils.units import unit_to_internal, unit_to_user

    from scalewise.interfaces.ipi import ScalewiseDriver

    with tempfile.TemporaryDirectory() as folder:
        atoms.write(f"{folder}/start.extxyz")
        driver = ScalewiseDriver(
            f"{folder}/start.extxyz", str(model), dtype=str(dtype).removeprefix("torch.")
        )
    cell = unit_to_internal("length", "angstrom", np.array(atoms.cell.array.T))
    places = unit_to_internal("length", "angstrom", atoms.positions)
    forces = unit_to_user("force", "ev/ang", driver(cell, places)[1])
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:  # the driver alone, at positions as they are in a simulation
        for _ in range(steps):
            driver(cell, places + 1e-2 * rng.standard_normal(places.shape))

    return forces, run


def lammps(atoms: ase.Atoms, folder: Path) -> tuple[Any, list[str], np.ndarray]:
    from scalewise.export.engines import _write_data
    from scalewise.interfaces.lammps.installed import import_lammps

    symbols = sorted(set(atoms.get_chemical_symbols()))
    _write_data(atoms, symbols, folder / "bench.data")
    lmp = import_lammps().lammps(cmdargs=["-log", "none", "-screen", "none"])
    for line in (
        "units metal",
        f"boundary {' '.join('p' if p else 'f' for p in atoms.pbc)}",
        "atom_style charge",
        "atom_modify map yes",
        f"read_data {folder}/bench.data",
    ):
        lmp.command(line)
    return lmp, symbols, np.argsort(atoms.get_chemical_symbols(), kind="stable")


def run_lammps(lmp: Any, atoms: ase.Atoms) -> tuple[Any, Callable]:
    for line in (
        "neighbor 0.5 bin",
        "neigh_modify every 1 delay 0 check yes",
        "velocity all create 300 1 dist gaussian",
        "fix integrate all nve",
        "timestep 0.0005",
        "thermo 1000000",
        "run 0",
    ):
        lmp.command(line)
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    forces = np.array(lmp.numpy.extract_atom("f")[: len(atoms)])[order]
    return forces, lambda steps: lmp.command(f"run {steps} post no")


def by_fix_external(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    from scalewise.interfaces.lammps.external import attach_to_lammps

    with tempfile.TemporaryDirectory() as folder:
        lmp, symbols, _ = lammps(atoms, Path(folder))
    lmp.command("pair_style zero 5.0")
    lmp.command("pair_coeff * *")
    attach_to_lammps(lmp, sw.load_potential(model), symbols, dtype=dtype)
    return run_lammps(lmp, atoms)


def by_pair_style(model: Path, atoms: ase.Atoms, dtype: torch.dtype) -> tuple[Any, Callable]:
    folder = model.parent / "lammps"
    lmp, symbols, _ = lammps(atoms, folder)
    lmp.command(f"plugin load {folder}/scalewiseplugin.so")
    lmp.command(f"pair_style scalewise {folder}")
    lmp.command(f"pair_coeff * * {' '.join(symbols)}")
    return run_lammps(lmp, atoms)


#: Name, what it runs, whether it is a program.
PATHS: dict[str, Callable] = {
    "ase": by_ase,
    "openmm": by_openmm,
    "torch-sim": by_torchsim,
    "i-pi driver": by_ipi,
    "lammps, fix external": by_fix_external,
    "lammps, pair style": by_pair_style,
    "metatomic": by_metatomic,
}
ONLY_PROGRAM, ONLY_EAGER = ("lammps, pair style",), ("metatomic",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("structure", type=Path)
    parser.add_argument("--repeat", type=int, nargs=3, default=(1, 1, 1))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", nargs="*", default=list(PATHS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dtype = getattr(torch, given.dtype)
    atoms = ase.io.read(given.structure).repeat(given.repeat)
    atoms.calc = None
    if not atoms.pbc.all():
        given.only = [name for name in given.only if name != "torch-sim" or not atoms.pbc.any()]
    rng = np.random.default_rng(0)
    atoms.positions += 0.02 * rng.standard_normal(atoms.positions.shape)
    out = given.out or Path(tempfile.mkdtemp())
    potential = sw.load_potential(given.model)
    for engine in ("ase", "lammps"):
        if engine == "lammps" and not set(ONLY_PROGRAM) & set(given.only):
            continue
        if not (out / engine / "export.json").is_file():
            settings = ExportSettings(to=engine, dtype=given.dtype)
            export_potential(potential, atoms, settings, out / engine)
    eager = out / "eager"
    potential.save(eager)
    reference = ScalewiseCalculator(potential, dtype=dtype, compiled=False)
    expected = reference.get_property("forces", atoms)
    base = {}
    for name, folder in (("eager", eager), ("program", out / "ase" / "model")):
        found = sw.load_potential(folder).to(dtype=dtype)
        frame = Structure.from_ase(atoms)
        graph = found.graph(frame)

        def step(n: int, found: Any = found, graph: Any = graph) -> None:
            for _ in range(n):
                found.evaluate_graph(graph, atoms.positions)

        base[name] = clock(step, given.steps)
        print(f"{len(atoms)} atoms, {given.dtype}: one evaluation, {name}: {base[name]:.1f} ms")
    print(f"{'path':24s} {'with':8s} {'eV/Å':>9s} {'ms a step':>10s} {'over a call':>12s} over ASE")
    ase_step: dict[str, float] = {}
    for name in given.only:
        for how, folder in (("eager", eager), ("program", out / "ase" / "model")):
            if (name in ONLY_PROGRAM and how == "eager") or (
                name in ONLY_EAGER and how == "program"
            ):
                continue
            # the pair style has its programs beside the folder of ASE's
            folder = out / "ase" if name in ONLY_PROGRAM else folder
            forces, run = PATHS[name](folder, atoms, dtype)
            apart = float(np.abs(forces - expected).max())
            each = clock(run, given.steps)
            beside = ase_step.setdefault(how, each)
            over = f"{each / base[how] - 1:12.1%} {each / beside - 1:9.1%}"
            print(f"{name:24s} {how:8s} {apart:9.1e} {each:10.1f} {over}", flush=True)


if __name__ == "__main__":
    main()
