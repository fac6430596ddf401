"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

    python .ci/lowest.py > lowest.txt
    python -m pip install -c lowest.txt -e '.[dev]'

Every `name>=version` of the dependencies, and of the extras `openmm` and `dev`, becomes
`name==version`. Tools that only check or build (ruff, mypy, Sphinx, ...) are left to pip: their
oldest versions say nothing about the library. A package named on the command line, such as
`torch==2.13.0`, replaces its own lower bound: where only one build of it can be had.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What the library and its tests import; the rest of the extras are tools.
TESTED = ("openmm", "beartype", "hypothesis", "pytest", "pytest-xdist")
BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*])?>=(?P<version>[0-9.]+)")


def lowest(requirements: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and lowest version of every requirement that has a lower bound."""
    for requirement in requirements:
        found = BOUND.match(requirement)
        if found is not None:
            yield found["name"], found["version"]


def main(words: list[str]) -> None:
    """Print one line per package."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    pins = dict(lowest(project["dependencies"]))
    for extra in ("openmm", "dev"):
        found = lowest(project["optional-dependencies"][extra])
        pins.update((name, version) for name, version in found if name in TESTED)
    for word in words:
        name, version = word.split("==")
        pins[name] = version
    print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
