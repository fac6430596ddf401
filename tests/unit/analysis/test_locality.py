"""The bound on the error of models of short range: planted spreads, held atoms, both references."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import ase
import ase.io
import ase.units
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import get_distances

from scalewise.analysis.locality import reference as reference_module
from scalewise.analysis.locality import run as module
from scalewise.analysis.locality.against import read_against
from scalewise.analysis.locality.bounds import absolute_bound, memory, square_bound
from scalewise.analysis.locality.reference import AseReference, SolutionReference
from scalewise.analysis.locality.run import bound_locality, run_command
from scalewise.analysis.locality.settings import LocalitySettings
from scalewise.analysis.locality.sphere import GAP, Sphere, stiffness
from scalewise.core.errors import InputError
from scalewise.core.loading import load
from scalewise.data.reading import read_structures, without_labels
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.protocol import Scale
from scalewise.reporting.experiments import Request
from scalewise.reporting.report import Report
from scalewise.testbed.settings import SolutionSettings
from support import salt_frame, untrained

#: eV/Å²: of the spring that ties each atom to its place, and of that between far pairs.
OWN, FAR = 2.0, 0.2
PLACES = np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [6.0, 0.0, 0.0]])


class Springs(Calculator):
    """Atoms on springs; the first is tied to the last as well, beyond any short radius."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        moved = self.atoms.positions - PLACES
        apart = moved[0] - moved[2]
        forces = -OWN * moved
        forces[0] -= FAR * apart
        forces[2] += FAR * apart
        energy = 0.5 * OWN * (moved**2).sum() + 0.5 * FAR * (apart**2).sum()
        self.results = {"energy": energy, "forces": forces}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "frames.xyz"
    atoms = ase.Atoms("NaHCl", PLACES, cell=np.diag([30.0, 30.0, 30.0]), pbc=True)
    ase.io.write(path, [atoms] * 24, format="extxyz")
    return path


def words(*given: str) -> LocalitySettings:
    fixed = ["calculator=test_locality:Springs", "timestep=5", "friction=20", "radii=[4,8]"]
    return load(
        LocalitySettings, None, [*fixed, "elements=[Na]", "settling=0.5", "spacing=0.25", *given]
    )


def command(path: Path, settings: LocalitySettings, out: Path) -> Report:
    """What the command finds for a file or a folder."""
    return run_command(Request(settings, out, model=str(path)))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "test_locality", sys.modules[__name__])


def test_the_bounds_of_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    forces = 0.3 * rng.standard_normal((4000, 8, 3))
    absolute = np.mean([absolute_bound(f) for f in forces])
    assert absolute == pytest.approx(0.3 / np.sqrt(np.pi), rel=0.01)
    assert absolute < 0.3 * np.sqrt(2 / np.pi)  # what the mean is off by, the best there is
    assert np.mean([square_bound(f) for f in forces]) == pytest.approx(0.09, rel=0.02)
    assert memory(forces) == pytest.approx(-1 / 8, abs=0.02)
    assert memory(np.ones((3, 4, 3))) is None


def test_what_remembers_is_told() -> None:
    rng = np.random.default_rng(0)
    forces = np.cumsum(rng.standard_normal((50, 8, 3)), axis=1)
    found = memory(forces)
    assert found is not None
    assert found > 0.3


def test_what_is_near_is_held_images_included(file: Path) -> None:
    frame = read_structures(file, without_labels())[0]
    assert Sphere.around(frame, 0, 4.0).held.tolist() == [True, True, False]
    assert Sphere.around(frame, 0, 7.0).held.tolist() == [True, True, True]
    assert Sphere.around(frame, 0, 5.8).held.tolist() == [True, True, True]  # within the wall


def test_the_wall_pushes_what_is_free_out_of_the_gap(file: Path) -> None:
    frame = read_structures(file, without_labels())[0]
    sphere = Sphere.around(frame, 0, 4.0)
    at = PLACES.copy()
    at[1] = [3.9, 0.0, 0.0]  # held: it may be where it is
    for x, entered, depth in ((-4.31, False, 0.0), (-4.1, False, 0.2), (-3.9, True, 0.4)):
        at[2] = [x + 30.0, 0.0, 0.0]  # an image
        assert sphere.entered(at) is entered
        expected = np.zeros((3, 3))
        expected[2, 0] = -stiffness(300.0) * depth
        np.testing.assert_allclose(sphere.push(at, 300.0), expected, atol=1e-12)
    assert 0.5 * stiffness(300.0) * GAP**2 == pytest.approx(16 * 300 * ase.units.kB)


