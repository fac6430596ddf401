"""JSON documents in which single values are replaced by strange ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

#: Values that are put where others were; a function is called with the generator.
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        118,
        119,
        1000,
        10**6,
        10**8,
        10**10,
        2**31,
        2**63,
        2**64,
    ),
    *(
        -(2**63),
        10**30,
        10**400,
        10**4000,
        0.0,
        -0.0,
        0.5,
        1.5,
        1e-9,
        1e-320,
        3e4,
        1e9,
        1e30,
        1e300,
    ),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "x",
        "a" * 5000,
        "\x00",
        "\ud800",
        "\u202e",
        "\x1b[2J",
    ),
    *(
        [],
        {},
        [None],
        [[]],
        [{}],
        {"": 0},
        [1, 2, 3],
        ["long"],
        [3.0, "long"],
        [3.0, 4.0],
        [4.0, 3.0],
        [0, 0],
    ),
    *(
        "1",
        "1e5",
        "nan",
        "float16",
        "float32",
        "float64",
        "bfloat16",
        "int64",
        "small",
        "large",
        "element",
    ),
    *(
        [float("nan")] * 2,
        [1e300] * 2,
        ["1", "2"],
        [True, False],
        [10**400],
        {"a": {"b": [None]}},
        [[1, 2], [3]],
    ),
    *(
        "regime",
        "environment",
        "train",
        "valid",
        "test",
        "ood",
        "/dev/zero",
        "../x",
        "model.json",
        ".",
    ),
)


def changed(document: Any, rng: random.Random) -> Any:
    """A copy with one value replaced, left out, doubled, or moved."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return rng.choice(STRANGE)
    inside, key = rng.choice(places)
    which = rng.random()
    if which < 0.6:
        inside[key] = rng.choice(STRANGE)
    elif which < 0.7:
        del inside[key]
    elif which < 0.8:  # something that is nearly right
        inside[key] = near(inside[key], rng)
    elif which < 0.85 and isinstance(inside, list):
        inside.insert(key, copy.deepcopy(inside[rng.randrange(len(inside))]))
    elif which < 0.9:
        other, name = rng.choice(places)
        inside[key] = copy.deepcopy(other[name])
    elif which < 0.95 and isinstance(inside, dict):
        inside[rng.choice(("", "x", "\x00", "\ud800", "schema", "a" * 3000, "cutof"))] = rng.choice(
            STRANGE
        )
    else:
        value: Any = rng.choice(STRANGE)
        for _ in range(rng.choice((1, 5, 200))):
            value = rng.choice(([value], {"a": value}))
        inside[key] = value
    return document


def near(value: Any, rng: random.Random) -> Any:
    """A value of the same kind that is a little off."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(
            (value + 1, value - 1, -value, value * 2, value + 0.5 if abs(value) < 1e15 else 0, "7")
        )
    if isinstance(value, float):
        return rng.choice((value * 1.1, -value, value + 1, value * 1e6, 7, repr(value)))
    if isinstance(value, str):
        return rng.choice((value + "x", value[:-1], value.upper(), value * 2, [value]))
    if isinstance(value, list):
        return rng.choice((value[:-1], value * 2, value[::-1], value[:1], tuple(value)))
    return value


def text(document: Any, rng: random.Random) -> str:
    """The document as JSON, most often; else with things that JSON has not, or with too much."""
    try:
        found = json.dumps(document, indent=rng.choice((None, 1)), ensure_ascii=rng.random() < 0.8)
    except ValueError:  # more digits than Python writes
        return "{}"
    which = rng.random()
    if which < 0.02:
        return found.replace("{", "[" * 100_000, 1)
    if which < 0.04:
        return "[" * 100_000 + "]" * 100_000
    if which < 0.06:
        return found.replace(":", ": " + "9" * 5000 + ', "x":', 1)
    if which < 0.08:
        return found + rng.choice(("}", "{}", " ", "\n\n", "//", "\x00", found))
    if which < 0.10:
        return found.replace(",", ",,", 1)
    if which < 0.12:
        return "{" + '"kind": "x", ' * 3 + found.lstrip()[1:]
    return found


def _places(value: Any) -> Any:
    """Every place of a document: what holds it, and its key there."""
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield value, k
            yield from _places(inner)
