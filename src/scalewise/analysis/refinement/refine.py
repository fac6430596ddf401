"""The fewest and cheapest scales of a trained ladder that lose hardly any accuracy.

Pools of scales are refined at falling prices of the neighbors. Each refinement starts from the pool
or single cutoff that is the best known one at its price. Together they form a frontier of error
against cost. The limits of the settings, "at most 1 % worse" or "at most 100 µs per atom", choose
from this frontier and from single cutoffs. Two more prices are tried between the last pool within
the limits and its neighbor beyond them, each the geometric mean of the two; if the pool with the
highest price is within the limits, the price is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from scalewise.analysis.evaluation.predict import known
from scalewise.analysis.evaluation.score import score
from scalewise.analysis.evaluation.selection import (
    FrameSelection,
    SplitSource,
    model_folder,
    read_selection,
    select_frames,
)
from scalewise.analysis.evaluation.subsets import named_subsets
from scalewise.analysis.refinement.frontier import (
    EvaluatedPool,
    best_single,
    choose,
    find_frontier,
    one_scale,
    refiner_of,
)
from scalewise.analysis.refinement.objective import Objective
from scalewise.analysis.refinement.pool import CutoffPool, group_names
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.analysis.rungs import Rung, check_range, measure
from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress
from scalewise.core.wording import count
from scalewise.data.splits import Split
from scalewise.data.structure import Structure
from scalewise.models.description import machine
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.statistics.bootstrap import Resampling

UNITS: Final = {
    "scales": "Å",
    "price": "relative error that all neighbors of the longest scale may cost",
    "error, elements, neighbors": "over those of the longest scale",
    "microseconds": "µs/atom, energy, forces and stress with a neighbor list that exists",
    "mae": "meV/Å, mean over components",
    "interval": "95 %, over groups of frames",
}
#: Cutoffs for all atoms that pools start from, that may be chosen, and that are drawn beside pools.
UNIFORM: Final = 6


def refine_cutoffs(
    potential: Potential,
    structures: Sequence[Structure],
    split: Split | SplitSource | None = None,
    settings: RefineSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> Report:
    """Find the cheapest cutoffs of the atoms for a frozen potential, and score them.

    Parameters
    ----------
    potential
        A potential that was trained over a ladder, so that its forces can be differentiated with
        respect to the cutoffs.
    structures
        Structures with labelled forces, eV/Å.
    split
        Roles of the structures: scales are found on the role ``fit`` of the settings, and scored on
        another role.
    settings
        Largest increase of the error or largest time, and the roles on which scales are found and
        scored.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``refine``. Its attribute ``potential`` has an adaptive cutoff that gives
        every atom its scale.

    Raises
    ------
    InputError
        A model that is not a potential of scalewise, or has one scale; fewer than six groups of
        structures; a structure that has both roles; a role that no structure has.
    """
    settings = settings or RefineSettings()
    if not isinstance(potential, Potential):
        raise InputError(
            "refine_cutoffs, potential",
            f"a {type(potential).__name__}",
            "The gradient of forces by the cutoff is needed, which a Potential has: train one "
            "over a ladder, or read one with load_potential.",
        )
    check_range(potential)
    frames = list(structures)
    source = split if isinstance(split, SplitSource) else SplitSource.given(split)
    fitted = settings.model_copy(update={"role": (settings.fit,)})
    choice = select_frames(frames, fitted, source)
    scored = select_frames(frames, settings, source)
    both_ways = np.intersect1d(choice.scored, scored.scored)
    if len(both_ways):
        raise InputError(
            "key 'role'",
            f"{count(len(both_ways), 'frame')} on which the scales are found, too (fit="
            f"{settings.fit})",
            "Score other frames than those of fit=...",
        )
    fit, check, both = _objectives(potential, frames, choice, settings)
    names = group_names(potential.elements, settings.adaptive_cutoff)
    counts = (len(fit.block), len(check.block))
    progress.message(
        f"Finding scales of {', '.join(names)} on {counts[0]} frames, deciding on {counts[1]}"
    )
    uniform = [
        one_scale(both, c) for c in np.linspace(both.shortest, both.longest, UNIFORM).tolist()
    ]
    found = find_frontier(fit, check, both, uniform, settings, progress)
    chosen = choose(found, settings)
    price = found[-1].state.price if chosen is None else chosen.state.price
    starts = [f.state.pool.scales[0] for f in uniform]
    starts += [] if chosen is None else list(chosen.state.pool.scales)
    single = best_single(fit, check, both, refiner_of(settings), price, starts)
    # the longest scale itself is what is left where nothing is chosen
    others = [replace(f, state=replace(f.state, price=price)) for f in uniform[:-1]]
    singles = [one_scale(both, single, price), *others]
    if (best := choose([*found, *singles], settings)) is not None and best is not chosen:
        chosen, single = best, best.state.pool.scales[0]
        found = sorted([*found, best], key=lambda f: -f.state.price)
    pool = CutoffPool.single(both.longest, both.groups) if chosen is None else chosen.state.pool
    progress.message(f"Scoring on {len(scored.subsample(settings.frames))} frames; {scored.how}")
    routed = both.routed(pool.lengths())
    body = {
        "model": {"name": potential.name, "ladder": list(potential.ladder)},
        "choice": {
            "fit": len(fit.block),
            "check": len(check.block),
            "roles": list(scored.members),
            "scored": len(scored.subsample(settings.frames)),
            "how": scored.how,
            "groups": scored.grouped,
        },
        "warnings": [*scored.warnings, *_warnings(chosen, found, settings)],
        "groups": list(names),
        "frontier": [_describe(f) for f in found],
        "uniform": [_uniform(f) for f in uniform],
        "chosen": None if chosen is None else found.index(chosen),
        "pool": _pool(pool),
        "single": single,
        "price": price,
        "history": [] if chosen is None else [_line(line) for line in chosen.state.history],
        **_score(potential, routed, single, frames, scored, settings, progress),
        **machine(potential),
    }
    shown = frames[int(scored.subsample(settings.frames)[0])]
    found_potential = replace(routed, info={**potential.info, "refined": _pool(pool)})
    attached = {"scales": (found_potential, shown)} if len(pool.scales) > 1 else {}
    return Report.made(
        "refine",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(choice.data),
        potential=found_potential,
        **attached,
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise refine``: the potential, the file and its split are read here."""
    settings = request.settings
    potential = open_potential(request.model, device=settings.device)
    check_range(potential)
    folder = model_folder(request.model)
    structures, source = read_selection(folder, request.files[0], settings, request.progress)
    report = refine_cutoffs(potential, structures, source, settings, progress=request.progress)
    found = report.potential
    found.info["refined"] = {"from": str(request.model), **found.info["refined"]}
    if source.trained_on is None:
        return report
    return replace(report, attachments={**report.attachments, "split": source.trained_on})


