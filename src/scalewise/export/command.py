"""``scalewise export``: a potential in a folder for one engine, with an example that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import ase
import torch

from scalewise import __version__
from scalewise.analysis.evaluation.predict import shorter
from scalewise.core.errors import InputError
from scalewise.core.files import write_json, write_text
from scalewise.core.progress import SILENT, Progress
from scalewise.core.running import LOCK
from scalewise.data.charges import CHARGE_KEYS
from scalewise.data.reading import read_one
from scalewise.data.structure import Structure
from scalewise.export.engines import COMMANDS, Export, write_engine
from scalewise.export.settings import ExportSettings
from scalewise.models import checkpoint
from scalewise.models.graph import check_elements
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential, check_scale
from scalewise.models.programs.compiling import state_digest
from scalewise.models.protocol import Scale
from scalewise.reporting.experiments import Request

#: What says that a folder is an export, and what is in it.
DOCUMENT: Final = "export.json"
KIND: Final = "scalewise export"
SCHEMA: Final = 1


def export_potential(
    potential: Potential,
    atoms: ase.Atoms,
    settings: ExportSettings,
    out: Path | str,
    *,
    progress: Progress = SILENT,
) -> list[Path]:
    """Write a potential at one of its scales to a folder for an engine.

    The folder holds the model, programs where the engine runs them, a structure, an example that
    runs as it is, and a page that says how. An export that is there is replaced.

    Parameters
    ----------
    potential
        Of any ladder, with or without an adaptive cutoff.
    atoms
        The structure that the example begins with; programs are compiled for its periodicity.
    settings
        Engine and scale.
    out
        The folder.
    progress
        Whom to tell.

    Returns
    -------
    list of Path
        The files that a user looks at.

    Raises
    ------
    InputError
        A folder with something else; an unknown element; a scale that the potential does not have;
        what the engine needs is not there.
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
    request.progress.message(f"try it: cd {request.out} && {command}")
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
    if settings.inner is not None and settings.to != "openmm":
        raise InputError("key 'inner'", f"of openmm, not of {settings.to}", "Leave it out.")
    _check_folder(out)
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    potential = potential.to("cpu", dtype, compiled=False)
    check_scale(potential, Scale(settings.cutoff, settings.long_range))
    atoms = _plain(image)
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "scalewise": __version__,
        "torch": torch.__version__,
        "settings": settings.model_dump(mode="json"),
        "model": potential.name,
        "network": state_digest(potential.network),
        "elements": list(potential.elements),
        "files": [],
    }
    # first of all: one that is interrupted is still known as an export, which may be replaced
    write_json(out / DOCUMENT, document)
    for old in _old_programs(out):
        old.unlink()
    checkpoint.write(out / "model", potential)
    atoms.write(out / "start.extxyz", format="extxyz")
    found = write_engine(Export(potential, frame, atoms, settings, progress), out)
    command, extra = COMMANDS[settings.to]
    readme = out / "README.md"
    write_text(readme, _readme(settings, potential, command, extra))
    write_json(out / DOCUMENT, {**document, "files": sorted(p.name for p in found)})
    return [*found, readme]


def _check_folder(out: Path) -> None:
    """Refuse to write among files of something else."""
    others = [p for p in out.iterdir() if p.name != LOCK] if out.is_dir() else []
    if others and not (out / DOCUMENT).is_file():
        raise InputError(
            str(out), "a folder with other files", "Give another: --out runs/export-ENGINE."
        )


def _old_programs(out: Path) -> list[Path]:
    """Programs of an export that is replaced: none may be taken for the new one's."""
    found = [p for s in ("*.pt2", "*.probe") for p in out.glob(s)]
    return found + [p for p in (out / "model" / checkpoint.PROGRAMS).glob("*") if p.is_file()]


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
