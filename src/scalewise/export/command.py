"""``scalewise export``: a potential in a folder for one engine, with an example that runs."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Final

import ase
import numpy as np
import torch

from scalewise import __version__
from scalewise.analysis.evaluation.predict import shorter
from scalewise.core.errors import InputError
from scalewise.core.files import TEMPORARY, write_json, write_text
from scalewise.core.progress import SILENT, Progress
from scalewise.core.running import LOCK
from scalewise.data.charges import CHARGE_KEYS, total_charge
from scalewise.data.reading import read_one
from scalewise.data.structure import Structure
from scalewise.export.engines import COMMANDS, Export, write_engine
from scalewise.export.settings import ExportSettings
from scalewise.interfaces.openmm import in_openmm_form
from scalewise.models import checkpoint
from scalewise.models.graph import check_elements
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential, check_scale
from scalewise.models.programs.compiling import state_digest
from scalewise.models.protocol import Scale, knows_long_range
from scalewise.reporting.experiments import Request

#: What says that a folder is an export, and what is in it.
DOCUMENT: Final = "export.json"
KIND: Final = "scalewise export"
SCHEMA: Final = 1
README: Final = "README.md"


def export_potential(
    potential: Potential,
    atoms: ase.Atoms,
    settings: ExportSettings,
    out: Path | str,
    *,
    progress: Progress = SILENT,
) -> list[Path]:
    """Write a potential at one of its scales to a folder for a simulation engine.

    The folder holds the model, compiled programs if the engine uses them, a structure, an example
    that runs without changes, and a page of instructions. An earlier export in the folder is
    replaced.

    Parameters
    ----------
    potential
        A potential with any ladder, with or without an adaptive cutoff.
    atoms
        Initial structure of the example, Å; programs are compiled for its periodicity.
    settings
        Engine and scale.
    out
        Folder of the export.
    progress
        Receives messages and progress.

    Returns
    -------
    list of Path
        The written files that are meant for users.

    Raises
    ------
    InputError
        A folder that holds other files than an export; an unknown element; a scale that the
        potential does not have; a missing package or compiler that the engine needs.
    """
    return _exported(potential, Structure.from_ase(atoms), atoms, settings, Path(out), progress)


def run_command(request: Request) -> list[Path]:
    """Run ``scalewise export``.

    Raises
    ------
    InputError
        As :func:`export_potential`.
    """
    settings, (file,) = request.settings, request.files
    model = open_potential(request.model, device="cpu", cutoff=settings.cutoff)
    image, frame = read_one(file, settings.index, check_units=settings.check_units)
    for sentence in shorter(model, settings.cutoff):
        request.progress.message(sentence)
    found = _exported(model, frame, image, settings, request.out, request.progress)
    command, extra = COMMANDS[settings.to]
    if extra:
        request.progress.message(f'{settings.to} is the extra of: pip install "scalewise[{extra}]"')
    request.progress.message(f"try it: cd {shlex.quote(str(request.out))} && {command}")
    return found


def _exported(
    potential: Potential,
    frame: Structure,
    image: ase.Atoms,
    settings: ExportSettings,
    out: Path,
    progress: Progress,
) -> list[Path]:
    check_elements(frame, potential.elements)
    if not len(frame.numbers):
        raise InputError(frame.where, "no atoms", "Give a structure that the example begins with.")
    _check_engine(potential, frame, settings)
    _check_folder(out)
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    potential = potential.to("cpu", dtype, compiled=False)
    check_scale(potential, Scale(settings.cutoff, settings.long_range))
    atoms = _plain(image)
    if settings.to == "openmm":
        atoms = in_openmm_form(atoms)
        if not np.allclose(atoms.cell.array, image.cell.array):
            progress.message("start.extxyz: rotated, so that its cell is in OpenMM's form")
    command, extra = COMMANDS[settings.to]
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "scalewise": __version__,
        "torch": torch.__version__,
        "settings": settings.model_dump(mode="json"),
        "model": potential.name,
        "network": state_digest(potential.network),
        "elements": list(potential.elements),
    }
    out.mkdir(parents=True, exist_ok=True)
    # an export that is there stays whole until this one is
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=TEMPORARY) as name:
        made = Path(name)
        checkpoint.write(made / "model", potential)
        atoms.write(made / "start.extxyz", format="extxyz")
        found = write_engine(Export(potential, frame, atoms, settings, progress), made)
        write_text(made / README, _readme(settings, potential, command, extra))
        files = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file())
        # known as an export, which may be replaced, from here on
        write_json(out / DOCUMENT, {**document, "files": files})
        for old in out.iterdir():
            if old.name not in (LOCK, DOCUMENT):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for new in made.iterdir():
            new.rename(out / new.name)
    return [out / p.relative_to(made) for p in (*found, made / README)]


def _check_engine(potential: Potential, frame: Structure, settings: ExportSettings) -> None:
    """Refuse what an engine cannot do, before anything is computed."""
    engine, charge = settings.to, total_charge(frame)
    if settings.inner is not None and engine != "openmm":
        raise InputError("key 'inner'", f"of openmm, not of {engine}", "Leave it out.")
    longest = potential.cutoff if settings.cutoff is None else settings.cutoff
    if settings.inner is not None and settings.inner >= longest:
        found = f"{settings.inner:g} Å, but the cutoff is {longest:g} Å"
        raise InputError("key 'inner'", found, "Give a shorter one.")
    acts = knows_long_range(potential, Scale(settings.cutoff, settings.long_range))
    if engine in ("metatomic", "torchsim") and charge and acts:
        raise InputError(
            frame.where,
            f"a total charge of {charge:g} e, which {engine} has no place for",
            "Export it with --to ase, openmm, lammps or ipi; TorchSimModel has total_charge.",
        )
    if engine == "torchsim" and frame.pbc.any() and not frame.pbc.all():
        raise InputError(
            frame.where,
            "a slab or wire, of which torch-sim makes a cluster",
            "Export it with --to ase, openmm, metatomic or ipi.",
        )


def _check_folder(out: Path) -> None:
    """Refuse to write among files of something else."""
    others = [p for p in out.iterdir() if p.name != LOCK] if out.is_dir() else []
    if others and not (out / DOCUMENT).is_file():
        raise InputError(
            str(out), "a folder with other files", "Give another: --out runs/export-ENGINE."
        )


def _plain(image: ase.Atoms) -> ase.Atoms:
    """The structure without labels, velocities and constraints."""
    atoms = ase.Atoms(
        image.numbers,
        image.positions,
        cell=image.cell,
        pbc=image.pbc,
        masses=image.get_masses(),
    )
    atoms.info = {k: image.info[k] for k in CHARGE_KEYS if k in image.info}
    return atoms


def _readme(settings: ExportSettings, potential: Potential, command: str, extra: str) -> str:
    cutoff = "its own cutoffs" if settings.cutoff is None else f"a cutoff of {settings.cutoff:g} Å"
    install = f'`pip install "scalewise[{extra}]"`' if extra else "scalewise"
    return (
        f"# {potential.name} for {settings.to}\n\n"
        f"A potential of scalewise {__version__} at {cutoff}, "
        f"{'with' if settings.long_range else 'without'} long range where it has any, in "
        f"{settings.dtype}.\n\n"
        f"Run the example from this folder, in an environment with {install}:\n\n"
        f"    {command}\n\n"
        "Compiled files are for this machine's processor and PyTorch, and are checked when they "
        "are loaded: export again after installing another. The rest is in scalewise's "
        f"documentation, page {settings.to}.\n"
    )
