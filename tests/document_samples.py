"""Reports of every kind, of small analyses that really run; together they take some seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ase.build
import numpy as np

import scalewise
from report_samples import report as study_report
from report_samples import study
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.evaluation.settings import EvaluateSettings
from scalewise.analysis.forks.settings import ForkComparisonSettings
from scalewise.analysis.locality.reference import AseReference
from scalewise.analysis.locality.settings import LocalitySettings
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.data.splits import Split
from scalewise.data.structure import Labels, Structure
from scalewise.distillation.settings import DistillSettings
from scalewise.doctor.settings import DoctorSettings
from scalewise.models import checkpoint
from scalewise.models.potential import Potential
from scalewise.reporting.report import Report
from scalewise.simulation.settings import SimulationSettings
from scalewise.trust.settings import TrustSettings
from support import salt_frame, untrained

#: Of a training that fell to a half with every doubling.
HISTORY: dict[str, Any] = {
    "step": [100, 200, 400, 800],
    "forces_mae": [80.0, 40.0, 20.0, 10.0],
    "seconds": [1.0, 2.0, 4.0, 8.0],
}
SIZES: dict[str, Any] = {"channels": 4, "hidden": 8, "layers": 1, "l_max": 2, "num_bessel": 4}


@cache
def potential(*, ladder: bool = True) -> Potential:
    """A potential with random weights, of three scales or of one."""
    more: dict[str, Any] = {"ladder": [3.0, 4.0, "long"]} if ladder else {"cutoff": 4.0}
    return untrained(**SIZES, **more)


@cache
def structures() -> tuple[Structure, ...]:
    """Salt that another potential labels, with noise and a force that is far too large.

    The first and the last are twins in two roles; one says that it is charged.
    """
    teacher = untrained(seed=7, layers=1, cutoff=4.0)
    rng = np.random.default_rng(0)
    found = []
    for k in range(26):
        frame = salt_frame(seed=k % 25, n=8, box=8.0, index=k)
        frame = replace(frame, positions=frame.positions + 0.01 * (k == 25))
        told = teacher.predict(frame)
        role = "train" if k < 12 else "valid" if k < 18 else "test"
        forces = told.forces + 0.02 * rng.standard_normal((8, 3))
        forces[3, 1] += 20.0 * (k == 20)
        info = {"role": role, "config_type": ("crystal", "surface")[k % 2]}
        info |= {"charge": 1.0} if k == 3 else {}
        labels = Labels(forces, told.energy, told.stress)
        found.append(replace(frame, labels=labels, info=info))
    return tuple(found)


@cache
def salts() -> list[Structure]:
    """The noise of each element is known where its share differs from frame to frame."""
    return [
        replace(s, numbers=np.where(np.arange(8) < 1 + k % 7, 11, 17))
        for k, s in enumerate(structures())
    ]


@cache
def split() -> Split:
    """The roles that the structures name."""
    return scalewise.make_split(structures(), role_key="role")


def doctor(_: Path) -> list[Report]:
    """Of a split that is made, one that leaks, labels with noise of every kind, and few labels.

    Molecules have no cell, atoms far apart no distance, and some frames one label only.
    """
    settings = {"neighbor_frames": 4, "cutoffs": (3.0, 5.0)}
    every = (
        (structures(), {}),
        (structures(), {"split_key": "role"}),
        (noisy(), {"duplicate_distance": 0.1}),
        *((few, {}) for few in little()),
    )
    return [
        scalewise.diagnose_data(frames, DoctorSettings.model_validate({**settings, **more}))
        for frames, more in every
    ]


def little() -> list[list[Structure]]:
    """A molecule, a slab, atoms far apart, an atom; with one label each."""
    rng = np.random.default_rng(0)
    numbers, cell, none = np.array([8, 1, 1]), np.zeros((3, 3)), np.zeros(3, dtype=bool)
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    apart = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])

    def frames(places: np.ndarray, count: int, pbc: np.ndarray, **labels: Any) -> list[Structure]:
        moved = [places + 0.02 * rng.standard_normal(places.shape) for _ in range(count)]
        kinds, box = numbers[: len(places)], cell + 10.0 * np.diag(pbc)
        return [Structure(kinds, at, box, pbc, labels=Labels(**labels)) for at in moved]

    forces = rng.standard_normal((3, 3))
    return [
        frames(water, 8, none, forces=forces - forces.mean(axis=0)),
        frames(water, 8, np.array([True, True, False]), energy=-10.0),
        frames(apart, 8, none, energy=-10.0),
        frames(water[:1], 1, none, energy=-10.0),
    ]


def noisy() -> list[Structure]:
    """Atoms anywhere with a wave in their forces, and copies with other forces."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 8.0, (60, 8, 3))
    forces = np.sin(2 * np.pi * 40 * places / 8.0) + 0.1 * rng.standard_normal(places.shape)
    again = forces + 0.05 * rng.standard_normal(forces.shape)
    numbers, cell, pbc = np.repeat([11, 17], 4), 8.0 * np.eye(3), np.ones(3, dtype=bool)
    return [
        Structure(numbers, at, cell, pbc, labels=Labels(np.round(f - f.mean(axis=0), 4), -30.0))
        for at, f in zip(
            [*places, *(places + 1e-4 * rng.standard_normal(places.shape))],
            [*forces, *again],
            strict=True,
        )
    ]


