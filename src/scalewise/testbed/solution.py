"""Labelled frames of aqueous NaCl: replicas in parallel, resumable, checked, with a manifest.

The folder of `generate` holds, for each replica, ``replica-00.extxyz``, perhaps
``replicates-00.extxyz`` (the same ions with other water), and ``replica-00.json`` with its report
and the digests of its files; then ``settings.json`` (written first) and ``manifest.json`` (written
last). The contents of these files do not depend on the time or on the number of workers.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final

import ase
import ase.io
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import scalewise
from scalewise.core import files as artifacts
from scalewise.core.documents import read_kept
from scalewise.core.errors import InputError
from scalewise.core.jobs import run_jobs, usable_cores
from scalewise.core.progress import Pace
from scalewise.core.quantities import ENERGY_KEY, FORCES_KEY, MOLECULE_KEY, PLACE_KEY
from scalewise.core.settings import differences
from scalewise.core.terminal import Console
from scalewise.reporting.experiments import Request
from scalewise.testbed import forcefield, simulation
from scalewise.testbed.geometry import geometry_of
from scalewise.testbed.records import ReplicaRecord
from scalewise.testbed.replica import CUTOFFS, Snapshot
from scalewise.testbed.settings import SolutionSettings

SCHEMA: Final = 1
#: g/cm3 of the pure water at 300 K and 1 bar, and what one mol of NaCl per litre adds.
WATER_DENSITY: Final = {"tip3p": 0.982, "spce": 0.997, "tip3pfb": 0.995, "opc3": 0.996}
SALT_DENSITY: Final = 0.038
#: Largest tolerated deviations; a temperature may also be four standard errors off.
DENSITY_TOLERANCE: Final = 0.05
#: The interior holds few molecules, and its bounds are those of a mean surface.
INTERIOR_TOLERANCE: Final = 0.1
TEMPERATURE_TOLERANCE: Final = 0.03
ERRORS_TOLERANCE: Final = 4.0
#: Largest tolerated error of a label's force component, eV/Å.
LABEL_TOLERANCE: Final = 1e-3

Manifest = dict[str, Any]


def generate_solution(
    settings: SolutionSettings,
    folder: Path,
    *,
    workers: int | None = None,
    on: str | None = None,
    bar: bool = True,
) -> Manifest:
    """Simulate the replicas that ``folder`` does not hold yet, and return the manifest.

    Parameters
    ----------
    settings
        Settings of the solution.
    folder
        Folder of the files, which is made if it does not exist.
    workers
        Number of processes; default: one per core. The results do not depend on it.
    on
        Address of a Dask scheduler whose workers simulate, such as ``tcp://node1:8786``. OpenMM
        must be installed there; the files are bitwise equal to those of this machine if the version
        and the platform of OpenMM are the same.
    bar
        Show a progress bar on a terminal, or a line per replica elsewhere (stderr).

    Raises
    ------
    InputError
        The folder belongs to other settings or cannot be written; OpenMM is not installed; a
        simulation failed; the errors of :func:`scalewise.core.cluster.run_on`. Finished replicas
        are kept and are not simulated again.
    """
    _claim(settings, folder)
    missing = [r for r in range(settings.replicas) if _finished(settings, folder, r) is None]
    if missing:
        if on is None:
            forcefield.platform_name(settings)  # fails early
        (folder / "manifest.json").unlink(missing_ok=True)
        missing.sort(key=lambda r: -simulation.duration(settings, r))
        if on is None:
            _run(settings, folder, missing, workers or usable_cores(), bar)
        else:
            _run_on(settings, folder, missing, on, bar)
    manifest = _manifest(settings, folder)
    path = folder / "manifest.json"
    if missing or not path.is_file() or read_kept(path) != manifest:
        artifacts.write_json(path, manifest)
    return manifest


def run_command(request: Request) -> list[Path]:
    """Run ``scalewise generate``, and print the checks."""
    manifest = generate_solution(
        request.settings,
        request.out,
        workers=request.options.get("workers"),
        on=request.options.get("on"),
    )
    Console().print(summary(manifest))
    return [request.out / "manifest.json"]


def summary(manifest: Manifest) -> Table:
    """Return the checks of a manifest as a table to print."""
    replicas = manifest["replicas"]
    r = replicas[0]
    table = Table(
        title=f"{len(replicas)} × ({r['ion_pairs']} NaCl + {r['waters']} water), "
        f"{manifest['force_field']['file']}, {manifest['frames']} frames",
        title_justify="left",
    )
    table.add_column("quantity")
    table.add_column("check")
    table.add_column("finding")
    for check in manifest["checks"]:
        verdict = "[green]ok[/green]" if check["ok"] else "[red]look[/red]"
        table.add_row(check["quantity"], verdict, check["sentence"])
    return table


# -- the folder ------------------------------------------------------------------------------------


def _claim(settings: SolutionSettings, folder: Path) -> None:
    """Make the folder ours, or say why it is not."""
    path = folder / "settings.json"
    mine = settings.model_dump(mode="json")
    if not path.exists():
        if any(folder.glob("replica*-*.extxyz")) or (folder / "manifest.json").exists():
            raise InputError(
                str(folder), "it holds data but no settings.json", "Choose an empty folder."
            )
        artifacts.write_json(path, mine)
        return
    theirs = read_kept(path)
    if theirs is None:
        raise InputError(str(path), "it is not readable JSON", "Choose another folder.")
    if found := differences(theirs, mine):
        raise InputError(
            str(folder),
            f"it holds data from other settings: {', '.join(found)}",
            "Choose another folder, or delete this one to start anew.",
        )


def _names(settings: SolutionSettings, replica: int) -> list[str]:
    kinds = ["replica"] + ["replicates"] * simulation.has_replicates(settings, replica)
    return [f"{kind}-{replica:02d}.extxyz" for kind in kinds]


def _finished(settings: SolutionSettings, folder: Path, replica: int) -> dict[str, Any] | None:
    """Return the saved record of a replica if it and its files are whole, else None."""
    record = read_kept(folder / f"replica-{replica:02d}.json", ReplicaRecord)
    cutoffs = [f"{c:g}" for c in CUTOFFS]
    if record is None or not ReplicaRecord.model_validate(record).fits(settings, replica, cutoffs):
        return None
    files = record["report"]["files"]
    if sorted(files) != sorted(_names(settings, replica)):
        return None
    whole = all(_sha256(folder / name) == digest for name, digest in files.items())
    return record if whole else None


def _sha256(path: Path) -> str | None:
    if not path.is_file():  # a pipe would never end
        return None
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
    return None


def _save(
    settings: SolutionSettings,
    folder: Path,
    sampled: simulation.Sampled,
    versions: dict[str, str],
) -> None:
    replica = sampled.report["replica"]
    files = {}
    for name, frames in zip(
        _names(settings, replica), (sampled.production, sampled.replicates), strict=False
    ):
        with artifacts.replacing(folder / name) as temporary:
            ase.io.write(temporary, [_atoms(sampled, f) for f in frames], format="extxyz")
        files[name] = _sha256(folder / name)
    record = {
        "schema": SCHEMA,
        "digest": settings.digest(),
        "versions": versions,
        "report": {**sampled.report, "files": files},
    }
    artifacts.write_json(folder / f"replica-{replica:02d}.json", record)


def _atoms(sampled: simulation.Sampled, frame: Snapshot) -> ase.Atoms:
    atoms = ase.Atoms(sampled.symbols, frame.positions, cell=frame.cell, pbc=True)
    atoms.arrays[FORCES_KEY] = np.asarray(frame.forces)
    atoms.arrays[MOLECULE_KEY] = np.asarray(sampled.molecules)
    atoms.arrays[PLACE_KEY] = np.asarray(frame.place)
    atoms.info = {ENERGY_KEY: frame.energy, **frame.keys}
    return atoms


def _versions() -> dict[str, str]:
    others = {name: importlib.metadata.version(name) for name in ("openmm", "ase", "numpy")}
    return {"scalewise": scalewise.__version__, **others}


# -- the workers -----------------------------------------------------------------------------------

#: What PME reads in a worker; the platform's property is not for it.
THREADS: Final = "OPENMM_CPU_THREADS"
_board: Any = None  # in a worker: ps done by each replica, shared with the parent
_stop: Any = None  # in a worker: not zero once the parent gives up


class _StoppedError(Exception):
    pass


def _enter(board: Any, stop: Any) -> None:
    """Prepare a worker: one thread, deaf to Ctrl-C, gone when the parent is."""
    global _board, _stop
    _board, _stop = board, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ[THREADS] = "1"
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _job(settings: SolutionSettings, folder: Path, replica: int) -> None:
    """Make one replica in a worker."""

    def tick(ps: float) -> None:
        _board[replica] = ps
        if _stop.value:
            raise _StoppedError

    _save(settings, folder, simulation.simulate(settings, replica, tick), _versions())


def _run(
    settings: SolutionSettings, folder: Path, replicas: Sequence[int], workers: int, bar: bool
) -> None:
    context = multiprocessing.get_context("spawn")
    board = context.RawArray("d", settings.replicas)
    stop = context.RawValue("b", 0)
    executor = ProcessPoolExecutor(
        min(workers, len(replicas)), context, initializer=_enter, initargs=(board, stop)
    )
    try:
        futures = {executor.submit(_job, settings, folder, r): r for r in replicas}
        total = sum(simulation.duration(settings, r) for r in replicas)
        pace = Pace()
        with _bar(total, bar) as (advance, say):
            for replica in _follow(futures, board, advance):
                done = sum(board)
                say(f"replica {replica:02d} done ({_far(done, total)}{pace.left(done / total)})")
    except BrokenProcessPool:
        raise InputError(
            str(folder),
            "a worker process died",
            "Free memory or lower workers; a script must call generate under "
            "`if __name__ == '__main__':`. Then run again: finished replicas are kept.",
        ) from None
    finally:
        stop.value = 1
        executor.shutdown(wait=True, cancel_futures=True)


def _run_on(
    settings: SolutionSettings, folder: Path, replicas: Sequence[int], on: str, bar: bool
) -> None:
    """Simulate on the workers of a scheduler; what they find is written here."""
    total, done, pace = sum(simulation.duration(settings, r) for r in replicas), 0.0, Pace()
    with _bar(total, bar) as (advance, say):
        for k, (sampled, versions) in run_jobs(_simulated, settings, replicas, 1, on):
            _save(settings, folder, sampled, versions)
            done += simulation.duration(settings, replicas[k])
            advance(done)
            say(f"replica {replicas[k]:02d} done ({_far(done, total)}{pace.left(done / total)})")


def _far(done: float, total: float) -> str:
    return f"{done:.0f} of {total:.0f} ps"


def _simulated(
    settings: SolutionSettings, replica: int
) -> tuple[simulation.Sampled, dict[str, str]]:
    """A replica, and the versions of what made it there."""
    os.environ[THREADS] = "1"
    forcefield.platform_name(settings)
    return simulation.simulate(settings, replica), _versions()


def _follow(
    futures: dict[Future[None], int], board: Sequence[float], advance: Any
) -> Iterator[int]:
    """Yield each replica as it ends; raise what its worker raised."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
        advance(sum(board))
        for future in sorted(done, key=futures.__getitem__):
            future.result()
            yield futures[future]


