"""The trainings of a proof: all frames, half and a quarter of them, and half the channels.

Every one is a ladder, so that one training gives the error at every scale. Smaller sets hold whole
groups and are nested; frames that a training does not see have a role of their own. All trainings
have the same budget, so that fewer frames are seen more often, and not trained less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from scalewise.data.frames import Frame
from scalewise.data.manifest import SplitManifest, write_manifest
from scalewise.prove.settings import SHARES, Prove
from scalewise.training.settings import Train
from scalewise.training.start import split

#: Role of training frames that a smaller set leaves out.
SPARE: Final = "spare"


@dataclass(frozen=True)
class Training:
    """One training: which set-up, which seed, where, and its settings."""

    name: str
    replica: int
    folder: Path
    settings: Train
    frames: int


def base_split(path: Path, frames: Sequence[Frame], settings: Prove) -> SplitManifest:
    """The roles of all frames, as for ``scalewise train``."""
    return split(path, frames, settings.data, settings.seed)


def reduced(manifest: SplitManifest, share: float, seed: int) -> SplitManifest:
    """Leave whole groups of training frames out, until about a share is left; sets are nested.

    The group that crosses the share stays if that comes nearer to it.
    """
    train = manifest.members("train")
    group = np.array(manifest.group)
    order = np.random.default_rng(seed).permutation(np.unique(group[train]))
    sizes = np.cumsum([int((group[train] == g).sum()) for g in order])
    kept = int(np.abs(sizes - share * len(train)).argmin()) + 1
    left_out = np.isin(group, order[kept:])
    role = np.array(manifest.role)
    role[left_out & (role == "train")] = SPARE
    return manifest.model_copy(update={"role": tuple(role.tolist())})


def plan(manifest: SplitManifest, settings: Prove, out: Path) -> list[Training]:
    """Write the splits below ``out`` and list all trainings, those of all frames first."""
    narrow = settings.network.model_copy(
        update={"channels": settings.network.channels // 2, "hidden": settings.network.hidden // 2}
    )
    splits = {"whole": manifest, "narrow": manifest}
    splits |= {name: reduced(manifest, share, settings.seed) for name, share in SHARES.items()}
    found = []
    for name, chosen in splits.items():
        path = out / f"split-{name}.json"
        write_manifest(path, chosen)
        data = settings.data.model_copy(
            update={"split": path, "split_key": None, "group_key": None}
        )
        for replica in range(settings.replicas):
            own = {"data": data, "seed": settings.seed + replica}
            if name == "narrow":
                own["network"] = narrow
            folder = out / "trainings" / f"{name}-{replica}"
            words = settings.training.model_copy(update=own)
            found.append(Training(name, replica, folder, words, len(chosen.members("train"))))
    return found
