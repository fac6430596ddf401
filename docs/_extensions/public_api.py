"""The API page follows ``scalewise.__all__``; references find the public name of what they mean.

A line ``% public names`` of ``api.md`` becomes one entry for each name, in the groups below. A name
that no group has comes last, so that nothing public is left out. Docstrings may refer to the module
that defines something (``scalewise.models.scale.Scale``): the reference leads to the public name
(``scalewise.Scale``) if there is one, and stays plain text if the thing is private. What does not
exist at all is a warning, and warnings are errors.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any, Final

from docutils.nodes import Element, TextElement
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import scalewise

MARK: Final = "% public names"
GROUPS: Final = {
    "Structures and splits": (
        "Structure",
        "Labels",
        "Dataset",
        "read_structures",
        "write_structures",
        "Split",
        "make_split",
        "diagnose_data",
        "generate_solution",
    ),
    "Potentials and scales": (
        "Potential",
        "load_potential",
        "InteratomicPotential",
        "Scale",
        "Ladder",
        "AdaptiveCutoff",
        "ScalewiseCalculator",
    ),
    "Training": ("train", "TrainSettings", "NetworkSettings"),
    "Analyses": (
        "evaluate",
        "scan_cutoffs",
        "refine_cutoffs",
        "attribute_error",
        "bound_locality",
        "audit_predictions",
        "Report",
        "Verdict",
    ),
    "Errors": ("InputError",),
}
REST: Final = "Everything else"


def public_names() -> list[str]:
    """The names of ``scalewise.__all__``, without those that begin with an underscore."""
    return [name for name in getattr(scalewise, "__all__", ()) if not name.startswith("_")]


def grouped(names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Headings and the names below them."""
    for title, members in GROUPS.items():
        found = [name for name in members if name in names]
        if found:
            yield title, found
    known = {name for members in GROUPS.values() for name in members}
    rest = sorted(set(names) - known)
    if rest:
        yield REST, rest


def is_settings(value: Any) -> bool:
    """Whether something is a class of settings: its fields are listed on the settings page."""
    return inspect.isclass(value) and hasattr(value, "model_fields")


def entry(name: str) -> str:
    """Return the directives of one name."""
    value = getattr(scalewise, name)
    if is_settings(value):
        lines = [f".. autoclass:: scalewise.{name}", "   :no-members:"]
        after = "\nThe [settings page](settings.md) lists the keys, their defaults and units.\n"
    else:
        kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
        kind = "exception" if kind == "class" and issubclass(value, BaseException) else kind
        lines, after = [f".. auto{kind}:: scalewise.{name}"], ""
    return "\n".join(["```{eval-rst}", *lines, "```", after])


def page() -> str:
    """Return the part of the page that lists the public names."""
    parts = []
    for title, names in grouped(public_names()):
        parts += [f"## {title}\n", *(entry(name) for name in names)]
    return "\n".join(parts)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the public names in the place of the mark."""
    source[0] = source[0].replace(MARK, page())


def home(value: Any) -> str:
    """Where something is defined."""
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def public_target(target: str) -> str | None:
    """Return the public name of a dotted name, or of a bare one; none if it has none."""
    for name in public_names():
        for own in (home(getattr(scalewise, name)), name):
            if target == own or target.startswith(f"{own}."):
                return f"scalewise.{name}{target[len(own) :]}"
    return None


def exists(target: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        value: Any
        try:
            value = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        fields = getattr(value, "__annotations__", {})
        for part in parts[count:]:
            if part in fields:
                return True
            value = getattr(value, part, None)
            fields = getattr(value, "__annotations__", {})
        return value is not None
    return False


def resolve(
    app: Sphinx, env: BuildEnvironment, node: Element, contnode: TextElement
) -> Element | None:
    """Find what a reference means under its public name."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    public = public_target(target)
    found = env.domains["py"].objects.get(public) if public else None
    if found is not None:
        return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, contnode)
    return contnode if target.startswith("scalewise") and exists(target) else None


def signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str, returned: str
) -> tuple[str, str] | None:
    """Leave the arguments of settings out: they are the keys of the settings page."""
    if is_settings(value):
        return "", ""
    # not an expression, so that nothing of such a signature would be linked
    return (arguments.replace("<factory>", "..."), returned) if arguments else None


def skip(app: Sphinx, what: str, name: str, value: Any, hidden: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples: the docstring of the class lists them."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
