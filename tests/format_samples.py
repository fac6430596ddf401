"""Files of every format, written by hand: generic values, several elements, known labels."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import ase.db
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.io.trajectory import Trajectory

from scalewise.data.reading import write_structures
from scalewise.data.shard_writing import write_shards
from scalewise.data.structure import Labels, Structure

#: eV, and Å: CODATA 2018, and not those of ASE.
HARTREE, BOHR = 27.211386245988, 0.529177210903
#: kbar in eV/Å³: 10^8 Pa, and an eV is 1.602176634e-19 J.
KBAR = 1e8 * 1e-30 / 1.602176634e-19


def structures(
    frames: int = 3, *, periodic: bool = True, stress: bool = True, alike: bool = False
) -> list[Structure]:
    """Frames of oxygen, hydrogen and sodium in skewed cells; ``alike``: of the same atoms."""
    rng = np.random.default_rng(3)
    found = []
    for k in range(frames):
        numbers = np.repeat([11, 8, 1], [1, 2, 2 if alike else 2 + k])
        cell = 9.0 * np.eye(3) + rng.uniform(-0.8, 0.8, (3, 3))
        values = rng.normal(0.0, 0.02, (3, 3))
        labels = Labels(
            rng.normal(0.0, 0.7, (len(numbers), 3)),
            float(rng.normal(-30.0, 1.0)),
            0.5 * (values + values.T) if periodic and stress else None,
        )
        positions = (np.arange(len(numbers))[:, None] * [1.3, 0.7, 0.4]) + rng.uniform(
            0.2, 1.0, (len(numbers), 3)
        )
        found.append(
            Structure(
                numbers,
                positions,
                cell if periodic else np.zeros((3, 3)),
                np.full(3, periodic),
                index=k,
                labels=labels,
            )
        )
    return found


def energy(frame: Structure) -> float:
    """The labelled energy, eV."""
    assert frame.labels.energy is not None
    return frame.labels.energy


def write_extxyz(path: Path, frames: Sequence[Structure]) -> None:
    write_structures(path, frames)


def write_gzip(path: Path, frames: Sequence[Structure]) -> None:
    """One member of gzip for each frame."""
    parts = []
    for frame in frames:
        write_structures(path, [frame])
        parts.append(gzip.compress(path.read_bytes()))
    path.write_bytes(b"".join(parts))


def write_bzip2(path: Path, frames: Sequence[Structure]) -> None:
    write_structures(path, frames)
    path.write_bytes(bz2.compress(path.read_bytes()))


def write_xz(path: Path, frames: Sequence[Structure]) -> None:
    write_structures(path, frames)
    path.write_bytes(lzma.compress(path.read_bytes()))


def with_results(frame: Structure) -> ase.Atoms:
    """ASE's atoms with results, the energy extrapolated to no smearing beside the free one."""
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    results: dict[str, Any] = {"energy": energy(frame) + 0.01, "free_energy": energy(frame)}
    results["forces"] = frame.labelled_forces
    if frame.labels.stress is not None:
        results["stress"] = frame.labels.stress.reshape(9)[[0, 4, 8, 5, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, **results)  # type: ignore[no-untyped-call]
    return atoms


def write_trajectory(path: Path, frames: Sequence[Structure]) -> None:
    with Trajectory(str(path), "w") as trajectory:  # type: ignore[no-untyped-call]
        for frame in frames:
            trajectory.write(with_results(frame))


def write_database(path: Path, frames: Sequence[Structure]) -> None:
    with ase.db.connect(str(path)) as rows:  # type: ignore[no-untyped-call]
        for frame in frames:
            rows.write(with_results(frame), step=frame.index)


def write_outcar(path: Path, frames: Sequence[Structure]) -> None:
    path.write_text(outcar(frames))


def write_outcar_gz(path: Path, frames: Sequence[Structure]) -> None:
    path.write_bytes(gzip.compress(outcar(frames).encode()))


def kinds(frame: Structure) -> tuple[list[str], list[int]]:
    """Elements in their order, and how many atoms there are of each."""
    order = list(dict.fromkeys(frame.numbers.tolist()))
    return [chemical_symbols[z] for z in order], [int((frame.numbers == z).sum()) for z in order]


def outcar(frames: Sequence[Structure]) -> str:
    symbols, counts = kinds(frames[0])
    lines = [" vasp.6.3.0 20Jan22 complex"]
    lines += [f" POTCAR:    PAW_PBE {s} 08Apr2002" for s in symbols]
    for s in symbols:
        lines += [f" POTCAR:    PAW_PBE {s} 08Apr2002", f"   VRHFIN ={s}: s2p4"]
        lines += [f"   TITEL  = PAW_PBE {s}_pv 08Apr2002"]
    lines.append(
        f"   number of dos      NEDOS =    301   number of ions     NIONS = {sum(counts):6d}"
    )
    lines.append("   ions per type =            " + "".join(f"{n:4d}" for n in counts))
    for k, frame in enumerate(frames):
        lines += [f"--- Iteration {k + 1:6d}(   1)  ---", "  free energy    TOTEN  =   9.0 eV"]
        if frame.labels.stress is not None:
            parts = -frame.labels.stress.reshape(9)[[0, 4, 8, 1, 5, 2]] / KBAR
            lines.append("  in kB  " + "".join(f"{v:12.5f}" for v in parts))
        lines.append("      direct lattice vectors                 reciprocal lattice vectors")
        inverse = np.linalg.inv(frame.cell).T
        for row in np.hstack([frame.cell, inverse]):
            lines.append("   " + "".join(f"{v:13.9f}" for v in row))
        lines.append(f" POSITION{'':39}TOTAL-FORCE (eV/Angst)")
        lines.append(" " + 83 * "-")
        for row in np.hstack([frame.positions, frame.labelled_forces]):
            lines.append(
                "".join(f"{v:13.5f}" for v in row[:3])
                + "   "
                + "".join(f"{v:14.6f}" for v in row[3:])
            )
        lines += [" " + 83 * "-", "    total drift:      0.0  0.0  0.0", ""]
        lines.append("  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)")
        free = energy(frame)
        lines.append(f"  free  energy   TOTEN  = {free:18.8f} eV")
        lines.append(
            f"  energy  without entropy= {free + 0.02:18.8f}  "
            f"energy(sigma->0) = {free + 0.01:18.8f}"
        )
    return "\n".join([*lines, " General timing and accounting informations for this job:", ""])


def write_vasprun(path: Path, frames: Sequence[Structure]) -> None:
    path.write_text(vasprun(frames))


def write_vasprun_gz(path: Path, frames: Sequence[Structure]) -> None:
    path.write_bytes(gzip.compress(vasprun(frames).encode()))


def table(name: str, values: np.ndarray) -> list[str]:
    rows = [f"<v> {' '.join(f'{v:.8f}' for v in row)} </v>" for row in values]
    return [f'<varray name="{name}" >', *rows, "</varray>"]


def vasprun(frames: Sequence[Structure], pressure: float = 0.0) -> str:
    lines = ['<?xml version="1.0" encoding="ISO-8859-1"?>', "<modeling>"]
    lines += ["<parameters>", f'<i name="PSTRESS">{pressure:.8f}</i>', "</parameters>"]
    lines += ["<atominfo>", '<array name="atoms" >', "<set>"]
    lines += [f"<rc><c>{s:2}</c><c>   1</c></rc>" for s in frames[0].symbols]
    lines += ["</set>", "</array>", "</atominfo>"]
    for frame in frames:
        lines += ["<calculation>", "<scstep>", "<energy>", '<i name="e_fr_energy">  9.0 </i>']
        lines += ["</energy>", "</scstep>", "<structure>", "<crystal>"]
        lines += [*table("basis", frame.cell), "</crystal>"]
        fractions = frame.positions @ np.linalg.inv(frame.cell)
        lines += [*table("positions", fractions), "</structure>"]
        lines += table("forces", frame.labelled_forces)
        if frame.labels.stress is not None:
            lines += table("stress", -frame.labels.stress / KBAR)
        work = pressure * KBAR * abs(np.linalg.det(frame.cell))
        lines += ["<energy>", f'<i name="e_fr_energy"> {energy(frame) + work:.8f} </i>']
        lines += ['<i name="e_wo_entrp"> 7.0 </i>', '<i name="e_0_energy"> 8.0 </i>', "</energy>"]
        lines.append("</calculation>")
    return "\n".join([*lines, "</modeling>", ""])


def write_deepmd(path: Path, frames: Sequence[Structure]) -> None:
    """Two sets, in single precision but for positions, as DeePMD-kit has them."""
    path.mkdir()
    elements = np.unique(np.concatenate([f.numbers for f in frames])).tolist()
    path.joinpath("type_map.raw").write_text("\n".join(chemical_symbols[z] for z in elements))
    types = {z: k for k, z in enumerate(elements)}
    path.joinpath("type.raw").write_text(
        "\n".join(str(types[z]) for z in frames[0].numbers.tolist())
    )
    if not frames[0].pbc.any():
        path.joinpath("nopbc").touch()
    for k, part in enumerate((frames[:1], frames[1:])):
        if part:
            save_set(path / f"set.{k:03d}", part)


def save_set(folder: Path, frames: Sequence[Structure]) -> None:
    folder.mkdir()
    np.save(folder / "coord.npy", [f.positions.reshape(-1) for f in frames])
    np.save(folder / "energy.npy", [energy(f) for f in frames])
    np.save(folder / "force.npy", [f.labelled_forces.reshape(-1) for f in frames])
    if frames[0].pbc.any():
        np.save(folder / "box.npy", [f.cell.reshape(-1) for f in frames])
    if frames[0].labels.stress is not None:
        virials = [virial(f) for f in frames]
        np.save(folder / "virial.npy", [v.reshape(-1) for v in virials])


def virial(frame: Structure) -> np.ndarray:
    """-V times the stress, eV [3, 3]."""
    assert frame.labels.stress is not None
    return -frame.labels.stress * abs(np.linalg.det(frame.cell))


def write_mixed(path: Path, frames: Sequence[Structure]) -> None:
    """One set of frames of different atoms, filled up with atoms that are none."""
    path.mkdir()
    path.joinpath("type_map.raw").write_text("Na O H")
    most = max(len(f.numbers) for f in frames)
    path.joinpath("type.raw").write_text("0\n" * most)
    types = {11: 0, 8: 1, 1: 2}
    filled = []
    for f in frames:
        more = most - len(f.numbers)
        rows = np.pad(f.positions, ((0, more), (0, 0)))
        forces = np.pad(f.labelled_forces, ((0, more), (0, 0)))
        filled.append(replace(f, positions=rows, labels=replace(f.labels, forces=forces)))
    save_set(path / "set.000", filled)
    real = [[types[z] for z in f.numbers.tolist()] for f in frames]
    np.save(path / "set.000/real_atom_types.npy", [r + [-1] * (most - len(r)) for r in real])


def write_runner(path: Path, frames: Sequence[Structure]) -> None:
    path.write_text(runner(frames))


def runner(frames: Sequence[Structure]) -> str:
    lines = []
    for frame in frames:
        lines += ["begin", f"comment frame {frame.index} of a test"]
        if frame.pbc.any():
            lines += ["lattice " + " ".join(f"{v:.10f}" for v in row) for row in frame.cell / BOHR]
        forces = frame.labelled_forces / (HARTREE / BOHR)
        for s, r, f in zip(frame.symbols, frame.positions / BOHR, forces, strict=True):
            numbers = [f"{v:.10f}" for v in (*r, *f)]
            lines.append(" ".join(["atom", *numbers[:3], s, "0.0 0.0", *numbers[3:]]))
        lines += [f"energy {energy(frame) / HARTREE:.10f}", "charge 1.0", "end"]
    return "\n".join(lines) + "\n"


def write_archive(path: Path, frames: Sequence[Structure]) -> None:
    """As sGDML writes: kcal/mol and bohr, by their names."""
    kcal = 4184 / 1.602176634e-19 / 6.02214076e23
    np.savez(
        path,
        z=frames[0].numbers,
        R=np.array([f.positions for f in frames]) / BOHR,
        E=np.array([energy(f) for f in frames]) / kcal,
        F=np.array([f.labelled_forces for f in frames]) * BOHR / kcal,
        e_unit="kcal/mol",
        r_unit="bohr",
    )


def write_as_shards(path: Path, frames: Sequence[Structure]) -> None:
    write_shards(path, frames)


def write_folder(path: Path, frames: Sequence[Structure]) -> None:
    """A run of VASP for each frame, in folders whose names are in another order than made."""
    for k, frame in reversed(list(enumerate(frames))):
        run = path / f"run{k}"
        run.mkdir(parents=True)
        write_vasprun(run / "vasprun.xml", [frame])
        write_outcar(run / "OUTCAR", [frame])


Write = Callable[[Path, Sequence[Structure]], None]
#: Name of a file, how it is written, what frames it may hold, and how exact it is.
FORMATS: dict[str, tuple[str, Write, dict[str, bool], float]] = {
    "extxyz": ("a.xyz", write_extxyz, {}, 1e-6),
    "open": ("a.extxyz", write_extxyz, {"periodic": False}, 1e-6),
    "gzip": ("a.xyz.gz", write_gzip, {}, 1e-6),
    "bzip2": ("a.extxyz.bz2", write_bzip2, {}, 1e-6),
    "xz": ("a.xyz.xz", write_xz, {"stress": False}, 1e-6),
    "traj": ("a.traj", write_trajectory, {}, 1e-12),
    "traj, open": ("a.traj", write_trajectory, {"periodic": False}, 1e-12),
    "db": ("a.db", write_database, {}, 1e-12),
    "db, open": ("a.db", write_database, {"periodic": False}, 1e-12),
    "OUTCAR": ("OUTCAR", write_outcar, {"alike": True}, 1e-5),
    "OUTCAR, no stress": ("run1.OUTCAR", write_outcar, {"alike": True, "stress": False}, 1e-5),
    "OUTCAR, gzip": ("OUTCAR_12.gz", write_outcar_gz, {"alike": True}, 1e-5),
    "vasprun": ("vasprun.xml", write_vasprun, {"alike": True}, 1e-6),
    "vasprun, no stress": ("b.xml", write_vasprun, {"alike": True, "stress": False}, 1e-6),
    "vasprun, gzip": ("vasprun.xml.gz", write_vasprun_gz, {"alike": True}, 1e-6),
    "deepmd": ("water", write_deepmd, {"alike": True}, 1e-9),
    "deepmd, no virial": ("water", write_deepmd, {"alike": True, "stress": False}, 1e-9),
    "deepmd, nopbc": ("water", write_deepmd, {"alike": True, "periodic": False}, 1e-9),
    "deepmd, mixed": ("water", write_mixed, {}, 1e-9),
    "RuNNer": ("input.data", write_runner, {"stress": False}, 2e-6),
    "RuNNer, open": ("input.data", write_runner, {"periodic": False}, 2e-6),
    "npz": ("a.npz", write_archive, {"alike": True, "periodic": False}, 1e-5),
    "shards": ("data", write_as_shards, {}, 1e-12),
    "shards, open": ("data", write_as_shards, {"periodic": False}, 1e-12),
    "folder": ("runs", write_folder, {}, 1e-6),
}