def evaluation(_: Path) -> list[Report]:
    """Of two roles, with every label, with forces alone, without forces, and of other salts."""
    settings = EvaluateSettings(role=("valid", "test"), device="cpu", bins=3, bootstrap=200)
    model = potential(ladder=False)
    bare = [replace(s, labels=Labels(s.labelled_forces)) for s in structures()]
    calm = [replace(s, labels=replace(s.labels, forces=None)) for s in structures()]
    every = (structures(), bare, calm, salts())
    return [scalewise.evaluate(model, frames, split(), settings) for frames in every]


def curve(folder: Path) -> list[Report]:
    """Of a ladder beside a potential of one scale, as the library and as the command make it."""
    settings = ScanSettings(points=2, bootstrap=200, device="cpu")
    single = potential(ladder=False)
    ladder = replace(potential(), info={"history": HISTORY})
    found = scalewise.scan_cutoffs(ladder, salts(), split(), settings, singles=[single])
    model = {**found.body["model"], "folder": str(folder / "model")}
    return [found, replace(found, body={**found.body, "model": model})]


def forks(folder: Path) -> list[Report]:
    """Of a ladder that knows how its errors fell, and of one that does not."""
    network = {"pair_baseline": False, **SIZES}
    settings = ForkComparisonSettings(points=2, steps=2, workers=1, bootstrap=100, device="cpu")
    found = []
    for validations in (8, 1):
        ladder = scalewise.train(
            salts(),
            split(),
            ladder=scalewise.Ladder([3, 4], long_range=True),
            network=network,
            steps=8,
            validations=validations,
            device="cpu",
        )
        out = folder / str(validations)
        found.append(scalewise.compare_forks(ladder, salts(), split(), settings, out))
    unknown = settings.model_copy(update={"shorter": None})  # nothing says how far it came
    found.append(scalewise.compare_forks(ladder, salts(), split(), unknown, folder / "unknown"))
    return found


def refine(_: Path) -> list[Report]:
    """Of a ladder, with room for all pools and with room for none."""
    settings = RefineSettings(
        penalties=2, steps=2, tolerance=0.5, worst=0.5, bootstrap=200, device="cpu", fit="train"
    )
    none = settings.model_copy(update={"penalties": 1, "steps": 1, "microseconds": 1e-3})
    return [
        scalewise.refine_cutoffs(potential(), structures(), split(), chosen)
        for chosen in (settings, none)
    ]


