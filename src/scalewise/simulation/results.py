"""Results of a simulation: temperature, conserved energy, pressure, distances, cutoffs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from scalewise.core.wording import count
from scalewise.data.splits.identity import DataFile
from scalewise.reporting.report import Report, provenance
from scalewise.simulation.settings import SimulationSettings
from scalewise.statistics.bootstrap import Interval, mean_interval
from scalewise.statistics.trend import slope, slope_interval

UNITS: Final = {
    "time": "ps",
    "temperature": "K, of the degrees of freedom that move",
    "drift": "eV/atom/ps, slope of the conserved energy",
    "pressure": "bar",
    "volume": "Å³",
    "density": "g/cm³",
    "r, shortest, peak, minimum": "Å",
    "within": "neighbors of the second element closer than r, of an atom of the first",
    "interval": "95 %, over five blocks of time after the first fifth; of the drift, with the "
    "memory of what its line leaves",
}
#: Columns of the log that figures draw, and how those of the mean cutoffs of elements begin.
SERIES: Final = ("time", "temperature", "potential", "conserved", "volume", "pressure")
CUTOFF: Final = "cutoff_"
#: Rows that figures draw, at most.
DRAWN: Final = 500
#: Share of the time that means leave out, and blocks of the rest.
SETTLING: Final = 0.2
BLOCKS: Final = 5
#: eV/atom/ps: more is said to be much.
MUCH: Final = 1e-3
#: Frames that distances are of, at least.
FEW: Final = 20
#: g/cm³ in u/Å³.
DENSITY: Final = 1.66053907

Rows = Mapping[str, Float[np.ndarray, " rows"]]


def drift(rows: Rows, atoms: int) -> dict[str, Any] | None:
    r"""Slope of the conserved energy per atom, eV/atom/ps; none where none is conserved.

    Its interval is that of :func:`scalewise.statistics.trend.slope_interval`: the energy of long
    steps walks at random.
    """
    time, conserved = rows["time"], rows["conserved"] / atoms
    if len(time) < 3 or not np.isfinite(conserved).all():
        return None
    return _known(slope(time, conserved), slope_interval(time, conserved), len(time))


def nanoseconds_per_day(settings: SimulationSettings, steps: int, seconds: float) -> float:
    """Simulated time, ns, for each day of wall-clock time."""
    return 86.4 * settings.picoseconds_of(steps) / max(seconds, 1e-9)


def make_report(
    settings: SimulationSettings,
    rows: Rows,
    distances: Mapping[str, Any],
    about: Mapping[str, Any],
    data: DataFile,
) -> Report:
    """Make the report of a simulation.

    Parameters
    ----------
    settings
        Of the simulation.
    rows
        Columns of its log.
    distances
        See :meth:`scalewise.simulation.distances.Distances.found`.
    about
        Model, composition, steps, seconds, and how it ended.
    data
        The structure that it began with.
    """
    atoms = int(about["atoms"])
    change = drift(rows, atoms)
    body: dict[str, Any] = {
        **{k: v for k, v in about.items() if k != "mass"},
        "picoseconds": settings.picoseconds_of(about["steps"]),
        "ns_per_day": nanoseconds_per_day(settings, about["steps"], about["seconds"]),
        "temperature": _mean(rows, "temperature"),
        "potential": _mean(rows, "potential", 1.0 / atoms),
        "pressure": _mean(rows, "pressure"),
        "volume": _mean(rows, "volume"),
        "density": None,
        "drift": change,
        "series": {k: _thinned(rows[k]) for k in SERIES},
        "cutoffs": {k.removeprefix(CUTOFF): _thinned(v) for k, v in rows.items() if CUTOFF in k}
        or None,
        "distances": distances,
    }
    if body["volume"] is not None:
        body["density"] = DENSITY * about["mass"] / body["volume"]["mean"]
    body["warnings"] = _warnings(body)
    return Report.made(
        "simulation",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(data),
    )


def _mean(rows: Rows, column: str, factor: float = 1.0) -> dict[str, Any] | None:
    """Mean after the first fifth and its interval; none without values."""
    values = factor * rows[column]
    kept = values[int(SETTLING * len(values)) :]
    if not len(kept) or not np.isfinite(kept).all():
        return None
    found = mean_interval(kept, np.ones(len(kept), dtype=int), _block(len(kept)), seed=0)
    return _known(float(kept.mean()), found, len(kept))


def _block(rows: int) -> Int[np.ndarray, " rows"]:
    """The block of time that each row is in."""
    return np.arange(rows) * BLOCKS // rows


def _known(value: float, found: Interval | None, rows: int) -> dict[str, Any]:
    """A number with its interval, which few rows do not have."""
    enough = found is not None and rows >= 4 * BLOCKS
    return {"mean": value, "interval": [found.low, found.high] if found and enough else None}


def _thinned(values: Float[np.ndarray, " rows"]) -> list[float | None]:
    """At most ``DRAWN`` of the rows, evenly spread; what is not known is none."""
    some = values[:: -(-len(values) // DRAWN)] if len(values) else values
    return [float(v) if np.isfinite(v) else None for v in some]


def _warnings(body: Mapping[str, Any]) -> list[str]:
    found, distances = [], body["distances"]
    drifts, interval = body["drift"], (body["drift"] or {}).get("interval")
    if interval is not None and (interval[0] > MUCH or interval[1] < -MUCH):
        found.append(
            f"the conserved energy drifts by {drifts['mean']:.1e} eV/atom/ps: give a shorter "
            "timestep"
        )
    if (frames := distances["frames"]) < FEW:
        found.append(f"distances are of {count(frames, 'frame')}: give a smaller save_every")
    if body["temperature"] is not None and body["temperature"]["interval"] is None:
        found.append("the log has too few rows for intervals: a longer simulation has them")
    return found
