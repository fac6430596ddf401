"""The command line, made from the registered experiments; heavy packages load with a command."""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

import scalewise
from scalewise.core.errors import InputError, printable
from scalewise.core.progress import SILENT, ConsoleProgress
from scalewise.core.running import (
    REQUEUE,
    TERMINATED,
    Requeued,
    Terminated,
    alone_in,
    group,
    terminable,
)
from scalewise.core.terminal import Console
from scalewise.reporting.experiments import EXPERIMENTS, Experiment, Request, load

#: Iterations for which a waiting OpenMP thread spins before it sleeps (GOMP_SPINCOUNT). The default
#: is 300 000: with one other program on the same two cores, a training step of two threads took
#: 2200 ms instead of 20 ms. With this value it took 50 ms there; on idle cores a step takes up to a
#: tenth longer.
PATIENT: Final = "1000"
#: Suffixes of files with settings.
CONFIGS: Final = (".yaml", ".yml")
#: Commands that continue where they were interrupted.
CONTINUES: Final = tuple(e.name for e in EXPERIMENTS if e.continues)


class Commands(TyperGroup):
    """Turn errors in the user's input into one paragraph and exit code 2."""

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
        except Requeued:
            _complain(f"Stopped, to be queued again{_later(ctx)}.", style="")
            sys.exit(REQUEUE)
        except KeyboardInterrupt:
            _complain(f"Interrupted{_later(ctx)}.", style="")
            sys.exit(130)
        except BrokenPipeError:
            # nobody reads any more; what is left in the buffer must not be complained about either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            _complain(_of_system(error))
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


class Command(TyperCommand):
    """Explain the form key=value where a setting is given as an option (``--key``)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse words and options; refuse an option that is named like a setting."""
        with_value = {o for p in self.params if not getattr(p, "is_flag", False) for o in p.opts}
        words = iter(args)
        for word in words:
            option, has_value, value = word.partition("=")
            if option == "--":
                break
            if option in with_value:
                if not has_value:
                    next(words, None)
            elif option.startswith("--") and (key := self._setting(option)):
                value = value or _value(next(words, ""))
                raise InputError(
                    f"option {option}",
                    f"no option of {self.name}, but a setting",
                    f"Settings are words without dashes: {key}={value}",
                )
        return super().parse_args(ctx, args)

    def _setting(self, option: str) -> str | None:
        """The setting that an option is called like, if there is one."""
        key = option[2:].replace("-", "_")
        experiment = next(e for e in EXPERIMENTS if e.name == self.name)
        settings: Any = load(experiment.settings)
        fields = settings.model_fields
        return key if key.split(".")[0] in fields else None


def _value(word: str) -> str:
    """The word after an option if it may be a value, that is, no option, setting or file."""
    option = word.startswith("-") and not word[1:2].isdigit()
    return "..." if not word or option or _is_pair(word) or Path(word).suffix else word


def _later(ctx: Any) -> str:
    return "; a run continues with the same command" * (ctx.invoked_subcommand in CONTINUES)


def _of_system(error: OSError) -> str:
    where = str(error.filename or "a file of the run")
    reason = error.strerror or str(error)
    written = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)
    what = "written" if written else "read or written"
    remedy = "Free space, or choose an --out folder that can be written to."
    return f"error: {where}: cannot be {what} ({reason}). {remedy}"


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
    "[bold]A trained potential:[/bold] [green]scalewise evaluate runs/train dft.xyz[/green] "
    "compares its errors with the noise of the labels; [green]scalewise predict runs/train md.xyz"
    "[/green] writes its predictions.\n\n"
    "Settings are YAML files, key=value words, or both; words take precedence over files. "
    f"{', '.join(CONTINUES[:-1])} and {CONTINUES[-1]} continue where they were interrupted.",
)