def prove(folder: Path) -> list[Report]:
    """Ten trainings of a few steps and forks, and the same as if they had learned all there is."""
    settings = AttributionSettings.model_validate(
        {
            "network": {"ladder": [3.0, 4.0, "long"], "pair_baseline": False, **SIZES},
            "steps": 5,
            "validations": 5,
            "workers": 1,
            "points": 2,
            "bootstrap": 100,
            "device": "cpu",
        }
    )
    found = scalewise.attribute_error(salts(), split(), settings, folder)
    learned = [{**s, "limit": "data"} for s in found.body["subsets"]]
    return [found, replace(found, body={**found.body, "subsets": learned})]


def locality(folder: Path) -> list[Report]:
    """Of copper at two radii, alone and beside the curve of a model."""
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
    checkpoint.write(folder / "model", potential())
    curve(folder)[1].save(folder)
    beside = settings.model_copy(update={"against": folder / "curve.json"})
    reference = AseReference.named(settings)
    return [
        scalewise.bound_locality(frames, reference, chosen, folder) for chosen in (settings, beside)
    ]


def simulation(folder: Path) -> list[Report]:
    """Of a molecule, and of a crystal with an adaptive cutoff; one broke."""
    settings = SimulationSettings(
        picoseconds=0.03, log_every=1.0, save_every=5.0, reach=4.0, device="cpu"
    )
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    adaptive = untrained(**SIZES, ladder=[3.0, 4.0], adaptive_cutoff={"by": "environment"})
    found = [
        scalewise.simulate(adaptive, crystal, settings, folder / "crystal"),
        scalewise.simulate(
            potential(ladder=False),
            ase.Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]]),
            settings.model_copy(update={"thermostat": "langevin", "picoseconds": 0.005}),
            folder / "molecule",
        ),
    ]
    ended = {"step": 3, "picoseconds": 0.0015, "reason": "the temperature is 1e+05 K"}
    return [*found, replace(found[1], body={**found[1].body, "ended": ended})]


def trust(folder: Path) -> list[Report]:
    """With bounds, whose groups are halved; without, of one scale; one simulation broke."""
    made = TrustSettings(
        role="all",
        starts=1,
        picoseconds=0.05,
        level=0.6,
        block=2,
        bootstrap=100,
        cutoff=4.0,
        device="cpu",
    )
    found = [
        scalewise.assess_trust(potential(ladder=ladder), structures(), None, made, folder / name)
        for name, ladder in (("ladder", True), ("single", False))
    ]
    first, *others = found[1].body["simulations"]
    broken = {**first, "survived": False, "reason": "overlap", "drift": None, "temperature": None}
    return [*found, replace(found[1], body={**found[1].body, "simulations": [broken, *others]})]


def distillation(folder: Path) -> list[Report]:
    """Of a crystal; a longer step broke, or drifted by an amount whose interval is known."""
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    crystal.rattle(0.05, seed=0)
    made = DistillSettings(
        picoseconds=0.06,
        timestep=1.0,
        frames=20,
        steps=12,
        cutoff=3.5,
        channels=2,
        l_max=1,
        probe=0.15,
        multiples=(2,),
        drift=1.0,
        compile="never",
        device="cpu",
    )
    found = scalewise.distill(potential(ladder=False), crystal, made, folder / "inner")
    first, second = found.body["probes"]
    known = {**second, "drift": {"mean": 1e-4, "interval": [0.5e-4, 1.5e-4]}}
    broken = {**second, "drift": None, "reason": "overlap", "kept": False}
    return [found, replace(found, body={**found.body, "probes": [first, known, broken]})]


#: By kind; each works in a folder of its own.
MAKERS: dict[str, Callable[[Path], list[Report]]] = {
    "evaluation": evaluation,
    "curve": curve,
    "forks": forks,
    "refine": refine,
    "prove": prove,
    "locality": locality,
    "simulation": simulation,
    "trust": trust,
    "distillation": distillation,
    "doctor": doctor,
    "study": lambda _: [study_report(study())],
}
