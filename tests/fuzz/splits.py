"""Damaged splits."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np

from fuzz.documents import changed, text
from fuzz.harness import Input, Special, damage
from scalewise.data.splits import Split
from scalewise.data.structure import Structure

FRAMES = 12
STRUCTURE = Structure(np.array([18]), np.zeros((1, 3)), np.eye(3), np.zeros(3, dtype=bool))
DATA = b"the split speaks of these very bytes\n"
DOCUMENT = {
    "kind": "scalewise split",
    "schema_number": 1,
    "data": {"file": "dft.xyz", "sha256": hashlib.sha256(DATA).hexdigest(), "frames": FRAMES},
    "seed": 0,
    "shares": {"train": 0.7, "valid": 0.1, "test": 0.2},
    "made": {"group": "near-duplicates below 1.5 Å", "role": "whole groups, dealt by seed"},
    "role": ["train"] * 8 + ["valid", "valid", "test", "ood"],
    "group": [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
}


def mutate(rng: random.Random) -> Input:
    """A split with one to three faults, beside the file it speaks of."""
    document = DOCUMENT
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        document = changed(document, rng)
    data = text(document, rng).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        data = damage(data, rng)
    given: Input = {"split.json": data[: 4 << 20], "dft.xyz": DATA}
    if rng.random() < 0.02:
        kinds = (
            Special("folder"),
            Special("fifo"),
            Special("link", "/dev/zero"),
            Special("link", "split.json"),
        )
        given["split.json"] = rng.choice(kinds)
    return given


def read(folder: Path) -> None:
    """Read, and use what was read as a training and a proof do."""
    path, data = folder / "split.json", folder / "dft.xyz"
    split = Split.load(path, structures=[STRUCTURE] * FRAMES, data=data)
    for role in split.roles:
        _ = np.array(split.group)[split.members(role)]
    split.leaking_groups()
    split.digest()
    json.dumps(split.model_dump(mode="json"), indent=1, allow_nan=False).encode()