@contextlib.contextmanager
def _bar(total: float, shown: bool) -> Iterator[tuple[Any, Any]]:
    """Yield ``advance(ps)`` and ``say(line)``, for a terminal, a log, or silence."""
    console = Console(stderr=True, quiet=not shown)
    if not shown or not console.is_terminal:
        console.print(f"simulating {total:.0f} ps", highlight=False)
        yield lambda ps: None, lambda line: console.print(line, highlight=False)
        return
    columns = ("simulating", BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} ps"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda ps: bar.update(task, completed=ps), lambda line: None


# -- the manifest ----------------------------------------------------------------------------------


def _manifest(settings: SolutionSettings, folder: Path) -> Manifest:
    records = [_finished(settings, folder, r) for r in range(settings.replicas)]
    if None in records:
        raise InputError(str(folder), "files changed while it was being filled", "Run again.")
    whole = [r for r in records if r is not None]
    replicas = [r["report"] for r in whole]
    file, ions = forcefield.FORCE_FIELDS[settings.water, settings.ions]
    r = settings.replicates
    return {
        "schema": SCHEMA,
        "kind": "solution",
        "settings": settings.model_dump(mode="json"),
        "digest": settings.digest(),
        "versions": {k: _joined(v["versions"][k] for v in whole) for k in _versions()},
        "force_field": {"file": file, "ions": ions},
        "platform": _joined(report["platform"] for report in replicas),
        "units": {"length": "Å", "energy": "eV", "time": "ps", "density": "g/cm3"},
        "frames": settings.replicas * settings.frames * len(geometry_of(settings).distances),
        "replicate_frames": r.replicas * r.configurations * r.samples,
        **_law(settings, replicas),
        "replicas": replicas,
        "checks": _checks(settings, replicas),
    }


