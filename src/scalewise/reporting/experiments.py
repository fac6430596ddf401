"""All commands, registered once with their settings, function, document, table and figures.

The command line is made from this list, and a report finds its table and figures here. Entries name
what they need as ``module:attribute``, so that nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from scalewise.core.progress import SILENT, Progress


@dataclass(frozen=True)
class Document:
    """The JSON document in which an experiment stores its results.

    Attributes
    ----------
    kind
        Word in the document's key ``kind``.
    file
        Name without suffix.
    schema
        Number that is raised when the content changes.
    table, figures
        Functions of the report: ``table(results, console)`` prints, ``figures(report)`` returns
        figures by name.
    check
        Function ``check(results, where)`` that refuses what cannot be shown; none: not checked.
    attached
        Function ``attached(report) -> report`` that adds what is written beside the document.
    """

    kind: str
    file: str
    schema: int
    table: str
    figures: str
    check: str | None = None
    attached: str | None = None


@dataclass(frozen=True)
class Experiment:
    """One command.

    Attributes
    ----------
    name, help
        The command, and its help: examples first, then what it writes.
    settings
        Class of its settings.
    run
        Function ``run(request) -> Report | Sequence[Path]``; see :class:`Request`.
    out
        Default of ``--out``.
    model
        First argument: ``any`` model, a ``potential`` of scalewise, or ``frames`` to start from;
        empty: none of these.
    files
        How many files of structures it takes, at least and at most.
    example
        A complete command, for error messages.
    options
        Further options, of :data:`OPTIONS`.
    continues
        Whether an interrupted run continues when the command is run again.
    together
        Whether processes that torchrun or srun started run it together.
    document
        The document of its results; none: it only writes files.
    """

    name: str
    help: str
    settings: str
    run: str
    out: str
    model: Literal["", "any", "potential", "frames"] = ""
    files: tuple[int, int] = (1, 1)
    example: str = ""
    options: tuple[str, ...] = ()
    continues: bool = False
    together: bool = False
    document: Document | None = None


@dataclass(frozen=True)
class Request:
    """What a command was given, read and checked.

    Attributes
    ----------
    settings
        Of the experiment's class.
    out
        Folder (or file) for what is written.
    model
        The first argument, where there is a model; else empty.
    files
        Files of structures.
    options
        Values of further options.
    progress
        Receives messages and progress.
    """

    settings: Any
    out: Path
    model: str = ""
    files: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    progress: Progress = SILENT


def load(name: str) -> Callable[..., Any]:
    """Import what an entry names as ``module:attribute``."""
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


_A: Final = "scalewise.analysis"

EXPERIMENTS: Final = (
    Experiment(
        "study",
        r"""Study scales: generate or read data, run every way to choose scales, write the evidence.

    [bold]scalewise study[/bold]  the default solution, about seven minutes

    [bold]scalewise study solution.concentration=1 seed=3 --out runs/dilute[/bold]

    [bold]scalewise study a.xyz b.xyz predictions.labels=dft.xyz
    predictions.forces_keys=\[forces][/bold]

    Writes results.json, figures/ and report.html below --out.

    An interrupted run continues when run again.""",
        settings="scalewise.study.settings:StudySettings",
        run="scalewise.study.run:run_command",
        out="runs/study",
        files=(0, 1000),
        continues=True,
        document=Document(
            "study",
            "results",
            2,
            "scalewise.study.page.table:print_results",
            "scalewise.study.page.figures:figures_of",
            check="scalewise.study.page.schema:check_results",
            attached="scalewise.study.page.page:attach_page",
        ),
    ),
    Experiment(
        "generate",
        r"""Simulate aqueous NaCl with OpenMM and write labelled frames.

    [bold]scalewise generate concentration=1 water=spce replicas=4 --out runs/spce[/bold]

    [bold]scalewise generate geometry=slab --out runs/slab[/bold]  or droplet, crystal, pair: atoms
    in different places

    [bold]scalewise generate law=screened screening=2 --out runs/known[/bold]  labels whose range is
    known

    Writes extxyz files (eV, Å) and a manifest with every check.

    An interrupted run continues with the missing replicas when run again.""",
        settings="scalewise.testbed.settings:SolutionSettings",
        run="scalewise.testbed.solution:run_command",
        out="runs/solution",
        files=(0, 0),
        options=("workers", "on"),
        continues=True,
    ),
    Experiment(
        "doctor",
        r"""Examine labelled frames before training: noise, outliers, duplicates, units, a split.

    [bold]scalewise doctor dft.xyz --out runs/doctor[/bold]

    [bold]scalewise doctor dft.xyz forces_key=forces energy_key=energy[/bold]

    [bold]scalewise doctor dft.xyz split_key=suggested_split[/bold]  keeps a split and checks it for
    leaks

    Writes doctor.json, split.json (for the trainer) and figures/ below --out.""",
        settings="scalewise.doctor.settings:DoctorSettings",
        run="scalewise.doctor.examine:run_command",
        out="runs/doctor",
        example="scalewise doctor dft.xyz --out runs/doctor",
        document=Document(
            "doctor",
            "doctor",
            3,
            "scalewise.doctor.table:print_diagnosis",
            "scalewise.doctor.figure:figures_of",
        ),
    ),
    Experiment(
        "train",
        """Train a potential on labelled frames; a killed or interrupted run continues when rerun.

    scalewise train dft.xyz --minutes 10

    scalewise train dft.xyz --minutes 15 --ladder 3,6.5,long  any cutoff, with and without long
    range, from one set of weights

    scalewise train dft.xyz network.preset=large network.cutoff=6 epochs=200 --out runs/large""",
        settings="scalewise.training.settings:TrainSettings",
        run="scalewise.training.run:run_command",
        out="runs/train",
        example="scalewise train dft.xyz --out runs/train",
        options=("minutes", "ladder"),
        continues=True,
        together=True,
    ),
    Experiment(
        "predict",
        r"""Predict energies, forces, stress and charges of every frame; labels are not needed.

    [bold]scalewise predict runs/train md.xyz --out predictions.xyz[/bold]

    [bold]scalewise predict runs/train md.xyz cutoff=4.0 --out short.xyz[/bold]  a shorter cutoff

    All data of the input file are kept, so that scalewise study can read both labels and
    predictions; data named like results, such as energy or forces, become input_energy,
    input_forces.""",
        settings=f"{_A}.evaluation.settings:PredictSettings",
        run=f"{_A}.evaluation.predict:run_command",
        out="predictions.xyz",
        model="any",
        example="scalewise predict runs/train dft.xyz",
    ),
    Experiment(
        "evaluate",
        r"""Compare predictions with labels by element, regime and distance, and with their noise.

    [bold]scalewise evaluate runs/train dft.xyz[/bold]  the test frames of the training's split

    [bold]scalewise evaluate runs/train dft.xyz split_key=suggested_split role=\[test,ood][/bold]

    Writes evaluation.json, figures/ and predictions.xyz below --out.""",
        settings=f"{_A}.evaluation.settings:EvaluateSettings",
        run=f"{_A}.evaluation.evaluate:run_command",
        out="runs/evaluate",
        model="any",
        example="scalewise evaluate runs/train dft.xyz",
        document=Document(
            "evaluation",
            "evaluation",
            3,
            f"{_A}.evaluation.table:print_evaluation",
            f"{_A}.evaluation.figure:figures_of",
        ),
    ),
    Experiment(
        "curve",
        r"""Plot error against cutoff, with and without long range, and the cost of each scale.

    [bold]scalewise curve runs/train dft.xyz[/bold]  a potential trained with --ladder

    [bold]scalewise curve runs/train dft.xyz cutoffs=\[3,4,5] singles=\[runs/four][/bold]

    Writes curve.json and figures/ below --out.""",
        settings=f"{_A}.cutoff_scan.settings:ScanSettings",
        run=f"{_A}.cutoff_scan.scan:run_command",
        out="runs/curve",
        model="any",
        example="scalewise curve runs/train dft.xyz",
        document=Document(
            "curve",
            "curve",
            4,
            f"{_A}.cutoff_scan.table:print_curve",
            f"{_A}.cutoff_scan.figure:figures_of",
        ),
    ),
    Experiment(
        "fork",
        r"""Find which range the system needs: train each scale of a ladder further, alone.

    [bold]scalewise fork runs/ladder dft.xyz[/bold]  four cutoffs, two seeds each; with a second,
    shorter ladder these take together about as many steps as the first ladder

    [bold]scalewise fork runs/ladder dft.xyz cutoffs=\[4,5,6] share=0.2 workers=2[/bold]

    Writes forks.json, figures/ and the potentials of all forks below --out.

    An interrupted run continues when run again.""",
        settings=f"{_A}.forks.settings:ForkComparisonSettings",
        run=f"{_A}.forks.run:run_command",
        out="runs/fork",
        model="potential",
        example="scalewise fork runs/train dft.xyz",
        options=("on",),
        continues=True,
        document=Document(
            "forks",
            "forks",
            2,
            f"{_A}.forks.table:print_forks",
            f"{_A}.forks.figure:figures_of",
        ),
    ),
    Experiment(
        "refine",
        r"""Find the fewest and cheapest scales of a ladder that lose hardly any accuracy.

    [bold]scalewise refine runs/ladder dft.xyz[/bold]  force errors at most 1 % larger, and at most
    2 % for any element

    [bold]scalewise refine runs/ladder dft.xyz tolerance=0.03 by=regime near=\[Na,Cl][/bold]

    [bold]scalewise refine runs/ladder dft.xyz microseconds=150[/bold]  the most accurate within
    150 µs per atom

    Writes refine.json, figures/ and model/, a potential that gives every atom its scale.""",
        settings=f"{_A}.refinement.settings:RefineSettings",
        run=f"{_A}.refinement.refine:run_command",
        out="runs/refine",
        model="potential",
        example="scalewise refine runs/train dft.xyz",
        document=Document(
            "refine",
            "refine",
            2,
            f"{_A}.refinement.table:print_refined",
            f"{_A}.refinement.figure:figures_of",
        ),
    ),
    Experiment(
        "prove",
        r"""Find what would reduce the error: a longer range, other scales, more frames, more size.

    [bold]scalewise prove dft.xyz --ladder 3,6.5,long --minutes 5[/bold]  ten trainings: all
    frames, half, a quarter, half the channels, a fifth of the steps, two seeds each; then each
    scale is trained further alone, from the ladders on all frames

    Writes prove.json and figures/ below --out. The settings of scalewise train apply, too.

    An interrupted run continues when run again.""",
        settings=f"{_A}.attribution.settings:AttributionSettings",
        run=f"{_A}.attribution.run:run_command",
        out="runs/prove",
        example="scalewise prove dft.xyz --ladder 3,6.5,long",
        options=("minutes", "ladder", "on"),
        continues=True,
        document=Document(
            "prove",
            "prove",
            5,
            f"{_A}.attribution.table:print_proof",
            f"{_A}.attribution.figure:figures_of",
        ),
    ),
    Experiment(
        "locality",
        r"""Bound the error of any model of a given range from below, before training.

    [bold]scalewise locality runs/solution workers=2[/bold]  the force field of scalewise generate

    [bold]scalewise locality start.xyz calculator=ase.calculators.emt:EMT
    radii=\[3,4,5][/bold]  any ASE calculator

    [bold]scalewise locality runs/solution against=runs/curve/curve.json[/bold]  beside a model

    Needs the reference method alone: holds the atoms near a tagged atom fixed, resamples all
    others, and measures the spread of the force on the tagged atom.

    Writes locality.json and figures/ below --out. An interrupted run continues when run again.""",
        settings=f"{_A}.locality.settings:LocalitySettings",
        run=f"{_A}.locality.run:run_command",
        out="runs/locality",
        model="frames",
        files=(0, 0),
        options=("on",),
        continues=True,
        document=Document(
            "locality",
            "locality",
            2,
            f"{_A}.locality.table:print_locality",
            f"{_A}.locality.figure:figures_of",
        ),
    ),
    Experiment(
        "md",
        r"""Simulate a structure (NVE, NVT, NPT); a killed or interrupted run continues when rerun.

    [bold]scalewise md runs/train start.xyz[/bold]  10 ps at 300 K

    [bold]scalewise md runs/train start.cif ensemble=npt temperature=330 picoseconds=50[/bold]

    [bold]scalewise md runs/ladder start.xyz cutoff=4 long_range=false[/bold]  a shorter scale

    Writes trajectory.extxyz, log.csv, simulation.json and figures/ below --out. With more
    picoseconds than before, a finished simulation continues from its end.""",
        settings="scalewise.simulation.settings:SimulationSettings",
        run="scalewise.simulation.run:run_command",
        out="runs/md",
        model="potential",
        example="scalewise md runs/train start.xyz",
        continues=True,
        document=Document(
            "simulation",
            "simulation",
            2,
            "scalewise.simulation.table:print_simulation",
            "scalewise.simulation.figure:figures_of",
        ),
    ),
    Experiment(
        "trust",
        r"""Say how far a potential can be trusted: simulations from its data, bounds on its forces.

    [bold]scalewise trust runs/ladder dft.xyz[/bold]  eight simulations of 20 ps at 300 K, and
    eight at 390 K

    [bold]scalewise trust runs/ladder dft.xyz temperature=600 picoseconds=5
    --workers 4[/bold]

    Writes trust.json, figures/ and simulations/ below --out.

    An interrupted run continues when run again.""",
        settings="scalewise.trust.settings:TrustSettings",
        run="scalewise.trust.card:run_command",
        out="runs/trust",
        model="potential",
        example="scalewise trust runs/ladder dft.xyz",
        options=("workers",),
        continues=True,
        document=Document(
            "trust",
            "trust",
            1,
            "scalewise.trust.table:print_trust",
            "scalewise.trust.figure:figures_of",
        ),
    ),
    Experiment(
        "distill",
        r"""Make a cheap inner potential for simulations with two time steps (r-RESPA).

    [bold]scalewise distill runs/train start.xyz[/bold]  then: scalewise md runs/train start.xyz
    inner=runs/distill

    Writes model/, distillation.json and figures/ below --out.

    An interrupted run continues when run again.""",
        settings="scalewise.distillation.settings:DistillSettings",
        run="scalewise.distillation.distill:run_command",
        out="runs/distill",
        model="potential",
        example="scalewise distill runs/train start.xyz",
        continues=True,
        document=Document(
            "distillation",
            "distillation",
            1,
            "scalewise.distillation.table:print_distillation",
            "scalewise.distillation.figure:figures_of",
        ),
    ),
    Experiment(
        "export",
        r"""Write a potential to a folder for an engine, with an example that runs there.

    [bold]scalewise export runs/train start.xyz --to lammps --out lammps[/bold]

    [bold]scalewise export runs/ladder start.xyz --to openmm inner=3.5[/bold]  two time steps

    Engines: ase, openmm, lammps, metatomic, torchsim, ipi. Programs are compiled ahead of time for
    this machine; start.xyz is the structure that the example begins with.""",
        settings="scalewise.export.settings:ExportSettings",
        run="scalewise.export.command:run_command",
        out="runs/export",
        model="potential",
        example="scalewise export runs/train start.xyz --to lammps",
        options=("to",),
    ),
)

DOCUMENTS: Final = {e.document.kind: e.document for e in EXPERIMENTS if e.document is not None}
