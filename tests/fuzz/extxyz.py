"""Damaged extxyz files: what is wrong with a frame is put there on purpose, then bytes suffer."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from fuzz.harness import Input, UnusableError, damage, unreadable
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data import reading
from scalewise.data.structure import Structure
from scalewise.models import graph

CUTOFF = 4.0
#: Atoms of the largest frame whose neighbors are listed.
MOST_ATOMS = 64

#: Words where a number belongs.
NUMBERS = (
    *("nan", "inf", "-inf", "NaN", "1e300", "-1e300", "1e154", "1e400", "1e29", "1e12", "1e9"),
    *("2000000.0", "450000", "1e-300", "5e-324", "-0.0", "0", "1e-12", "1_0", "1e", "1d0", "0x10"),
    *("+1", "1.0.0", "--1", "T", "F", "x", "³", "٣.٥", "1,0", "∞", "1" * 5000, "0." + "1" * 5000),
    *("9" * 400, "-" + "9" * 400, "1e99999", "9223372036854775808", "-9223372036854775809"),
    *("None", "null", "1+1j", "[1]", "{}", '"1"', "1e+", ".5", "5.", "_1", "1_", "1__0"),
)
COUNTS = (
    *("0", "-1", "-0", "1", "2", "3", "7", "64", "65", "1000", "1000000", "99999999", "2147483648"),
    *("1e3", "1_0", "1__0", "_1", "3.0", "0x3", "٣", "²", "+3", "3 3", "3 # three", "three", ""),
    *("9" * 19, "9" * 400, "9" * 5000, "-" + "9" * 5000, "nan", "inf", "True", "3,", '"3"', "\x00"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551617", "%PBC", "VEC1 1 0 0"),
)
ELEMENTS = (
    *("X", "Zz", "0", "1", "11", "118", "119", "-1", "1e3", "9" * 400, "H1", "na", "NA", "nA", "D"),
    *("Og", "C_2", "O\x00", "Ö", "Na+", "", "None", "nan", "1_1", "H" * 3000, "\u202eaN", "٣"),
)
TYPES = ("S", "R", "I", "L", "Q", "s", "", "RR", "C", "0", "\x00", "Ü", "V", "O", "R ")
COLUMNS = ("0", "-1", "1", "2", "3", "9", "1000", "100000", "99999999", "9" * 25, "9" * 5000, "x")
COLUMNS += ("", "1_0", "3.0", "٣", "+3", "1e2")
NAMES = (
    *("species", "pos", "Z", "numbers", "positions", "forces", "force", "REF_forces", "momenta"),
    *("magmoms", "charge", "initial_charges", "charges", "tags", "masses", "move_mask", "cell"),
    *("molecule", "place", "REF_energy", "energies", "stress", "velo", "", " ", "a b", "x" * 2000),
    *("\x00", "Ü", "species0", "pos0", "pos1", "f0", "symbols", "magmom", "dipole", "__class__"),
)
VALUES = (
    *("nan", "inf", "-1.5", "1e400", "T", "F", "1_0", "1e30", "1e308", "9" * 5000, "", "{}", "[]"),
    *("{1 2 3}", "[1, 2, 3]", "[[1,2],[3]]", "[1, [2, [3, [4]]]]", '"1 2 3 4 5 6 7 8 9"', "1,2,3"),
    *('"1 0 0 0 1 0 0 0 1"', '"nan nan nan nan nan nan nan nan nan"', '"1 2 3 4 5 6"', '"a"', "_"),
    *('{"a": 1}', '_JSON {"a": 1}', "_JSON [1, 2", "_JSON " + "[" * 3000, "[" * 3000, "{" * 3000),
    *(
        '"_JSON {"',
        '"_JSON [1,2]"',
        "'1 2'",
        '"unfinished',
        "unfinished'",
        "\\",
        '"\\"',
        '\\"',
        "=",
        "==",
    ),
    *(
        "a=b",
        '"a=b"',
        "\x1b[2J",
        "\u202e",
        "²",
        "٣",
        "None",
        "null",
        "1+2j",
        "0x10",
        "9" * 30,
        "x" * 9999,
    ),
    *("1e5", "-1e29", "0", "1", "-1", "100", "1e6", "3.5", '"T T T T T T T T T"', "[[T,F],[F,T]]"),
)
KEYS = (
    *(
        "REF_energy",
        "energy",
        "free_energy",
        "REF_stress",
        "stress",
        "virial",
        "charge",
        "pbc",
        "Time",
    ),
    *(
        "total_charge",
        "Lattice",
        "Properties",
        "config_type",
        "group",
        "dipole",
        "magmom",
        "magmoms",
    ),
    *("numbers", "positions", "cell", "species", "forces", "REF_forces", "calc", "info", "arrays"),
    *(
        "a\tb",
        "a\x00b",
        "\x1b",
        "Ü",
        "_JSON",
        "1",
        "nan",
        "",
        "=",
        "'",
        '"',
        '"a b"',
        "{",
        "[a",
        "x" * 5000,
    ),
    *(
        "lattice",
        "LATTICE",
        "properties",
        "PBC",
        "Origin",
        "VEC1",
        "%PBC",
        "comment",
        "constraints",
    ),
)
PBC = (
    *('"T T T"', '"F F F"', '"T T F"', '"F T F"', "T", "F", "TTT", '"T T"', '"T T T T"', "1", "0"),
    *(
        '"1 1 1"',
        '"0 1 0"',
        "[T, T, T]",
        '"True True True"',
        '"true false true"',
        "true",
        '"x y z"',
    ),
    *('""', '"2 3 4"', '"nan nan nan"', "{T T T}", "None", '"T T T" pbc="F F F"', "[[T,T],[F,F]]"),
    *("_JSON [true, true, true]", '"1.0 1.0 1.0"', "9" * 400, '"T F\tT"', "[]", '"_JSON [1,1,1]"'),
)


class Frame:
    """A frame as text, taken apart."""

    def __init__(self, rng: random.Random) -> None:
        self.atoms = rng.choice((0, 1, 1, 2, 2, 3, 4, 5, 6, 8, 12))
        box = rng.choice((4.0, 6.0, 8.0, 8.0, 10.0, 20.0))
        self.count = str(self.atoms)
        self.properties: list[tuple[str, ...]] = [("species", "S", "1"), ("pos", "R", "3")]
        self.rows = []
        for k in range(self.atoms):
            place = [0.5 + 2.1 * (k % 3), 0.5 + 2.1 * (k // 3 % 3), 0.5 + 2.1 * (k // 9)]
            place = [p + rng.uniform(-0.2, 0.2) for p in place]
            self.rows.append([rng.choice(("Na", "Cl", "O", "H")), *(f"{p:.8f}" for p in place)])
        self.keys: list[tuple[str, str]] = []
        self.lattice: list[str] | None = [f"{v:g}" for v in (box * np.eye(3)).ravel()]
        self.pbc: str | None = rng.choice(('"T T T"', None, '"T T T"'))
        if rng.random() < 0.3:
            self.lattice, self.pbc = None, rng.choice((None, '"F F F"'))
        if rng.random() < 0.8:
            self.column(
                "REF_forces", "R", 3, [[f"{rng.gauss(0, 1):.6f}" for _ in "xyz"] for _ in self.rows]
            )
        if rng.random() < 0.7:
            self.keys.append(("REF_energy", f"{rng.gauss(-3, 1):.6f}"))
        if rng.random() < 0.3:
            numbers = " ".join(f"{rng.gauss(0, 0.01):.6f}" for _ in range(9))
            self.keys.append(("REF_stress", f'"{numbers}"'))
        if rng.random() < 0.3:
            self.column("molecule", "I", 1, [[str(k // 3)] for k in range(self.atoms)])
        if rng.random() < 0.2:
            self.column("place", "S", 1, [["bulk"]] * self.atoms)

    def column(self, name: str, kind: str, width: int, values: list[list[str]]) -> None:
        """Add a column at the end."""
        self.properties.append((name, kind, str(width)))
        for row, value in zip(self.rows, values, strict=True):
            row.extend(value)

    def render(self, rng: random.Random) -> str:
        """The frame as text."""
        properties = ":".join(":".join(p) for p in self.properties)
        words = [f"Properties={properties}"]
        if self.lattice is not None:
            words.append('Lattice="' + " ".join(self.lattice) + '"')
        words += [f"{k}={v}" for k, v in self.keys]
        if self.pbc is not None:
            words.append(f"pbc={self.pbc}")
        if rng.random() < 0.3:
            rng.shuffle(words)
        rows = [" ".join(row) for row in self.rows]
        return "\n".join([self.count, " ".join(words), *rows]) + "\n"


def mutate(rng: random.Random) -> Input:
    """Some frames with one to three faults, most often one."""
    parts = [Frame(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    faults = rng.choice((0, 1, 1, 1, 1, 2, 3))
    for _ in range(faults):
        rng.choice(FAULTS)(rng.choice(parts), rng)
    text = [part.render(rng) for part in parts]
    if rng.random() < 0.05:
        text.insert(rng.randint(0, len(text)), rng.choice(BETWEEN))
    if rng.random() < 0.05:
        text[-1] = text[-1].rstrip("\n")
    data = "".join(text).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2)) if faults else rng.choice((0, 1, 2, 4))):
        data = damage(data, rng)
    return {"frames.xyz": data[: 4 << 20]}


def read(folder: Path) -> None:
    """Read as every command does, and list the neighbors of what is small."""
    path = folder / "frames.xyz"
    refused = None
    named: frozenset[str] = frozenset()
    if path.stat().st_size % 4 == 0:
        named = frozenset({"energy", "stress"})
    for changes in (
        {"stress": "REF_stress"},
        {"stress": "REF_stress", "check_units": False, "named": named},
        {"forces": None, "energy": None, "check_units": False},
    ):
        said: list[str] = []
        try:
            found = reading.read_structures(path, progress=Messages(said.append), **changes)
            if not found:
                raise UnusableError("no frames, and no error")
            for frame in found:
                use(frame)
        except InputError as error:
            refused = error
        wrong = [word for line in said if (word := unreadable(line))]
        if wrong:
            raise UnusableError(f"what is said: {wrong[0]}")
    if refused is not None:
        raise refused


def use(frame: Structure) -> None:
    """What is read must be whole numbers and finite ones, of shapes that go together."""
    atoms = len(frame.numbers)
    shapes = {"positions": (atoms, 3), "cell": (3, 3), "pbc": (3,)}
    shapes |= {"molecule": (atoms,)}
    for name, shape in shapes.items():
        value = getattr(frame, name)
        if value.shape != shape:
            raise UnusableError(f"{name} has shape {value.shape}, not {shape}")
        if not np.isfinite(value).all():
            raise UnusableError(f"{name} is not finite")
    if frame.numbers.dtype.kind != "i" or frame.molecule.dtype.kind != "i":
        raise UnusableError("numbers or molecules are no whole numbers")
    if atoms and (frame.numbers.min() < 0 or frame.numbers.max() > 118):
        raise UnusableError("atomic numbers that no element has")
    labels = frame.labels
    if labels.forces is not None and labels.forces.shape != (atoms, 3):
        raise UnusableError(f"forces have shape {labels.forces.shape}")
    for name in ("forces", "energy", "stress"):
        label = getattr(labels, name)
        if label is not None and not np.isfinite(label).all():
            raise UnusableError(f"{name} is not finite")
    if frame.place is not None and frame.place.shape != (atoms,):
        raise UnusableError(f"place has shape {frame.place.shape}")
    _ = frame.symbols
    if atoms > MOST_ATOMS:
        return
    elements = sorted(set(frame.numbers.tolist()))
    for smearing in (0.0, 1.0):
        listed = graph.build(frame, elements, CUTOFF, smearing=smearing)
        for name in ("cell_shift", "cell", "total_charge"):
            if not torch.isfinite(getattr(listed, name)).all():
                raise UnusableError(f"{name} of the graph is not finite")


# -- faults ----------------------------------------------------------------------------------------


def wrong_count(frame: Frame, rng: random.Random) -> None:
    """Another number of atoms."""
    frame.count = rng.choice((*COUNTS, str(frame.atoms + 1), str(frame.atoms - 1)))


def wrong_properties(frame: Frame, rng: random.Random) -> None:
    """Columns of other names, types or widths, and lists of them that do not fit together."""
    whole = [k for k, words in enumerate(frame.properties) if len(words) == 3]
    if not whole:
        return
    which = rng.randrange(9)
    k = rng.choice(whole)
    name, kind, width = frame.properties[k]
    if which == 0:
        frame.properties[k] = (name, rng.choice(TYPES), width)
    elif which == 1:
        frame.properties[k] = (name, kind, rng.choice(COLUMNS))
    elif which == 2:
        frame.properties[k] = (rng.choice(NAMES), kind, width)
    elif which == 3:
        del frame.properties[k]
    elif which == 4:
        frame.properties.insert(rng.randint(0, len(frame.properties)), frame.properties[k])
    elif which == 5:  # a column that is there
        kind, width = rng.choice("SRIL"), rng.choice((1, 1, 2, 3, 9))
        values = [
            [rng.choice(("1", "0", "T", "a", "1.5")) for _ in range(width)] for _ in frame.rows
        ]
        frame.column(rng.choice(NAMES), kind, width, values)
    elif which == 6:  # a column that is not there
        frame.properties.append((rng.choice(NAMES), rng.choice(TYPES), rng.choice(COLUMNS)))
    elif which == 7:
        rng.shuffle(frame.properties)
    else:  # not three words each
        frame.properties[k] = tuple(rng.sample((name, kind, width), rng.randint(0, 2)))


def wrong_species(frame: Frame, rng: random.Random) -> None:
    """Words that are no elements."""
    if frame.rows:
        rng.choice(frame.rows)[:1] = [rng.choice(ELEMENTS)]


def atomic_numbers(frame: Frame, rng: random.Random) -> None:
    """Numbers instead of symbols."""
    frame.properties[:1] = [(rng.choice(("Z", "numbers")), rng.choice("IIRS"), "1")]
    for row in frame.rows:
        row[:1] = [rng.choice(("1", "8", "11", "17"))]
    if frame.rows and rng.random() < 0.5:
        rng.choice(frame.rows)[0] = rng.choice((*ELEMENTS, *NUMBERS))


def wrong_value(frame: Frame, rng: random.Random) -> None:
    """One or all values of a column."""
    if not frame.rows:
        return
    word, column = rng.choice(NUMBERS), rng.randint(1, max(len(frame.rows[0]), 1))
    for row in frame.rows if rng.random() < 0.3 else [rng.choice(frame.rows)]:
        if row:
            row[min(column, len(row) - 1)] = word


def wrong_row(frame: Frame, rng: random.Random) -> None:
    """Words too few or too many."""
    if not frame.rows:
        return
    row = rng.choice(frame.rows)
    which = rng.randrange(5)
    if which == 0:
        del row[rng.randrange(len(row)) :]
    elif which == 1:
        row.extend([rng.choice(NUMBERS)] * rng.choice((1, 3, 500)))
    elif which == 2:
        frame.rows.remove(row)
    elif which == 3:
        frame.rows.append(list(row))
        frame.count = rng.choice((frame.count, str(len(frame.rows))))
    else:
        row[:] = [rng.choice(("", " ", "\t", "#", "# comment", "\x0c", "\u3000"))]


def lattice(frame: Frame, rng: random.Random) -> None:
    """Cells of every kind."""
    size = rng.choice(
        (1e-3, 0.1, 1.0, 3.0, 8.0, 12.42, 50.0, 1e3, 1e5, 1e7, 1e10, 1e100, 1e155, 1e300)
    )
    which = rng.randrange(10)
    cell = 8.0 * np.eye(3)
    if which == 0:
        cell = size * np.eye(3)
    elif which == 1:  # thin or long
        cell[2] *= size / 8.0
    elif which == 2:  # skewed
        cell[rng.randrange(3), rng.randrange(3)] = size * rng.choice((1, -1))
    elif which == 3:  # left-handed
        cell = cell[[1, 0, 2]] * rng.choice((1, -1))
    elif which == 4:  # two vectors alike, or nearly
        cell[1] = cell[0] + rng.choice((0.0, 1e-12, 1e-6, 1e-3))
    elif which == 5:
        cell[rng.randrange(3)] = 0.0
    elif which == 6:
        cell = np.array([rng.gauss(0, size) for _ in range(9)]).reshape(3, 3)
    elif which == 7:
        cell *= rng.choice((1.0, -1.0, 1e-200, 1e200, 0.0))
    words = [repr(float(v)) for v in cell.ravel()]
    if which == 8:
        for _ in range(rng.choice((1, 1, 9))):
            words[rng.randrange(9)] = rng.choice(NUMBERS)
    elif which == 9:  # not nine
        words = words[: rng.choice((0, 1, 3, 6, 8))] if rng.random() < 0.7 else [*words, *words]
    frame.lattice = words
    if rng.random() < 0.5:
        frame.pbc = rng.choice(PBC)


def periodicity(frame: Frame, rng: random.Random) -> None:
    """Periodicity of every kind."""
    frame.pbc = rng.choice(PBC)
    if rng.random() < 0.3:
        frame.lattice = None


def far_apart(frame: Frame, rng: random.Random) -> None:
    """Atoms that are very far apart, most often without periodicity."""
    if rng.random() < 0.7:
        frame.lattice, frame.pbc = None, rng.choice((None, '"F F F"', "F"))
    size = 10.0 ** rng.uniform(2, 20)
    for row in frame.rows:
        for k in range(1, min(4, len(row))):
            if rng.random() < 0.5:
                row[k] = f"{rng.uniform(-size, size):g}"


def coincident(frame: Frame, rng: random.Random) -> None:
    """Atoms on top of each other, or all of them at one place."""
    if len(frame.rows) < 2:
        return
    first = list(rng.choice(frame.rows))
    for row in frame.rows if rng.random() < 0.3 else [rng.choice(frame.rows)]:
        row[1:4] = [v if rng.random() < 0.9 else v + "1" for v in first[1:4]]


def wrong_key(frame: Frame, rng: random.Random) -> None:
    """Keys and values of the comment line."""
    which = rng.randrange(4)
    pair = (rng.choice(KEYS), rng.choice(VALUES))
    if which == 0 and frame.keys:
        k = rng.randrange(len(frame.keys))
        frame.keys[k] = (frame.keys[k][0], pair[1])
    elif which == 1:
        frame.keys += [pair] * rng.choice((1, 2, 200))
    else:
        frame.keys.append(pair)


def deep_json(frame: Frame, rng: random.Random) -> None:
    """Values that nest."""
    depth = rng.choice((10, 900, 1100, 5000, 50_000))
    opening, closing = rng.choice(
        (("[", "]"), ("{", "}"), ('{"a":', "}"), ("(", ")"), ("[[1,", "]]"))
    )
    value = (
        opening * depth
        + rng.choice(("1", "", '"a"'))
        + closing * rng.choice((depth, 0, depth // 2))
    )
    frame.keys.append((rng.choice(KEYS), rng.choice(("", "_JSON ", '"_JSON ')) + value))


def bare_comment(frame: Frame, rng: random.Random) -> None:
    """A comment that is no list of keys."""
    frame.properties = [(rng.choice(("species", "")), "S", "1"), ("pos", "R", "3")]
    frame.keys = [(rng.choice(KEYS), rng.choice(VALUES)) for _ in range(rng.randint(0, 4))]
    frame.lattice = None


#: Of the text, and of what it says; the second come more often, as they get further.
FAULTS = (
    *(wrong_count, wrong_properties, wrong_properties, wrong_species, atomic_numbers, wrong_row),
    *(wrong_key, wrong_key, deep_json, bare_comment, periodicity, wrong_value, wrong_value),
    *(lattice, lattice, lattice, lattice, far_apart, far_apart, far_apart, coincident, coincident),
)
BETWEEN = (
    "\n",
    "\n\n\n",
    " \n",
    "0\n\n",
    "garbage\n",
    "\x00\n",
    "# comment\n",
    "0\n",
    "3\n",
    "1\n\nH 0 0 0\n",
)
