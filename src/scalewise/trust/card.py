"""The trust card of a potential: simulations from its data, and bounds of its force errors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from jaxtyping import Int
from scipy.stats import binomtest

from scalewise.analysis.evaluation.predict import known, shorter
from scalewise.analysis.evaluation.selection import (
    FrameSelection,
    SplitSource,
    model_folder,
    read_selection,
    select_frames,
    subsample,
)
from scalewise.core.jobs import run_jobs
from scalewise.core.progress import SILENT, Counted, Progress
from scalewise.core.wording import count
from scalewise.data.neighbors import build
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential, check_scale
from scalewise.models.protocol import Scale
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.simulation.run import simulate
from scalewise.simulation.settings import SimulationSettings
from scalewise.statistics.bootstrap import Resampling
from scalewise.trust.settings import TrustSettings
from scalewise.trust.uncertainty import (
    Bound,
    Disagreement,
    compare_scales,
    neighboring_scales,
)

UNITS: Final = {
    "temperature": "K",
    "survival": "share of simulations, 95 % interval of Clopper and Pearson",
    "drift": "eV/atom/ps",
    "shortest, data, simulated": "Å",
    "ns_per_day": "ns/day",
    "bound, error, floor": "meV/Å, length of the vector; medians over atoms",
    "held": "share of forces within their bound; 95 % interval over groups",
}
#: Å by which a simulation may come nearer than any frame before it is said.
NEARER: Final = 0.1
#: Frames that the shortest distances of the data are of, at most.
LOOKED_AT: Final = 5000
#: Distances as far as this are looked at, Å.
REACH: Final = 4.0


@dataclass(frozen=True)
class Start:
    """One simulation: its folder, the frame that it begins with, temperature and number."""

    name: str
    frame: int
    temperature: float
    number: int


def assess_trust(
    potential: Potential,
    structures: Sequence[Structure],
    split: Split | SplitSource | None = None,
    settings: TrustSettings | None = None,
    out: Path | str = "runs/trust",
    *,
    progress: Progress = SILENT,
) -> Report:
    """Test simulations that start from labelled frames, and bound the errors of the forces.

    The bounds are those of conformal prediction; see :mod:`scalewise.trust.uncertainty`.

    Parameters
    ----------
    potential
        The potential that is assessed. Bounds need a potential that was trained over a ladder.
    structures
        Structures with labelled forces, eV/Å.
    split
        Roles of the structures: bounds are calibrated on ``valid`` and tested on ``test``.
    settings
        Temperatures, number and length of the simulations.
    out
        Folder of the simulations; interrupted simulations continue there.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``trust``.

    Raises
    ------
    InputError
        The errors of :func:`scalewise.evaluate` and :func:`scalewise.simulate`.
    """
    settings, out = settings or TrustSettings(), Path(out)
    scale = Scale(settings.cutoff, settings.long_range)
    check_scale(potential, scale)
    source = split if isinstance(split, SplitSource) else SplitSource.given(split)
    choice = select_frames(structures, settings, source)
    known(potential, [structures[k] for k in choice.scored])
    uncertainty, calibration_warnings = _uncertainty(
        potential, structures, choice, source, scale, settings, progress
    )
    began = int(subsample(choice.scored, settings.starts)[0])
    first = structures[began]
    forecast = _forecast(potential, first, scale, settings)
    simulations = _simulations(potential, structures, choice, settings, out, forecast, progress)
    body: dict[str, Any] = {
        "model": potential.name,
        "choice": {"roles": choice.how, "groups": choice.grouped},
        "simulations": simulations,
        "survival": _survival(simulations),
        "distances": _distances(structures, simulations),
        "cost": {
            "atoms": len(first.numbers),
            "forecast": forecast,
            "ns_per_day": float(
                np.median([s["ns_per_day"] for s in simulations if s["frame"] == began])
            ),
            "workers": settings.workers,
        },
        "frames_looked_at": min(len(structures), LOOKED_AT),
        "uncertainty": uncertainty,
    }
    body["warnings"] = [
        *choice.warnings,
        *calibration_warnings,
        *shorter(potential, settings.cutoff),
        *_warnings(body, settings),
    ]
    return Report.made(
        "trust",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(choice.data),
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise trust``: the potential, the file and its split are read here."""
    settings = request.settings
    if request.options.get("workers") is not None:
        settings = settings.model_copy(update={"workers": request.options["workers"]})
    model = open_potential(request.model, device=settings.device, cutoff=settings.cutoff)
    folder = model_folder(request.model)
    structures, source = read_selection(folder, request.files[0], settings, request.progress)
    return assess_trust(model, structures, source, settings, request.out, progress=request.progress)