def _law(settings: SolutionSettings, replicas: list[dict[str, Any]]) -> dict[str, Any]:
    """The law that labels, if it is not the force field, and how far its forces reach."""
    if settings.law != "screened":
        return {}
    shares = [r["beyond"] for r in replicas]
    mean = {c: float(np.mean([share[c] for share in shares])) for c in shares[0]}
    return {"law": {"name": "screened", "screening": settings.screening, "beyond": mean}}


def _joined(values: Any) -> str:
    return ", ".join(sorted(set(values)))


def _checks(settings: SolutionSettings, replicas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = {
        "temperature": _check_temperature(settings, replicas),
        "density": _check_density(settings, replicas),
        "energy drift": _check_drift(replicas),
        "label error": _check_labels(replicas),
    }
    return [{"quantity": k, "ok": ok, "sentence": text} for k, (ok, text) in named.items()]


def _check_temperature(
    settings: SolutionSettings, replicas: list[dict[str, Any]]
) -> tuple[bool, str]:
    target = settings.temperature

    def excess(r: dict[str, Any]) -> float:
        allowed = ERRORS_TOLERANCE * (r["temperature_error"] or 0.0)
        return abs(r["temperature"] - target) - max(TEMPERATURE_TOLERANCE * target, allowed)

    worst = max(replicas, key=excess)
    mean = np.mean([r["temperature"] for r in replicas])
    return bool(excess(worst) <= 0), (
        f"{mean:.1f} K on average for a target of {target:g} K; furthest off is replica "
        f"{worst['replica']} with {worst['temperature']:.1f} K "
        f"(tolerated: {100 * TEMPERATURE_TOLERANCE:g} % or {ERRORS_TOLERANCE:g} standard errors)."
    )


def _check_density(settings: SolutionSettings, replicas: list[dict[str, Any]]) -> tuple[bool, str]:
    known = [r["density"] for r in replicas if r["density"] is not None]
    if not known:
        return True, "no interior thicker than a layer, and so no density to tell."
    mean = float(np.mean(known))
    if settings.geometry not in ("bulk", "pair"):
        return _check_interior(settings, replicas, mean)
    if abs(settings.temperature - 300.0) > 20.0 or settings.pressure > 200.0:
        return True, f"{mean:.3f} g/cm3; no reference away from 300 K and 1 bar."
    volume = float(np.mean([r["edge"] ** 3 for r in replicas]))
    molarity = replicas[0]["ion_pairs"] / volume / 6.02214076e-4
    expected = WATER_DENSITY[settings.water] + SALT_DENSITY * molarity
    worst = max(replicas, key=lambda r: abs(float(r["density"]) - expected))
    return abs(worst["density"] / expected - 1.0) <= DENSITY_TOLERANCE, (
        f"{mean:.3f} g/cm3 on average, about {expected:.3f} expected of {settings.water} with "
        f"{molarity:.2f} mol/l NaCl; furthest off is replica {worst['replica']} with "
        f"{worst['density']:.3f} (tolerated: {100 * DENSITY_TOLERANCE:g} %)."
    )


def _check_interior(
    settings: SolutionSettings, replicas: list[dict[str, Any]], mean: float
) -> tuple[bool, str]:
    """Density away from surfaces; salt avoids surfaces, so that its share there is not known."""
    pure = WATER_DENSITY[settings.water]
    volume = geometry_of(settings).volume
    expected = pure + SALT_DENSITY * replicas[0]["dissolved_pairs"] / volume / 6.02214076e-4
    return abs(mean / expected - 1.0) <= INTERIOR_TOLERANCE, (
        f"{mean:.3f} g/cm3 in the interior on average, about {expected:.3f} expected of "
        f"{settings.water} with its salt (tolerated: {100 * INTERIOR_TOLERANCE:g} %)."
    )


def _check_drift(replicas: list[dict[str, Any]]) -> tuple[bool, str]:
    known = [r for r in replicas if r["drift_error"]]
    if not known:
        return True, "too few frames to tell (each half of production needs four)."
    worst = max(known, key=lambda r: abs(float(r["drift"])) / float(r["drift_error"]))
    drift, error = worst["drift"], worst["drift_error"]
    return abs(drift) <= ERRORS_TOLERANCE * error, (
        f"between the halves of production at most {1e3 * drift:+.2f} ± {1e3 * error:.2f} meV/atom "
        f"(replica {worst['replica']}; tolerated: {ERRORS_TOLERANCE:g} standard errors)."
    )


def _check_labels(replicas: list[dict[str, Any]]) -> tuple[bool, str]:
    worst = max(float(r["label_error"]) for r in replicas)
    return worst <= LABEL_TOLERANCE, (
        f"a force component is off by {1e3 * worst:.4f} meV/Å on average against tight double "
        f"precision (tolerated: {1e3 * LABEL_TOLERANCE:g} meV/Å)."
    )