def test_held_atoms_stay_where_they_are(file: Path) -> None:
    frame = read_structures(file, without_labels())[0]
    seen: list[np.ndarray] = []

    class Watched(Springs):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            seen.append(self.atoms.positions.copy())

    reference = AseReference(Watched, {})
    sphere = reference.sphere(frame, 0, 4.0)
    list(islice(reference.resample(sphere, words("samples=4"), seed=1), 4))
    positions = np.stack(seen)
    assert (positions[:, :2] == PLACES[:2]).all()
    assert np.ptp(positions[:, 2], axis=0).min() > 0


def test_the_spread_is_that_of_what_moves(file: Path, tmp_path: Path) -> None:
    # with the first two held, F0 spreads by the far spring alone: Var(F) = FAR² kT / (OWN + FAR)
    frames, settings = read_structures(file, without_labels()), words("atoms=12", "samples=8")
    found = bound_locality(frames, AseReference(Springs, {}), settings, tmp_path / "out").body
    near, far = found["elements"][0]["radii"]
    expected = 1e3 * FAR * np.sqrt(300 * ase.units.kB / (OWN + FAR))
    assert near["rmse"] == pytest.approx(expected, rel=0.1)
    assert near["mae"] == pytest.approx(expected / np.sqrt(np.pi), rel=0.1)
    assert near["mae_interval"][0] < expected / np.sqrt(np.pi) < near["mae_interval"][1]
    assert far["mae"] == far["rmse"] == 0.0


