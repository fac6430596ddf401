"""Folders of potentials from strangers: sizes, names, headers and bytes that nothing wrote."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import torch

from fuzz.documents import STRANGE, changed, text
from fuzz.harness import Input, Special, UnusableError, damage
from scalewise.models import checkpoint
from support import untrained

#: Settings of the potentials that faults are put into.
MODELS: tuple[dict[str, Any], ...] = (
    {"channels": 2, "hidden": 3, "layers": 1, "num_bessel": 3, "l_max": 1, "cutoff": 4.0},
    {"channels": 2, "hidden": 3, "layers": 2, "num_bessel": 3, "l_max": 2, "cutoff": 4.0},
    {
        "channels": 2,
        "hidden": 3,
        "layers": 1,
        "num_bessel": 3,
        "l_max": 1,
        "ladder": [3.0, 4.0, "long"],
    },
    {"channels": 2, "hidden": 3, "layers": 2, "num_bessel": 3, "l_max": 1, "ladder": [3.0, 4.0]}
    | {"adaptive_cutoff": {"by": "environment", "hidden": 3}},
    {"channels": 2, "hidden": 3, "layers": 1, "num_bessel": 3, "l_max": 1, "ladder": [3.0, 4.0]}
    | {"adaptive_cutoff": {"by": "regime", "near": ["Na"]}},
    {"channels": 2, "hidden": 3, "layers": 1, "num_bessel": 3, "l_max": 1, "charges": False}
    | {"elements": (1, 8, 11), "dtype": torch.float32},
)
SIZES = (
    0,
    -1,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    50,
    1000,
    10**5,
    10**7,
    10**9,
    10**12,
    2**63,
    10**30,
    1.5,
    "3",
    None,
    True,
)
LENGTHS = (
    *(
        0.0,
        -1.0,
        1e-320,
        1e-9,
        0.1,
        0.3,
        1.0,
        2.9,
        3.5,
        4.0,
        5.0,
        10.0,
        50.0,
        300.0,
        3e3,
        3e4,
        3e6,
        1e9,
    ),
    *(1e30, 1e154, 1e300, float("nan"), float("inf"), "4", None, 10**400),
)
FILES = (
    *(
        "/dev/zero",
        "/dev/null",
        "/dev/stdin",
        "/dev/random",
        "/dev/tty",
        "/proc/self/mem",
        "/proc/kmsg",
        "/etc/passwd",
    ),
    *(
        "../x",
        "../../../../../../etc/passwd",
        "pipe",
        "folder",
        "link",
        "zero",
        "loop",
        "model.json",
        ".",
        "..",
        "",
        "/",
    ),
    *(
        "\x00",
        "a\x00b",
        "\ud800",
        "weights-\udcff.safetensors",
        "a" * 300,
        "a/" * 3000,
        "~",
        "~/x",
        "a\nb",
        "\u202ex",
    ),
    *(
        "weights-000000000000.safetensors",
        "weights-.safetensors",
        "WEIGHTS",
        " ",
        "CON",
        "\x1b[2J",
        "file:///x",
    ),
    *(None, 1, 1.5, [], {}, ["weights"], True, 10**400),
)
ELEMENTS = (
    *(
        [],
        [11],
        [11, 17, 19],
        [17, 11],
        [11, 11],
        [0, 1],
        [-1, 17],
        [118, 119],
        [1000, 2000],
        [11.0, 17.0],
    ),
    *(
        ["Na", "Cl"],
        "NaCl",
        [11, None],
        list(range(1, 119)),
        list(range(1, 10_000)),
        [2**63, 1],
        [10**400, 1],
        None,
    ),
    *([True, False], [[11], [17]], {"11": 17}, 11, [11.5, 17.5], [float("nan"), 17]),
)
DTYPES = (
    "F32",
    "F64",
    "F16",
    "BF16",
    "I64",
    "I8",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F8_E5M2",
    "C64",
    "F4",
    "X",
    "",
    None,
    1,
)
SHAPES = (
    [],
    [0],
    [1],
    [-1],
    [2, 2],
    [10**9, 10**9],
    [2**63],
    [2**64],
    [10**30],
    [1.5],
    None,
    "2",
    [[2]],
    [1] * 1000,
)
OFFSETS = (
    [0, 0],
    [0, 1],
    [1, 0],
    [0, 10**9],
    [-1, 8],
    [2**63, 2**64],
    [0],
    [],
    None,
    [0, 8, 16],
    ["0", "8"],
    [10**30] * 2,
)


@functools.cache
def models() -> tuple[tuple[dict[str, Any], bytes], ...]:
    """Documents and weights of whole potentials."""
    found = []
    for words in MODELS:
        words = dict(words)
        potential = untrained(words.pop("elements", (11, 17)), **words)
        folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
        checkpoint.write(folder, potential)
        document = json.loads((folder / "model.json").read_text())
        document["info"] = {
            "settings": {"seed": 0},
            "step": 40,
            "seconds": 4.5,
            "valid": {"forces_mae": 0.1},
        }
        found.append((document, (folder / document["weights"]["file"]).read_bytes()))
        shutil.rmtree(folder)
    return tuple(found)


def mutate(rng: random.Random) -> Input:
    """A potential with one to three faults, most often with a hash that is right again."""
    document, weights = rng.choice(models())
    document = json.loads(json.dumps(document))
    extra: Input = {}
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
        which = rng.random()
        if which < 0.25:
            document = changed(document, rng)
        elif which < 0.6:
            rng.choice(FAULTS)(document, rng)
        elif which < 0.7:
            weights = damage(weights, rng)
        elif which < 0.95:
            weights = header(weights, rng)
        else:
            extra = specials(document, rng)
        if not isinstance(document, dict):
            break
    named = document.get("weights") if isinstance(document, dict) else None
    name = named.get("file") if isinstance(named, dict) else None
    if isinstance(named, dict) and rng.random() < 0.9:
        digest = hashlib.sha256(weights).hexdigest()
        named["sha256"] = digest
        if _plain(name) and rng.random() < 0.9:
            named["file"] = name = f"weights-{digest[:12]}.safetensors"
    data = text(document, rng).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        data = damage(data, rng)
    given: Input = {"model.json": data[: 4 << 20], **extra}
    if _plain(name):
        given.setdefault(name, weights)
    if rng.random() < 0.01:
        kinds = (
            Special("folder"),
            Special("fifo"),
            Special("link", "/dev/zero"),
            Special("link", "model.json"),
        )
        given["model.json"] = rng.choice(kinds)
    return given


def _plain(name: Any) -> bool:
    """Whether a file of this name can be put into the folder."""
    if not isinstance(name, str) or name in ("", ".", "..", "model.json") or len(name) > 200:
        return False
    return name.isprintable() and "/" not in name


def read(folder: Path) -> None:
    """Read; what was read has weights that are finite, and can be written again."""
    potential = checkpoint.read(folder)
    for name, value in potential.network.state_dict().items():
        if not torch.isfinite(value).all():
            raise UnusableError(f"weight {name} is not finite")
    if not (isinstance(potential.info, dict) and all(isinstance(k, str) for k in potential.info)):
        raise UnusableError("info is no mapping")
    with tempfile.TemporaryDirectory(dir=folder) as again:
        checkpoint.write(Path(again), potential)
        checkpoint.read(Path(again))


# -- faults ----------------------------------------------------------------------------------------


def size(document: dict[str, Any], rng: random.Random) -> None:
    """Sizes of the network."""
    network = document.get("network")
    if isinstance(network, dict):
        name = rng.choice(("channels", "hidden", "radial", "degree", "layers"))
        network[name] = rng.choice(SIZES)


def length(document: dict[str, Any], rng: random.Random) -> None:
    """Lengths of the network, and scales."""
    network = document.get("network")
    if not isinstance(network, dict):
        return
    name = rng.choice(("cutoff", "cutoff", "smearing", "switch", "inner", "ladder"))
    if name == "ladder":
        network[name] = [rng.choice(LENGTHS) for _ in range(rng.randint(0, 4))] + rng.choice(
            ([], ["long"])
        )
        if rng.random() < 0.5:
            network["ladder"] = sorted(v for v in network["ladder"] if isinstance(v, float))
        if rng.random() < 0.3:
            network["ladder"] = [1e-3 * k + 3 for k in range(rng.choice((10, 1001, 50_000)))] + [
                4.0
            ]
    else:
        network[name] = rng.choice(LENGTHS)
        if name == "cutoff" and isinstance(network[name], float) and rng.random() < 0.7:
            network["smearing"] = network[name] / 4
            if network.get("ladder"):
                long = ["long"] if "long" in network["ladder"] else []
                network["ladder"] = [3.0, network[name], *long]


def elements(document: dict[str, Any], rng: random.Random) -> None:
    """Elements, with a baseline that goes with them or not."""
    document["elements"] = chosen = rng.choice(ELEMENTS)
    if isinstance(chosen, list) and rng.random() < 0.5:
        n = len(chosen)
        document["baseline"] = {"energies": [0.0] * n, "span": []}


def baseline(document: dict[str, Any], rng: random.Random) -> None:
    """Energies and span."""
    base = document.get("baseline")
    if not isinstance(base, dict):
        return
    name = rng.choice(("energies", "span"))
    rows = (
        [],
        [0.0],
        [0.0] * 2,
        [0.0] * 3,
        [1e300] * 2,
        [float("nan")] * 2,
        ["a", "b"],
        [None, 1],
        [[1, 2]],
    )
    one = rng.choice(rows)
    base[name] = rng.choice((one, [one], [one, one], rng.choice(STRANGE), [one] * 1000))


def router(document: dict[str, Any], rng: random.Random) -> None:
    """The router."""
    by = rng.choice(("element", "regime", "environment", "x", None))
    near = rng.choice(([], ["Na"], ["Xx"], ["Na"] * 1000, [None], "Na", ["Na", "Cl", "O"], [""]))
    route = {
        "by": by,
        "near": near,
        "within": rng.choice(LENGTHS),
        "start": rng.choice((0.5, 0, 1, 2.0)),
    }
    route["hidden"] = rng.choice(SIZES)
    kept = rng.sample(sorted(route), rng.randint(0, len(route)))
    document["adaptive_cutoff"] = rng.choice((None, {}, {k: route[k] for k in kept}, route, 3))


def schema(document: dict[str, Any], rng: random.Random) -> None:
    """The number of the schema, and what an older one has not."""
    document["schema"] = rng.choice(
        (-5, 0, 1, 2, 3, 4, 5, 10**400, 1.0, 2.5, True, "4", None, float("nan"))
    )
    for name in rng.sample(sorted(document), rng.choice((0, 0, 1, 2))):
        if name not in ("kind", "schema"):
            del document[name]


def weights_file(document: dict[str, Any], rng: random.Random) -> None:
    """Where the weights lie."""
    named = document.get("weights")
    if isinstance(named, dict):
        named["file"] = rng.choice(FILES)
        if rng.random() < 0.2:
            named["sha256"] = rng.choice(STRANGE)


def info(document: dict[str, Any], rng: random.Random) -> None:
    """What else is kept."""
    document["info"] = rng.choice(
        (*STRANGE, [1, 2], [[1, 2]], [["a", 1]], ["ab"], "ab", {"1": {}}, {"settings": 3})
    )


def probe(document: dict[str, Any], rng: random.Random) -> None:
    """The energy that tells networks apart."""
    document["probe"] = rng.choice(STRANGE)


FAULTS = (
    size,
    size,
    length,
    length,
    elements,
    baseline,
    router,
    schema,
    weights_file,
    weights_file,
    info,
    probe,
)


def specials(document: dict[str, Any], rng: random.Random) -> Input:
    """Pipes, folders and links under the name of the weights."""
    named = document.get("weights")
    name = named.get("file") if isinstance(named, dict) else None
    if not _plain(name):
        name = "weights-0123456789ab.safetensors"
    if rng.random() < 0.5 and isinstance(named, dict):
        named["file"] = name = rng.choice(("pipe", "folder", "link", "zero", "loop"))
    target = rng.choice(
        (
            "/dev/zero",
            "/dev/random",
            "/dev/stdin",
            "/dev/full",
            "nowhere",
            "model.json",
            "/proc/self/mem",
            name,
        )
    )
    kind = rng.choice((Special("fifo"), Special("folder"), Special("link", target)))
    return {name: kind}


def header(weights: bytes, rng: random.Random) -> bytes:
    """Another header of the file of weights, or another length of it, or other values."""
    if len(weights) < 9:
        return weights
    (length_,) = struct.unpack("<Q", weights[:8])
    if length_ > len(weights):
        return weights
    content, values = weights[8 : 8 + length_], weights[8 + length_ :]
    which = rng.randrange(10)
    if which == 0:
        wrong = (0, 1, 7, length_ - 1, length_ + 1, len(weights), 10**8, 2**31, 2**63, 2**64 - 1)
        return struct.pack("<Q", rng.choice(wrong)) + weights[8:]
    try:
        table = json.loads(content)
    except (ValueError, RecursionError):
        return weights
    names = [k for k in table if k != "__metadata__" and isinstance(table[k], dict)]
    if not names:
        return weights
    name = rng.choice(names)
    if which == 1:
        table[name]["dtype"] = rng.choice(DTYPES)
    elif which == 2:
        table[name]["shape"] = rng.choice(SHAPES)
    elif which == 3:
        table[name]["data_offsets"] = rng.choice(OFFSETS)
    elif which == 4:
        del table[name]
    elif which == 5:
        table[rng.choice(("x", "", "\x00", "router.x", "__metadata__", "a" * 5000))] = dict(
            table[name]
        )
    elif which == 6:
        table["__metadata__"] = rng.choice(
            ({}, {"a": 1}, {"a": "b"}, None, "x", {"a": "b" * 10_000})
        )
    elif which == 7:  # values that are not finite, or huge
        at = rng.randrange(max(len(values) // 8, 1)) * 8
        number = rng.choice((float("nan"), float("inf"), 1e300, 1e30, -1e9))
        values = values[:at] + struct.pack("<d", number) + values[at + 8 :]
    elif which == 8:  # a whole tensor of another type, of the right size
        table[name]["dtype"] = rng.choice(("I64", "F64", "U8", "I8"))
        values += b"\x00" * rng.choice((0, 8))
    else:
        table = changed(table, rng)
    content = (
        json.dumps(table).encode("utf-8", "surrogatepass")
        if which < 9
        else text(table, rng).encode("utf-8", "surrogatepass")
    )
    content += b" " * (-len(content) % 8)
    return struct.pack("<Q", len(content)) + content + values
