"""Error against cutoff, with and without long range, beside what each scale costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import scalewise
from scalewise.analysis.cutoff_scan.figure import draw_curve
from scalewise.analysis.cutoff_scan.range import judge_range, shortest_enough
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.evaluation.choice import read_selection
from scalewise.analysis.evaluation.evaluate import plain
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.predict import Say, Watch, known
from scalewise.analysis.evaluation.score import score
from scalewise.analysis.evaluation.subsets import named_subsets
from scalewise.analysis.rungs import Measured, Rung, check_range, ladder_rungs, measure
from scalewise.core.files import write_json
from scalewise.data.structure import Structure
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange
from scalewise.reporting.style import save, styled
from scalewise.statistics.bootstrap import Resampling
from scalewise.statistics.verdict import Verdict

SCHEMA: Final = 1
UNITS: Final = {
    "cutoff": "Å",
    "mae, rmse": "meV/Å, mean over components",
    "ratio": "MAE over that of the longest scale",
    "over_single": "MAE of the ladder over that of a potential trained for this scale alone",
    "longer": "whether the longest scale is needed: answer, gain (share of the error), p",
    "enough": "Å, the shortest cutoff beyond which nothing longer is needed",
    "cost": "µs/atom, energy, forces and stress with a neighbor list that exists",
    "interval": "95 %, over groups of frames",
}


def curve(
    model: Path,
    data: Path,
    settings: ScanSettings,
    *,
    say: Say = lambda _: None,
    watch: Watch = iter,
) -> dict[str, Any]:
    """Measure errors and cost of the scales of one potential; return the content of curve.json.

    Parameters
    ----------
    model
        Folder of a potential that was trained over a ladder, or of the run that trained it.
    data
        extxyz with labelled forces, eV/Å.
    settings
        Which scales, on which frames.
    say, watch
        Called with one line per stage; goes through the frames and shows progress.

    Raises
    ------
    InputError
        A potential of one scale; a cutoff it was not trained for; whatever is wrong with the data.
    """
    potential = open_potential(model, device=settings.device)
    singles = [open_potential(path, device=settings.device) for path in settings.singles]
    rungs = _rungs(potential, singles, settings)
    say(f"Reading {data}")
    frames, choice = read_selection(model, data, settings, say)
    chosen = choice.subsample(settings.frames)
    scored = known(potential, [frames[k] for k in chosen])
    say(f"Predicting {len(scored)} of {len(frames)} frames at {len(rungs)} scales; {choice.how}")
    measured = measure(scored, rungs, watch)
    subjects = _Subjects(
        scored,
        choice.group[chosen],
        NoiseFloor.estimate(frames, choice.group, settings.seed),
        Resampling(settings.seed, settings.bootstrap),
    )
    results = {
        "schema": SCHEMA,
        "scalewise": scalewise.__version__,
        "units": UNITS,
        "model": {"folder": str(model), "ladder": list(potential.ladder)},
        "data": {**choice.data.model_dump(), "settings": settings.model_dump(mode="json")},
        "choice": {
            "roles": list(choice.members),
            "scored": len(scored),
            "how": choice.how,
            "groups": choice.grouped,
        },
        "warnings": list(choice.warnings),
        "scales": _describe(rungs, measured, scored),
        "reference": _reference(rungs),
        "subsets": subjects.score(measured, rungs, settings),
        "device": potential.device.type,
        "threads": torch.get_num_threads(),
    }
    found: dict[str, Any] = plain(results)
    return found


def write_all(results: dict[str, Any], out: Path) -> list[Path]:
    """Write curve.json and the figure below ``out``; return their paths."""
    write_json(out / "curve.json", results)
    with styled():
        figures = save(draw_curve(results), out / "figures" / "curve")
    return [out / "curve.json", *figures]


def _rungs(
    potential: Potential, singles: Sequence[Potential], settings: ScanSettings
) -> list[Rung]:
    shortest, longest = check_range(potential)
    given = settings.cutoffs
    if given is None:
        even = np.linspace(shortest, longest, max(settings.points, 2))
        # rounding may go beyond the ends
        rounded = np.clip(even.round(3), shortest, longest)
        given = tuple(float(v) for v in rounded)
    # every single potential is compared with the ladder at its own scale
    beside = [s.cutoff for s in singles if shortest <= s.cutoff <= longest]
    lengths = sorted({*given, *beside})
    others = [
        Rung(single, single.cutoff, single.long_range is LongRange.ALWAYS, str(path))
        for single, path in zip(singles, settings.singles, strict=True)
    ]
    return [*ladder_rungs(potential, lengths), *others]


def _reference(rungs: Sequence[Rung]) -> int:
    """The ladder's longest scale."""
    own = [k for k, rung in enumerate(rungs) if not rung.name]
    return max(own, key=lambda k: (rungs[k].long_range, rungs[k].cutoff))