def _objectives(
    potential: Potential,
    frames: Sequence[Structure],
    choice: FrameSelection,
    settings: RefineSettings,
) -> tuple[Objective, Objective, Objective]:
    """Of frames to move scales on, of others to decide on, and of both; no group is in two."""
    chosen = choice.subsample(settings.frames)
    block = choice.group[chosen]
    groups = np.random.default_rng(settings.seed).permutation(np.unique(block))
    first = np.isin(block, groups[::2])
    if len(groups) < 6:
        raise InputError(
            f"frames of the role '{settings.fit}'",
            f"{len(groups)} groups of frames",
            "At least 6 are needed, three to find scales on and three to decide on: give another "
            "role with fit=..., or a file with more frames and a split of its own.",
        )
    listed = known(potential, [frames[k] for k in chosen])
    whole = Objective(potential, settings.adaptive_cutoff, listed, block, settings.worst)
    return whole.only(first), whole.only(~first), whole


def _warnings(
    chosen: EvaluatedPool | None, found: Sequence[EvaluatedPool], settings: RefineSettings
) -> list[str]:
    if chosen is not None:
        return []
    if settings.microseconds is not None:
        quickest = min(f.errors.microseconds for f in found)
        return [
            f"no pool takes at most {settings.microseconds:g} µs per atom, the quickest takes "
            f"{quickest:.0f}: all atoms keep the longest scale"
        ]
    return [
        f"no pool is at most {100 * settings.tolerance:g} % worse than the longest scale, and "
        f"{100 * settings.worst:g} % for any element: all atoms keep the longest scale. Give more "
        f"penalties (penalties={settings.penalties + 3}), or a larger tolerance or worst"
    ]


def _pool(pool: CutoffPool) -> dict[str, Any]:
    return {"scales": list(pool.scales), "members": [list(m) for m in pool.members]}


def _describe(found: EvaluatedPool) -> dict[str, Any]:
    error, elements, neighbors = found.errors.over(found.longest)
    return {
        "price": found.state.price,
        **_pool(found.state.pool),
        "error": error,
        "elements": elements.tolist(),
        "neighbors": neighbors,
        "microseconds": found.errors.microseconds,
    }


def _line(line: Any) -> dict[str, Any]:
    return {**asdict(line), "pool": _pool(line.pool)}


def _uniform(found: EvaluatedPool) -> dict[str, float]:
    """Error and neighbors where all atoms have one cutoff, on the frames scales are found on."""
    error, _, neighbors = found.errors.over(found.longest)
    return {"cutoff": found.state.pool.scales[0], "error": error, "neighbors": neighbors}


def _score(
    potential: Potential,
    routed: Potential,
    single: float,
    frames: Sequence[Structure],
    choice: FrameSelection,
    settings: RefineSettings,
    progress: Progress,
) -> dict[str, Any]:
    """Longest scale, best single one and pool, on frames that nothing was decided on."""
    chosen = choice.subsample(settings.frames)
    scored = known(potential, [frames[k] for k in chosen])
    charges = potential.long_range is not LongRange.NONE
    bare = replace(potential, adaptive_cutoff=None)
    rungs = [
        Rung(bare, potential.cutoff, charges, "longest"),
        Rung(bare, single, charges, "single"),
        Rung(routed, None, charges, "pool"),
    ]
    measured = measure(scored, rungs, progress)
    block = np.repeat(choice.group[chosen], [len(f.numbers) for f in scored])
    resampling = Resampling(settings.seed, settings.bootstrap)
    absolute = np.abs(measured.errors).sum(axis=2)

    def row(k: int, member: np.ndarray) -> dict[str, Any]:
        own, longest = absolute[k][member], absolute[0][member]
        interval = resampling.ratio(own, longest, block[member])
        return {
            **score(measured.errors[k][member], block[member], resampling),
            "ratio": float(own.sum() / longest.sum()) if longest.sum() > 0 else None,
            "ratio_interval": None if interval is None else [interval.low, interval.high],
        }

    cost = measured.cost(scored)
    return {
        "scored": [
            {
                "name": rung.name,
                "neighbors": float(measured.neighbors[k]),
                "microseconds": float(cost[k]),
            }
            for k, rung in enumerate(rungs)
        ],
        "subsets": [
            {
                "kind": kind,
                "name": name,
                "atoms": int(member.sum()),
                "scored": [row(k, member) for k in range(len(rungs))],
            }
            for kind, name, member in named_subsets(scored, settings.ions)
        ],
    }