#: Further options, by the name that an experiment lists.
OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "minutes": (
        float | None,
        typer.Option(
            help="Wall-clock budget in minutes, instead of epochs; in prove, of the first training."
        ),
    ),
    "ladder": (
        str | None,
        typer.Option(
            help="Scales to train for, such as 3,6.5,long: cutoffs in Å from short to long, and "
            "`long` at the end for training with and without long range."
        ),
    ),
    "to": (
        str | None,
        typer.Option(
            metavar="ENGINE",
            help="Engine: ase, openmm, lammps, metatomic, torchsim or ipi; default: ase.",
        ),
    ),
    "workers": (
        int | None,
        typer.Option(min=1, help="Number of processes; default: generate one per core, trust one."),
    ),
    "on": (
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a Dask scheduler, such as tcp://node1:8786, whose workers run the "
            "jobs of the command.",
        ),
    ),
}
#: First arguments, by the kind of model that an experiment takes.
FIRST: Final = {
    "any": typer.Argument(
        metavar="MODEL",
        help="Folder of a potential or of the run that trained it; a file of predictions; "
        "module:Class of an ASE calculator.",
        show_default=False,
    ),
    "potential": typer.Argument(
        metavar="MODEL",
        help="Folder of a potential or of the run that trained it.",
        show_default=False,
    ),
    "frames": typer.Argument(
        metavar="FRAMES",
        help="Folder of scalewise generate, or an extxyz file to start from.",
        show_default=False,
    ),
}


def command(experiment: Experiment) -> Callable[..., None]:
    """Make the function of a command: its signature is what the command line shows."""

    def run(**given: Any) -> None:
        _run(experiment, given.pop("words", None), given.pop("out"), given)

    least, most = experiment.files
    files = "" if most == 0 else "[FILES]... " if least == 0 else "DATA "
    words = typer.Argument(
        metavar=f"{files}[CONFIG] [KEY=VALUE]...",
        help="Files or folders with structures, a YAML file with settings, and key=value words.",
        show_default=False,
    )
    parameters = [_parameter("words", list[str] | None, words, None)]
    if experiment.model:
        first = FIRST[experiment.model]
        parameters.insert(0, _parameter("model", str, first, inspect.Parameter.empty))
    help_ = "File to write." if Path(experiment.out).suffix else "Folder for everything written."
    out = typer.Option("--out", "-o", help=help_)
    parameters.append(_parameter("out", Path, out, Path(experiment.out)))
    parameters += [_parameter(name, *OPTIONS[name], None) for name in experiment.options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by typer
    run.__doc__ = experiment.help
    run.__name__ = experiment.name
    return run


def _parameter(name: str, kind: Any, what: Any, default: Any) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, what])


def _run(
    experiment: Experiment, words: Sequence[str] | None, out: Path, given: dict[str, Any]
) -> None:
    """Read settings, run, write the report and print its table."""
    from scalewise.core.loading import load as read_settings
    from scalewise.reporting.report import Report

    config, files, pairs = _sort(words, experiment.name)
    _check_files(experiment, files)
    values = _values(experiment, files, given)
    schema: Any = load(experiment.settings)
    settings = read_settings(schema, config, pairs, values)
    # of several processes that were started together, the first one writes
    others = group() if experiment.together else None
    follows = others is not None and others.rank > 0
    request = Request(
        settings,
        out,
        str(given.get("model") or ""),
        tuple(files),
        {k: given.get(k) for k in experiment.options},
        SILENT if follows else ConsoleProgress(),
    )
    console = Console()
    with contextlib.nullcontext() if Path(experiment.out).suffix or follows else alone_in(out):
        found = load(experiment.run)(request)
        if follows:
            return
        if isinstance(found, Report):
            paths = found.save(out)
            found.print_table(console)
        else:
            paths = list(found)
        console.print(f"\nWritten: {_listed(paths)}", markup=False, highlight=False, soft_wrap=True)


def _listed(paths: Sequence[Path]) -> str:
    """Name what was written; figures are counted."""
    figures = {p.stem for p in paths if p.parent.name == "figures"}
    named = [str(p) for p in paths if p.parent.name != "figures"]
    drawn = f"{len(figures)} figure{'s' * (len(figures) != 1)}"
    return ", ".join(named + [drawn] * bool(figures))


def _check_files(experiment: Experiment, files: Sequence[Path]) -> None:
    least, most = experiment.files
    if most == 0 and files:
        reads = "a second file of frames" if experiment.model else "it reads no frames"
        raise InputError(f"argument '{files[0]}'", reads, "Leave it out.")
    if not least <= len(files) <= most:
        found = f"{len(files)} files of structures given"
        raise InputError(experiment.name, found, f"Give one: {experiment.example}")


