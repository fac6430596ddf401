"""The forks of a ladder: which scales, which seeds, and how each is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from scalewise.analysis.forks.settings import ForkComparisonSettings
from scalewise.analysis.learning import history_of
from scalewise.analysis.rungs import check_range
from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.models.density.settings import ForkSettings
from scalewise.models.potential import Potential
from scalewise.models.protocol import LongRange
from scalewise.training.dataset import frames_per_step
from scalewise.training.settings import TrainSettings

#: Settings of the ladder's training that its forks do not take over.
OWN: Final = frozenset(
    {
        *("data", "network", "adaptive_cutoff", "start", "fork", "freeze", "scale_sampling"),
        *("minutes", "steps", "epochs", "processes", "patience", "tensorboard", "compile"),
    }
)
#: What a second ladder does not take over: its budget is its own.
BUDGET: Final = frozenset(
    {*("data", "minutes", "steps", "epochs", "processes", "patience", "tensorboard", "compile")}
)
#: Of each fork, and of the second ladder.
VALIDATIONS: Final = 4


@dataclass(frozen=True)
class Fork:
    """One training at one scale; the place of the scale among all, and which seed."""

    scale: int
    replica: int
    folder: Path
    settings: TrainSettings


@dataclass(frozen=True)
class ShorterLadder:
    """A second ladder, like the first, in fewer steps."""

    folder: Path
    settings: TrainSettings

    @property
    def steps(self) -> int:
        """Of its training."""
        assert self.settings.steps is not None
        return self.settings.steps


def scales_of(potential: Potential, settings: ForkComparisonSettings) -> list[ForkSettings]:
    """Cutoffs with long range, then the longest without, where that is optional.

    Raises
    ------
    InputError
        A potential of one scale; a cutoff that is not on its ladder.
    """
    shortest, longest = check_range(potential)
    given = settings.cutoffs
    if given is None:
        # rounding may go beyond the ends
        even = np.linspace(shortest, longest, settings.points).round(2)
        given = tuple(float(v) for v in np.clip(even, shortest, longest))
    for cutoff in given:
        if not shortest <= cutoff <= longest:
            raise InputError(
                "key 'cutoffs'",
                f"{cutoff:g} Å",
                f"The potential's ladder goes from {shortest:g} to {longest:g} Å.",
            )
    found = [ForkSettings(cutoff=cutoff) for cutoff in given]
    if potential.long_range is LongRange.OPTIONAL:
        found.append(ForkSettings(cutoff=given[-1], long_range=False))
    return found


def plan(
    potential: Potential,
    start: Path,
    trained_on: Sequence[Structure],
    settings: ForkComparisonSettings,
    scales: Sequence[ForkSettings],
    out: Path,
    *,
    replicas: Sequence[int],
) -> list[Fork]:
    """List the forks of a ladder; the first replica of every scale first.

    Parameters
    ----------
    potential, start
        The ladder, and the folder that it is in.
    trained_on
        Its training frames.
    settings, scales
        How long forks are, and at which scales.
    out
        Folders of forks go below it.
    replicas
        Numbers of the seeds.

    Raises
    ------
    InputError
        The potential does not say how it was trained.
    """
    ladder = training_of(potential)
    steps = settings.steps or max(1, round(settings.share * steps_of(potential)))
    common = {
        **ladder.model_dump(exclude=set(OWN)),
        **_alike(potential, trained_on, settings),
        "start": start,
        "steps": steps,
        "learning_rate": settings.rate * ladder.learning_rate,
        "adam_rate": settings.rate * ladder.adam_rate,
    }
    return [
        Fork(
            k,
            replica,
            out / f"{name_of(scale)}-{replica}",
            TrainSettings.model_validate(
                {**common, "fork": scale.model_dump(), "seed": ladder.seed + 1 + replica}
            ),
        )
        for replica in replicas
        for k, scale in enumerate(scales)
    ]


def plan_shorter(
    potential: Potential,
    trained_on: Sequence[Structure],
    settings: ForkComparisonSettings,
    out: Path,
) -> ShorterLadder | None:
    """The second ladder; none where none is asked for, or where the first did not begin from zero.

    Raises
    ------
    InputError
        The potential does not say how it was trained.
    """
    ladder = training_of(potential)
    steps = 0 if settings.shorter is None else round(settings.shorter * steps_of(potential))
    if not 0 < steps < steps_of(potential) or ladder.start is not None:
        return None
    given = {**ladder.model_dump(exclude=set(BUDGET)), **_alike(potential, trained_on, settings)}
    return ShorterLadder(out / "shorter", TrainSettings.model_validate({**given, "steps": steps}))


def _alike(
    potential: Potential, trained_on: Sequence[Structure], settings: ForkComparisonSettings
) -> dict[str, Any]:
    """What makes steps of a training in one process those of the ladder's."""
    ladder, known = training_of(potential), potential.info.get("batch_size")
    size = ladder.batch_size or (known if type(known) is int and known > 0 else None)
    size = size or frames_per_step(trained_on, ladder.processes)
    return {
        "batch_size": size * ladder.processes,
        "validations": VALIDATIONS,
        "compile": "never",
        "device": settings.device,
    }


def scale_of(fork: Fork) -> ForkSettings:
    """The one scale of a fork."""
    assert fork.settings.fork is not None
    return fork.settings.fork


def name_of(scale: ForkSettings) -> str:
    """Such as ``4.5`` or ``4.5-local``, for a folder."""
    return f"{scale.cutoff:g}" + "-local" * (not scale.long_range)


def training_of(potential: Potential) -> TrainSettings:
    """Settings of the training that made a potential.

    Raises
    ------
    InputError
        It does not say.
    """
    given: Any = potential.info.get("settings")
    loss = given.get("loss") if isinstance(given, Mapping) else None
    if isinstance(loss, Mapping) and "energy_from" not in loss:
        # it was trained before energies had less weight at first
        given = {**given, "loss": {**loss, "energy_from": 0.0}}
    try:
        return TrainSettings.model_validate(given)
    except ValidationError:
        raise InputError(
            f"model {potential.name}",
            "it does not say how it was trained",
            "Give a potential of `scalewise train --ladder`: its forks are trained like it.",
        ) from None


def steps_of(potential: Potential) -> int:
    """Steps of the training that made a potential."""
    steps = history_of(potential.info).get("step")
    best = potential.info.get("step")
    if steps:
        return int(steps[-1])
    return best if type(best) is int and best > 0 else 1
