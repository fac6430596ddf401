"""The command line: a thin adapter; nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import scalewise
from scalewise.core.errors import InputError, printable
from scalewise.core.running import TERMINATED, Terminated, alone_in, terminable
from scalewise.core.terminal import Console

#: Commands that go on where they were interrupted.
CONTINUES = ("study", "generate", "train", "prove", "locality")


#: What a file with frames and one with settings end in.
FRAMES = (".xyz", ".extxyz")
CONFIGS = (".yaml", ".yml")


class Commands(TyperGroup):
    """Errors of the user's making become one paragraph and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            with terminable():
                return super().invoke(ctx)
        except InputError as error:
            _complain(f"error: {error}")
            sys.exit(2)
        except Terminated:
            _complain(f"Terminated{_later(ctx)}.", style="")
            sys.exit(TERMINATED)
        except KeyboardInterrupt:
            _complain(f"Interrupted{_later(ctx)}.", style="")
            sys.exit(130)
        except BrokenPipeError:
            # nobody reads any more; what is left in the buffer must not be complained about either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            where = str(error.filename or "a file of the run")
            reason = error.strerror or str(error)
            written = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)
            what = "written" if written else "read or written"
            remedy = "Free space, or choose an --out folder that can be written to."
            _complain(f"error: {where}: cannot be {what} ({reason}). {remedy}")
            sys.exit(2)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            _complain(
                "error: memory: not enough for this structure, batch or network "
                f"({' '.join(str(error).split())[:200] or 'MemoryError'}). Use fewer atoms at a "
                "time, a smaller batch or network, or a machine with more memory."
            )
            sys.exit(2)


def _later(ctx: Any) -> str:
    return "; a run continues with the same command" * (ctx.invoked_subcommand in CONTINUES)


def _complain(paragraph: str, style: str = "red") -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        console = Console(stderr=True)
        console.print(printable(paragraph), style=style, markup=False, highlight=False)


def _out_of_memory(error: BaseException) -> bool:
    words = str(error)
    return isinstance(error, MemoryError) or "out of memory" in words or "allocate memory" in words


app = typer.Typer(
    name="scalewise",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="Which length scale does a force field need, where, and can you prove it?\n\n"
    "[bold]Start here:[/bold] [green]scalewise study[/green] simulates salt water, fits a short "
    "and a long-range branch, and says whether choosing between them pays.\n\n"
    "[bold]Your own models:[/bold] [green]scalewise study short.xyz long.xyz "
    "predictions.labels=dft.xyz[/green] audits predictions that you have, from short to long "
    "scale.\n\n"
    "[bold]A trained potential:[/bold] [green]scalewise evaluate runs/train dft.xyz[/green] says "
    "where it errs, beside the noise of the labels; [green]scalewise predict runs/train md.xyz"
    "[/green] writes its predictions.\n\n"
    "Settings are YAML files, key=value words, or both; words win. study, generate, train, prove "
    "and locality continue where they were interrupted.",
)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [FILES] [KEY=VALUE]...",
        help="A YAML file, extxyz files with predictions (short to long), and settings.",
        show_default=False,
    ),
]
SolutionWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...",
        help="A YAML file and settings of the solution.",
        show_default=False,
    ),
]
DoctorWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA [CONFIG] [KEY=VALUE]...",
        help="An extxyz file with labels, a YAML file and settings.",
        show_default=False,
    ),
]
PredictWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA [CONFIG] [KEY=VALUE]...",
        help="An extxyz file with frames, a YAML file and settings.",
        show_default=False,
    ),
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Folder of a potential, or of the run that trained it.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is written.")]


