"""Bound the error of any model of a given range by resampling the atoms outside fixed spheres."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Float

from scalewise.analysis.evaluation.subsets import symbol
from scalewise.analysis.locality.against import read_against
from scalewise.analysis.locality.bounds import absolute_bound, memory, square_bound
from scalewise.analysis.locality.reference import AseReference, Reference, SolutionReference
from scalewise.analysis.locality.settings import LocalitySettings
from scalewise.analysis.locality.sphere import check_radius
from scalewise.core.documents import read_array
from scalewise.core.errors import InputError
from scalewise.core.files import replacing
from scalewise.core.jobs import run_jobs
from scalewise.core.progress import SILENT, Counted, Progress
from scalewise.data.reading import read_structures, without_labels
from scalewise.data.splits import identify
from scalewise.data.structure import Structure
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.statistics.bootstrap import Resampling

UNITS: Final = {
    "radius": "Å, of what stands still",
    "mae, rmse": "meV/Å, mean over components, that no model of this range is below",
    "interval": "95 %, over tagged atoms",
    "memory": "correlation of neighboring samples: above 0.3, samples are not independent",
}
#: Tagged atoms that an interval needs.
FEWEST: Final = 3
#: Number of the way in which samples are drawn: those of another are not used.
DRAWS: Final = 2
#: Draws for each sample that is wanted, before it is given up that nothing comes into the sphere.
TRIES: Final = 4
#: Correlation of neighboring samples above which the bound is markedly too low.
REMEMBERS: Final = 0.3


@dataclass(frozen=True, eq=False)
class Tagged:
    """One atom of one frame, with what is held around it."""

    frame: Structure
    atom: int
    radius: float
    seed: int

    @property
    def element(self) -> str:
        """Its symbol."""
        return symbol(int(self.frame.numbers[self.atom]))


def bound_locality(
    structures: Sequence[Structure],
    reference: Reference,
    settings: LocalitySettings | None = None,
    out: Path | str = "runs/locality",
    *,
    on: str | None = None,
    progress: Progress = SILENT,
) -> Report:
    r"""Bound the error of any model of a given range from below, with the reference method alone.

    The atoms within a radius of a tagged atom are held fixed, and all others are resampled. With
    two independent samples F and F' of the force on the tagged atom, every model m of the fixed
    environment E has

    .. math:: \langle |F - m(E)| \rangle \ge \tfrac12 \langle |F - F'| \rangle, \qquad
       \langle (F - m(E))^2 \rangle \ge \langle \mathrm{Var}(F | E) \rangle

    Parameters
    ----------
    structures
        Structures from which the resampling starts; labels are not needed.
    reference
        Reference method that samples: an :class:`AseReference` of any ASE calculator, or a
        :class:`SolutionReference`.
    settings
        Tagged atoms, radii and samples.
    out
        Folder of the analysis. Samples are written below ``out/samples``; finished ones there are
        used again.
    on
        Address of a Dask scheduler whose workers resample, such as ``tcp://node1:8786``; the
        workers must be able to import the calculator.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``locality``: for each element and radius, the lower bound of the error of
        any model of that range, with its 95 % interval over tagged atoms.

    Raises
    ------
    InputError
        An element that no structure has, or that has fewer atoms than an interval needs; a radius
        that reaches half of the cell; a curve to compare with in which all scales have long range.
    """
    frames, out, settings = _named(structures), Path(out), settings or LocalitySettings()
    against = None if settings.against is None else read_against(settings.against)
    tagged = _tag(frames, settings)
    cache = out / "samples" / _digest(frames, reference, settings)
    files = {t: _file(cache, t) for t in tagged}
    known = {file: read_array(file, 3, settings.samples) for file in files.values()}
    todo = [t for t in tagged if known[files[t]] is None]
    ps = settings.settling + (settings.samples - 1) * settings.spacing
    progress.message(
        f"{len(tagged)} tagged atoms and radii, {ps:g} ps each"
        + f"; {len(tagged) - len(todo)} are there already" * (len(todo) < len(tagged))
    )
    jobs = run_jobs(_one, (reference, settings), todo, settings.workers, on)
    for k, samples in progress.track(Counted(jobs, len(todo)), "Resampling"):
        target = _file(cache, todo[k])
        with replacing(target) as temporary, temporary.open("wb") as stream:
            np.save(stream, samples)
        known[target] = samples
    forces: dict[tuple[str, float], list[Any]] = {}
    for t in tagged:
        forces.setdefault((t.element, t.radius), []).append(known[files[t]])
    resampling = Resampling(settings.seed, settings.bootstrap)
    elements = sorted({t.element for t in tagged}, key=lambda e: int(atomic_numbers[e]))
    body: dict[str, Any] = {
        "radii": list(settings.radii),
        "elements": [
            {
                "name": e,
                "radii": [_bound(forces[e, r], resampling) for r in settings.radii],
            }
            for e in elements
        ],
        "against": against,
    }
    body["warnings"] = _warnings(body)
    return Report.made(
        "locality",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(identify(frames)),
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise locality``: the structures and the reference are read here."""
    settings = request.settings
    if settings.against is not None:
        read_against(settings.against)  # complains before anything is computed
    structures, reference = _open(Path(request.model), settings)
    return bound_locality(
        structures,
        reference,
        settings,
        request.out,
        on=request.options.get("on"),
        progress=request.progress,
    )


