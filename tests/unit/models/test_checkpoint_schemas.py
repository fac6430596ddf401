"""Potentials that older versions wrote are read, and predict what those versions predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from scalewise.models import checkpoint
from scalewise.models.checkpoint import SCHEMA
from support import salt_frame

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Found(NamedTuple):
    """What the version that wrote a fixture predicted for a frame."""

    energy: float  #: eV
    forces: float  #: eV/Å, the L2 norm of all
    near: tuple[float, float] | None = None  #: the same at 4 Å and without the long range
    cutoffs: tuple[float, ...] | None = None  #: Å, as routed


#: By schema and what the fixture is there for; each was written by the last version of its schema,
#: but those of schemas 4 to 8, by its first.
WRITTEN = {
    "1": Found(7.435060024, 1.194029290),
    "2": Found(  # a ladder, an adaptive cutoff by environment
        7.349487767,
        1.175690665,
        (12.580517517, 0.079686638),
        (3.886169, 4.112972, 3.886359, 4.160551, 3.867344, 4.112220, 3.840983, 4.133402),
    ),
    "3": Found(  # a switch of 0.7 Å
        7.311143822,
        1.592610535,
        (12.390189439, 0.861645188),
        (3.741779, 4.218255, 3.762306, 4.285926, 3.871403, 4.117508, 3.879960, 4.122862),
    ),
    "4": Found(  # a first layer that sees 3 Å
        7.381931175,
        2.572359765,
        (12.479191366, 0.157109162),
        (3.872950, 4.114987, 3.872680, 4.187677, 3.870435, 4.115301, 3.821913, 4.144056),
    ),
    "4-regime": Found(  # an adaptive cutoff by regime
        7.222518067,
        1.243340596,
        (12.598652528, 0.008986884),
        (3.877541, 3.917700, 3.877541, 3.877541, 3.877541, 4.119290, 3.877541, 3.976305),
    ),
    "5": Found(  # the field's names; an adaptive cutoff by environment
        7.986806298,
        3.657768826,
        (13.744108380, 0.028137353),
        (4.138569, 4.327697, 4.138574, 4.328239, 4.138602, 4.327684, 4.114392, 4.327020),
    ),
    "5-regime": Found(
        4.406510204,
        1.155607943,
        (10.335116541, 0.130647979),
        (3.877541, 4.040332, 3.877541, 3.877541, 3.877541, 4.122459, 3.877541, 4.098399),
    ),
    "6": Found(  # a pair potential that the network corrects
        7.016576160,
        1.094496620,
        (11.426042668, 0.105117949),
        (3.924648, 4.167366, 3.924649, 4.167230, 3.924651, 4.167365, 3.923939, 4.167177),
    ),
    "7": Found(  # shorter waves of the radial functions are smaller
        6.602440010,
        1.136061928,
        (12.269557304, 0.230301198),
        (3.921585, 4.164573, 3.921586, 4.164548, 3.921587, 4.164573, 3.921486, 4.164511),
    ),
    "8": Found(  # a pair potential of more functions than the network has
        7.088080529,
        1.010269510,
        (10.993877611, 0.476181116),
        (3.685344, 3.882121, 3.685344, 3.882317, 3.685343, 3.882120, 3.685417, 3.882154),
    ),
}


@pytest.mark.parametrize("name", list(WRITTEN))
def test_a_potential_of_an_older_version_predicts_what_it_did(name: str) -> None:
    folder = FIXTURES / f"potential-schema-{name}"
    assert json.loads((folder / "model.json").read_text())["schema"] == int(name[0])
    then, frame = WRITTEN[name], salt_frame(seed=3, n=8, box=9.0)
    potential = checkpoint.read(folder)
    found = potential.predict(frame)
    assert found.energy == pytest.approx(then.energy, abs=1e-4)
    assert np.linalg.norm(found.forces) == pytest.approx(then.forces, abs=1e-5)
    assert (potential.adaptive_cutoff is None) == (then.cutoffs is None)
    if then.cutoffs is not None:
        np.testing.assert_allclose(found.cutoffs, then.cutoffs, rtol=0, atol=1e-5)
    if then.near is not None:
        near = potential.predict(frame, cutoffs=4.0, long=False)
        assert near.energy == pytest.approx(then.near[0], abs=1e-4)
        assert np.linalg.norm(near.forces) == pytest.approx(then.near[1], abs=1e-5)


def test_every_schema_has_a_fixture() -> None:
    assert {int(name[0]) for name in WRITTEN} == set(range(1, SCHEMA + 1))
