"""Files that each engine gets beside the model: programs, input files, an example that runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from ase.io.lammpsdata import write_lammps_data

from scalewise.core.errors import InputError
from scalewise.core.files import replacing, write_text
from scalewise.core.progress import Progress
from scalewise.data.charges import total_charge
from scalewise.data.structure import Structure, complete
from scalewise.export.settings import ExportSettings
from scalewise.models import checkpoint, electrostatics, particle_mesh
from scalewise.models.compiler import compiler_found
from scalewise.models.potential import Potential
from scalewise.models.programs.compiling import Network, compile_program, load_program, module_of
from scalewise.models.programs.evaluation import file_name
from scalewise.models.programs.inputs import Boundary, Kind, Part
from scalewise.models.protocol import Scale, knows_long_range

#: How the example of an engine is run from its folder, and the extra of the package that it needs.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "ase": ("python run.py", ""),
    "openmm": ("python run.py", "openmm"),
    "lammps": ("lmp -in in.lammps", "lammps"),
    "metatomic": ("python run.py", "metatomic"),
    "torchsim": ("python run.py", "torchsim"),
    "ipi": ("i-pi input.xml", "ipi"),
}
#: Å of vacuum around a molecule in the box of a LAMMPS data file.
MARGIN: Final = 10.0


@dataclass(frozen=True, eq=False)
class Export:
    """What is exported.

    Attributes
    ----------
    potential
        In the type that it is exported in, on the CPU.
    frame, atoms
        The structure that the example begins with.
    settings
        Engine and scale.
    progress
        Receives messages and progress.
    """

    potential: Potential
    frame: Structure
    atoms: ase.Atoms
    settings: ExportSettings
    progress: Progress

    @property
    def scale(self) -> Scale:
        """The scale that is exported."""
        return Scale(self.settings.cutoff, self.settings.long_range)

    @property
    def network(self) -> Network:
        """The network, with its adaptive cutoff where that acts."""
        return (self.adaptive and self.potential._adaptive_network) or self.potential.network

    @property
    def adaptive(self) -> bool:
        """Whether the adaptive cutoff chooses the cutoffs."""
        return self.settings.cutoff is None and self.potential.adaptive_cutoff is not None

    def kind(self) -> Kind:
        """The program that the structure needs."""
        graph = self.potential.graph(self.frame)
        acts = knows_long_range(self.potential, self.scale)
        return Kind(
            acts,
            Boundary.of(graph) if acts else Boundary.PERIODIC,
            acts and graph.mesh is not None,
            self.adaptive and self.element_cutoffs() is None,
        )

    def element_cutoffs(self) -> list[float] | None:
        """The cutoff of every element, Å; none where it depends on what is around an atom."""
        kinds = len(self.potential.elements)
        if not self.adaptive:
            own = self.settings.cutoff
            return kinds * [self.potential.cutoff if own is None else own]
        assert self.potential.adaptive_cutoff is not None
        found = self.potential.adaptive_cutoff.constants(torch.arange(kinds))
        return None if found is None else found.tolist()


def write_engine(export: Export, folder: Path) -> list[Path]:
    """Write what an engine needs into a folder, and return the files that a user looks at.

    Raises
    ------
    InputError
        A package that is missing; no C++ compiler where programs are needed; a structure that the
        engine cannot take.
    """
    engine = export.settings.to
    if engine == "lammps":
        return _lammps(export, folder)
    if engine == "metatomic":
        return _metatomic(export, folder)
    _programs(export, folder)
    if engine == "ipi":
        return _ipi(export, folder)
    words, double = _words(export), export.settings.dtype == "float64"
    dtype = ", dtype=torch.float64" if double else ""
    values = {
        "cutoffs": words.replace("cutoff=", "cutoffs=") + dtype,
        "openmm": words + _inner(export) + dtype,
        "torchsim": words + dtype,
        "integrator": _integrator(export),
        "torch": "import torch\n" if double else "",
    }
    return [_example(folder / "run.py", f"{engine}.py", values)]


def _words(export: Export) -> str:
    """The scale as arguments of a call."""
    settings, found = export.settings, ""
    if settings.cutoff is not None:
        found += f", cutoff={settings.cutoff!r}"
    if not settings.long_range:
        found += ", long_range=False"
    return found


def _inner(export: Export) -> str:
    inner = export.settings.inner
    return "" if inner is None else f", inner={inner!r}"


def _integrator(export: Export) -> str:
    if export.settings.inner is None:
        return (
            "integrator = openmm.LangevinMiddleIntegrator(\n"
            "    300 * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond\n)"
        )
    return (
        "# the short scale every 0.5 fs, what the whole adds to it every 1 fs\n"
        "integrator = openmm.MTSLangevinIntegrator(\n"
        "    300 * unit.kelvin, 1 / unit.picosecond, 1 * unit.femtosecond, [(0, 1), (1, 2)]\n)"
    )


def _example(path: Path, template: str, values: dict[str, str]) -> Path:
    text = (files("scalewise.export") / "templates" / f"{template}.txt").read_text("utf-8")
    write_text(path, Template(text).substitute(values))
    return path


def _compiles(export: Export) -> bool:
    wanted = export.settings.compile
    return wanted == "always" or (wanted == "auto" and compiler_found())


def _programs(export: Export, folder: Path) -> None:
    """Compile the program that the structure needs, into the folder of the model."""
    if not _compiles(export):
        if export.settings.compile == "auto":
            export.progress.message("no C++ compiler: without a compiled program")
        return
    kind = export.kind()
    export.progress.message(f"compiling a program ({kind.name}): about a minute")
    path = folder / "model" / checkpoint.PROGRAMS / file_name(kind, export.settings.dtype)
    compile_program(export.network, kind, path)
    load_program(path, export.network, kind)


def _metatomic(export: Export, folder: Path) -> list[Path]:
    from scalewise.interfaces.metatomic import metatomic_model

    settings = export.settings
    model = metatomic_model(
        export.potential, cutoff=settings.cutoff, long_range=settings.long_range
    )
    with replacing(folder / "potential.pt") as temporary:
        model.save(str(temporary))
    return [folder / "potential.pt", _example(folder / "run.py", "metatomic.py", {})]


def _ipi(export: Export, folder: Path) -> list[Path]:
    settings = export.settings
    parameters = {"template": "start.extxyz", "model": "model", "dtype": settings.dtype}
    if settings.cutoff is not None:
        parameters["cutoff"] = repr(settings.cutoff)
    if not settings.long_range:
        parameters["long_range"] = "False"
    if not export.atoms.pbc.any():
        # i-PI has a cell for everything; the driver keeps to the template's periodicity
        edge = float(np.ptp(export.atoms.positions, axis=0).max()) + 2 * MARGIN
        boxed = export.atoms.copy()
        boxed.set_cell(edge * np.eye(3))
        boxed.write(folder / "start.extxyz", format="extxyz")
    driver = _example(folder / "driver.py", "ipi.py", {})
    words = ", ".join(f"{key}: {value}" for key, value in parameters.items())
    return [_example(folder / "input.xml", "input.xml", {"parameters": f"{{{words}}}"}), driver]


def _lammps(export: Export, folder: Path) -> list[Path]:
    from scalewise.interfaces.lammps.installed import build_plugin

    kind = export.kind()
    if kind.long_range and kind.boundary is Boundary.PARTIAL:
        raise InputError(
            export.frame.where,
            "a slab or wire, whose long range the pair style does not sum",
            "Export it with --to ase, openmm, metatomic or ipi, or give long_range=false where "
            "the potential was trained for both.",
        )
    if export.settings.compile == "never":
        raise InputError("key 'compile'", "never, but LAMMPS runs programs", "Leave it out.")
    symbols = [chemical_symbols[z] for z in sorted(set(export.frame.numbers.tolist()))]
    _write_data(export.atoms, symbols, folder / "start.data")
    export.progress.message("compiling the pair style: one to two minutes")
    plugin = build_plugin(folder / "scalewiseplugin.so")
    kinds = {"whole": kind, "local": _part(kind, Part.LOCAL)}
    if kind.long_range:
        kinds["charges"] = _part(kind, Part.CHARGES)
        kinds["smeared"] = _part(kind, Part.SMEARED)
    lines = _description(export, kind)
    for number, (role, of) in enumerate(kinds.items(), 1):
        export.progress.message(f"compiling program {number} of {len(kinds)} ({of.name})")
        path = folder / file_name(of, export.settings.dtype)
        compile_program(export.network, of, path)
        module, inputs = module_of(export.network, of)
        expected = load_program(path, export.network, of)(*inputs.tensors())
        probe = [t.contiguous() for t in inputs.tensors()], [t.clone() for t in expected]
        with replacing(path.with_suffix(".probe")) as temporary:
            torch.save(probe, temporary)
        lines += [f"{role} {path.name}", f"{role}_inputs {' '.join(module.names)}"]
    write_text(folder / "potential.txt", "\n".join(lines) + "\n")
    boundary = " ".join("p" if p else "f" for p in export.atoms.pbc)
    values = {"boundary": boundary, "elements": " ".join(symbols)}
    return [_example(folder / "in.lammps", "in.lammps", values), plugin]


def _part(kind: Kind, part: Part) -> Kind:
    """The same at one stage of several processes."""
    if part is Part.SMEARED:
        return Kind(True, kind.boundary, kind.mesh, part=part)
    return Kind(kind.long_range, adaptive=kind.adaptive, part=part)


def _description(export: Export, kind: Kind) -> list[str]:
    """What the pair style knows of the potential: a word and its value a line."""
    potential = export.potential
    settings = potential.network.settings
    cutoffs = export.element_cutoffs() or [potential.cutoff]
    near = settings.first_layer_cutoff
    values = {
        "format": "2",
        "elements": " ".join(chemical_symbols[z] for z in potential.elements),
        "composition": " ".join(f"{e:.17g}" for e in potential.composition.energies),
        "cutoff": f"{max(cutoffs):.17g}",
        "near": f"{0.0 if near is None else near:.17g}",
        "shortest": f"{settings.shortest_cutoff if kind.adaptive else 0.0:.17g}",
        "atom_cutoffs": " ".join(f"{c:.17g}" for c in cutoffs),
        "envelope": f"{settings.cutoff:.17g}",
        "smearing": f"{settings.smearing if kind.long_range else 0.0:.17g}",
        "layers": str(settings.layers),
        "long_range": "yes" if kind.long_range else "no",
        "total_charge": f"{total_charge(export.frame):.17g}",
        "boundary": str(kind.boundary),
        "sum": "mesh" if kind.mesh else "waves",
        "reach": f"{electrostatics.REACH:.17g}",
        "spacing": f"{particle_mesh.SPACING:.17g}",
        "dtype": export.settings.dtype,
    }
    return [f"{key} {value}" for key, value in values.items()]


def _write_data(atoms: ase.Atoms, symbols: list[str], path: Path) -> None:
    """Write a data file of LAMMPS; its cell is turned into LAMMPS' form.

    Raises
    ------
    InputError
        Isotopes: LAMMPS has one mass for each type of atom.
    """
    boxed = atoms.copy()
    open_axes = ~atoms.pbc
    if open_axes.any():
        # along open axes, a box around the atoms, perpendicular to the others
        cell = complete(atoms.cell.array, atoms.pbc)
        along = atoms.positions @ np.linalg.inv(cell)
        low = along.min(axis=0) - MARGIN
        length = np.ptp(along, axis=0) + 2.0 * MARGIN
        cell[open_axes] *= length[open_axes, None]
        boxed.positions -= (low * open_axes) @ complete(atoms.cell.array, atoms.pbc)
        boxed.set_cell(cell)
    for symbol in symbols:
        masses = np.unique(atoms.get_masses()[np.array(atoms.get_chemical_symbols()) == symbol])
        if len(masses) > 1:
            found = f"{symbol} with masses {', '.join(f'{m:g}' for m in masses[:3])}"
            remedy = "Export one mass for each element, and set others in the input of LAMMPS."
            raise InputError("structure", found, remedy)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        write_lammps_data(
            file,
            boxed,
            specorder=symbols,
            masses=True,
            units="metal",
            atom_style="charge",
            reduce_cell=False,
        )
