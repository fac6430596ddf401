"""Settings from a YAML file, ``key=value`` words, or both; words take precedence.

Unknown keys are refused, and the error names the closest known key. Only the part of YAML that
settings need is read: mappings, lists, words and numbers. Aliases and tags are refused, since a few
lines of aliases can fill the memory, and tags turn a word into another type. Dates are read as
words.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from scalewise.core.errors import InputError, cut, did_you_mean, shown
from scalewise.core.files import read_text
from scalewise.core.settings import Settings

S = TypeVar("S", bound=Settings)
#: Bytes and nesting of the largest configuration; YAML is read at some ten kilobytes a second.
LARGEST: Final = 1 << 16
DEEPEST: Final = 16
#: What leaves a path out.
NOTHING: Final = ("", "~", "null")
#: What may stand before the equals sign of a setting.
KEY: Final = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)


def load(
    schema: type[S],
    file: Path | None = None,
    words: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> S:
    """Read settings from a YAML file and ``key=value`` words, and check them.

    Parameters
    ----------
    schema
        The settings class.
    file
        A YAML file, or None for the defaults.
    words
        Assignments with dotted keys, such as ``solution.concentration=1.0``.
    values
        Values by dotted key that are not parsed as YAML, such as paths.

    Raises
    ------
    InputError
        A missing or unreadable file, an unknown key, a value of the wrong kind.
    """
    tree: dict[str, Any] = {} if file is None else _read_yaml(file)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not KEY.fullmatch(key):
            raise InputError(
                f"argument '{cut(word, 100)}'",
                "it is neither a file nor key=value",
                "Write key=value; a path with '=' in it is taken as one if it ends in .xyz, "
                ".extxyz, .yaml or .yml.",
            )
        path = key.split(".")
        plain = _wants_path(schema, path) and not value.startswith(("'", '"'))
        _assign(tree, path, value if plain and value not in NOTHING else _parse(word, value))
    for key, value in (values or {}).items():
        _assign(tree, key.split("."), value)
    places = [str(file)] * (file is not None) + ["command line"] * bool(words or values)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise explain(schema, " or ".join(places) or "settings", error) from None


class _Plain(yaml.SafeLoader):
    """YAML without aliases, tags and dates, and nested no deeper than settings are."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, unless it is an alias, tagged, or too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias, *{cut(str(event.anchor), 40)}: write the value itself")
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"a tag, {cut(str(event.tag), 40)}: write the value alone")
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping, unless a key is there twice: which one is meant, nobody knows."""
        keys = [child.value for child, _ in node.value if isinstance(child, yaml.ScalarNode)]
        if twice := next((key for k, key in enumerate(keys) if key in keys[:k]), None):
            raise yaml.YAMLError(f"the key {cut(str(twice), 40)} twice")
        return super().construct_mapping(node, deep=deep)


def _as_people_write(expression: re.Pattern[str]) -> re.Pattern[str]:
    """The pattern of a number, without those that YAML 1.1 reads to the base 60 or 8.

    1:30 would be 90, and 010, as job arrays count, 8. Both stay words: a setting of whole numbers
    reads 010 as ten, and refuses 1:30.
    """
    return re.compile(f"(?![^:]*:|[-+]?0[0-9_]+$){expression.pattern}", expression.flags)


# dates and times stay words, and << is a key like any other
_Plain.yaml_implicit_resolvers = {
    first: [
        (tag, _as_people_write(expression) if tag.endswith((":int", ":float")) else expression)
        for tag, expression in known
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
    ]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(text: str) -> Any:
    """Parse YAML; whatever is wrong with it is a ValueError of one line."""
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} characters, more than {LARGEST}")
    try:
        # the loader is SafeLoader, with less
        tree = yaml.load(text, Loader=_Plain)
        _check_size(tree)
        return tree
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        # Python's remedy for whole numbers of thousands of digits is for programmers
        reason = " ".join(str(error).partition("; use sys.")[0].split()) or type(error).__name__
        raise ValueError(cut(reason, 200)) from None


def _check_size(tree: Any) -> None:
    """Refuse whole numbers that no setting takes, and that nothing could print."""
    if isinstance(tree, dict | list):
        for value in (*tree, *tree.values()) if isinstance(tree, dict) else tree:
            _check_size(value)
    if isinstance(tree, int) and abs(tree) >= 2**63:
        raise ValueError(f"a whole number of {tree.bit_length()} bits")


def _read_yaml(file: Path) -> dict[str, Any]:
    text = read_text(file, "Give the path of a YAML configuration.", largest=LARGEST)
    try:
        tree = _yaml(text)
    except ValueError as error:
        raise InputError(str(file), f"not valid YAML ({error})", "Mend the file.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise InputError(
            str(file), f"it holds {shown(tree, 80)}", "A configuration maps keys to values."
        )
    return tree


def _parse(word: str, value: str) -> Any:
    if value.startswith(("@", "`")):  # reserved in YAML, and the beginning of a name here
        return value
    try:
        return _yaml(value)
    except ValueError as error:
        raise InputError(
            f"argument '{cut(word, 100)}'", f"the value is not valid YAML ({error})", "Quote it."
        ) from None


def _assign(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        child = tree.setdefault(part, {})
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    tree[path[-1]] = value


def _wants_path(schema: type[Settings], path: Sequence[str]) -> bool:
    """Whether a key takes one path: its words are no YAML then."""
    for part in path[:-1]:
        field = schema.model_fields.get(part)
        nested = [] if field is None else _nested(field.annotation)
        if not nested:
            return False
        schema = nested[0]
    field = schema.model_fields.get(path[-1])
    if field is None:
        return False
    kind: Any = field.annotation
    return kind is Path or (isinstance(kind, types.UnionType) and Path in kind.__args__)


def explain(schema: type[Settings], where: str, error: ValidationError) -> InputError:
    """Say what is wrong with settings: the key, what was given, and what is known."""
    # of the alternatives of a union, the one that got furthest tells most
    telling = ("value_error", "extra_forbidden")
    first = max(error.errors(), key=lambda e: (e["type"] in telling, len(e["loc"])))
    path = _known_path(schema, first)
    key = ".".join(path)
    place = f"{where}, key '{key}'" if key else where
    if first["type"] == "extra_forbidden":
        group, dot, inner = path[-1].rpartition(".")
        if dot and ".".join([*path[:-1], path[-1]]) in _paths(schema):
            return InputError(
                place, "a dotted key in a file", f"Write it in levels: {group}: {{{inner}: ...}}."
            )
        known = _keys_at(schema, path[:-1])
        meant = _elsewhere(schema, [*path, *_names(first["input"])])
        hint = (
            did_you_mean(path[-1].replace("-", "_"), known)
            if meant is None
            else f" Did you mean '{meant}'?"
        )
        return InputError(place, "no such key", f"Known keys: {', '.join(known)}.{hint}")
    if first["type"] == "value_error":
        return InputError(place, str(first["ctx"]["error"]), "Correct the setting.")
    if first["type"] == "missing":
        return InputError(place, "missing", "Give it: there is no default.")
    if first["type"] == "model_type":
        known = _keys_at(schema, path)
        return InputError(
            place,
            f"got {shown(first['input'])}",
            f"It holds settings, such as {key}.{known[0]}; leave it out for their defaults.",
        )
    message = first["msg"]
    if first["type"] == "tuple_type":
        words = str(first["input"]).strip("()[] ")
        inside = words if "," in words and len(words) < 40 else "..."
        message = f"Write a list: {'.'.join(path)}=[{inside}]"
    return InputError(place, f"got {shown(first['input'])}", f"{message}.")


def _known_path(schema: type[Settings], error: Any) -> list[str]:
    """Keys on the way to what is wrong, without the names of types that a union tried."""
    path: list[str] = []
    for part in error["loc"]:
        word = str(part)
        known = isinstance(part, int) or word in _keys_at(schema, path)
        if known or (error["type"] == "extra_forbidden" and part == error["loc"][-1]):
            path.append(word)
    return path


def _names(value: Any) -> list[str]:
    """Names on the way to what is in the end given in ``a.b.c=value``."""
    found = []
    while isinstance(value, dict) and len(value) == 1:
        ((key, value),) = value.items()
        found.append(str(key))
    return found


def _elsewhere(schema: type[Settings], names: Sequence[str]) -> str | None:
    """A setting of these names under fewer names, or the only one of the last name."""
    known = list(_paths(schema))
    for k in range(1, len(names)):
        if (shorter := ".".join(names[k:])) in known:
            return shorter
    same = [path for path in known if path.rpartition(".")[2] == names[-1]]
    return same[0] if len(same) == 1 else None


def _paths(schema: type[Settings]) -> Iterator[str]:
    """Dotted keys of all settings, those in settings included; not those of entries of lists."""
    for name, field in schema.model_fields.items():
        yield name
        if typing.get_origin(field.annotation) is tuple:
            continue
        for inner in _nested(field.annotation):
            yield from (f"{name}.{path}" for path in _paths(inner))


def _keys_at(schema: type[Settings], path: Sequence[str]) -> list[str]:
    fields = schema.model_fields
    for part in path:
        if part.isdigit():  # an entry of a list has the fields found already
            continue
        if part not in fields:
            break
        nested = _nested(fields[part].annotation)
        if not nested:
            return []
        fields = nested[0].model_fields
    return sorted(fields)


def _nested(annotation: Any) -> list[type[Settings]]:
    return [leaf for leaf in _leaves(annotation) if issubclass(leaf, Settings)]


def _leaves(annotation: Any) -> list[type]:
    """Classes inside a union, a tuple, or both."""
    arguments = getattr(annotation, "__args__", ())
    if arguments:
        return [leaf for a in arguments for leaf in _leaves(a)]
    return [annotation] if isinstance(annotation, type) else []
