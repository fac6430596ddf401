"""The results that are reported for one role: errors of forces, energies and stress, distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float, Int

from scalewise.analysis.evaluation.floor import NoiseFloor
from scalewise.analysis.evaluation.score import explain, score, score_energies
from scalewise.analysis.evaluation.settings import EvaluateSettings
from scalewise.analysis.evaluation.subsets import (
    equal_bins,
    nearest,
    regime_members,
    symbol,
    unlike_pairs,
)
from scalewise.data.structure import Structure
from scalewise.models.protocol import Prediction
from scalewise.statistics.bootstrap import Resampling

#: The six components of a symmetric matrix.
UPPER: Final = np.triu_indices(3)
#: A frame whose MAE is this many times that of the median frame of its kind, and this share of the
#: mean size of its own forces, is broken: the model is lost there, and a few such frames would hide
#: how it does everywhere else. Hot frames have large errors and larger forces: they are not lost.
BROKEN: Final = 10.0
LOST: Final = 0.25
#: Frame keys that name a kind, and frames from which a kind has a median of its own.
KINDS: Final = ("config_type", "temperature", "Temperature", "T")
FEWEST_OF_KIND: Final = 5
#: Kinds that are told apart in the errors: numbers that differ from frame to frame are no kinds.
MOST_KINDS: Final = 30
#: Frames with the largest errors that are listed.
WORST: Final = 5


@dataclass(frozen=True, eq=False)
class RoleData:
    """Labelled frames of one role with their predictions.

    Atoms of all frames whose forces are labelled are in one row.

    Attributes
    ----------
    frames, predicted, group, energy_known
        One entry per frame; the last says whether the model knows its total energy.
    numbers, labels, errors, block
        Of each atom of ``forced``: number, labelled force (eV/Å), predicted minus labelled, group.
    """

    frames: Sequence[Structure]
    predicted: Sequence[Prediction]
    group: Int[np.ndarray, " frames"]
    numbers: Int[np.ndarray, " atoms"]
    labels: Float[np.ndarray, "atoms 3"]
    errors: Float[np.ndarray, "atoms 3"]
    block: Int[np.ndarray, " atoms"]
    energy_known: Bool[np.ndarray, " frames"]

    @classmethod
    def collect(
        cls,
        frames: Sequence[Structure],
        predicted: Sequence[Prediction],
        group: np.ndarray,
        energy_known: np.ndarray,
    ) -> RoleData:
        """Put the atoms of all frames with labelled forces into one row."""
        known = [k for k, f in enumerate(frames) if f.labels.forces is not None]
        labels = np.concatenate([np.zeros((0, 3)), *(frames[k].labelled_forces for k in known)])
        forces = np.concatenate([np.zeros((0, 3)), *(predicted[k].forces for k in known)])
        numbers = [frames[k].numbers for k in known]
        return cls(
            frames,
            predicted,
            group,
            np.concatenate([np.zeros(0, dtype=np.int64), *numbers]),
            labels,
            forces - labels,
            np.repeat(np.asarray(group)[known], [len(n) for n in numbers]),
            np.asarray(energy_known, dtype=bool),
        )

    @property
    def forced(self) -> list[int]:
        """Frames with labelled forces."""
        return [k for k, f in enumerate(self.frames) if f.labels.forces is not None]

    @property
    def kinds(self) -> dict[str, list[int]]:
        """Frames of each kind: a value of the frame key ``config_type``, else ``temperature``."""
        found: dict[str, list[int]] = {}
        for k, frame in enumerate(self.frames):
            key = next((key for key in KINDS if key in frame.info), None)
            if key is not None:
                found.setdefault(str(frame.info[key]), []).append(k)
        return found

    @property
    def frame_errors(self) -> Float[np.ndarray, " frames"]:
        """MAE of each frame's force components, eV/Å; not a number where none are labelled."""
        known, found = self.forced, np.full(len(self.frames), np.nan)
        sizes = [len(self.frames[k].numbers) for k in known]
        owner = np.repeat(np.arange(len(known)), sizes)
        sums = np.bincount(owner, np.abs(self.errors).mean(axis=1), minlength=len(known))
        found[known] = sums / np.maximum(sizes, 1)
        return found

    @property
    def broken(self) -> Bool[np.ndarray, " frames"]:
        """Frames with over ten times the error usual for their kind, and a quarter of their force.

        Frames of a kind of fewer than five, or of none, are compared with the median of all. Frames
        without labelled forces are never broken.
        """
        known, errors = np.zeros(len(self.frames), dtype=bool), self.frame_errors
        known[self.forced] = True
        if not known.any():
            return known
        sizes = np.zeros(len(self.frames))
        for k in self.forced:
            force = self.frames[k].labelled_forces
            sizes[k] = np.abs(force).mean() if force.size else 0.0
        usual = np.full(len(errors), np.median(errors[known]))
        for of_kind in self.kinds.values():
            members = [k for k in of_kind if known[k]]
            if len(members) >= FEWEST_OF_KIND:
                usual[members] = np.median(errors[members])
        return known & (errors > BROKEN * usual) & (errors > LOST * sizes)

    def keep(self, chosen: Bool[np.ndarray, " frames"]) -> RoleData:
        """Return the chosen frames alone."""
        members = np.flatnonzero(chosen).tolist()
        return RoleData.collect(
            [self.frames[k] for k in members],
            [self.predicted[k] for k in members],
            self.group[members],
            self.energy_known[members],
        )


