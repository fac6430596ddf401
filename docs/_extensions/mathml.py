"""Equations as MathML, which browsers show by themselves: no script, nothing to fetch."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def converted(node: nodes.Element, *, inline: bool) -> str:
    """Return the MathML of a node; what cannot be converted is shown as TeX, and warned of."""
    text = node.astext()
    aligned = "&" in text and r"\begin" not in text
    lines = rf"\begin{{aligned}}{text}\end{{aligned}}" if aligned else text
    try:
        return convert(lines, display="inline" if inline else "block")
    except Exception as error:  # the converter raises a class of its own for each kind of mistake
        LOGGER.warning("cannot convert %r: %r", text, error, location=node, type="math")
        return f"<code>{text}</code>"


def inline_math(self: Any, node: nodes.math) -> None:
    """Write an equation within a line."""
    self.body.append(converted(node, inline=True))
    raise nodes.SkipNode


def block_math(self: Any, node: nodes.math_block) -> None:
    """Write an equation of its own."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(converted(node, inline=False))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
