"""Distil a cheap inner potential from a potential, and find the time steps that it allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import ase
import ase.io
import numpy as np
from ase.formula import Formula

from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress
from scalewise.data.reading import read_one
from scalewise.data.splits import Split
from scalewise.data.splits.identity import identify
from scalewise.data.structure import Structure
from scalewise.distillation.frames import ForcesOf, labelled_frames
from scalewise.distillation.settings import MOST, DistillSettings
from scalewise.distillation.stiffness import Positions, period, stiffest
from scalewise.interfaces.ase import ScalewiseCalculator
from scalewise.models.compiler import compiler_found
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report, provenance
from scalewise.simulation.inner import DISTILLED, weights_of
from scalewise.simulation.run import simulate
from scalewise.simulation.settings import LONGEST_STEP, SimulationSettings
from scalewise.simulation.start import check, moving_atoms
from scalewise.training.run import train

UNITS: Final = {
    "mae, rms": "meV/Å, of force components, on frames that were not trained on and their "
    "displaced copies: the mean absolute error, and the root mean square of the forces themselves",
    "stiffness, left": "eV/Å²/u, largest eigenvalues of mass-weighted Hessians: of the potential, "
    "of what the inner one leaves",
    "period": "fs, of the stiffest vibration",
    "timestep": "fs",
    "drift": "eV/atom/ps, with an interval of 95 %",
    "ns_per_day": "ns/day",
}
#: Inner steps in one period of the stiffest vibration.
STEPS_OF_A_PERIOD: Final = 8.0
#: Frames whose Hessians are looked at.
LOOKED_AT: Final = 3
#: Skin of the lists of a frame that is displaced, Å.
SKIN: Final = 1.0


def distill(
    potential: Potential,
    atoms: ase.Atoms,
    settings: DistillSettings | None = None,
    out: Path | str = "runs/distill",
    *,
    progress: Progress = SILENT,
) -> Report:
    """Distil an inner potential for simulations with two time steps (r-RESPA).

    The potential labels frames of a short simulation, and copies of these frames that are displaced
    along their stiffest directions. A network of one layer is trained on the forces. Simulations at
    constant energy then test longer and longer time steps.

    Parameters
    ----------
    potential
        The potential, which is used at its own scale.
    atoms
        Initial structure of the simulation, Å.
    settings
        Number of frames, size of the inner potential, and time steps that are tested.
    out
        Folder of the run, in which an interrupted run continues; the inner potential is written to
        ``out/model``.
    progress
        Receives messages and progress.

    Returns
    -------
    Report
        Report of kind ``distillation``.

    Raises
    ------
    InputError
        The errors of :func:`scalewise.simulate`; the simulation that frames are taken from breaks
        down, or a simulation with the potential alone does.
    """
    return _distilled(
        potential, atoms, Structure.from_ase(atoms), settings or DistillSettings(), out, progress
    )


def run_command(request: Request) -> Report:
    """Run ``scalewise distill``."""
    settings, (file,) = request.settings, request.files
    model = open_potential(request.model, device=settings.device)
    image, frame = read_one(file, settings.index, check_units=settings.check_units)
    return _distilled(model, image, frame, settings, request.out, request.progress)


def _distilled(
    potential: Potential,
    atoms: ase.Atoms,
    frame: Structure,
    settings: DistillSettings,
    out: Path | str,
    progress: Progress,
) -> Report:
    out = Path(out)
    if settings.compile == "auto":
        how = "always" if compiler_found() else "never"
        settings = settings.model_copy(update={"compile": how})
    compiled = settings.compile == "always"
    check(frame, moving_atoms(atoms, settings.hydrogen_mass), SimulationSettings(), potential)
    progress.message(f"simulating {settings.picoseconds:g} ps for {settings.frames} frames")
    images = _sampled(potential, atoms, settings, out, progress)
    whole = ScalewiseCalculator(potential, skin=SKIN, compiled=compiled)
    frames, split = labelled_frames(whole, images, settings, progress)
    inner = _trained(frames, split, potential, settings, out, progress)
    short = ScalewiseCalculator(inner, skin=SKIN, compiled=compiled)
    validation = [frames[k] for k in split.members("valid").tolist()]
    stiff = _stiffness(whole, short, images[:: max(1, len(images) // LOOKED_AT)][:LOOKED_AT])
    probes = _probes(potential, inner, images[-1], stiff["period"], settings, out, progress)
    chosen = max((p for p in probes if p["kept"]), key=lambda p: p["ns_per_day"])
    known = {
        "of": weights_of(potential),
        "name": potential.name,
        "timestep": chosen["timestep"],
        "inner_timestep": chosen["inner_timestep"],
        "lightest": float(images[-1].get_masses().min()),
    }
    inner = replace(inner, info={**inner.info, DISTILLED: known})
    inner.save(out / "model")
    body = {
        "model": potential.name,
        "formula": Formula.from_list(frame.symbols).format("hill"),
        "atoms": len(frame.numbers),
        "frames": len(images),
        "errors": _errors(short, validation),
        "stiffness": stiff,
        "probes": probes,
        "chosen": {k: chosen[k] for k in ("timestep", "inner_timestep", "ns_per_day", "gain")},
        "folder": "model",
        "warnings": _warnings(probes),
    }
    return Report.made(
        "distillation",
        body,
        settings=settings.model_dump(mode="json"),
        units=UNITS,
        provenance=provenance(identify([frame])),
    )


def _sampled(
    potential: Potential, atoms: ase.Atoms, settings: DistillSettings, out: Path, progress: Progress
) -> list[ase.Atoms]:
    """Frames of a simulation with a thermostat, the first tenth of which is left out."""
    made = SimulationSettings(
        temperature=settings.hotter * settings.temperature,
        picoseconds=settings.picoseconds,
        timestep=settings.timestep,
        hydrogen_mass=settings.hydrogen_mass,
        save_every=settings.every * settings.timestep,
        compile=settings.compile,
        device=settings.device,
        seed=settings.seed,
    )
    report = simulate(potential, atoms, made, out / "frames", progress=progress)
    if report.body["ended"] is not None:
        raise InputError(
            str(out / "frames"),
            f"the simulation for frames broke: {report.body['ended']['reason']}",
            "Give a shorter timestep, a lower temperature, or another structure.",
        )
    found = ase.io.read(out / "frames/trajectory.extxyz", index=":")
    assert isinstance(found, list)
    return found[-settings.frames :]


def _trained(
    frames: Sequence[Structure],
    split: Split,
    potential: Potential,
    settings: DistillSettings,
    out: Path,
    progress: Progress,
) -> Potential:
    """A network of one layer without long range, trained on forces."""
    return train(
        frames,
        split,
        steps=settings.steps,
        out=out / "training",
        progress=progress,
        network={
            "layers": 1,
            "channels": settings.channels,
            "hidden": 2 * settings.channels,
            "l_max": settings.l_max,
            "cutoff": settings.cutoff,
            "charges": False,
        },
        loss={"energy": 0.0},
        batch_size=settings.batch_size,
        compile=settings.compile,
        device=settings.device,
        seed=settings.seed,
    ).to(dtype=potential.dtype)


def _errors(inner: ScalewiseCalculator, frames: Sequence[Structure]) -> dict[str, float]:
    """Errors of the inner potential on frames that it was not trained on."""
    given, wrong = [], []
    for frame in frames:
        assert frame.labels.forces is not None
        given.append(frame.labels.forces)
        wrong.append(ForcesOf(inner, frame.to_ase())(frame.positions) - frame.labels.forces)
    return {
        "mae": 1e3 * float(np.abs(np.concatenate(wrong)).mean()),
        "rms": 1e3 * float(np.sqrt(np.mean(np.concatenate(given) ** 2))),
    }


def _stiffness(
    whole: ScalewiseCalculator, inner: ScalewiseCalculator, images: Sequence[ase.Atoms]
) -> dict[str, float]:
    """Largest eigenvalues of the whole and of what is left, in the mean over frames."""
    of_whole, left = [], []
    for image in images:
        all_of_it, fast = ForcesOf(whole, image), ForcesOf(inner, image)
        start = np.random.default_rng(0).standard_normal(image.positions.shape)
        given = image.positions.copy(), image.get_masses(), start
        of_whole.append(stiffest(all_of_it, *given))
        left.append(stiffest(partial(_difference, all_of_it, fast), *given))
    largest = float(np.mean(of_whole))
    return {"whole": largest, "left": float(np.mean(left)), "period": period(largest)}


def _difference(one: ForcesOf, other: ForcesOf, positions: Positions) -> Positions:
    return one(positions) - other(positions)


def _probes(
    potential: Potential,
    inner: Potential,
    start: ase.Atoms,
    vibration: float,
    settings: DistillSettings,
    out: Path,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Simulations at constant energy with longer and longer steps, until one drifts too far."""
    part = round(min(vibration / STEPS_OF_A_PERIOD, LONGEST_STEP / MOST), 2)
    known = {"of": weights_of(potential), "timestep": part, "inner_timestep": part, "lightest": 0.0}
    replace(inner, info={**inner.info, DISTILLED: known}).save(out / "probes/model")
    found: list[dict[str, Any]] = []
    for multiple in (1, *settings.multiples):
        step = round(multiple * part, 2)
        two = {"inner": out / "probes/model", "inner_timestep": part} if multiple > 1 else {}
        made = SimulationSettings.model_validate(
            {
                "ensemble": "nve",
                "temperature": settings.temperature,
                "velocities": "drawn",
                "seed": settings.seed,
                "timestep": step,
                "hydrogen_mass": settings.hydrogen_mass,
                "picoseconds": settings.probe,
                "log_every": 10.0 * step,
                "save_every": 1e3 * settings.probe,
                "compile": settings.compile,
                "device": settings.device,
                **two,
            }
        )
        folder = out / f"probes/{multiple}"
        progress.message(f"trying a step of {step:g} fs")
        body = simulate(potential, start, made, folder, progress=progress).body
        drift = body["drift"]
        if multiple == 1 and body["ended"] is not None:
            raise InputError(
                str(folder),
                f"a simulation with the potential alone broke: {body['ended']['reason']}",
                "Give a lower temperature, or train on such frames.",
            )
        kept = body["ended"] is None and (multiple == 1 or _small(drift, settings.drift))
        found.append(
            {
                "timestep": step,
                "inner_timestep": part,
                "inner_steps": multiple,
                "drift": drift,
                "ns_per_day": body["ns_per_day"],
                "gain": body["ns_per_day"] / (found[0] if found else body)["ns_per_day"],
                "reason": None if body["ended"] is None else body["ended"]["reason"],
                "kept": kept,
            }
        )
        if not kept:
            break
    return found


def _warnings(probes: Sequence[dict[str, Any]]) -> list[str]:
    kept = [p for p in probes if p["kept"]]
    if len(kept) == 1:
        return ["no longer step is stable: the inner potential leaves too much"]
    if max(p["gain"] for p in kept) <= 1.0:
        return ["longer steps are stable, but save no time here: there are too few atoms"]
    return []


def _small(drift: dict[str, Any] | None, largest: float) -> bool:
    """Whether a drift may be as small as is asked, by its interval."""
    if drift is None:
        return False
    low, high = drift["interval"] or (drift["mean"], drift["mean"])
    return bool(low <= largest and high >= -largest)