@app.command()
def study(words: Words = None, out: Out = Path("runs/study")) -> None:
    r"""Study scales: generate (or read) data, run every mechanism, write the evidence.

    [bold]scalewise study[/bold]  the default solution, about seven minutes

    [bold]scalewise study solution.concentration=1 seed=3 --out runs/dilute[/bold]

    [bold]scalewise study a.xyz b.xyz predictions.labels=dft.xyz
    predictions.forces_keys=\[forces][/bold]

    Writes results.json, figures/ and report.html below --out.

    Interrupted, it continues.
    """
    from scalewise.core.loading import load
    from scalewise.study.settings import StudySettings

    config, files, pairs = _sort(words, "study")
    settings = load(StudySettings, config, pairs, {"predictions.files": files} if files else None)

    from scalewise.study.page.table import print_results
    from scalewise.study.run import run

    console = Console()
    with alone_in(out):
        results = run(settings, out, _quietly(console))
        paths = _render(results, out)
        print_results(results, console)
        written = f"\nWritten: {out / 'results.json'}, {len(paths)} figures, {out / 'report.html'}"
        console.print(written, markup=False)


@app.command()
def generate(
    words: SolutionWords = None,
    out: Out = Path("runs/solution"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default one a core.")
    ] = None,
) -> None:
    r"""Simulate aqueous NaCl with OpenMM and write labelled frames.

    [bold]scalewise generate concentration=1 water=spce replicas=4 --out runs/spce[/bold]

    [bold]scalewise generate geometry=slab --out runs/slab[/bold]  or droplet, crystal, pair: places
    that differ

    [bold]scalewise generate law=screened screening=2 --out runs/known[/bold]  labels whose range is
    known

    Writes extxyz files (eV, Å) and a manifest with every check.

    Interrupted, it continues with the replicas that are missing.
    """
    from scalewise.core.loading import load
    from scalewise.testbed.settings import SolutionSettings

    config, files, pairs = _sort(words, "generate")
    if files:
        raise InputError(f"argument '{files[0]}'", "generate reads no frames", "Leave it out.")
    settings = load(SolutionSettings, config, pairs)

    from scalewise.testbed import solution

    with alone_in(out):
        manifest = solution.generate(settings, out, workers=workers)
        Console().print(solution.summary(manifest))


@app.command()
def doctor(words: DoctorWords = None, out: Out = Path("runs/doctor")) -> None:
    r"""Know labelled frames before training on them: noise, outliers, duplicates, a split.

    [bold]scalewise doctor dft.xyz --out runs/doctor[/bold]

    [bold]scalewise doctor dft.xyz forces_key=forces energy_key=energy[/bold]

    [bold]scalewise doctor dft.xyz split_key=suggested_split[/bold]  keeps a split, checks for leaks

    Writes doctor.json, split.json (for the trainer) and figures/ below --out.
    """
    from scalewise.core.loading import load
    from scalewise.doctor.settings import DoctorSettings

    config, files, pairs = _sort(words, "doctor")
    if len(files) != 1:
        found = f"{len(files)} extxyz files given"
        raise InputError("doctor", found, "Give one: scalewise doctor dft.xyz --out runs/doctor")
    settings = load(DoctorSettings, config, pairs)

    from scalewise.doctor.examine import examine, write_all
    from scalewise.doctor.table import print_diagnosis

    console = Console()
    with alone_in(out):
        diagnosis, split = examine(files[0], settings, _quietly(console))
        paths = write_all(diagnosis, split, out)
        print_diagnosis(diagnosis, console)
        console.print("\nWritten: " + ", ".join(map(str, paths)), markup=False, highlight=False)


@app.command()
def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA [CONFIG] [key=value]...", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock budget, instead of epochs.")
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(help="Cutoffs, Å, from short to long, then perhaps `long`: train for all."),
    ] = None,
) -> None:
    """Train a potential on labelled frames; killed or interrupted, it goes on when run again.

    scalewise train dft.xyz --minutes 10

    scalewise train dft.xyz --minutes 15 --ladder 3,6.5,long  any cutoff, with and without long
    range, from one set of weights

    scalewise train dft.xyz network.preset=large network.cutoff=6 epochs=200 --out runs/large
    """
    from scalewise.core.loading import load

    config, data, pairs = _one_file(words, "scalewise train dft.xyz --out runs/train")
    from scalewise.training.settings import TrainSettings

    settings = load(TrainSettings, config, pairs, _of_training(minutes, ladder))

    from scalewise.training.bar import training_bar
    from scalewise.training.run import train as start

    console = Console()
    with alone_in(out):
        model = start(
            data,
            settings,
            out,
            say=_quietly(console),
            show=training_bar,
        )
        console.print(f"Written: {model}, {out / 'log.csv'}", markup=False, highlight=False)