# ------------------------------------------------------------------------------- simulations


def _simulations(
    potential: Potential,
    structures: Sequence[Structure],
    choice: FrameSelection,
    settings: TrustSettings,
    out: Path,
    forecast: float,
    progress: Progress,
) -> list[dict[str, Any]]:
    chosen = subsample(choice.scored, settings.starts)
    starts = [
        Start(f"{kelvin:.0f}K-{k}", int(chosen[k % len(chosen)]), kelvin, k)
        for kelvin in (settings.temperature, settings.hotter * settings.temperature)
        for k in range(settings.starts)
    ]
    hours = len(starts) * 24e-3 * settings.picoseconds / forecast / settings.workers
    progress.message(
        f"{len(starts)} simulations of {settings.picoseconds:g} ps, from "
        f"{count(len(chosen), 'frame')} of {', '.join(choice.members)}: about "
        + (f"{hours:.1f} hours" if hours > 1 else f"{60 * hours:.0f} minutes")
    )
    frames = {s.frame: structures[s.frame].to_ase() for s in starts}
    shared = (potential, frames, settings, out)
    found: dict[int, dict[str, Any]] = {}
    jobs = run_jobs(_simulated, shared, starts, settings.workers)
    for k, result in progress.track(Counted(jobs, len(starts)), "Simulating"):
        found[k] = result
    return [found[k] for k in range(len(starts))]


def _simulated(
    shared: tuple[Potential, Mapping[int, ase.Atoms], TrustSettings, Path], start: Start
) -> dict[str, Any]:
    potential, frames, settings, out = shared
    made: SimulationSettings = settings.simulation(start.temperature, start.number)
    report = simulate(potential, frames[start.frame], made, out / "simulations" / start.name)
    body = report.body
    ended = body["ended"]
    return {
        "name": start.name,
        "frame": start.frame,
        "asked": start.temperature,
        "temperature": (body["temperature"] or {}).get("mean"),
        "picoseconds": body["picoseconds"],
        "survived": ended is None,
        "reason": None if ended is None else ended["reason"],
        "drift": (body["drift"] or {}).get("mean"),
        "ns_per_day": body["ns_per_day"],
        "shortest": {p["pair"]: p["shortest"] for p in body["distances"]["pairs"]},
    }


