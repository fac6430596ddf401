"""The record of a run: ``log.csv``, one line per validation, and TensorBoard events if asked."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalewise.artifacts import replacing
from scalewise.training.state import Progress

COLUMNS = (
    *("step", "epoch", "seconds", "rate", "train_loss", "gradient_norm", "valid_loss"),
    *("forces_mae", "energy_mae", "stress_mae"),
    *("forces_mae_middle", "forces_mae_shortest", "forces_mae_routed", "cost_routed", "price"),
)


@dataclass
class Log:
    """Appends to ``log.csv``; lines after the step a run goes on from are dropped."""

    folder: Path
    after: int = 0
    events: bool = False
    _sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    _writer: Any = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "log.csv"
        kept: list[dict[str, str]] = []
        if path.is_file():
            with path.open(newline="") as stream:
                kept = [r for r in csv.DictReader(stream) if int(r["step"]) <= self.after]
        with replacing(path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        if self.events:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self.folder / "events"))

    def count(self, loss: float, gradient_norm: float) -> None:
        """Count one step's loss and gradient norm into the next line's means."""
        for k, value in enumerate((loss, gradient_norm, 1.0)):
            self._sums[k] += value

    def write(self, progress: Progress, rate: float, report: dict[str, float]) -> None:
        """Write one line."""
        steps = max(self._sums[2], 1.0)
        row = {
            "step": progress.step,
            "epoch": progress.epoch,
            "seconds": progress.elapsed,
            "rate": rate,
            "train_loss": self._sums[0] / steps,
            "gradient_norm": self._sums[1] / steps,
            **report,
        }
        self._sums = [0.0, 0.0, 0.0]
        with (self.folder / "log.csv").open("a", newline="") as stream:
            rounded = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            csv.DictWriter(stream, COLUMNS).writerow(rounded)
        if self._writer is not None:
            for key, value in row.items():
                self._writer.add_scalar(key, value, progress.step)
            self._writer.flush()
