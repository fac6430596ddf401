"""Simulate one replica from an empty box to labelled frames, with its record for the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from scalewise.core.quantities import NM
from scalewise.testbed.geometry import geometry_of
from scalewise.testbed.replica import CUTOFFS, SETTLING, WINDOW, Replica, Snapshot, Tick
from scalewise.testbed.settings import SolutionSettings


@dataclass(frozen=True)
class Sampled:
    """All that one replica yields; ``report`` is its entry in the manifest."""

    symbols: list[str]
    molecules: Int[np.ndarray, " atoms"]
    production: list[Snapshot]
    replicates: list[Snapshot]
    report: dict[str, Any]


def has_replicates(settings: SolutionSettings, replica: int) -> bool:
    """Tell whether a replica also gives solvent replicates: the last ones do."""
    return replica >= settings.replicas - settings.replicates.replicas


def duration(settings: SolutionSettings, replica: int) -> float:
    """Return the ps of dynamics of one replica."""
    r = settings.replicates
    extra = r.configurations * r.samples * r.spacing if has_replicates(settings, replica) else 0.0
    windows = len(geometry_of(settings).distances)
    production = windows * settings.frames * settings.spacing
    settling = SETTLING + (WINDOW * windows if settings.geometry == "pair" else 0.0)
    return (1.0 + settling) * settings.equilibration + production + extra


def simulate(settings: SolutionSettings, replica: int, tick: Tick = lambda ps: None) -> Sampled:
    """Make one replica from an empty box to labelled frames.

    Parameters
    ----------
    settings
        The solution.
    replica
        Index, from 0; it picks the seed.
    tick
        Called often with the ps simulated so far; an exception it raises ends the simulation.

    Raises
    ------
    InputError
        OpenMM is missing, the ions do not fit, the dynamics exploded, the cell became too small.
    """
    run = Replica(settings, replica, tick)
    density = run.equilibrate()
    production, states, temperatures = run.produce()
    wanted = settings.replicates.configurations if has_replicates(settings, replica) else 0
    chosen = [int((i + 0.5) * len(states) / wanted) for i in range(wanted)]
    replicates = [s for i, at in enumerate(chosen) for s in run.resolvate(i, at, states[at])]
    report = {
        "replica": replica,
        "seed": run.seed,
        "platform": run.platform,
        "ion_pairs": run.pairs,
        "dissolved_pairs": run.geometry.pairs,
        "waters": int(run.molecules[-1]) + 1 - 2 * run.pairs,
        "edge": float(run.cell[0]) * NM,
        "cell": [float(length) * NM for length in run.cell],
        "density": density if density is not None else _mean([s.density for s in production]),
        "places": _counts(run.geometry.words, production),
        "temperature": float(np.mean(temperatures)),
        "temperature_error": standard_error(np.array(temperatures)),
        "label_error": run.label_error(states[-1]),
        **_drift(
            np.array([s.energy for s in production]).reshape(-1, settings.frames)
            / len(run.molecules)
        ),
        **_share_beyond(production),
    }
    return Sampled(run.symbols, run.molecules, production, replicates, report)


def standard_error(series: Float[np.ndarray, " times"]) -> float | None:
    """Return the standard error of the mean of a time series with a short memory, or None.

    The memory is taken as exponential: the variance grows by (1 + c)/(1 - c), with c the
    correlation of neighboring entries. Fewer than four entries give None.
    """
    n = len(series)
    deviations = series - series.mean()
    variance = float((deviations**2).sum()) / max(1, n - 1)
    if n < 4 or variance == 0.0:
        return None
    c = float((deviations[1:] * deviations[:-1]).sum() / (deviations**2).sum())
    c = min(max(c, 0.0), 1.0 - 2.0 / n)
    return float(np.sqrt(variance / n * (1.0 + c) / (1.0 - c)))


def _drift(energies: Float[np.ndarray, "windows times"]) -> dict[str, float | None]:
    """Return the second half minus the first half of every window, with its standard error."""
    half = energies.shape[1] // 2
    if half == 0:
        return {"drift": None, "drift_error": None}
    if len(energies) > 1:  # windows differ in energy, which is no drift
        energies = energies - energies.mean(axis=1, keepdims=True)
    first, second = energies[:, :half].ravel(), energies[:, energies.shape[1] - half :].ravel()
    a, b = standard_error(first), standard_error(second)
    error = None if a is None or b is None else (a**2 + b**2) ** 0.5
    return {"drift": float(second.mean() - first.mean()), "drift_error": error}


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _counts(words: Sequence[str], frames: list[Snapshot]) -> dict[str, float]:
    """Mean number of atoms in each place."""
    return {w: float(np.mean([(f.place == w).sum() for f in frames])) for w in words}


def _share_beyond(frames: list[Snapshot]) -> dict[str, Any]:
    """Share of the forces from pairs beyond each cutoff, of a law that knows it."""
    found = [f.beyond for f in frames if f.beyond is not None]
    if not found:
        return {}
    mean = np.mean(found, axis=0)
    shares = (mean[:-1] / mean[-1]).tolist()
    return {"beyond": {f"{c:g}": share for c, share in zip(CUTOFFS, shares, strict=True)}}
