"""The command line: a thin adapter; nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import scalewise
from scalewise.errors import InputError


class Commands(TyperGroup):
    """Errors of the user's making become one paragraph and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            paragraph = f"error: {error}"
            Console(stderr=True).print(paragraph, style="red", markup=False, highlight=False)
            sys.exit(2)
        except KeyboardInterrupt:
            Console(stderr=True).print("Interrupted; the same command continues where it stopped.")
            sys.exit(130)


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
    "Settings are YAML files, key=value words, or both; words win. Every run keeps its settings "
    "and continues where it was interrupted.",
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
    from scalewise.config import Study, load

    config, files, pairs = _sort(words or [])
    settings = load(Study, config, pairs, {"predictions.files": files} if files else None)

    from scalewise.report.table import print_results
    from scalewise.study.run import run

    console = Console()
    results = run(settings, out, lambda line: console.print(f"[dim]{line}[/dim]"))
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
    """Simulate aqueous NaCl with OpenMM and write labelled frames.

    [bold]scalewise generate concentration=1 water=spce replicas=4 --out runs/spce[/bold]

    Writes extxyz files (eV, Å) and a manifest with every check.

    Interrupted, it continues with the replicas that are missing.
    """
    from scalewise.config import Solution, load

    config, files, pairs = _sort(words or [])
    if files:
        raise InputError(f"argument '{files[0]}'", "generate reads no frames", "Leave it out.")
    settings = load(Solution, config, pairs)

    from scalewise.data import solution

    manifest = solution.generate(settings, out, workers=workers)
    Console().print(solution.summary(manifest))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished study.")] = Path(
        "runs/study"
    ),
) -> None:
    """Draw the figures and the page again from results.json, and print the table."""
    import json

    from scalewise.report.table import print_results

    path = folder / "results.json"
    try:
        results = json.loads(path.read_text())
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), reason, "Give the --out folder of a finished study.") from None
    except ValueError:
        raise InputError(str(path), "not valid JSON", "Run the study again.") from None
    if not isinstance(results, dict) or results.get("schema") != 1:
        raise InputError(str(path), "not results of schema 1", "Run the study again.")
    _render(results, folder)
    print_results(results, Console())


def _render(results: dict[str, Any], out: Path) -> list[Path]:
    from scalewise.report.figures import draw_all
    from scalewise.report.page import write_page

    paths = draw_all(results, out / "figures")
    write_page(results, paths, out / "report.html")
    return paths


def _sort(words: Sequence[str]) -> tuple[Path | None, list[Path], list[str]]:
    """Tell apart the configuration, files with frames, and key=value words."""
    pairs = [w for w in words if "=" in w]
    paths = [Path(w) for w in words if "=" not in w]
    configs = [p for p in paths if p.suffix in (".yaml", ".yml")]
    files = [p for p in paths if p.suffix in (".xyz", ".extxyz")]
    for path in paths:
        if path not in configs and path not in files:
            raise InputError(
                f"argument '{path}'",
                "neither key=value nor a .yaml, .yml, .xyz or .extxyz file",
                "See the examples of `scalewise study --help`.",
            )
    if len(configs) > 1:
        raise InputError(f"argument '{configs[1]}'", "a second configuration", "Give one at most.")
    return (configs[0] if configs else None), files, pairs


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
