"""pypolymlp: polynomials of rotational invariants, linear in their coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from benchmarks.peers import clock, common, data
from pypolymlp.calculator.properties import Properties
from pypolymlp.core.data_format import PolymlpStructure
from pypolymlp.mlp_dev.pypolymlp import Pypolymlp

SHAPES: dict[str, dict[str, Any]] = {
    "silicon": {"model_type": 4, "n_gaussians": 7, "gtinv_maxl": (4, 4)},
    "salt": {"model_type": 3, "n_gaussians": 4, "gtinv_maxl": (4, 2)},
}
"""The defaults for one element; of four they would make 300,000 terms."""
COHESIVE = {"silicon": 4.6, "salt": 3.3}
"""eV per atom: the package expects energies less those of isolated atoms, and weights by them."""


class Polymlp:
    """Invariants of up to three radial functions, polynomials of second order, cutoff 6 Å."""

    packages = ("pypolymlp",)
    own_sources = ("pypolymlp 0.22.1: defaults of Pypolymlp.set_params and fit",)
    settings: ClassVar[dict[str, Any]] = {
        "cutoff": 6.0,
        "max_p": 2,
        "feature_type": "gtinv",
        "gtinv_order": 3,
        **SHAPES[data.NAME],
    }

    def train_own(self, marks: list[float], out: Path) -> dict[str, Any]:
        """Ridge regression; the penalty is chosen by the error of the validation frames."""
        model = Pypolymlp(verbose=True)
        model.set_params(
            elements=data.ELEMENTS,
            include_force=True,
            include_stress=False,
            atomic_energy=[COHESIVE[data.NAME]] * len(data.ELEMENTS),
            **self.settings,
        )
        known: dict[str, Any] = {}
        for role, split in (("train", "train"), ("test", "valid")):
            frames = [in_order(f) for f in data.frames(split)]
            known[f"{role}_structures"] = [structure(f) for f in frames]
            known[f"{role}_energies"] = np.array([f.info["REF_energy"] for f in frames])
            known[f"{role}_forces"] = [f.arrays["REF_forces"].T for f in frames]
        begin = clock.now()
        model.set_datasets_structures(**known)
        model.fit()
        seconds = clock.now() - begin
        model.save_mlp(filename=str(out / "polymlp.yaml"))
        common.save_called(self.open(out), marks[-1], out)
        mark = clock.name(marks[-1])
        return {
            "recipe": {"terms": model.n_features, "regression": "ridge, five penalties"},
            "seconds": {mark: seconds},
            "steps": {mark: 0},
        }

    def open(self, folder: Path) -> common.Call:
        """Energy and forces by its C++ library; neighbors are found in every call."""
        model = Properties(pot=str(folder / "polymlp.yaml"))

        def call(atoms: Atoms) -> tuple[float, np.ndarray]:
            order = np.argsort(atoms.numbers, kind="stable")
            energy, found, _ = model.eval(structure(atoms[order]))
            forces = np.empty((len(atoms), 3))
            forces[order] = np.asarray(found).T
            return float(energy) + COHESIVE[data.NAME] * len(atoms), forces

        return call


def in_order(frame: Atoms) -> Atoms:
    """Atoms by element, as the package wants them."""
    return frame[np.argsort(frame.numbers, kind="stable")]


def structure(frame: Atoms) -> PolymlpStructure:
    """The package's own kind of frame."""
    return PolymlpStructure(
        axis=frame.cell.array.T,
        positions=frame.get_scaled_positions().T,
        n_atoms=[int((frame.numbers == z).sum()) for z in data.NUMBERS],
        elements=frame.get_chemical_symbols(),
        types=[data.NUMBERS.index(z) for z in frame.numbers],
    )


if __name__ == "__main__":
    common.main(Polymlp())
