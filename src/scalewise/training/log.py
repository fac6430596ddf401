"""The record of a run: ``log.csv``, one line per validation, and optional TensorBoard events."""

from __future__ import annotations

import contextlib
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scalewise.core.errors import InputError
from scalewise.core.files import cannot_write, read_text, replacing
from scalewise.training.state import TrainingProgress

COLUMNS = (
    *("step", "epoch", "seconds", "rate", "train_loss", "gradient_norm", "valid_loss"),
    *("forces_mae", "energy_mae", "stress_mae"),
    *(
        "forces_mae_middle",
        "forces_mae_shortest",
        "forces_mae_adaptive",
        "cost_adaptive",
        "multiplier",
    ),
)

#: Columns that a potential keeps of its training, and of how many validations.
HISTORY: Final = (
    *("step", "seconds", "train_loss", "valid_loss", "forces_mae", "energy_mae"),
    *("forces_mae_middle", "forces_mae_shortest"),
)
VALIDATIONS: Final = 100

#: Bytes of the largest log: a validation is a line.
LARGEST: Final = 64 << 20


def read_lines(path: Path, remedy: str) -> list[dict[str, str] | None]:
    """Read a log, line by line; None is a line that is damaged, as all are below a foreign header.

    Raises
    ------
    InputError
        Not a text file.
    """
    header, *lines = read_text(path, remedy, largest=LARGEST).splitlines() or [""]
    columns = header.split(",")
    known = set(columns) <= set(COLUMNS) and "step" in columns and len(set(columns)) == len(columns)
    parts = [line.split(",") for line in lines]
    return [
        dict(zip(columns, p, strict=True)) if known and _whole(p, columns) else None for p in parts
    ]


def history(path: Path) -> dict[str, list[float]]:
    """The validations of a run, for its potential: steps and errors, by column of its log.

    Of more than ``VALIDATIONS`` validations, as many are kept, the last one among them.
    """
    rows = [row for row in read_lines(path, "Train again.") if row is not None]
    kept = rows[:: -max(1, -(-len(rows) // VALIDATIONS))][::-1]
    return {
        name: [float(row[name]) for row in kept]
        for name in HISTORY
        if kept and all(row.get(name) for row in kept)
    }


def _whole(values: list[str], columns: list[str]) -> bool:
    if len(values) != len(columns):
        return False
    step = values[columns.index("step")]
    if not (step.isascii() and step.isdecimal() and len(step) <= 18):
        return False
    with contextlib.suppress(ValueError):
        return all(value == "" or float(value) is not None for value in values)
    return False


@dataclass
class Log:
    """Appends to ``log.csv``; lines after the step a run goes on from, and damaged ones, go."""

    folder: Path
    after: int = 0
    events: bool = False
    _writer: Any = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "log.csv"
        kept: list[dict[str, str]] = []
        with contextlib.suppress(InputError):  # there is none, or nothing of it can be kept
            kept = [r for r in read_lines(path, "") if r and int(r["step"]) <= self.after]
        with replacing(path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        if self.events:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self.folder / "events"))

    def write(self, progress: TrainingProgress, rate: float, report: dict[str, float]) -> None:
        """Write one line, with the means of ``progress`` since the last one."""
        loss, norm = progress.take_means()
        row = {
            "step": progress.step,
            "epoch": progress.epoch,
            "seconds": progress.elapsed,
            "rate": rate,
            "train_loss": loss,
            "gradient_norm": norm,
            **report,
        }
        path = self.folder / "log.csv"
        try:
            with path.open("a", newline="") as stream:
                rounded = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
                csv.DictWriter(stream, COLUMNS).writerow(rounded)
        except OSError as error:
            raise cannot_write(path, error) from error
        if self._writer is not None:
            for key, value in row.items():
                self._writer.add_scalar(key, value, progress.step)
            self._writer.flush()
