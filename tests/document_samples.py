"""A report of every kind, of small analyses that really run; together they take some seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ase.build

import scalewise
from report_samples import report as study_report
from report_samples import study
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.evaluation.settings import EvaluateSettings
from scalewise.analysis.locality.reference import AseReference
from scalewise.analysis.locality.settings import LocalitySettings
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.data.splits import Split
from scalewise.data.structure import Labels, Structure
from scalewise.doctor.settings import DoctorSettings
from scalewise.models.potential import Potential
from scalewise.reporting.report import Report
from support import salt_frame, untrained

SIZES: dict[str, Any] = {"channels": 4, "hidden": 8, "layers": 1, "l_max": 2, "num_bessel": 4}


@cache
def potential(*, ladder: bool = True) -> Potential:
    """A potential with random weights, of three scales or of one."""
    more: dict[str, Any] = {"ladder": [3.0, 4.0, "long"]} if ladder else {"cutoff": 4.0}
    return untrained(**SIZES, **more)


@cache
def structures() -> tuple[Structure, ...]:
    """Salt that another potential labels; the last frame is the one before it, moved a little."""
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    found = []
    for k in range(26):
        frame = salt_frame(seed=min(k, 24), n=8, box=8.0, index=k)
        frame = replace(frame, positions=frame.positions + 0.01 * (k == 25))
        told = teacher.predict(frame)
        role = "train" if k < 12 else "valid" if k < 18 else "test"
        labels = Labels(told.forces, told.energy, told.stress)
        found.append(replace(frame, labels=labels, info={"role": role}))
    return tuple(found)


@cache
def split() -> Split:
    """The roles that the structures name."""
    return scalewise.make_split(structures(), role_key="role")


def doctor(_: Path) -> Report:
    """Of all structures, in which one pair is in two roles."""
    return scalewise.diagnose_data(
        structures(), DoctorSettings(neighbor_frames=4, cutoffs=(3.0, 5.0))
    )


def evaluation(_: Path) -> Report:
    """Of two roles, one frame of them broken."""
    settings = EvaluateSettings(role=("valid", "test"), device="cpu", bins=3, bootstrap=200)
    return scalewise.evaluate(potential(ladder=False), structures(), split(), settings)


def curve(_: Path) -> Report:
    """Of a ladder, beside a potential of one scale."""
    settings = ScanSettings(points=2, bootstrap=200, device="cpu")
    single = potential(ladder=False)
    return scalewise.scan_cutoffs(potential(), structures(), split(), settings, singles=[single])


def refine(_: Path) -> Report:
    """Of a ladder, with room for all pools."""
    settings = RefineSettings(
        penalties=2, steps=3, tolerance=0.5, worst=0.5, bootstrap=200, device="cpu", fit="train"
    )
    return scalewise.refine_cutoffs(potential(), structures(), split(), settings)


def prove(folder: Path) -> Report:
    """Eight trainings of a few steps."""
    settings = AttributionSettings.model_validate(
        {
            "network": {"ladder": [3.0, 4.0, "long"], **SIZES},
            "steps": 2,
            "validations": 1,
            "points": 2,
            "bootstrap": 100,
            "device": "cpu",
        }
    )
    return scalewise.attribute_error(structures(), settings, folder, split())


def locality(folder: Path) -> Report:
    """Of copper at two radii."""
    frames = []
    for k in range(3):
        atoms = ase.build.bulk("Cu", cubic=True) * (3, 3, 3)
        atoms.rattle(0.1, seed=k)
        frames.append(replace(Structure.from_ase(atoms), index=k))
    settings = LocalitySettings(
        calculator="ase.calculators.emt:EMT",
        radii=(3.0, 4.0),
        atoms=3,
        samples=4,
        settling=0.02,
        spacing=0.02,
        timestep=2.0,
        bootstrap=100,
    )
    return scalewise.bound_locality(frames, AseReference.named(settings), settings, folder)


#: By kind; each works in a folder of its own.
MAKERS: dict[str, Callable[[Path], Report]] = {
    "evaluation": evaluation,
    "curve": curve,
    "refine": refine,
    "prove": prove,
    "locality": locality,
    "doctor": doctor,
    "study": lambda _: study_report(study()),
}