def _describe(
    rungs: Sequence[Rung], measured: Measured, frames: Sequence[Structure]
) -> list[dict[str, Any]]:
    """Scales and their cost."""
    each = measured.cost(frames)
    return [
        {
            "single": rung.name or None,
            "cutoff": rung.cutoff,
            "long": rung.long_range,
            "neighbors": measured.neighbors[k],
            "cost": each[k],
        }
        for k, rung in enumerate(rungs)
    ]


@dataclass(frozen=True, eq=False)
class _Subjects:
    """The atoms that are scored, and how errors are resampled."""

    frames: Sequence[Structure]
    group: np.ndarray
    floor: NoiseFloor
    resampling: Resampling

    def score(
        self, measured: Measured, rungs: Sequence[Rung], settings: ScanSettings
    ) -> list[dict[str, Any]]:
        """Errors of all atoms, of each element and of each regime, scale by scale."""
        numbers = np.concatenate([f.numbers for f in self.frames])
        block = np.repeat(self.group, [len(f.numbers) for f in self.frames])
        return [
            {
                "kind": kind,
                "name": name,
                "atoms": int(member.sum()),
                **self.floor.beside(numbers[member]),
                "scales": (
                    scales := self._scales(
                        measured.errors[:, member], block[member], rungs, settings
                    )
                ),
                "enough": _enough(rungs, scales),
            }
            for kind, name, member in named_subsets(self.frames, settings.ions)
        ]

    def _scales(
        self, errors: np.ndarray, block: np.ndarray, rungs: Sequence[Rung], settings: ScanSettings
    ) -> list[dict[str, Any]]:
        absolute = np.abs(errors).sum(axis=2)
        longest = _reference(rungs)
        own_scales = [k for k, rung in enumerate(rungs) if not rung.name]
        verdicts = judge_range(
            absolute[own_scales],
            own_scales.index(longest),
            block,
            self.resampling,
            min_gain=settings.min_gain,
            alpha=settings.alpha,
        )
        found = []
        for k, rung in enumerate(rungs):
            row = score(errors[k], block, self.resampling)
            row |= self._ratio("ratio", absolute[k], absolute[longest], block)
            if not rung.name:
                row["longer"] = verdicts[own_scales.index(k)].record()
            else:
                own = next((m for m, other in enumerate(rungs) if _same(other, rung)), None)
                if own is not None:
                    row |= self._ratio("over_single", absolute[own], absolute[k], block)
            found.append(row)
        return found

    def _ratio(
        self, name: str, top: np.ndarray, bottom: np.ndarray, block: np.ndarray
    ) -> dict[str, Any]:
        interval = self.resampling.ratio(top, bottom, block)
        return {
            name: float(top.sum() / bottom.sum()) if bottom.sum() > 0 else None,
            f"{name}_interval": None if interval is None else [interval.low, interval.high],
        }


def _enough(rungs: Sequence[Rung], scales: Sequence[dict[str, Any]]) -> float | None:
    """The shortest cutoff, with the long range that there is, beyond which nothing is needed."""
    long = rungs[_reference(rungs)].long_range
    own = [
        (rung.cutoff, Verdict(**scale["longer"]))
        for rung, scale in zip(rungs, scales, strict=True)
        if not rung.name and rung.long_range == long and rung.cutoff is not None
    ]
    return shortest_enough([c for c, _ in own], [v for _, v in own])


def _same(ladder: Rung, single: Rung) -> bool:
    return not ladder.name and (ladder.cutoff, ladder.long_range) == (
        single.cutoff,
        single.long_range,
    )
