"""The code that a result depends on: a module with all modules that it imports, and their hash."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from scalewise.core.errors import InputError


def source_digest(module: str, root: Path | None = None) -> str:
    """Hash the source of a module and of all that it imports from its own package.

    Parameters
    ----------
    module
        Full name, such as ``scalewise.study.stage``.
    root
        Folder that holds the package; default: where Python finds it.

    Returns
    -------
    str
        SHA-256, 64 hex digits, over names and sources of the modules in :func:`source_files`.

    Raises
    ------
    InputError
        No such module.
    """
    digest = hashlib.sha256()
    for name, path in source_files(module, root).items():
        source = path.read_bytes()
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def source_files(module: str, root: Path | None = None) -> dict[str, Path]:
    """Find the files of a module and of all that it imports from its own package, sorted by name.

    Imports count wherever they stand, in functions too, but those under ``if TYPE_CHECKING`` are
    never run. A package is imported with each of its modules. Modules that are imported by a name
    that is computed are not found.

    Raises
    ------
    InputError
        No such module.
    """
    package = module.partition(".")[0]
    folder = _folder(package) if root is None else root
    found: dict[str, Path] = {}
    left = [module]
    while left:
        name = left.pop()
        if name in found:
            continue
        path = _file(folder, name)
        if path is None:
            if name == module:
                raise InputError(f"module '{module}'", "no such module", "Give its full name.")
            continue  # a name in a module, as in `from module import name`
        found[name] = path
        left += _parents(name)
        tree = ast.parse(path.read_bytes())
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        left += [n for n in _imported(tree, inside) if n.partition(".")[0] == package]
    return dict(sorted(found.items()))


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"package '{package}'", "no such package", "Install it.")
    origin = Path(spec.origin)
    return origin.parent.parent if origin.name == "__init__.py" else origin.parent


def _file(folder: Path, name: str) -> Path | None:
    path = folder.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if candidate.is_file():
            return candidate
    return None


def _parents(name: str) -> list[str]:
    """Packages around a module, which are imported before it."""
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _imported(tree: ast.Module, inside: str) -> Iterator[str]:
    """Names of all that may be a module; ``inside`` is the package that dots start from."""
    for node in _run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = inside.split(".")[: len(inside.split(".")) - node.level + 1]
            base = ".".join([*(start if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a tree without what only type checkers read."""
    yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and _only_types(node.test):
        children = node.orelse
    for child in children:
        yield from _run(child)


def _only_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"
