"""The forks of an attribution: the ladders on all frames, trained further at each scale alone.

The scales of one ladder share their weights, so that their errors differ from those of potentials
trained for one scale each. Forks come closer to such potentials (:mod:`scalewise.analysis.forks`).
The forks of each replica start from the ladder of this replica, so that the intervals include the
variance between ladders and between forks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scalewise.analysis.attribution.error_table import place
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.attribution.trainings import Training
from scalewise.analysis.forks.plan import Fork, plan, scale_of, scales_of
from scalewise.analysis.forks.run import fork_errors
from scalewise.analysis.forks.settings import ForkComparisonSettings
from scalewise.analysis.rungs import Rung
from scalewise.analysis.trainings import Common, Scoring, TrainingTask, at_a_time, train_all
from scalewise.core.progress import Progress
from scalewise.core.wording import already, count
from scalewise.data.structure import Structure
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.training.trainer import STATE


def fork_ladders(
    frames: Sequence[Structure],
    ladders: Sequence[Training],
    cutoffs: Sequence[float],
    scored: Sequence[int],
    settings: AttributionSettings,
    out: Path,
    on: str | None,
    progress: Progress,
) -> list[Fork]:
    """Train and score the forks of finished ladders; those that are there are used again.

    Parameters
    ----------
    frames
        All of them.
    ladders
        The trainings on all frames, one for each replica.
    cutoffs
        Å: with long range, where the ladder has any, and the longest without, where it may be.
    scored
        Numbers of the frames that are scored.
    settings, out, on, progress
        As of :func:`scalewise.analysis.attribution.run.attribute_error`.
    """
    asked = ForkComparisonSettings(
        cutoffs=tuple(cutoffs), share=settings.fork_share, device=settings.device
    )
    forks: list[Fork] = []
    tasks: list[TrainingTask] = []
    initial: dict[Path, Potential] = {}
    for ladder in ladders:
        initial[ladder.folder] = potential = open_potential(ladder.folder, device="cpu")
        trained_on = [frames[k] for k in ladder.split.members("train")]
        found = plan(
            *(potential, ladder.folder, trained_on, asked, scales_of(potential, asked)),
            out / "forks",
            replicas=[ladder.replica],
        )
        forks += found
        for fork in found:
            scoring = Scoring(settings.role, tuple(scored), (scale_of(fork).cutoff,))
            tasks.append(TrainingTask(fork.folder, ladder.split, fork.settings, (scoring,)))
    steps = forks[0].settings.steps or 0
    done = sum((fork.folder / STATE).is_file() for fork in forks)
    progress.message(
        f"{count(len(forks), 'fork')} of {count(steps, 'step')} at one scale{already(done)}"
    )
    common = Common(frames, initial, settings.device)
    workers = at_a_time(settings.workers, settings.device)
    train_all(common, tasks, workers=workers, on=on, progress=progress)
    return forks


def errors_alone(
    forks: Sequence[Fork],
    rungs: Sequence[Rung],
    scored: Sequence[Structure],
    settings: AttributionSettings,
) -> dict[int, Float[np.ndarray, "replicas atoms"]]:
    """Absolute errors of the forks, eV/Å, by the place of their scale among all."""
    errors = fork_errors(forks, scored, settings.role, settings.device)
    places = {f.scale: scale_place(rungs, f, settings) for f in forks}
    return {places[k]: errors[:, k] for k in sorted(places)}


def scale_place(rungs: Sequence[Rung], fork: Fork, settings: AttributionSettings) -> int:
    """Which of the scales of the ladder is that of a fork."""
    scale = scale_of(fork)
    return place(rungs, scale.cutoff, long=scale.long_range and settings.network.charges)
