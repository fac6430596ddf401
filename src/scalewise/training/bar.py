"""The progress bar of a training run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scalewise.core.terminal import Console
from scalewise.training.trainer import Listener


@contextlib.contextmanager
def training_bar() -> Iterator[Listener]:
    """Show a bar with the time left; the returned function moves it and prints validations."""
    console = Console()
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("training", total=1.0)

        def listen(fraction: float, report: dict[str, float]) -> None:
            progress.update(task, completed=min(fraction, 1.0))
            if report:
                forces, energy = report.get("forces_mae"), report.get("energy_mae")
                parts = [f"{100 * fraction:3.0f} %"]
                parts += [f"forces {forces:.1f} meV/Å"] if forces is not None else []
                parts += [f"energy {energy:.2f} meV/atom"] if energy is not None else []
                line = ", ".join(parts)
                console.print(f"valid at {line}", markup=False, highlight=False)

        yield listen
