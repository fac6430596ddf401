"""Every model through the one shared suite; and for each promise a model that breaks it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from scalewise.core.errors import InputError
from scalewise.data.reading import write_structures
from scalewise.data.structure import Labels, Structure
from scalewise.models.adapters.ase_calculator import AseModel
from scalewise.models.adapters.prediction_file import PredictionFile
from scalewise.models.protocol import LongRange, Prediction, Scale
from scalewise.testing import check_potential
from support import salt_frame, untrained


def isolated(structure: Structure) -> Structure:
    return replace(structure, cell=np.zeros((3, 3)), pbc=np.zeros(3, dtype=bool))


SALT = [salt_frame(0), isolated(salt_frame(1, n=6))]

# -- models that keep to it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"charges": False}, id="one scale"),
        pytest.param({"charges": True}, id="charges"),
        pytest.param({"ladder": [3.0, 5.0, "long"]}, id="ladder"),
        pytest.param(
            {"ladder": [3.0, 5.0], "adaptive_cutoff": {"by": "environment"}}, id="adaptive cutoff"
        ),
        pytest.param({"ladder": [3.0, 5.0, "long"], "fork": {"cutoff": 4.0}}, id="fork"),
    ],
)
def test_a_potential(settings: dict[str, Any]) -> None:
    check_potential(untrained(**settings), SALT)


def kind(pbc: str, cell: Any, positions: Any = None, seed: int = 1) -> Structure:
    """A structure of a periodicity, of six ions that fit into 9 Å if positions are not given."""
    axes = np.array([c == "T" for c in pbc])
    if positions is None:
        return replace(salt_frame(seed, n=6, box=9.0), cell=np.array(cell, dtype=float), pbc=axes)
    numbers = np.resize([11, 17], len(positions))
    return Structure(numbers, np.array(positions, dtype=float), np.array(cell, dtype=float), axes)


#: Of every periodicity; cells without vectors of open axes, with tilted ones, smaller than cutoffs.
EVERY_KIND = [
    kind("TTT", [[9, 0, 0], [2, 9, 0], [1, 0, 9]]),
    kind("TTF", [[9, 0, 0], [2, 9, 0], [0, 0, 0]]),
    kind("TFT", [[9, 1, 0], [1, 40, 3], [0, 0, 10]], seed=2),
    kind("FTF", [[0, 0, 0], [0, 9, 1], [0, 0, 0]], seed=3),
    kind("FFF", np.zeros((3, 3)), seed=4),
    kind("TTF", [[3.3, 0, 0], [0.3, 3.2, 0], [0, 0, 0]], [[0, 0, 0], [1.6, 1.7, 1.4]]),
    kind("FFT", [[0, 0, 0], [0, 0, 0], [0.2, 0, 4.1]], [[0, 0, 0], [0.4, 0.3, 2.2]]),
    kind("TTT", [[3.0, 0, 0], [0.3, 3.1, 0], [0.1, 0.4, 3.2]], [[1.0, 2.0, 3.0]]),
    kind("FTF", [[0, 0, 0], [0.3, 3.1, 0], [0, 0, 0]], [[1.0, 2.0, 3.0]]),
]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"charges": True}, id="charges"),
        pytest.param({"charges": False}, id="one scale"),
    ],
)
@pytest.mark.whole
def test_a_potential_of_structures_of_every_periodicity(settings: dict[str, Any]) -> None:
    check_potential(untrained(**settings), EVERY_KIND)


@pytest.mark.whole
def test_a_ladder_and_an_adaptive_cutoff_of_slabs_and_wires() -> None:
    check_potential(untrained(ladder=[3.0, 4.0, "long"]), EVERY_KIND[1:4:2])
    model = untrained(ladder=[3.0, 5.0], adaptive_cutoff={"by": "environment"})
    check_potential(model, EVERY_KIND[1:4:2])


def copper(seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return Structure(
        numbers=np.array([29, 79] * 4),
        positions=2.8 * grid + rng.normal(0, 0.1, (8, 3)),
        cell=5.6 * np.eye(3) + rng.normal(0, 0.1, (3, 3)),
        pbc=np.ones(3, dtype=bool),
    )


@pytest.mark.parametrize(
    "model",
    [
        AseModel(EMT()),
        AseModel(LennardJones(sigma=2.2, epsilon=0.1, rc=5.0, smooth=True), cutoff=5.0),
    ],
    ids=lambda m: m.name,
)
def test_a_calculator(model: AseModel) -> None:
    check_potential(model, [copper(0), copper(1), isolated(copper(2))])


def test_a_calculator_of_slabs_and_wires() -> None:
    model = AseModel(LennardJones(sigma=2.2, epsilon=0.1, rc=5.0, smooth=True), cutoff=5.0)
    check_potential(model, EVERY_KIND[:5])


def test_a_file_of_predictions(tmp_path: Path) -> None:
    for k, structures in enumerate((SALT, EVERY_KIND[:5])):
        (tmp_path / str(k)).mkdir()
        file = written(tmp_path / str(k), structures)
        check_potential(PredictionFile(file, forces="REF_forces"), structures, stored=True)


def test_a_slab_is_found_modulo_lattice_vectors_of_its_periodic_axes(tmp_path: Path) -> None:
    slab = EVERY_KIND[1]
    model = PredictionFile(written(tmp_path, [slab]), forces="REF_forces")
    moved = slab.positions + np.array([1, -2, 0]) @ slab.cell + np.array([0.0, 0.0, 5e-4])
    cell = slab.cell + np.array([[0.0], [0.0], [31.0]])
    assert model.find(replace(slab, positions=moved, cell=cell)) == 0
    with pytest.raises(InputError, match="none of its 1 frames"):
        model.find(replace(slab, positions=moved + np.array([0.0, 0.0, 9.0])))


def written(folder: Path, structures: Sequence[Structure] = SALT) -> Path:
    model = untrained(charges=False)
    labels = [Labels(p.forces, p.energy, p.stress) for p in model.evaluate(structures)]
    path = folder / "predicted.xyz"
    write_structures(
        path, [replace(s, labels=found) for s, found in zip(structures, labels, strict=True)]
    )
    return path


# -- what a file of predictions finds --------------------------------------------------------------


def test_a_structure_is_found_modulo_lattice_vectors_and_no_farther_than_a_thousandth(
    tmp_path: Path,
) -> None:
    frames = [salt_frame(seed) for seed in range(30)]
    model = PredictionFile(written(tmp_path, frames), forces="REF_forces", check_units=False)
    rng = np.random.default_rng(0)
    assert model.elements == (11, 17)
    for k, frame in enumerate(frames):
        steps = rng.integers(-3, 4, frame.positions.shape) @ frame.cell
        near = frame.positions + rng.uniform(-5e-4, 5e-4, frame.positions.shape) + steps
        assert model.find(replace(frame, positions=near)) == k
        moved = frame.positions.copy()
        moved[k % 8, k % 3] += 2e-3
        with pytest.raises(InputError, match=r"memory, frame 0: not in .*none of its 30 frames"):
            model.evaluate([replace(frame, positions=moved)])
    with pytest.raises(InputError, match="no frame has these atoms in this order"):
        model.find(replace(frames[0], numbers=frames[0].numbers[::-1].copy()))
    with pytest.raises(InputError, match="it has no Cu"):
        model.find(replace(frames[0], numbers=np.full(8, 29)))


def test_an_expanded_crystal_is_told_from_others_and_a_charge_from_another(tmp_path: Path) -> None:
    first = copper(0)
    crystals = [
        replace(first, positions=first.positions * a, cell=first.cell * a) for a in (1, 1.001, 1.01)
    ]
    ions = [replace(crystals[0], info={"charge": q}) for q in (0, 1)]
    frames = [replace(s, labels=Labels(np.ones((8, 3)))) for s in (*ions, *crystals[1:])]
    write_structures(tmp_path / "p.xyz", frames)
    model = PredictionFile(tmp_path / "p.xyz", forces="REF_forces")
    assert [model.find(s) for s in frames] == [0, 1, 2, 3]
    assert model.find(first) == 0
    assert not model.knows_energy(first)


def test_many_frames_are_found_in_less_time_than_comparing_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = copper(0)
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 0.02, (400, 8, 3)), axis=0)
    frames = [
        replace(first, positions=first.positions + w, labels=Labels(np.ones((8, 3)))) for w in walk
    ]
    write_structures(tmp_path / "p.xyz", frames)
    model = PredictionFile(tmp_path / "p.xyz", forces="REF_forces")
    from scalewise.models.adapters import prediction_file

    looks = 0
    compared = prediction_file._same

    def counted(*pair: Structure) -> bool:
        nonlocal looks
        looks += 1
        return compared(*pair)

    monkeypatch.setattr(prediction_file, "_same", counted)
    assert [model.find(s) for s in frames] == list(range(400))
    assert looks < 800


def test_results_of_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(
        '2\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3:charges:R:1 '
        'energy=-3.5 stress="1 0 0 0 2 0 0 0 3" pbc="T T T"\n'
        "Na 0 0 0 0.1 0 0 0.9\nCl 3 0 0 -0.1 0 0 -0.9\n"
    )
    model = PredictionFile(path, check_units=False)
    found = model.evaluate(model.structures)[0]
    assert (model.name, found.energy) == ("a", -3.5)
    assert found.stress is not None
    assert np.diag(found.stress).tolist() == [1, 2, 3]
    assert found.charges is not None
    assert found.charges.tolist() == [0.9, -0.9]
    with pytest.raises(InputError, match="predictions of one scale"):
        model.evaluate(model.structures, Scale(cutoff=4.0))
    with pytest.raises(InputError, match=r"no such column.*with forces"):
        PredictionFile(path, forces="f")


# -- what a calculator is told ---------------------------------------------------------------------


def test_a_calculator_sees_charges_and_no_results_of_before() -> None:
    class Charged(LennardJones):
        def calculate(self, atoms: Any = None, *rest: Any) -> None:
            super().calculate(atoms, *rest)
            self.results["energy"] += atoms.info.pop("charge")

    model = AseModel(Charged(sigma=2.0))
    neutral = replace(copper(0), info={"charge": 0})
    charged = replace(neutral, info={"charge": 1})
    a, b = model.evaluate([neutral, charged])
    assert b.energy == pytest.approx(a.energy + 1)
    assert charged.info == {"charge": 1}


def test_what_a_calculator_cannot_do_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"EMT cannot compute it \(NotImplementedError"):
        AseModel(EMT()).evaluate([salt_frame()])
    with pytest.raises(InputError, match="has no forces"):
        AseModel(3)
    with pytest.raises(InputError, match="nothing:None cannot be made"):
        AseModel.named("nothing:None")
    model = AseModel.named("ase.calculators.lj:LennardJones", sigma=2.0, name="argon", cutoff=3.0)
    assert (model.name, model.cutoff_range) == ("argon", (3.0, 3.0))
    with pytest.raises(InputError, match="argon has 3 Å"):
        model.evaluate([copper(0)], Scale(cutoff=2.0))


# -- models that break a promise -------------------------------------------------------------------


@dataclass
class Pair:
    """A pair potential with a smooth cutoff, and a place to break every promise."""

    name: Any = "pair"
    elements: Any = (11, 17)
    cutoff_range: Any = (3.0, 6.0)
    long_range: Any = LongRange.NONE
    reach: float = 1.0
    jump: float = 0.0
    slope: float = 0.0
    change: Callable[[Structure, Scale, Prediction], Prediction] = lambda s, scale, p: p
    before: Callable[[Structure], Structure] = lambda s: s
    check: bool = True

    def receptive_field(self, scale: Scale) -> float | None:
        return self.reach * self._cutoff(scale)

    def knows_energy(self, structure: Structure) -> bool:
        return True

    def _cutoff(self, scale: Scale) -> float:
        return 5.0 if scale.cutoff is None else float(np.max(scale.cutoff))

    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        return [self.change(s, scale, self._one(self.before(s), scale)) for s in structures]

    def _one(self, s: Structure, scale: Scale) -> Prediction:
        n, c = len(s.numbers), self._cutoff(scale)
        if self.check:
            self._refuse(s, scale, c)
        i, j = np.triu_indices(n, 1)
        steps = (
            np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T if s.pbc.any() else [[0] * 3]
        )
        if s.pbc.any():
            fraction = s.positions @ np.linalg.inv(s.cell)
            positions = (fraction - np.floor(fraction)) @ s.cell
        else:
            positions = s.positions
        energy, forces, virial = 0.0, np.zeros((n, 3)), np.zeros((3, 3))
        for step in steps:
            v = positions[j] - positions[i] + np.asarray(step) @ s.cell
            r = np.linalg.norm(v, axis=1)
            near = r < c
            u = 1 - (r / c) ** 2
            energy += ((u**3 + self.jump + self.slope * (c - r)) * near).sum()
            de = (-6 * r / c**2 * u**2 - self.slope) * near
            pull = (de / r)[:, None] * v
            np.add.at(forces, i, pull)
            np.add.at(forces, j, -pull)
            virial += v.T @ pull
        stress = virial / abs(np.linalg.det(s.cell)) if s.pbc.all() else None
        return Prediction(forces, energy, np.full(n, energy / n), stress)

    def _refuse(self, s: Structure, scale: Scale, c: float) -> None:
        wrong = not set(s.numbers.tolist()) <= set(self.elements)
        wrong |= not np.isfinite(s.positions).all() or not 0 < c <= 6.0
        wrong |= bool(s.pbc.any()) and abs(np.linalg.det(s.cell)) < 1.0
        wrong |= np.ndim(scale.cutoff) == 1 and len(scale.cutoff) != len(s.numbers)
        d = np.linalg.norm(s.positions[:, None] - s.positions[None], axis=2)
        wrong |= bool((d[np.triu_indices(len(d), 1)] < 0.1).any())
        if wrong:
            raise InputError(s.where, "something", "Change it.")


def test_the_pair_keeps_to_it() -> None:
    check_potential(Pair(), SALT)


def test_the_suite_finds_what_looks_at_vectors_of_open_axes() -> None:
    class Arbitrary(LennardJones):
        def calculate(self, atoms: Any = None, *rest: Any) -> None:
            super().calculate(atoms, *rest)
            self.results["energies"] += float(np.linalg.norm(atoms.cell[2]))
            self.results["energy"] = float(self.results["energies"].sum())

    with pytest.raises(AssertionError, match="vectors of open axes: energy"):
        check_potential(AseModel(Arbitrary(sigma=2.2, epsilon=0.1, rc=5.0)), EVERY_KIND[1:3])


def forces(change: Callable[..., np.ndarray]) -> dict[str, Any]:
    """A change of the forces alone, for a model without an energy."""
    return {"change": lambda s, scale, p: Prediction(change(s, p.forces))}


class Counting:
    """Forces that grow with every call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, s: Structure, scale: Scale, p: Prediction) -> Prediction:
        self.calls += 1
        return replace(p, forces=p.forces * (1 + self.calls))


