"""What a simulation shows: temperature, conserved energy, pressure, distances, cutoffs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from scipy.stats import linregress
from scipy.stats import t as student

from scalewise.core.wording import count
from scalewise.data.splits.identity import DataFile
from scalewise.reporting.report import Report, provenance
from scalewise.simulation.settings import SimulationSettings

UNITS: Final = {
    "time": "ps",
    "temperature": "K, of the degrees of freedom that move",
    "drift": "eV/atom/ps, slope of the conserved energy",
    "pressure": "bar",
    "volume": "Å³",
    "density": "g/cm³",
    "r, shortest, peak, minimum": "Å",
    "within": "neighbors of the second element closer than r, of an atom of the first",
    "interval": "95 %, over five blocks of time after the first fifth",
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
    """Slope of the conserved energy (eV/atom/ps) by least squares; none where none is conserved.

    Its interval is that of the slope through the means of five blocks.
    """
    time, conserved = rows["time"], rows["conserved"] / atoms
    if len(time) < 3 or not np.isfinite(conserved).all():
        return None
    slope, interval = float(np.polyfit(time, conserved, 1)[0]), None
    if len(time) >= 4 * BLOCKS:
        means = [np.array([p.mean() for p in np.array_split(v, BLOCKS)]) for v in (time, conserved)]
        line = linregress(*means)
        half = student.ppf(0.975, BLOCKS - 2) * line.stderr
        interval = [float(line.slope - half), float(line.slope + half)]
    return {"mean": slope, "interval": interval}


def made(
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
        "picoseconds": 1e-3 * settings.timestep * about["steps"],
        "ns_per_day": 86.4e-3 * settings.timestep * about["steps"] / max(about["seconds"], 1e-9),
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
    interval = None
    if len(kept) >= 4 * BLOCKS:
        means = np.array([part.mean() for part in np.array_split(kept, BLOCKS)])
        half = student.ppf(0.975, BLOCKS - 1) * means.std(ddof=1) / np.sqrt(BLOCKS)
        interval = [float(kept.mean() - half), float(kept.mean() + half)]
    return {"mean": float(kept.mean()), "interval": interval}


def _thinned(values: Float[np.ndarray, " rows"]) -> list[float | None]:
    """Every so many of the rows; what is not known is none."""
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
