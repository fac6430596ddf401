"""Strange configurations: YAML files, ``key=value`` words, and what options set."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from fuzz.harness import Input, Special, UnusableError, damage
from scalewise.analysis.attribution.settings import AttributionSettings
from scalewise.analysis.cutoff_scan.settings import ScanSettings
from scalewise.analysis.evaluation.settings import EvaluateSettings, PredictSettings
from scalewise.analysis.locality.settings import LocalitySettings
from scalewise.analysis.refinement.settings import RefineSettings
from scalewise.core.loading import load
from scalewise.core.settings import Settings
from scalewise.doctor.settings import DoctorSettings
from scalewise.study.settings import StudySettings
from scalewise.testbed.settings import SolutionSettings
from scalewise.training.settings import TrainSettings

SCHEMAS: dict[str, type[Settings]] = {
    s.__name__: s
    for s in (
        StudySettings,
        SolutionSettings,
        DoctorSettings,
        TrainSettings,
        EvaluateSettings,
        PredictSettings,
        ScanSettings,
        RefineSettings,
        AttributionSettings,
        LocalitySettings,
    )
}
FILE, WORDS = "settings.yaml", "words.json"

SCALARS = (
    *("0", "1", "-1", "2", "3.5", "1e-3", "1e400", "-1e400", ".nan", ".inf", "-.inf", "nan", "inf"),
    *(
        "true",
        "false",
        "yes",
        "off",
        "null",
        "~",
        "",
        "''",
        '""',
        "' '",
        "a",
        "Na",
        "[Na, Cl]",
        "long",
    ),
    *(
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{a: 1}",
        "{1: 2}",
        "{? [1] : 2}",
        "{null: 1}",
        "{true: 1}",
        "[1, a]",
    ),
    *("2020-01-01", "2020-13-45", "2020-02-30", "2020-01-01T00:00:00Z", "2020-01-01 25:61:61"),
    *("0001-01-01T00:00:00+99:99", "9999-12-31T23:59:59-24:00", "2001-12-14t21:59:43.10-05:00"),
    *(
        "1:30",
        "190:20:30",
        "1:60:99",
        "-1:2:3.5",
        "0o17",
        "017",
        "08",
        "0x",
        "0x1F",
        "0b2",
        "0b",
        "1_000",
    ),
    *(
        "_",
        "1__0",
        "+",
        "-",
        "- a",
        "?",
        "? a",
        ": a",
        "|",
        ">",
        "|\n a",
        "%",
        "@a",
        "`a`",
        "!",
        "&a 1",
    ),
    *(
        "*a",
        "&a [*a]",
        "&a {b: *a}",
        "!!int x",
        "!!float x",
        "!!int ''",
        "!!bool x",
        "!!null x",
        "!!str 1",
    ),
    *(
        "!!timestamp x",
        "!!timestamp 1",
        "!!timestamp 2020-13-45",
        "!!binary x",
        "!!binary '===='",
        "!!set {a}",
    ),
    *(
        "!!binary 'AAECAw=='",
        "!!set [a]",
        "!!omap [a: 1, a: 2]",
        "!!omap x",
        "!!pairs [a: 1]",
        "!!pairs [1]",
    ),
    *(
        "!!map x",
        "!!seq x",
        "!!map [a]",
        "!!seq {a: 1}",
        "!!merge x",
        "!!value x",
        "!!unknown x",
        "!local x",
    ),
    *(
        "!!python/object:os.system {}",
        "!!python/name:os.system",
        "!!python/object/apply:os.system ['x']",
    ),
    *(
        "!!python/tuple [1, 2]",
        "!<tag:yaml.org,2002:int> x",
        "!<tag:yaml.org,2002:python/none>",
        "!<>",
    ),
    *("9" * 19, "9" * 400, "9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 20000),
    *("0." + "9" * 5000, "1e" + "9" * 5000, "1:" * 3000 + "1", "0" * 5000 + "7", "1_" * 4000 + "1"),
    *(
        "x" * 5000,
        "x" * 100_000,
        "[" * 50,
        "[" * 3000,
        "[" * 3000 + "]" * 3000,
        "{a: " * 1500 + "}" * 1500,
    ),
    *(
        "[" * 200_000,
        "- " * 3000 + "a",
        "? " * 3000,
        "- " * 50_000,
        "&a " * 1000 + "1",
        "!a " * 3000,
    ),
    *("[" + "1, " * 20_000 + "1]", "{" + ", ".join(f"k{i}: 1" for i in range(3000)) + "}"),
    *(
        "Ü",
        "٣",
        "²",
        "½",
        "\u202e",
        "\ufeff",
        "\x85",
        "\u2028",
        "\x1b[2J",
        "\x00",
        "\x7f",
        "\ud800",
        "\udcff",
    ),
    *(
        '"\\ud800"',
        '"\\x00"',
        '"\\U0010FFFF"',
        '"\\UFFFFFFFF"',
        '"\\uZZZZ"',
        '"\\',
        '"unfinished',
        "'unfinished",
    ),
    *(
        "small",
        "[3, 4, long]",
        "[3,nan]",
        "[3,.inf]",
        "[3, 9" + "9" * 400 + "]",
        "[4, 3]",
        "[3, 3]",
        "[true, false]",
    ),
    *(
        "/dev/zero",
        "/dev/stdin",
        "../x",
        "a\nb",
        "a: b: c",
        "a #b",
        "# a",
        "{a, b",
        "a]",
        "[a}",
        "\t",
        "\ta",
        "a\t: b",
    ),
    *(
        "{<<: {a: 1}}",
        "{<<: [1]}",
        "{<<: x}",
        "{<<: [{a: 1}, {b: 2}]}",
        "{<<: null}",
        "{=: 1}",
        "=",
        "<<",
        "[=]",
        "[<<]",
    ),
)
KEYS = (
    *(
        "",
        ".",
        "..",
        "a",
        "forces-key",
        "forces_kye",
        "Seed",
        "seed ",
        " seed",
        "seed.",
        ".seed",
        "seed..x",
        "a..b",
    ),
    *(
        "seed.x",
        "network",
        "network.",
        "network.preset.x",
        "network.0",
        "0",
        "-1",
        "1.5",
        "<<",
        "=",
        "?",
        "null",
    ),
    *(
        "__class__",
        "__init__",
        "__dict__",
        "model_config",
        "model_fields",
        "LATER",
        "digest",
        "self",
        "copy",
    ),
    *(
        "a" * 5000,
        ".".join("a" * 2000),
        ".".join("ab" for _ in range(60_000)),
        "Ü",
        "\u202e",
        "\x1b[2J",
        "\ud800",
    ),
    *(
        "regimes.0.name",
        "regimes.name",
        "data",
        "data.split",
        "adaptive_cutoff",
        "adaptive_cutoff.by",
        "predictions",
        "predictions.files",
    ),
    *(
        "ions.Na",
        "ions",
        "arguments.x",
        "arguments",
        "solution.replicates.replicas",
        "replicates",
        "a b",
        "a\tb",
        "a\nb",
    ),
    *(
        "'seed'",
        '"seed"',
        "[seed]",
        "{seed}",
        "!seed",
        "&seed",
        "*seed",
        "#seed",
        "seed:",
        ":seed",
        "2020-01-01",
        "true",
    ),
)
#: What --minutes and --ladder set.
MINUTES = (0.0, -1.0, 5.0, 1e-320, 1e308, float("inf"), float("nan"))
LADDERS = (
    *(
        "3,4",
        "3,4,long",
        "long",
        "",
        ",",
        "3,,4",
        "nan,4",
        "3,inf",
        "4,3",
        "1_0,2_0",
        "3,4,5,lnog",
        "3;4",
    ),
    *(
        "0,4",
        "-1,4",
        "1e-320,4",
        "3,1e308",
        "3," + "9" * 400,
        ",".join(str(k) for k in range(1, 4000)),
        "٣,٤",
        "x" * 9999,
    ),
)


def paths(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Dotted keys of a schema, of nested ones, too, each with a value in YAML that is right."""
    found = {}
    for name, field in model.model_fields.items():
        found[prefix + name] = "1"
        with contextlib.suppress(ValueError):
            default = TypeAdapter(field.annotation).dump_json(field.get_default())
            if not field.is_required() and len(default) < 200:
                found[prefix + name] = default.decode()
        for leaf in _leaves(field.annotation):
            if issubclass(leaf, BaseModel):
                found |= paths(leaf, f"{prefix}{name}.")
    return found