def moving(s: Structure) -> Structure:
    s.positions[0] += 1e-3
    return s


def sharing(s: Structure, scale: Scale, p: Prediction) -> Prediction:
    return replace(p, forces=SHARED.setdefault((len(s.numbers), s.where, str(scale)), p.forces))


SHARED: dict[Any, Any] = {}


class Whole(Pair):
    """Results that depend on the other structures."""

    by = staticmethod(lambda k, n: 1.0)

    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        found = super().evaluate(structures, scale)
        n = len(found)
        return [replace(p, forces=p.forces * self.by(k, n)) for k, p in enumerate(found)]


class Ordered(Whole):
    by = staticmethod(lambda k, n: 1.0 + k * (n == len(SALT)))


class Batched(Whole):
    by = staticmethod(lambda k, n: float(n))


class Lost(Pair):
    def evaluate(self, structures: Sequence[Structure], scale: Scale) -> list[Prediction]:
        return super().evaluate(structures, scale)[1:]


class Prepared(Pair):
    def prepare(self, structure: Structure) -> Callable[[Scale], Prediction]:
        found = self.evaluate([structure], Scale())[0]
        return lambda scale: found


class Narrow(Pair):
    def receptive_field(self, scale: Scale) -> float:
        return math.inf


def leaking(s: Structure, p: np.ndarray) -> np.ndarray:
    return p if s.labels.forces is None else 0.5 * (p + s.labels.forces)