def _rungs(words: str) -> list[float | str]:
    """Read a ladder: numbers, and words for the settings to accept or to refuse."""

    def rung(word: str) -> float | str:
        try:
            return float(word)
        except ValueError:
            return word

    return [rung(word.strip()) for word in words.split(",")]


@app.command()
def predict(
    model: Model,
    words: PredictWords = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="extxyz file to write.")] = Path(
        "predictions.xyz"
    ),
) -> None:
    r"""Predict energies, forces, stress and charges of every frame; labels are not needed.

    [bold]scalewise predict runs/train md.xyz --out predictions.xyz[/bold]

    [bold]scalewise predict runs/train md.xyz cutoff=4.0 --out short.xyz[/bold]  a shorter cutoff

    What the file has stays, so that scalewise study can read both labels and predictions; what it
    has under names of results, such as energy or forces, is kept as input_energy, input_forces.
    """
    from scalewise.analysis.evaluation.settings import PredictSettings
    from scalewise.core.loading import load

    config, data, pairs = _one_file(words, "scalewise predict runs/train dft.xyz")
    settings = load(PredictSettings, config, pairs)

    from scalewise.analysis.evaluation.predict import predict_file

    console = Console()
    predict_file(model, data, settings, out, say=_quietly(console), watch=_watched(console))
    console.print(f"Written: {out}", markup=False, highlight=False)


@app.command()
def evaluate(model: Model, words: PredictWords = None, out: Out = Path("runs/evaluate")) -> None:
    r"""Compare predictions with labels: by element, by regime, by distance, beside the noise.

    [bold]scalewise evaluate runs/train dft.xyz[/bold]  the test frames of the training's split

    [bold]scalewise evaluate runs/train dft.xyz split_key=suggested_split role=\[test,ood][/bold]

    Writes evaluation.json, figures/ and predictions.xyz below --out.
    """
    from scalewise.analysis.evaluation.settings import EvaluateSettings
    from scalewise.core.loading import load

    config, data, pairs = _one_file(words, "scalewise evaluate runs/train dft.xyz")
    settings = load(EvaluateSettings, config, pairs)

    from scalewise.analysis.evaluation.evaluate import evaluate as run
    from scalewise.analysis.evaluation.evaluate import write_all
    from scalewise.analysis.evaluation.table import print_evaluation

    console = Console()
    with alone_in(out):
        found = run(model, data, settings, say=_quietly(console), watch=_watched(console))
        paths = write_all(found, out)
        print_evaluation(found.results, console)
        console.print("\nWritten: " + ", ".join(map(str, paths)), markup=False, highlight=False)


@app.command()
def curve(model: Model, words: PredictWords = None, out: Out = Path("runs/curve")) -> None:
    r"""Draw error against cutoff, with and without long range, beside what each scale costs.

    [bold]scalewise curve runs/train dft.xyz[/bold]  a potential trained with --ladder

    [bold]scalewise curve runs/train dft.xyz cutoffs=\[3,4,5] singles=\[runs/four][/bold]

    Writes curve.json and figures/ below --out.
    """
    from scalewise.analysis.cutoff_scan.settings import ScanSettings
    from scalewise.core.loading import load

    config, data, pairs = _one_file(words, "scalewise curve runs/train dft.xyz")
    settings = load(ScanSettings, config, pairs)

    from scalewise.analysis.cutoff_scan.scan import curve as run
    from scalewise.analysis.cutoff_scan.scan import write_all
    from scalewise.analysis.cutoff_scan.table import print_curve

    console = Console()
    with alone_in(out):
        results = run(model, data, settings, say=_quietly(console), watch=_watched(console))
        paths = write_all(results, out)
        print_curve(results, console)
        console.print("\nWritten: " + ", ".join(map(str, paths)), markup=False, highlight=False)