def describe_role(
    role: RoleData,
    floor: NoiseFloor,
    settings: EvaluateSettings,
    resampling: Resampling,
) -> dict[str, Any]:
    """One entry of ``roles`` in evaluation.json, and the same without broken frames, if any."""
    broken, errors, known = role.broken, 1e3 * role.frame_errors, role.forced
    # frames without labelled forces, whose errors are not numbers, come last
    worst = np.argsort(-errors)[: min(max(WORST, int(broken.sum())), len(known))].tolist()
    others = role.keep(~broken) if broken.any() else None
    return {
        **_describe(role, floor, settings, resampling),
        "broken": int(broken.sum()),
        "median_frame_mae": float(np.median(errors[known])) if known else None,
        "worst_frames": [
            {"frame": role.frames[k].index, "mae": errors[k], "broken": bool(broken[k])}
            for k in worst
        ],
        "unbroken": others and _describe(others, floor, settings, resampling),
    }


def _describe(
    role: RoleData,
    floor: NoiseFloor,
    settings: EvaluateSettings,
    resampling: Resampling,
) -> dict[str, Any]:
    def forces(name: str, members: np.ndarray) -> dict[str, Any]:
        return _score_atoms(name, role, members, floor, resampling)

    known = [role.frames[k] for k in role.forced]
    regimes = regime_members(known, settings.ions) if known else {}
    return {
        "frames": len(role.frames),
        "atoms": sum(len(f.numbers) for f in role.frames),
        "groups": len(np.unique(role.group)),
        "forces": {
            "all": forces("all", np.arange(len(role.numbers))) if known else None,
            "elements": [
                forces(symbol(z), np.flatnonzero(role.numbers == z))
                for z in np.unique(role.numbers).tolist()
            ],
            "regimes": [
                forces(name, np.flatnonzero(member))
                for name, member in regimes.items()
                if member.any()
            ],
        },
        "energy": _score_energies(role, resampling),
        "stress": _score_stress(role, resampling),
        "kinds": _score_kinds(role, resampling),
        "distances": _score_distances(role, floor, settings, resampling),
    }


def _score_kinds(role: RoleData, resampling: Resampling) -> list[dict[str, Any]]:
    """Of each kind of frames, where there are two or more, and not one for nearly every frame."""
    found = []
    kinds = role.kinds
    if not 1 < len(kinds) <= MOST_KINDS:
        return []
    for name, members in sorted(kinds.items()):
        chosen = np.zeros(len(role.frames), dtype=bool)
        chosen[members] = True
        part = role.keep(chosen)
        known = len(part.numbers) > 0
        found.append(
            {
                "name": name,
                "frames": len(members),
                "forces": score(part.errors, part.block, resampling) if known else None,
                "energy": _score_energies(part, resampling),
                "stress": _score_stress(part, resampling),
            }
        )
    return found


def _score_atoms(
    name: str, role: RoleData, members: np.ndarray, floor: NoiseFloor, resampling: Resampling
) -> dict[str, Any]:
    error, block, label = role.errors[members], role.block[members], role.labels[members]
    return {
        "name": name,
        "atoms": len(members),
        **score(error, block, resampling),
        **explain(error, label, block, resampling),
        "label_rms": 1e3 * float(np.sqrt(np.mean(label**2))),
        **floor.beside(role.numbers[members]),
    }


def _score_energies(role: RoleData, resampling: Resampling) -> dict[str, Any] | None:
    """Of the frames with a label whose total energy the model knows."""
    found = [
        (k, (p.energy - f.labels.energy) / len(f.numbers))
        for k, (f, p) in enumerate(zip(role.frames, role.predicted, strict=True))
        if f.labels.energy is not None and p.energy is not None and role.energy_known[k]
    ]
    if not found:
        return None
    frames, error = zip(*found, strict=True)
    return score_energies(np.array(error), role.group[list(frames)], resampling)


def _score_stress(role: RoleData, resampling: Resampling) -> dict[str, Any] | None:
    found = [
        (k, (p.stress - f.labels.stress)[UPPER])
        for k, (f, p) in enumerate(zip(role.frames, role.predicted, strict=True))
        if f.labels.stress is not None and p.stress is not None
    ]
    if not found:
        return None
    frames, error = zip(*found, strict=True)
    return {
        "frames": len(frames),
        **score(np.array(error), role.group[list(frames)], resampling),
    }


def _score_distances(
    role: RoleData, floor: NoiseFloor, settings: EvaluateSettings, resampling: Resampling
) -> list[dict[str, Any]]:
    """Errors by distance to the nearest atom of each other element, rarest pairs first."""
    present = np.unique(role.numbers).tolist()
    found: list[dict[str, Any]] = []
    if not len(role.numbers):
        return found
    distance = np.concatenate([nearest(role.frames[k], present) for k in role.forced])
    for first, second in unlike_pairs(role.numbers):
        atoms = np.flatnonzero(role.numbers == first)
        to = distance[atoms, present.index(second)]
        bins = [
            {
                "from": float(to[members].min()),
                "to": float(to[members].max()),
                "median": float(np.median(to[members])),
                "atoms": len(members),
                **score(role.errors[atoms[members]], role.block[atoms[members]], resampling),
            }
            for members in equal_bins(to, settings.bins)
        ]
        found.append(
            {
                "element": symbol(first),
                "nearest": symbol(second),
                "beyond": int(np.isinf(to).sum()),
                **floor.beside(np.array([first])),
                "bins": bins,
            }
        )
    return found