UP = np.array([0.0, 0.0, 1.0])
BROKEN: dict[str, tuple[Any, str]] = {
    "no member": (object(), "lacks members"),
    "no name": (Pair(name=" "), "not empty"),
    "a list of elements": (Pair(elements=[11, 17]), "tuple"),
    "symbols": (Pair(elements=("Na", "Cl")), "atomic numbers"),
    "too few elements": (Pair(elements=(11,)), "does not know"),
    "a falling range": (Pair(cutoff_range=(6.0, 3.0)), "cutoff_range"),
    "a word for long range": (Pair(long_range="none"), "LongRange"),
    "infinite without long range": (Narrow(), "receptive_field is infinite where"),
    "a result too few": (Lost(), "one result per structure"),
    "a wrong shape": (Pair(**forces(lambda s, f: f.T.copy())), "forces of shape"),
    "not finite": (Pair(**forces(lambda s, f: f / 0)), "forces are finite"),
    "a stress of molecules": (
        Pair(change=lambda s, scale, p: replace(p, stress=np.eye(3))),
        "none where there is no volume",
    ),
    "energies that do not sum": (
        Pair(change=lambda s, scale, p: replace(p, energies=np.ones(len(s.numbers)))),
        "sum to the energy",
    ),
    "cutoffs of its own": (
        Pair(change=lambda s, scale, p: replace(p, cutoffs=np.full(len(s.numbers), 3.3))),
        "cutoffs as asked for",
    ),
    "other results each time": (Pair(change=Counting()), "same structures, same results"),
    "results that it keeps": (Pair(change=sharing), "same structures, same results"),
    "by order": (Ordered(), "order of structures"),
    "by number": (Batched(), "a structure alone"),
    "prepared for one scale": (Prepared(), "that was prepared"),
    "labels": (Pair(**forces(leaking)), "labels were looked at"),
    "moved atoms": (Pair(before=moving), "same structures, same results"),
    "what it does not know": (Pair(check=False), "InputError"),
    "its origin": (
        Pair(**forces(lambda s, f: f + s.positions)),
        "translation",
    ),
    "images": (
        Pair(**forces(lambda s, f: f + 1e-2 * (s.positions - s.positions.mean(axis=0)))),
        "periodic images",
    ),
    "a direction": (
        Pair(**forces(lambda s, f: f + np.outer(s.numbers - s.numbers.mean(), UP))),
        "rotation",
    ),
    "an order": (Pair(**forces(lambda s, f: f * np.arange(1, 1 + len(f))[:, None])), "order of at"),
    "a sum": (Pair(**forces(lambda s, f: f * s.numbers[:, None])), "sum to zero"),
    "not conservative": (
        Pair(change=lambda s, scale, p: replace(p, forces=1.01 * p.forces)),
        "gradient of energy",
    ),
    "a stress": (
        Pair(change=lambda s, scale, p: replace(p, stress=None if p.stress is None else -p.stress)),
        "stress is the gradient",
    ),
    "a jump": (Pair(jump=0.1), "energy jumps"),
    "a jump of forces": (Pair(slope=0.1), "forces jump"),
    "a field that is too small": (Pair(reach=0.5), "receptive_field of"),
    "long range off": (Pair(long_range=LongRange.UNKNOWN), "long range turned off"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value")
def test_the_suite_finds(broken: str) -> None:
    model, message = BROKEN[broken]
    structures = [replace(s, positions=s.positions.copy()) for s in SALT]
    with pytest.raises(AssertionError, match=message):
        check_potential(model, structures)