def _leaves(annotation: Any) -> list[type]:
    arguments = getattr(annotation, "__args__", ())
    if arguments:
        return [leaf for a in arguments for leaf in _leaves(a)]
    return [annotation] if isinstance(annotation, type) else []


RIGHT = {name: paths(schema) for name, schema in SCHEMAS.items()}
PATHS = {name: list(of) for name, of in RIGHT.items()}
#: A file starts from this: what some schemas ask for.
NEEDED = {"Prove": {"network": {"ladder": "[3, 4, long]"}}}


def mutate(rng: random.Random) -> Input:
    """A schema, perhaps a file, perhaps words, perhaps options."""
    name = rng.choice(list(SCHEMAS))
    given: Input = {}
    words: list[str] = []
    values: dict[str, Any] = {}
    if rng.random() < 0.7:
        text = file_text(name, rng)
        data = text.encode("utf-8", "surrogatepass")
        for _ in range(rng.choice((0, 0, 0, 1, 1, 3))):
            data = damage(data, rng)
        given[FILE] = data[: 2 << 20]
    if FILE not in given or rng.random() < 0.3:
        words = [word(name, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    if name in ("Train", "Prove"):
        if rng.random() < 0.2:
            values["minutes"] = rng.choice(MINUTES)
        if rng.random() < (0.6 if name == "Prove" else 0.2):
            values["network.ladder"] = rungs(rng.choice(LADDERS))
    if rng.random() < 0.01:
        given[FILE] = rng.choice((Special("folder"), Special("fifo"), Special("link", "/dev/zero")))
    what = {"schema": name, "words": words, "values": values}
    given[WORDS] = json.dumps(what).encode()
    return given


def rungs(words: str) -> list[float | str]:
    """A ladder as the command line reads it."""
    found: list[float | str] = []
    for part in words.split(","):
        try:
            found.append(float(part.strip()))
        except ValueError:
            found.append(part.strip())
    return found


def read(folder: Path) -> None:
    """Load settings, and do with them what every command does next."""
    what = json.loads((folder / WORDS).read_text())
    file = folder / FILE
    there = file.exists() or file.is_symlink()
    schema = SCHEMAS[what["schema"]]
    settings = load(schema, file if there else None, what["words"], what["values"])
    settings.digest()
    text = json.dumps(settings.model_dump(mode="json"), indent=1, allow_nan=False)
    text.encode()
    with contextlib.suppress(ValidationError):  # what was left out counts as given, once saved
        if schema.model_validate(json.loads(text)).digest() != settings.digest():
            raise UnusableError("settings that are saved and read again are others")


def word(schema: str, rng: random.Random) -> str:
    """One assignment."""
    key = rng.choice(KEYS) if rng.random() < 0.25 else rng.choice(PATHS[schema])
    if rng.random() < 0.05:
        key += "." + rng.choice(KEYS)
    between = rng.choice(("=", "=", "=", "=", "=", "==", "= ", "", ":"))
    text = f"{key}{between}{value(rng, RIGHT[schema].get(key))}"
    if rng.random() < 0.1:
        text = damage(text.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "surrogateescape")
    return text.replace("\x00", "")[:130_000] or "="  # what a command line can hold


def value(rng: random.Random, right: str | None = None) -> str:
    """A value in YAML, perhaps the right one."""
    if right is not None and rng.random() < 0.4:
        return right
    if rng.random() < 0.15:
        return "[" + ", ".join(rng.choice(SCALARS[:60]) for _ in range(rng.randint(1, 4))) + "]"
    return rng.choice(SCALARS)


def file_text(schema: str, rng: random.Random) -> str:
    """A YAML file."""
    which = rng.random()
    if which < 0.15:
        return rng.choice(STRUCTURES)(schema, rng)
    tree: dict[str, Any] = copy.deepcopy(NEEDED.get(schema, {})) if rng.random() < 0.9 else {}
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        key = rng.choice(KEYS) if rng.random() < 0.1 else rng.choice(PATHS[schema])
        _put(tree, key.split(".")[:50], value(rng, RIGHT[schema].get(key)))
    text = "\n".join(_block(tree, 0)) + "\n"
    if which < 0.25:
        text += rng.choice(STRUCTURES)(schema, rng)
    return text


def _put(tree: dict[str, Any], path: list[str], text: str) -> None:
    for part in path[:-1]:
        child = tree.get(part)
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    tree[path[-1]] = text


def _block(tree: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key, content in tree.items():
        if isinstance(content, dict):
            lines += [f"{'  ' * depth}{key}:", *_block(content, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{key}: {content}")
    return lines


def bomb(schema: str, rng: random.Random) -> str:
    """Aliases of aliases: a few lines that stand for billions of values."""
    keys = [p for p in PATHS[schema] if "." not in p]
    rng.shuffle(keys)
    width, depth = rng.choice((2, 8, 10)), rng.choice((3, 9, 30))
    kind = rng.choice(("list", "map", "merge"))
    lines = [f"{keys[0]}: &a0 {rng.choice(('[x]', '{x: 1}', 'xxxxxxxxxx'))}"]
    for k in range(1, depth):
        key = keys[k] if k < len(keys) else f"k{k}"
        many = [f"*a{k - 1}"] * width
        if kind == "list":
            lines.append(f"{key}: &a{k} [{', '.join(many)}]")
        elif kind == "map":
            lines.append(f"{key}: &a{k} {{{', '.join(f'b{m}: {a}' for m, a in enumerate(many))}}}")
        else:
            lines.append(f"{key}: &a{k} {{<<: [{', '.join(many)}], c{k}: 1}}")
    lines.append(f"{keys[-1]}: *a{depth - 1}")
    return "\n".join(lines) + "\n"


def deep(schema: str, rng: random.Random) -> str:
    """Nesting by brackets, or by indentation."""
    key = rng.choice(PATHS[schema]).split(".")[0]
    depth = rng.choice((20, 300, 1000, 5000, 100_000))
    which = rng.randrange(4)
    if which == 0:
        return f"{key}: " + "[" * depth + "]" * rng.choice((depth, 0)) + "\n"
    if which == 1:
        return f"{key}: " + "{a: " * depth + "1" + "}" * rng.choice((depth, 0)) + "\n"
    if which == 2:
        return f"{key}: \n  " + "- " * depth + "1\n"
    depth = min(depth, 1000)
    return "\n".join(" " * k + f"{key}:" for k in range(depth)) + " 1\n"


def itself(schema: str, rng: random.Random) -> str:
    """Aliases that lead back to themselves."""
    a, b = (rng.choice(PATHS[schema]).split(".")[0] for _ in range(2))
    return rng.choice(
        (
            f"{a}: &a [*a]\n",
            f"{a}: &a {{{b}: *a}}\n",
            f"&a {a}: *a\n",
            f"&a\n{a}: *a\n",
            f"--- &a\n{a}: 1\n<<: *a\n",
            f"{a}: &a\n  <<: *a\n  {b}: 1\n",
            f"{a}: &a {{*a : 1}}\n",
            f"{a}: &a !!set {{*a}}\n",
        )
    )


def merged(schema: str, rng: random.Random) -> str:
    """Merge keys, right and wrong."""
    a, b = (rng.choice(PATHS[schema]).split(".")[0] for _ in range(2))
    v = rng.choice(SCALARS[:40])
    return rng.choice(
        (
            f"base: &base\n  {a}: {v}\n<<: *base\n{b}: {v}\n",
            f"<<: {v}\n{a}: {v}\n",
            f"<<: [{v}, {v}]\n",
            f"<<: &m {{{a}: {v}}}\n{b}: *m\n",
            f"{a}:\n  <<: {{{b}: {v}}}\n  <<: {{{a}: {v}}}\n",
        )
    )


def no_mapping(schema: str, rng: random.Random) -> str:
    """A file that holds something else than keys and values."""
    key = rng.choice(PATHS[schema])
    return rng.choice(
        (
            rng.choice(SCALARS) + "\n",
            f"- {key}\n- {key}: 1\n",
            f"{key}\n",
            f"{key}: 1\n---\n{key}: 2\n",
            f"---\n...\n{key}: 1\n",
            f"%YAML 9.9\n---\n{key}: 1\n",
            f"%TAG ! tag:x,2000:\n---\n{key}: !y 1\n",
            f"? {key}\n: 1\n",
            f"? [{key}]\n: 1\n",
            f"? {{{key}: 1}}\n: 1\n",
            "? !!binary AAEC\n: 1\n? 2020-01-01\n: 2\n? 1.5\n: 3\n? null\n: 4\n",
            "",
            "\n\n",
            "# nothing\n",
            "...\n",
            "---\n---\n---\n",
            f"{{{key}: 1, {key}: 2, {key}: 3}}\n",
            f"{key}: 1\n\t{key}: 2\n",
            f"{key} : 1\n {key}: 2\n",
            json.dumps({key: [{key: None}]}),
        )
    )


def many(schema: str, rng: random.Random) -> str:
    """A very long file."""
    key = rng.choice(PATHS[schema]).split(".")[0]
    which = rng.randrange(4)
    if which == 0:
        return "".join(f"key{k}: {k}\n" for k in range(5000))
    if which == 1:
        return f"{key}: 1\n" * 5000
    if which == 2:
        return f"{key}: [" + "1, " * 20_000 + "]\n"
    return f"{key}: " + "word " * 50_000 + "\n"


STRUCTURES = (bomb, bomb, deep, itself, merged, merged, no_mapping, no_mapping, many)