@app.command()
def refine(model: Model, words: PredictWords = None, out: Out = Path("runs/refine")) -> None:
    r"""Find the fewest and cheapest scales of a ladder that lose hardly any accuracy.

    [bold]scalewise refine runs/ladder dft.xyz[/bold]  at most 1 % worse, 2 % for any element

    [bold]scalewise refine runs/ladder dft.xyz tolerance=0.03 by=regime near=\[Na,Cl][/bold]

    [bold]scalewise refine runs/ladder dft.xyz microseconds=150[/bold]  the best at that cost

    Writes refine.json, figures/ and model/, a potential that gives every atom its scale.
    """
    from scalewise.analysis.refinement.settings import RefineSettings
    from scalewise.core.loading import load

    config, data, pairs = _one_file(words, "scalewise refine runs/train dft.xyz")
    settings = load(RefineSettings, config, pairs)

    from scalewise.analysis.refinement.refine import refine as run
    from scalewise.analysis.refinement.refine import write_all
    from scalewise.analysis.refinement.table import print_refined

    console = Console()
    with alone_in(out):
        found = run(model, data, settings, say=_quietly(console), watch=_watched(console))
        paths = write_all(found, model, out)
        print_refined(found.results, console)
        console.print("\nWritten: " + ", ".join(map(str, paths)), markup=False, highlight=False)


@app.command()
def prove(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA [CONFIG] [key=value]...", show_default=False),
    ] = None,
    out: Out = Path("runs/prove"),
    minutes: Annotated[
        float | None,
        typer.Option(help="Wall-clock budget of the first training; all make as many steps."),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(help="Cutoffs, Å, from short to long, then perhaps `long`."),
    ] = None,
) -> None:
    r"""Say what would help: a longer range, other scales, more frames or a larger network.

    [bold]scalewise prove dft.xyz --ladder 3,6.5,long --minutes 5[/bold]  eight trainings: all
    frames, half, a quarter, half the channels, two seeds each

    Writes prove.json and figures/ below --out. Settings of scalewise train hold, too.

    Interrupted, it continues.
    """
    from scalewise.core.loading import load

    config, data, pairs = _one_file(words, "scalewise prove dft.xyz --ladder 3,6.5,long")
    from scalewise.analysis.attribution.settings import AttributionSettings

    settings = load(AttributionSettings, config, pairs, _of_training(minutes, ladder))

    from scalewise.analysis.attribution.run import prove as run
    from scalewise.analysis.attribution.run import write_all
    from scalewise.analysis.attribution.table import print_proof
    from scalewise.training.bar import training_bar

    console = Console()
    with alone_in(out):
        results = run(
            data, settings, out, say=_quietly(console), watch=_watched(console), show=training_bar
        )
        paths = write_all(results, out)
        print_proof(results, console)
        console.print("\nWritten: " + ", ".join(map(str, paths)), markup=False, highlight=False)


