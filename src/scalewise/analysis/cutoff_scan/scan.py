"""Error against cutoff, with and without long range, and the cost of each scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from scalewise.analysis.cutoff_scan.frame import typical_frame
from scalewise.analysis.cutoff_scan.range import judge_range, shortest_enough
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.predict import known
from scalewise.analysis.evaluation.score import score
from scalewise.analysis.evaluation.selection import (
    SplitSource,
    model_folder,
    read_selection,
    select_frames,
)
from scalewise.analysis.evaluation.subsets import named_subsets
from scalewise.analysis.learning import Learning, describe
from scalewise.analysis.rungs import Measured, Rung, check_range, ladder_rungs, measure
from scalewise.analysis.settling import Asked, decide_for_system
from scalewise.core.progress import SILENT, Progress
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.models.description import ladder_of, machine
from scalewise.models.opening import checked_model, open_model
from scalewise.models.potential import Potential
from scalewise.models.protocol import InteratomicPotential, LongRange
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.statistics.bootstrap import Resampling
from scalewise.statistics.verdict import Verdict

UNITS: Final = {
    "cutoff": "Å",
    "mae, rmse": "meV/Å, mean over components",
    "ratio": "MAE over that of the longest scale",
    "over_single": "MAE of the ladder over that of a potential trained for this scale alone",
    "longer": "whether this potential needs its longest scale: answer, gain (share of the error)",
    "system": "whether the system needs it, as far as a ladder tells",
    "enough": "Å, the shortest cutoff beyond which nothing longer is needed",
    "cutoffs": "Å, of each atom of the frame: from there on its force is that of the longest "
    "scale, within the tolerance",
    "tolerance": "meV/Å, mean length of the longest scale's errors",
    "positions, cell, range": "Å",
    "cost": "µs/atom, energy, forces and stress with a neighbor list that exists",
    "interval": "95 %, over groups of frames",
}


def scan_cutoffs(
    model: InteratomicPotential,
    structures: Sequence[Structure],
    split: Split | SplitSource | None = None,
    settings: ScanSettings | None = None,
    *,
    singles: Sequence[InteratomicPotential] = (),
    progress: Progress = SILENT,
) -> Report:
    """Measure error and cost of the scales of one model, and judge whether longer ones are needed.

    Parameters
    ----------
    model
        A model with a range of cutoffs, such as a potential that was trained over a ladder.
    structures
        Structures with labelled forces, eV/Å.
    split
        Roles of the structures, and the groups of similar structures over which errors are
        resampled.
    settings
        Scales and structures that are evaluated; default: eight cutoffs, evenly spaced over the
        model's range.
    singles
        Models of one scale each, which are compared with this model at that scale; default: those
        that the settings name.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``curve``. ``verdict("all")`` says whether the system needs the longest scale
        instead of the shortest cutoff, ``verdict("all", "longer")`` whether this potential does.

    Raises
    ------
    InputError
        A model with one scale; a cutoff outside the range of the model; structures without labelled
        forces.
    """
    settings = settings or ScanSettings()
    for one in (model, *singles):
        checked_model(one, "scan_cutoffs, model")
    if not singles:
        singles = [open_model(path, device=settings.device) for path in settings.singles]
    rungs = _rungs(model, singles, settings)
    frames = list(structures)
    source = split if isinstance(split, SplitSource) else SplitSource.given(split)
    choice = select_frames(frames, settings, source)
    chosen = choice.subsample(settings.frames)
    scored = known(model, [frames[k] for k in chosen])
    progress.message(
        f"Predicting {len(scored)} of {len(frames)} frames at {len(rungs)} scales; {choice.how}"
    )
    measured = measure(scored, rungs, progress)
    learning = Learning.of(model.info) if isinstance(model, Potential) else None
    subjects = _Subjects(
        scored,
        choice.group[chosen],
        NoiseFloor.estimate(frames, choice.group, settings.seed),
        Resampling(settings.seed, settings.bootstrap),
        learning,
    )
    body = {
        "model": {"name": model.name, "ladder": ladder_of(model)},
        "choice": {
            "roles": list(choice.members),
            "scored": len(scored),
            "how": choice.how,
            "groups": choice.grouped,
        },
        "warnings": list(choice.warnings),
        "learning": describe(learning),
        "scales": _describe(rungs, measured, scored),
        "reference": _reference(rungs),
        "subsets": subjects.score(measured, rungs, settings),
        "frame": typical_frame(chosen, scored, measured, rungs, _reference(rungs)),
        **machine(model),
    }
    return Report.made(
        "curve",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(choice.data),
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise curve``: the models, the file and its split are read here."""
    settings = request.settings
    model = open_model(request.model, device=settings.device)
    singles = [open_model(path, device=settings.device) for path in settings.singles]
    check_range(model)
    folder = model_folder(request.model)
    structures, source = read_selection(folder, request.files[0], settings, request.progress)
    report = scan_cutoffs(
        model, structures, source, settings, singles=singles, progress=request.progress
    )
    # `scalewise locality against=...` reads the model again
    model_entry = {**report.body["model"], "folder": str(request.model)}
    return replace(report, body={**report.body, "model": model_entry})


def _rungs(
    model: InteratomicPotential, singles: Sequence[InteratomicPotential], settings: ScanSettings
) -> list[Rung]:
    shortest, longest = check_range(model)
    given = settings.cutoffs
    if given is None:
        even = np.linspace(shortest, longest, max(settings.points, 2))
        # rounding may go beyond the ends
        rounded = np.clip(even.round(3), shortest, longest)
        given = tuple(float(v) for v in rounded)
    # every single potential is compared with the ladder at its own scale
    own = [(s, None if s.cutoff_range is None else s.cutoff_range[1]) for s in singles]
    beside = [cutoff for _, cutoff in own if cutoff is not None and shortest <= cutoff <= longest]
    lengths = sorted({*given, *beside})
    paths = [str(path) for path in settings.singles]
    names = paths if len(paths) == len(singles) else [s.name for s in singles]
    others = [
        Rung(single, cutoff, single.long_range is not LongRange.NONE, name)
        for (single, cutoff), name in zip(own, names, strict=True)
    ]
    return [*ladder_rungs(model, lengths), *others]


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
            "neighbors": None if np.isnan(measured.neighbors[k]) else measured.neighbors[k],
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
    learning: Learning | None

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
                verdict = verdicts[own_scales.index(k)]
                row["longer"] = verdict.record()
                row["system"] = verdict.record() | {"reason": verdict.reason}
                if k != longest:
                    differs = rung.long_range != rungs[longest].long_range
                    row["system"] = self._system(verdict, settings, long_range=differs)
            else:
                own = next((m for m, other in enumerate(rungs) if _same(other, rung)), None)
                if own is not None:
                    row |= self._ratio("over_single", absolute[own], absolute[k], block)
            found.append(row)
        return found

    def _system(
        self, verdict: Verdict, settings: ScanSettings, *, long_range: bool
    ) -> dict[str, Any]:
        """What the answer of a rung says of the system."""
        asked = Asked(settings.min_gain, settings.alpha, "rungs", long_range)
        verdict = decide_for_system(verdict, self.learning, asked)
        return {**verdict.record(), "reason": verdict.reason}

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