def _values(
    experiment: Experiment, files: Sequence[Path], given: dict[str, Any]
) -> dict[str, Any] | None:
    """Settings that are given as files and options."""
    values: dict[str, Any] = {}
    if given.get("minutes") is not None:
        values["minutes"] = given["minutes"]
    if given.get("ladder") is not None:
        values["network.ladder"] = _rungs(given["ladder"])
    if given.get("to") is not None:
        values["to"] = given["to"]
    if experiment.name == "study" and files:
        values["predictions.files"] = list(files)
    return values or None


def _rungs(words: str) -> list[float | str]:
    """Read a ladder: numbers, and other words, which the settings accept or refuse."""

    def rung(word: str) -> float | str:
        try:
            return float(word)
        except ValueError:
            return word

    return [rung(word.strip()) for word in words.split(",")]


for _experiment in EXPERIMENTS:
    app.command(_experiment.name, cls=Command)(command(_experiment))


@app.command()
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Folders of finished runs.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Page to write; default for several runs: report.html.",
            metavar="FILE",
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser, if there is a display.")
    ] = False,
) -> None:
    """Join runs into one page, or redraw the figures of one run and print its table.

    [bold]scalewise report runs/doctor runs/ladder runs/curve runs/fork[/bold]  one page: the
    verdict, the figure that it rests on, what to do next, the evidence

    [bold]scalewise report runs/curve[/bold]  figures and table of one run

    [bold]scalewise report runs/fork --out fork.html[/bold]  the page of one run
    """
    found = folders or [Path("runs/study")]
    if out is None and len(found) == 1 and not show:
        _draw_again(found[0])
        return
    from scalewise.analysis.overview.page import write_overview

    target = out or Path("report.html")
    runs = write_overview(found, target)
    for run in runs:
        kinds = ["training"] * (run.info is not None) + [r.kind for r in run.reports]
        line = f"Joined: {run.name} ({', '.join(kinds)})"
        Console().print(line, style="dim", markup=False, highlight=False)
    Console().print(f"Written: {target}", markup=False, highlight=False, soft_wrap=True)
    if show and _has_screen():
        webbrowser.open(target.resolve().as_uri())


def _has_screen() -> bool:
    """Whether a browser would have a window; without one, a text browser may wait for keys."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(os.environ.get(s) for s in screens)


def _draw_again(folder: Path) -> None:
    from scalewise.reporting.experiments import DOCUMENTS
    from scalewise.reporting.report import Report

    with alone_in(folder) if folder.is_dir() else contextlib.nullcontext():
        found = Report.load(folder)
        attach = DOCUMENTS[found.kind].attached
        found = load(attach)(found) if attach else found
        found.save(folder if folder.is_dir() else folder.parent)
    found.print_table(Console())


def _sort(words: Sequence[str] | None, command: str) -> tuple[Path | None, list[Path], list[str]]:
    """Tell apart the configuration, files with structures, and key=value words."""
    from scalewise.data.readers import known_formats

    words = words or []
    pairs = [w for w in words if _is_pair(w)]
    paths = [Path(w) for w in words if not _is_pair(w)]
    configs = [p for p in paths if p.suffix in CONFIGS]
    files = [p for p in paths if p not in configs and _holds_structures(p)]
    for path in paths:
        if path not in configs and path not in files:
            raise InputError(
                f"argument '{path}'",
                "neither key=value, nor a .yaml or .yml file, nor a folder or a file of a known "
                "format",
                f"Formats are known by the name: {', '.join(known_formats())}. Convert others with "
                f"ASE to .extxyz. Examples: scalewise {command} --help.",
            )
    if len(configs) > 1:
        raise InputError(f"argument '{configs[1]}'", "a second configuration", "Give one at most.")
    return (configs[0] if configs else None), files, pairs


def _holds_structures(path: Path) -> bool:
    """Whether a path is a folder, or called like a file of a known format."""
    from scalewise.data.readers import found_reader

    # a word of settings may be longer than a name of a file: the system's complaint means no
    return os.path.isdir(path) or found_reader(path) is not None


def _is_pair(word: str) -> bool:
    """Whether a word sets a key; a file whose name has an equals sign does not."""
    from scalewise.core.loading import KEY

    key, equals, _ = word.partition("=")
    if not equals:
        return False
    named = word.endswith(CONFIGS) or _holds_structures(Path(word))
    return not (named and (not KEY.fullmatch(key) or os.path.exists(word)))


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
    # torch reads it when it is imported, which no command has done yet
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", PATIENT)
    app()


if __name__ == "__main__":
    main()
