"""Geometries of the testbed: how cells are filled, where atoms are, what settings allow."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest

from scalewise.analysis.evaluation.subsets import regime_members
from scalewise.core.errors import InputError
from scalewise.core.loading import load
from scalewise.core.quantities import FORCES_KEY, NM, PLACE_KEY
from scalewise.data import regimes
from scalewise.data.reading import read_structures
from scalewise.data.regime_settings import RegimeSettings
from scalewise.study.settings import StudySettings
from scalewise.testbed import simulation, solution
from scalewise.testbed.geometry import GEOMETRIES, geometry_of
from scalewise.testbed.geometry.base import Filling, Scene, middle
from scalewise.testbed.screened import ScreenedLaw
from scalewise.testbed.settings import SolutionSettings

TINY: dict[str, Any] = {
    "box": 16.0,
    "cutoff": 7.0,
    "equilibration": 0.2,
    "frames": 2,
    "spacing": 0.1,
    "replicas": 1,
    "replicates": {"replicas": 0},
    "platform": "CPU",
}
OTHERS: dict[str, dict[str, Any]] = {
    "slab": {"vacuum": 15.0},
    "droplet": {"ion_pairs": 1, "vacuum": 14.0},
    "crystal": {"ion_pairs": 1},
    "pair": {"distances": (2.8, 4.0)},
}


def settings(geometry: str, **changes: Any) -> SolutionSettings:
    return SolutionSettings.model_validate(
        TINY | {"geometry": geometry} | OTHERS.get(geometry, {}) | changes
    )


def lattice_of_water(box: np.ndarray, spacing: float = 0.31) -> np.ndarray:
    """Waters on a grid that fills the box (nm)."""
    steps = [np.arange(spacing / 2, edge, spacing) for edge in box]
    oxygen = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return oxygen[:, None] + np.array([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])


def filled(geometry: str, seed: int = 0, **changes: Any) -> Filling:
    g = geometry_of(settings(geometry, **changes))
    return g.fill(lattice_of_water(g.water_box), np.random.default_rng(seed), "replica 0")


def scene_of(filling: Filling) -> Scene:
    n, m = len(filling.ions), len(filling.water)
    return Scene(
        filling.cell * NM,
        np.concatenate([filling.ions, filling.water[:, 0]]) * NM,
        np.array(["Na"] * (n // 2) + ["Cl"] * (n // 2) + ["O"] * m),
        np.concatenate([filling.lattice, np.zeros(m, dtype=bool)]),
    )


# -- settings --------------------------------------------------------------------------------------


def test_digests_of_settings_that_runs_were_saved_with_are_what_they_were() -> None:
    """Twelve digits: of solutions before geometries and laws were settings, of studies today."""
    words = ["ion_pairs=3", "box=16", "cutoff=7"]
    assert SolutionSettings().digest() == "57c07436408d"
    assert load(SolutionSettings, None, words).digest() == "289b725c52f3"
    assert StudySettings().digest() == "335732c9bdd9"
    regime = RegimeSettings(name="x", elements=("Na",))
    assert StudySettings(regimes=(regime,)).digest() == "837b9f911d54"
    assert "geometry" not in SolutionSettings().model_dump()


def test_new_settings_change_the_digest_and_survive_a_round_trip() -> None:
    words = (
        "geometry=slab",
        "geometry=droplet",
        "geometry=pair",
        "geometry=crystal",
        "law=screened",
    )
    found = [load(SolutionSettings, None, [w]) for w in words]
    assert len({s.digest() for s in [*found, SolutionSettings()]}) == 6
    assert all(SolutionSettings.model_validate(s.model_dump(mode="json")) == s for s in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["geometry=cube"], "key 'geometry': got 'cube'"),
        (["vacuum=30"], "means nothing with geometry=bulk.*set geometry=slab or droplet"),
        (["geometry=slab", "distances=[3]"], "means nothing with geometry=slab"),
        (["geometry=slab", "vacuum=8"], "less than cutoff=9.0 Å.*enlarge"),
        (["geometry=pair", "distances=[4,3]"], "must rise"),
        (["geometry=pair", "distances=[3,9.5]"], "at most 9.0 Å"),
        (["geometry=pair", "ion_pairs=2"], "one pair of ions"),
        (["screening=3"], "needs law=screened"),
    ],
)
def test_mistakes_are_explained(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(SolutionSettings, None, words)


# -- filling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_filling_keeps_counts_and_distances_and_follows_the_seed(geometry: str) -> None:
    g = geometry_of(settings(geometry))
    first, again, other = (filled(geometry, seed) for seed in (0, 0, 1))
    assert len(first.ions) == 2 * (g.pairs + g.crystal_pairs)
    np.testing.assert_array_equal(first.ions, again.ions)
    np.testing.assert_array_equal(first.water, again.water)
    assert not np.array_equal(first.ions, other.ions)
    first_atoms = scene_of(first).first
    d = first_atoms[:, None] - first_atoms[None]
    d -= first.cell * NM * np.round(d / (first.cell * NM))
    assert np.linalg.norm(d, axis=2)[np.triu_indices(len(d), 1)].min() > 2.0


def test_a_slab_has_vacuum_on_both_sides() -> None:
    filling = filled("slab")
    z = filling.water[:, 0, 2] * NM
    assert filling.cell * NM == pytest.approx([16.0, 16.0, 31.0])
    assert z.min() > 7.5
    assert z.max() < 31.0 - 7.5


def test_a_droplet_is_a_sphere_of_its_density() -> None:
    filling = filled("droplet")
    r = np.linalg.norm((filling.water[:, 0] - 0.5 * filling.cell) * NM, axis=1)
    assert filling.cell * NM == pytest.approx([30.0] * 3)
    assert r.max() < 8.0
    molecules = len(filling.water) + len(filling.ions)
    assert molecules == pytest.approx(np.pi / 6 * 16.0**3 / 3.1**3, rel=0.1)


def test_a_crystal_is_rock_salt() -> None:
    filling = filled("crystal")
    n = len(filling.ions) // 2
    sodium, chloride = filling.ions[:n][filling.lattice[:n]], filling.ions[n:][filling.lattice[n:]]
    assert len(sodium) == len(chloride) == 3 * 3 * 2 * 4
    d = (sodium[:, None] - chloride[None]) * NM
    face = 3 * 5.64
    d[..., :2] -= face * np.round(d[..., :2] / face)
    close = np.sort(np.linalg.norm(d, axis=2), axis=1)
    np.testing.assert_allclose(close[:, :5], 2.82, atol=1e-9)  # outermost ions have five
    assert (np.isclose(close[:, 5], 2.82)).sum() == 18 * 2
    assert filling.ions[:, 2].min() * NM == pytest.approx(1.41)


def test_a_pair_starts_near_the_first_distance() -> None:
    filling = filled("pair")
    assert np.linalg.norm(filling.ions[1] - filling.ions[0]) * NM == pytest.approx(2.8, abs=0.5)


# -- places ----------------------------------------------------------------------------------------


def test_places_of_a_slab_and_a_droplet_are_a_layer_deep() -> None:
    for geometry, distance in (
        ("slab", lambda x: np.abs(x[:, 2])),
        ("droplet", lambda x: np.linalg.norm(x, axis=1)),
    ):
        filling = filled(geometry, box=40.0, vacuum=20.0, ion_pairs=1)
        found = geometry_of(settings(geometry)).places(scene_of(filling))
        far = distance((filling.water[:, 0] - 0.5 * filling.cell) * NM)
        surface = found.names[len(filling.ions) :] == "surface"
        assert 16.8 - 3.1 < far[~surface].max() < 16.8  # waters are 3.1 Å apart
        assert 15.2 < far[surface].min() < 15.2 + 3.3
        assert found.interior == pytest.approx(
            {"slab": 32.0 * 40.0**2, "droplet": 4 / 3 * np.pi * 16.0**3}[geometry], rel=0.05
        )


def test_places_of_a_crystal() -> None:
    filling = filled("crystal", cells=3, box=24.0)
    filling = Filling(
        filling.cell,
        filling.ions + middle_shift(filling)[None],
        filling.water + middle_shift(filling),
        filling.lattice,
    )
    scene = scene_of(filling)
    found = geometry_of(settings("crystal", cells=3, box=24.0)).places(scene)
    of_lattice = found.names[scene.lattice]
    planes = np.unique(np.round(scene.first[scene.lattice, 2], 3))
    assert len(planes) == 6
    assert (of_lattice == "crystal").sum() == 4 * (of_lattice == "interface").sum() / 2
    water = found.names[scene.symbols == "O"]
    assert set(water) == {"interface", "interior"}


def middle_shift(filling: Filling) -> np.ndarray:
    axes = (False, False, True)
    centre = middle(filling.ions[filling.lattice], filling.cell, axes)
    return np.where(axes, 0.5 * filling.cell - centre, 0.0)


def test_the_middle_does_not_jump_at_the_edge_of_the_cell() -> None:
    cell = np.array([10.0, 10.0, 10.0])
    points = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 1.0]])
    found = middle(points, cell, (False, False, True))
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


# -- frames ----------------------------------------------------------------------------------------


@cache
def made(geometry: str) -> simulation.Sampled:
    pytest.importorskip("openmm")
    return simulation.simulate(settings(geometry), 0)


#: Salt and drops take seconds: the fast tests look at the others.
SIMULATED = [
    "slab",
    "pair",
    pytest.param("droplet", marks=pytest.mark.slow),
    pytest.param("crystal", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("geometry", SIMULATED)
def test_frames_have_a_place_for_every_molecule(geometry: str) -> None:
    found = made(geometry)
    for frame in found.production:
        assert set(frame.place) <= set(GEOMETRIES[geometry].words)
        for word in np.unique(frame.place):  # molecules are not divided
            molecules = found.molecules[frame.place == word]
            assert np.isin(found.molecules, molecules).sum() == len(molecules)
        first = frame.positions[np.unique(found.molecules, return_index=True)[1]]
        assert (first >= 0).all()
        assert (first < frame.cell).all()
    assert found.report["label_error"] < 1e-4
    assert sum(found.report["places"].values()) == pytest.approx(len(found.symbols))


@pytest.mark.parametrize("geometry", ["slab", pytest.param("droplet", marks=pytest.mark.slow)])
def test_liquid_is_in_the_middle(geometry: str) -> None:
    frame = made(geometry).production[-1]
    heavy = np.array(made(geometry).symbols) == "O"
    off = frame.positions[heavy].mean(axis=0) - 0.5 * frame.cell
    assert np.abs(off[2]) < 0.5
    assert frame.positions[heavy, 2].min() > 3.0


@pytest.mark.slow
def test_a_crystal_is_in_the_middle() -> None:
    frame = made("crystal").production[-1]
    z = frame.positions[frame.place == "crystal", 2]
    assert np.abs(z - 0.5 * frame.cell[2]).max() < 3.0


def test_a_pair_is_held() -> None:
    frames = made("pair").production
    assert [f.keys["distance"] for f in frames] == [2.8, 2.8, 4.0, 4.0]
    for frame in frames:
        d = frame.positions[1] - frame.positions[0]
        d -= frame.cell * np.round(d / frame.cell)
        assert np.linalg.norm(d) == pytest.approx(frame.keys["distance"], abs=1e-5)
        assert (frame.place[:2] == "pair").all()
    assert not np.allclose(frames[2].positions[2:], frames[3].positions[2:])


def test_the_screened_law_labels_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    s = settings("slab", law="screened", screening=1.0, vacuum=10.0)
    sampled = simulation.simulate(s, 0)
    solution._save(s, tmp_path, sampled, {})
    frames = read_structures(tmp_path / "replica-00.extxyz")
    law = ScreenedLaw({"Na": 1.0, "Cl": -1.0, "O": -0.834, "H": 0.417}, 1.0)
    found = law.label(frames[0])
    np.testing.assert_allclose(found.forces, frames[0].labelled_forces, atol=1e-6)
    assert found.energy == pytest.approx(frames[0].labels.energy, abs=1e-5)
    shares = list(sampled.report["beyond"].values())
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0.0
    atoms = ase.io.read(tmp_path / "replica-00.extxyz", "0")
    assert set(atoms.arrays[PLACE_KEY]) == {"interior", "surface"}
    assert FORCES_KEY in atoms.arrays
    members = regime_members(frames, {"Na": 1, "Cl": -1})
    both = members["place_interior"].astype(int) + members["place_surface"]
    assert (both == 1).all()
    only = frames[0].only(["O"])
    assert only.place is not None
    assert len(only.place) == len(only.numbers)


def test_places_are_regimes_only_where_they_tell_atoms_apart(salt) -> None:
    assert regimes.place_regimes([salt]) == ()
    regime = RegimeSettings(name="here", place="surface")
    assert not regimes.membership(regime, salt, {}, 0.0).any()
