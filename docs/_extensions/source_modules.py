"""The role ``module``: the dotted name of a module of ours, which must exist.

Pages say which module implements what. A module that is renamed is then a warning at its old name,
and warnings are errors: pages follow the code.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole


class ModuleRole(SphinxRole):
    """A module in typewriter type, after a look whether it is there."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the node, and a warning where no such module exists."""
        messages = []
        if not is_module(self.text):
            text = f"there is no module {self.text}"
            messages = [self.inliner.reporter.warning(text, line=self.lineno)]
        return [nodes.literal(self.rawtext, self.text)], messages


def is_module(name: str) -> bool:
    """Whether a dotted name is a module."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_role("module", ModuleRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