def test_samples_are_kept_and_drawn_the_same_again(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = words("atoms=3", "samples=4", "settling=0.1", "spacing=0.1")
    first = command(file, few, tmp_path / "one")
    assert command(file, few, tmp_path / "two").body["elements"] == first.body["elements"]
    paths = first.save(tmp_path / "one")
    names = ["locality.json", "locality.txt", "locality.png", "locality.svg"]
    assert [p.name for p in paths] == names
    document = json.loads(paths[0].read_text())
    assert document["body"]["radii"] == [4.0, 8.0]
    assert document["provenance"]["data"]["frames"] == 24

    def never(*_: Any) -> Any:
        raise AssertionError("resampled again")

    monkeypatch.setattr(module, "_one", never)
    assert command(file, few, tmp_path / "one").body["elements"] == first.body["elements"]
    with pytest.raises(InputError, match="not a curve"):  # before an hour of sampling
        command(file, words(f"against={file}"), tmp_path / "three")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["calculator=ase.calculators.nothing:None"], "cannot be made"),
        (["calculator=ase.calculators.lj"], "module:Class"),
        (["arguments={wrong: 1}", "calculator=builtins:int"], "cannot be made"),
        (["radii=[4,20]"], "half of the cell"),
        (["radii=[5,4]"], "must rise"),
        (["elements=[K]"], "no frame has K"),
        (["calculator=null", "arguments={a: 1}"], "arguments, friction, timestep: of a calculator"),
    ],
)
def test_bad_input_is_refused(file: Path, tmp_path: Path, given: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command(file, words(*given), tmp_path / "out")


def test_atoms_are_tagged_once_each_and_spread_over_the_frames(file: Path) -> None:
    frames = read_structures(file, without_labels())
    tagged = module._tag(frames, words("atoms=6", "radii=[4]"))
    assert [t.frame.index for t in tagged] == [0, 16, 8, 4, 20, 12]
    more = module._tag(frames, words("atoms=9", "radii=[4]"))
    assert [t.seed for t in more[:6]] == [t.seed for t in tagged]  # what is there is used again
    every = module._tag(frames, words("atoms=50", "radii=[4]"))
    assert len({(t.frame.index, t.atom) for t in every}) == len(every) == 24
    assert len({t.seed for t in every}) == 24
    with pytest.raises(InputError, match="2 atoms of Na"):
        module._tag(frames[:2], words())


def test_a_file_alone_has_no_reference(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the settings of a generated solution"):
        command(file, load(LocalitySettings, None, ["radii=[4]"]), tmp_path / "out")


def test_a_sphere_meets_its_images_along_periodic_axes_alone(file: Path) -> None:
    frame = read_structures(file, without_labels())[0]
    frame = replace(frame, cell=np.diag([40.0, 40.0, 5.0]), pbc=np.array([True, True, False]))
    sphere = Sphere.around(frame, 0, 4.0)
    apart = frame.positions - frame.positions[0]
    apart[:, :2] -= 40.0 * np.round(apart[:, :2] / 40.0)
    np.testing.assert_array_equal(sphere.held, np.linalg.norm(apart, axis=1) < sphere.wall)
    with pytest.raises(InputError, match=r"half of the cell of .* is 2\.5 Å"):
        Sphere.around(replace(frame, pbc=np.ones(3, dtype=bool)), 0, 4.0)


def test_draws_that_were_entered_are_not_used(file: Path) -> None:
    frame, settings = read_structures(file, without_labels())[0], words("samples=4")
    tagged = module.Tagged(frame, 0, 4.0, 1)

    class Leaky:
        def sphere(self, frame: Structure, atom: int, radius: float) -> Sphere:
            return Sphere.around(frame, atom, radius)

        def resample(self, *_: Any) -> Iterator[np.ndarray | None]:
            for k in range(1000):
                yield None if k % 3 == 1 else np.full(3, float(k))

        def identity(self) -> str:
            return "leaky"

    found = module._one((Leaky(), settings), tagged)
    assert found[:, 0].tolist() == [0.0, 2.0, 3.0, 5.0]


def test_samples_of_another_law_are_not_used(file: Path, tmp_path: Path) -> None:
    frames = read_structures(file, without_labels())
    model = tmp_path / "model.txt"
    model.write_text("one")
    paths = set()
    for solution in (
        SolutionSettings(),
        SolutionSettings(law="screened"),
        SolutionSettings(law="screened", screening=1),
    ):
        paths.add(module._digest(frames, SolutionReference(solution), words()))
    reference = AseReference(Springs, {"path": str(model)})
    paths.add(module._digest(frames, reference, words()))
    model.write_text("two")
    paths.add(module._digest(frames, reference, words()))
    charged = [replace(f, info={**f.info, "charge": 1}) for f in frames]
    paths.add(module._digest(charged, reference, words()))
    assert len(paths) == 6


def test_the_calculator_sees_the_frame_and_no_constraint(file: Path) -> None:
    frame = replace(read_structures(file, without_labels())[0], info={"charge": 2})
    seen: list[ase.Atoms] = []

    class Watched(Springs):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            seen.append(self.atoms)

    reference = AseReference(Watched, {})
    next(reference.resample(reference.sphere(frame, 0, 4.0), words(), seed=1))
    assert all(a.info["charge"] == 2 and not a.constraints for a in seen)


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no replica"):
        command(tmp_path, load(LocalitySettings, None, []), tmp_path / "out")


@pytest.mark.whole
def test_water_around_a_held_ion_moves_and_the_ion_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openmm")
    from scalewise.testbed import solution

    root = Path(__file__).parents[3]
    config = load(
        SolutionSettings,
        root / "configs/small-solution.yaml",
        ["replicas=1", "replicates.replicas=0"],
    )
    solution.generate_solution(config, tmp_path, workers=1, bar=False)
    reference = SolutionReference.read(tmp_path)
    frame = read_structures(tmp_path / "replica-00.extxyz", without_labels())[0]
    sphere = reference.sphere(frame, 0, 3.0)
    assert sphere.held.sum() % 3 == 1  # the ion and whole waters
    settings = load(LocalitySettings, None, ["settling=0.05", "spacing=0.05"])

    def draws(of: Sphere) -> np.ndarray:
        found = list(islice(reference.resample(of, settings, seed=3), 4))
        return np.array([f for f in found if f is not None])

    forces = draws(sphere)
    assert len(forces) == 4  # nothing came in
    np.testing.assert_allclose(forces, draws(sphere), atol=1e-6)
    assert np.ptp(forces, axis=0).min() > 1e-4

    seen: list[float] = []

    def nearest(self: Sphere, positions: np.ndarray) -> bool:
        apart = get_distances(positions[0], positions, frame.cell, pbc=True)[1][0]
        seen.append(float(apart[~self.held].min()))
        return len(seen) % 2 == 0

    longer = load(LocalitySettings, None, ["settling=0.2", "spacing=0.2"])
    monkeypatch.setattr(Sphere, "entered", nearest)
    found = list(islice(reference.resample(sphere, longer, seed=3), 10))
    assert [f is None for f in found] == [False, True] * 5  # what has entered is not used
    walled = min(seen)
    seen.clear()
    monkeypatch.setattr(reference_module, "stiffness", lambda _: 0.0)
    list(islice(reference.resample(sphere, longer, seed=3), 10))
    assert min(seen) < sphere.radius < walled - 0.1
    monkeypatch.undo()
    still = draws(replace(sphere, held=np.ones_like(sphere.held)))
    labelled = read_structures(tmp_path / "replica-00.extxyz")[0].labelled_forces[0]
    np.testing.assert_allclose(still, np.tile(labelled, (4, 1)), atol=2e-4)


def test_a_law_within_the_sphere_leaves_nothing_to_chance(tmp_path: Path) -> None:
    # argon whose law ends at 5 Å: held to 5 Å, the force is the same in every draw, as no other
    # atom comes near; held to 4 Å it spreads
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    frames = [
        ase.Atoms("Ar64", 3.9 * grid + 0.1 * rng.standard_normal((64, 3)), cell=[15.6] * 3, pbc=1)
        for _ in range(3)
    ]
    ase.io.write(tmp_path / "argon.xyz", frames, format="extxyz")
    given = [
        "calculator=ase.calculators.lj:LennardJones",
        "arguments={sigma: 3.4, epsilon: 0.0104, rc: 5.0, smooth: true}",
        *["radii=[4,5]", "atoms=3", "samples=4", "settling=0.4", "spacing=0.2", "timestep=10"],
        *["temperature=400", "friction=5"],
    ]
    settings = load(LocalitySettings, None, given)
    found = command(tmp_path / "argon.xyz", settings, tmp_path / "out").body
    near, whole = found["elements"][0]["radii"]
    assert near["mae"] > 1.0
    assert whole["mae"] < 1e-9


def test_a_sphere_that_cannot_be_kept_free_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sphere, "entered", lambda *_: True)
    with pytest.raises(InputError, match="all but 0 of 16 draws"):
        command(file, words("atoms=3", "samples=4", "settling=0.1", "spacing=0.1"), tmp_path)


def test_a_model_is_drawn_at_the_reach_of_its_forces(tmp_path: Path) -> None:
    potential = untrained(ladder=(3.0, 4.0))
    checkpoint.write(tmp_path / "model", potential)
    rows = {"mae": 1.0, "mae_interval": [0.9, 1.1]}
    curve = {
        "model": {"folder": str(tmp_path)},
        "scales": [{"single": None, "long": False, "cutoff": c} for c in (3.0, 4.0)],
        "subsets": [{"kind": "element", "name": "Na", "scales": [rows, rows]}],
    }
    document = {"kind": "curve", "schema": 2, "body": curve}
    (tmp_path / "curve.json").write_text(json.dumps(document))
    found = read_against(tmp_path / "curve.json")
    assert found["reach"] == [12.0, 15.0]
    # a row of atoms: the force on the first feels a move within its reach, and none beyond
    frame = salt_frame(n=12)
    x = 1.9 * np.arange(12)
    row = np.stack([x, np.sin(3 * x), np.cos(2 * x)], axis=1)
    open_row = replace(frame, positions=row, pbc=np.zeros(3, dtype=bool), cell=np.zeros((3, 3)))
    before = potential.predict(open_row, cutoffs=3.0).forces[0]
    assert potential.receptive_field(Scale(3.0, long_range=False)) == 12.0
    felt = []
    for atom in range(1, 12):
        moved = row.copy()
        moved[atom, 1] += 0.05
        after = potential.predict(replace(open_row, positions=moved), cutoffs=3.0).forces[0]
        felt.append(float(np.abs(after - before).max()))
    far = np.linalg.norm(row[1:] - row[0], axis=1)
    assert max(f for f, d in zip(felt, far, strict=True) if d > 12.1) < 1e-12
    assert max(f for f, d in zip(felt, far, strict=True) if d > 6.1) > 1e-9
    with pytest.raises(InputError, match="not a curve"):
        read_against(tmp_path / "model" / "model.json")


@pytest.mark.slow
def test_workers_of_a_scheduler_draw_the_same_samples(file: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    frames, settings = read_structures(file, without_labels()), words("samples=4", "atoms=3")
    reference = AseReference(Springs, {})
    here = bound_locality(frames, reference, settings, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as running:
        address = running.scheduler_address
        there = bound_locality(frames, reference, settings, tmp_path / "there", on=address)
    assert there.body == here.body