def _open(path: Path, settings: LocalitySettings) -> tuple[list[Structure], Reference]:
    files = sorted(path.glob("replica-*.extxyz")) if path.is_dir() else [path]
    if not files:
        raise InputError(
            str(path), "no replica-*.extxyz in it", "Give the folder of `scalewise generate`."
        )
    frames = [
        f
        for file in files
        for f in read_structures(file, without_labels(check_units=settings.check_units))
    ]
    if settings.calculator is not None:
        return frames, AseReference.named(settings)
    return frames, SolutionReference.read(path if path.is_dir() else path.parent)


def _named(structures: Sequence[Structure]) -> list[Structure]:
    """Structures whose file and index tell them apart: their samples are kept by these."""
    names = {(Path(s.source).stem, s.index) for s in structures}
    if len(names) == len(structures):
        return list(structures)
    return [replace(s, source="memory", index=k) for k, s in enumerate(structures)]


def _tag(frames: Sequence[Structure], settings: LocalitySettings) -> list[Tagged]:
    """Atoms of each element, spread over the frames; every one at every radius."""
    present = sorted({int(z) for f in frames for z in f.numbers})
    names = settings.elements or tuple(symbol(z) for z in present)
    missing = [e for e in names if atomic_numbers.get(e) not in present]
    if missing:
        raise InputError(
            "key 'elements'",
            f"no frame has {', '.join(missing)}",
            f"There are {', '.join(symbol(z) for z in present)}.",
        )
    found = []
    for name in names:
        number = int(atomic_numbers[name])
        rng = np.random.default_rng((settings.seed, number))
        places = [
            (k, int(atom))
            for k, f in enumerate(frames)
            for atom in rng.permutation(np.flatnonzero(f.numbers == number))
        ]
        if len(places) < FEWEST:
            raise InputError(
                str(frames[0].source),
                f"{len(places)} atoms of {name} in all frames",
                f"At least {FEWEST} are needed for an interval: give more frames, or elements=...",
            )
        chosen = _evenly(len(places))[: settings.atoms]
        for frame, atom in ((frames[k], a) for k, a in (places[c] for c in chosen)):
            for radius in settings.radii:
                check_radius(frame, radius)
                key = (settings.seed, number, frame.index, atom, round(1e3 * radius))
                seed = int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)
                found.append(Tagged(frame, atom, radius, seed))
    return found


def _evenly(count: int) -> list[int]:
    """Numbers below ``count``, in an order whose beginnings are all spread evenly.

    Examples
    --------
    >>> _evenly(8)
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(count - 1, 1).bit_length()
    return sorted(range(count), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))


def _digest(frames: Sequence[Structure], reference: Reference, settings: LocalitySettings) -> str:
    """Changes with whatever decides the samples of a tagged atom, and with nothing else."""
    free = {"radii", "against", "workers", "bootstrap", "elements", "atoms"}
    text = json.dumps(settings.model_dump(mode="json", exclude=free), sort_keys=True)
    whole = hashlib.sha256(f"draws {DRAWS} {reference.identity()} {text}".encode())
    for frame in frames:
        for values in (frame.numbers, frame.positions, frame.cell, frame.pbc):
            whole.update(np.ascontiguousarray(values).tobytes())
        whole.update(str(sorted(frame.info.items())).encode())
    return whole.hexdigest()[:12]


def _file(cache: Path, t: Tagged) -> Path:
    stem = Path(t.frame.source).stem
    return cache / f"{t.element}-{stem}-{t.frame.index}-{t.atom}-{t.radius:g}.npy"


def _one(shared: tuple[Reference, LocalitySettings], t: Tagged) -> Float[np.ndarray, "samples 3"]:
    reference, settings = shared
    sphere = reference.sphere(t.frame, t.atom, t.radius)
    draws = islice(reference.resample(sphere, settings, t.seed), TRIES * settings.samples)
    samples = list(islice((f for f in draws if f is not None), settings.samples))
    if len(samples) < settings.samples:
        raise InputError(
            f"{t.frame.where}, {t.radius:g} Å around atom {t.atom}",
            f"others came into the sphere in all but {len(samples)} of "
            f"{TRIES * settings.samples} draws",
            "Start from frames that were sampled at this temperature; with a calculator, shorten "
            "timestep.",
        )
    return np.array(samples)


def _bound(found: Sequence[np.ndarray], resampling: Resampling) -> dict[str, Any]:
    forces = np.stack(found)
    absolute = np.array([absolute_bound(f) for f in forces])
    square = np.array([square_bound(f) for f in forces])
    block = np.arange(len(forces))
    ones = np.ones(len(forces), dtype=int)
    linear, squared = (resampling.mean(v, ones, block) for v in (absolute, square))
    return {
        "tagged": len(forces),
        "mae": 1e3 * float(absolute.mean()),
        "mae_interval": None if linear is None else _ends(linear.low, linear.high),
        "rmse": 1e3 * float(np.sqrt(square.mean())),
        "rmse_interval": None
        if squared is None
        else _ends(*(np.sqrt(max(v, 0.0)) for v in (squared.low, squared.high))),
        "memory": memory(forces),
    }


def _ends(low: float, high: float) -> list[float]:
    return [1e3 * max(low, 0.0), 1e3 * high]


def _warnings(results: dict[str, Any]) -> list[str]:
    slow = [
        f"{e['name']} at {r:g} Å"
        for e in results["elements"]
        for r, row in zip(results["radii"], e["radii"], strict=True)
        if (row["memory"] or 0.0) > REMEMBERS
    ]
    if not slow:
        return []
    shown = ", ".join(slow[:4]) + (f" and {len(slow) - 4} more" if len(slow) > 4 else "")
    return [
        f"samples of {shown} resemble the one before: the bound holds, but a longer spacing "
        "would raise it"
    ]
