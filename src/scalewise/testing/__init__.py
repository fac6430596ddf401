"""Checks of interfaces, and synthetic data with a known truth, also for tests of other packages.

A model, reader, geometry, branch, selector or oracle of another package can be tested with the same
checks as those of scalewise. Each check raises an ``AssertionError`` that names the requirement
that is not met:

>>> from scalewise.scales.selectors import FixedSelector
>>> check_selector(FixedSelector(0.5), planted(200, seed=1).geometry)
"""

from scalewise.testing.branches import check_branch
from scalewise.testing.geometries import check_geometry
from scalewise.testing.models import check_potential
from scalewise.testing.readers import check_reader
from scalewise.testing.scales import Planted, check_oracle, check_selector, planted

__all__ = [
    "Planted",
    "check_branch",
    "check_geometry",
    "check_oracle",
    "check_potential",
    "check_reader",
    "check_selector",
    "planted",
]
