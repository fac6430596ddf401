"""Every geometry of the testbed through the one shared suite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scalewise.core.errors import InputError
from scalewise.testbed import geometry as module
from scalewise.testbed.geometry import GEOMETRIES, geometry_of, register_geometry
from scalewise.testbed.geometry.base import Filling, Places, Scene
from scalewise.testbed.geometry.bulk import Bulk
from scalewise.testbed.settings import SolutionSettings
from scalewise.testing import check_geometry

OTHERS: dict[str, dict[str, Any]] = {
    "slab": {"vacuum": 15.0},
    "droplet": {"ion_pairs": 1, "vacuum": 14.0},
    "crystal": {"ion_pairs": 1},
    "pair": {"distances": (2.8, 4.0)},
}


def settings(name: str = "bulk") -> SolutionSettings:
    words = {"geometry": name, "box": 16.0, "cutoff": 7.0, **OTHERS.get(name, {})}
    return SolutionSettings.model_validate(words)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_geometry(name: str) -> None:
    check_geometry(geometry_of(settings(name)))


class Crowded(Bulk):
    def fill(self, water, rng, where) -> Filling:
        made = super().fill(water, rng, where)
        made.ions[1] = made.ions[0] + 0.1
        return made


class Lost(Bulk):
    def fill(self, water, rng, where) -> Filling:
        made = super().fill(water, rng, where)
        return replace(made, ions=made.ions[1:])


class Fixed(Bulk):
    def fill(self, water, rng, where) -> Filling:
        return super().fill(water, np.random.default_rng(0), where)


class Wandering(Bulk):
    def fill(self, water, rng, where) -> Filling:
        return super().fill(water, np.random.default_rng(), where)


class Torn(Bulk):
    def fill(self, water, rng, where) -> Filling:
        made = super().fill(water, rng, where)
        return replace(made, water=made.water * np.array([1.01, 1.0, 1.0]))


class Nameless(Bulk):
    def places(self, scene: Scene) -> Places:
        return Places(np.full(len(scene.first), "somewhere"))


class Listed(Bulk):
    words = ("first", "interior")

    def places(self, scene: Scene) -> Places:
        return Places(np.where(np.arange(len(scene.first)) == 0, "first", "interior"))


class Endless(Bulk):
    def places(self, scene: Scene) -> Places:
        return Places(np.full(len(scene.first), "interior"), 2.0 * float(scene.cell.prod()))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Crowded, "molecules .* Å apart"),
        (Lost, "ions"),
        (Fixed, "the seed means nothing"),
        (Wandering, "same seed, another"),
        (Torn, "waters are whole"),
        (Nameless, "not among the words"),
        (Listed, "order of molecules"),
        (Endless, "volume of the interior"),
    ],
)
def test_the_suite_finds(broken: type[Bulk], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_geometry(broken(settings()))


def test_geometries_of_others_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, value, group = "torn", "package:Torn", "scalewise.geometries"
        load = staticmethod(lambda: Torn)

    found = [Entry]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)
    monkeypatch.setattr(module, "GEOMETRIES", dict(GEOMETRIES))
    torn = settings("torn")
    assert isinstance(geometry_of(torn), Torn)
    assert torn.digest() != settings().digest()
    assert SolutionSettings.model_validate(torn.model_dump(mode="json")) == torn
    found.clear()
    with pytest.raises(InputError, match="no geometry 'torn' here"):
        geometry_of(torn)
    register_geometry("listed", Listed)
    assert isinstance(geometry_of(settings("listed")), Listed)
    with pytest.raises(InputError, match="there is a geometry 'slab'"):
        register_geometry("slab", Listed)
    with pytest.raises(InputError, match="Give a subclass of Geometry"):
        register_geometry("other", dict)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="plain word"):
        register_geometry("a b", Listed)