def _survival(simulations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many survived at each temperature."""
    found = []
    for kelvin in sorted({s["asked"] for s in simulations}):
        own = [s for s in simulations if s["asked"] == kelvin]
        survived = sum(s["survived"] for s in own)
        ends = binomtest(survived, len(own)).proportion_ci(method="exact")
        least = binomtest(survived, len(own), alternative="greater").proportion_ci(method="exact")
        found.append(
            {
                "temperature": kelvin,
                "simulations": len(own),
                "survived": survived,
                "interval": [float(ends.low), float(ends.high)],
                "at_least": float(least.low),
                "picoseconds": float(sum(s["picoseconds"] for s in own)),
            }
        )
    return found


def _distances(
    structures: Sequence[Structure], simulations: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The shortest distance of each pair of elements, of the data and of the simulations."""
    data: dict[str, float] = {}
    for k in subsample(np.arange(len(structures)), LOOKED_AT).tolist():
        frame = structures[k]
        pairs = build(frame, REACH, full=False, images=True)
        other = pairs.i != pairs.j
        numbers = np.sort(frame.numbers[np.stack([pairs.i[other], pairs.j[other]])], axis=0)
        kinds, inverse = np.unique(numbers, axis=1, return_inverse=True)
        shortest = np.full(kinds.shape[1], np.inf)
        np.minimum.at(shortest, inverse.ravel(), pairs.distance[other])
        for (a, b), length in zip(kinds.T.tolist(), shortest.tolist(), strict=True):
            name = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
            data[name] = min(length, data.get(name, np.inf))
    seen: dict[str, float] = {}
    for simulation in simulations:
        for pair, length in simulation["shortest"].items():
            if length is not None:
                seen[pair] = min(length, seen.get(pair, np.inf))
    return [{"pair": p, "data": data.get(p), "simulated": seen[p]} for p in sorted(seen)]


def _forecast(
    potential: Potential, frame: Structure, scale: Scale, settings: TrustSettings
) -> float:
    """What one evaluation forecasts of a simulation, ns/day; without a compiled program."""
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    at = potential.to(dtype=dtype, compiled=False).prepare(frame)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        at(scale)
        seconds.append(time.perf_counter() - start)
    return 86.4e-3 * settings.timestep / min(seconds[1:])  # of fs/s


# ------------------------------------------------------------------------------- uncertainty


def _uncertainty(
    potential: Potential,
    structures: Sequence[Structure],
    choice: FrameSelection,
    source: SplitSource,
    scale: Scale,
    settings: TrustSettings,
    progress: Progress,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Bounds on forces, and what share of them holds; why there are none, if there are none."""
    if not neighboring_scales(potential, scale):
        reason = (
            "there is no shorter scale of the ladder to compare with"
            if potential.ladder
            else "the potential has one scale: train over a ladder, --ladder 3,6.5,long"
        )
        return _no_bounds(reason), ()

    def data(numbers: Int[np.ndarray, " members"]) -> Disagreement:
        frames = [structures[k] for k in numbers.tolist()]
        return compare_scales(potential, frames, choice.group[numbers], scale, progress)

    tested = {role: data(numbers) for role, numbers in choice.members.items() if len(numbers)}
    least = int(np.ceil(settings.level / (1.0 - settings.level) - 1e-9))
    made, how = None, "frames of role valid"
    warnings: tuple[str, ...] = ()
    if source.split is not None and "valid" in source.split.role and "valid" not in tested:
        own = settings.model_copy(update={"role": ("valid",)})
        valid = select_frames(structures, own, source)
        if len(np.unique(choice.group[valid.scored])) >= least:
            made, warnings = data(valid.scored), valid.warnings
    if made is None:
        first = next(iter(tested))
        groups = np.unique(tested[first].group)
        if len(groups) < 2 * least:
            reason = (
                f"bounds that hold {settings.level:.0%} are made with {least} groups of frames or "
                f"more, and tested on as many others: role valid has too few, and '{first}' has "
                f"{len(groups)}"
            )
            return _no_bounds(reason), ()
        half = np.random.default_rng(settings.seed).permutation(groups)[: len(groups) // 2]
        made, how = tested[first].of_groups(half), f"half of the groups of '{first}'"
        tested[first] = tested[first].of_groups(np.setdiff1d(groups, half))
    bound = Bound.calibrated(made, settings.level)
    resampling = Resampling(settings.seed, settings.bootstrap)
    found = {
        "reason": None,
        "level": settings.level,
        "factor": bound.factor,
        "floor": 1e3 * bound.floor,
        "made_with": f"{how}, {count(len(np.unique(made.group)), 'group')}",
        "roles": [{"role": r, **bound.coverage(d, resampling)} for r, d in tested.items()],
    }
    return found, warnings


def _no_bounds(reason: str) -> dict[str, Any]:
    empty = dict.fromkeys(("level", "factor", "floor", "made_with"))
    return {"reason": reason, **empty, "roles": []}


def _warnings(body: Mapping[str, Any], settings: TrustSettings) -> list[str]:
    found = []
    frames = len({s["frame"] for s in body["simulations"]})
    if frames < settings.starts:
        found.append(
            f"{settings.starts} simulations at each temperature start from "
            f"{count(frames, 'frame')}: they are not independent, and the share that survives is "
            "less certain than its interval"
        )
    for near in body["distances"]:
        if near["data"] is not None and near["simulated"] < near["data"] - NEARER:
            found.append(
                f"{near['pair']} came as near as {near['simulated']:.2f} Å, nearer than in "
                f"the frames ({near['data']:.2f} Å): the potential was not trained there"
            )
    for role in body["uncertainty"]["roles"]:
        ends = role["interval"]
        if ends is not None and ends[1] < settings.level:
            found.append(
                f"bounds hold {role['held']:.0%} of the forces of '{role['role']}', not "
                f"{settings.level:.0%}: these frames are of another kind than those of validation"
            )
    return found