@app.command()
def locality(
    frames: Annotated[
        Path,
        typer.Argument(
            metavar="FRAMES",
            help="Folder of scalewise generate, or an extxyz file to start from.",
            show_default=False,
        ),
    ],
    words: SolutionWords = None,
    out: Out = Path("runs/locality"),
) -> None:
    r"""Before training: the error that no model of a given range can beat.

    [bold]scalewise locality runs/solution workers=2[/bold]  the force field of scalewise generate

    [bold]scalewise locality start.xyz calculator=ase.calculators.emt:EMT
    radii=\[3,4,5][/bold]  any ASE calculator

    [bold]scalewise locality runs/solution against=runs/curve/curve.json[/bold]  beside a model

    Needs the reference alone: holds what is near an atom, resamples the rest, and writes how far
    the force spreads. locality.json and figures/ below --out.

    Interrupted, it continues.
    """
    from scalewise.analysis.locality.settings import LocalitySettings
    from scalewise.core.loading import load

    config, files, pairs = _sort(words, "locality")
    if files:
        raise InputError(f"argument '{files[0]}'", "a second file of frames", "Leave it out.")
    settings = load(LocalitySettings, config, pairs)

    from scalewise.analysis.locality.run import locality as run
    from scalewise.analysis.locality.run import write_all
    from scalewise.analysis.locality.table import print_locality

    console = Console()
    with alone_in(out):
        results = run(
            frames, settings, out, say=_quietly(console), watch=_watched(console, "Resampling")
        )
        paths = write_all(results, out)
        print_locality(results, console)
        console.print("\nWritten: " + ", ".join(map(str, paths)), markup=False, highlight=False)


def _one_file(words: Sequence[str] | None, example: str) -> tuple[Path | None, Path, list[str]]:
    """Read words with one extxyz file among them; ``example`` is a command that has one."""
    command = example.split()[1]
    config, files, pairs = _sort(words, command)
    if len(files) != 1:
        raise InputError(command, f"{len(files)} extxyz files given", f"Give one: {example}")
    return config, files[0], pairs


def _of_training(minutes: float | None, ladder: str | None) -> dict[str, Any]:
    """What --minutes and --ladder set."""
    values: dict[str, Any] = {} if minutes is None else {"minutes": minutes}
    if ladder is not None:
        values["network.ladder"] = _rungs(ladder)
    return values


def _quietly(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, style="dim", markup=False, highlight=False)


def _watched(
    console: Console, doing: str = "Predicting"
) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """A bar that vanishes when done; none where nobody watches."""
    from rich.progress import track

    shown = console.is_terminal
    return lambda frames: track(frames, doing, console=console, transient=True, disable=not shown)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished study.")] = Path(
        "runs/study"
    ),
) -> None:
    """Draw the figures and the page again from results.json, and print the table."""
    from scalewise.study.page.schema import read_results
    from scalewise.study.page.table import print_results

    with alone_in(folder) if folder.is_dir() else contextlib.nullcontext():
        results = read_results(folder / "results.json")
        _render(results, folder)
    print_results(results, Console())


def _render(results: dict[str, Any], out: Path) -> list[Path]:
    from scalewise.study.page.figures import draw_all
    from scalewise.study.page.page import write_page

    paths = draw_all(results, out / "figures")
    write_page(results, paths, out / "report.html")
    return paths


def _sort(words: Sequence[str] | None, command: str) -> tuple[Path | None, list[Path], list[str]]:
    """Tell apart the configuration, files with frames, and key=value words."""
    words = words or []
    pairs = [w for w in words if _is_pair(w)]
    paths = [Path(w) for w in words if not _is_pair(w)]
    configs = [p for p in paths if p.suffix in CONFIGS]
    files = [p for p in paths if p.suffix in FRAMES]
    for path in paths:
        if path not in configs and path not in files:
            raise InputError(
                f"argument '{path}'",
                "neither key=value nor a .yaml, .yml, .xyz or .extxyz file",
                f"See the examples of `scalewise {command} --help`.",
            )
    if len(configs) > 1:
        raise InputError(f"argument '{configs[1]}'", "a second configuration", "Give one at most.")
    return (configs[0] if configs else None), files, pairs


def _is_pair(word: str) -> bool:
    """Whether a word sets a key; a file whose name has an equals sign does not."""
    from scalewise.core.loading import KEY

    key, equals, _ = word.partition("=")
    named = Path(word).suffix in (*FRAMES, *CONFIGS)
    return bool(equals) and not (named and (not KEY.fullmatch(key) or Path(word).is_file()))


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Print the version."""
    if show:
        typer.echo(f"scalewise {scalewise.__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
