"""Labels: which ones the frames have, whether their units look right, and outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

from scalewise.core.wording import count, list_frames
from scalewise.data import columns
from scalewise.data.charges import CHARGE_KEYS, total_charge
from scalewise.data.placeholders import find_placeholders, unpulled
from scalewise.data.reading import PART
from scalewise.data.shards import ShardedStructures, infos_of
from scalewise.data.structure import Structure
from scalewise.data.units import suspicions
from scalewise.doctor.composition import EnergyFit, robust_score
from scalewise.doctor.findings import Finding, Severity

#: Robust z-score from which a frame is an outlier: a Gaussian gives one in 5e8.
LIMIT: Final = 6.0
#: Root-mean-square forces below this (eV/Å) are no forces.
NO_FORCE: Final = 1e-12
_LABELS: Final = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Outlier:
    """A frame that stands out: its number, what is extreme, and by how much."""

    frame: int
    quantity: str
    value: float
    unit: str
    score: float


def count_labels(frames: Sequence[Structure]) -> tuple[list[dict[str, Any]], list[Finding]]:
    """One row per label: how many frames have it."""
    energy, absent, stress = (
        np.flatnonzero(~columns.labelled(frames, name)).tolist() for name in _LABELS
    )
    still = np.flatnonzero((_rms(frames) < NO_FORCE) & (columns.sizes(frames) > 1)).tolist()
    zero = [k for k in still if not unpulled(frames[k]).all()]
    bare = sorted({*absent, *zero})
    rows: list[dict[str, Any]] = [
        {"label": "energy", "unit": "eV", "with": len(frames) - len(energy), "missing": energy},
        {"label": "forces", "unit": "eV/Å", "with": len(frames) - len(bare), "missing": bare},
        {"label": "stress", "unit": "eV/Å³", "with": len(frames) - len(stress), "missing": stress},
    ]
    findings = [
        Finding("warning", "labels", f"{one.label}: {one.found}", one.remedy)
        for one in find_placeholders(frames)
    ]
    if energy:
        severity: Severity = "note" if len(energy) == len(frames) else "warning"
        findings.append(
            Finding(
                severity,
                "labels",
                f"no energy in {count(len(energy), 'frame')} of {len(frames)} "
                f"({list_frames(energy)})",
                "Train on what there is, or give the key that holds it: energy_key=energy.",
            )
        )
    if absent:
        findings.append(
            Finding(
                "warning",
                "labels",
                f"no forces in {count(len(absent), 'frame')} of {len(frames)} "
                f"({list_frames(absent)})",
                "Training and evaluation use their other labels; curve and refine leave them out, "
                "and prove refuses them.",
            )
        )
    if 0 < len(stress) < len(frames):
        findings.append(
            Finding(
                "note",
                "labels",
                f"no stress in {count(len(stress), 'frame')} of {len(frames)} "
                f"({list_frames(stress)})",
                "Training and evaluation use their other labels.",
            )
        )
    if zero:
        findings.append(
            Finding(
                "error",
                "labels",
                f"all forces are exactly zero in {list_frames(zero)}, though the places of their "
                "atoms are not symmetric",
                "Remove these frames: zeros usually stand for a label that was not computed.",
            )
        )
    if len(still) > len(zero):
        symmetric = sorted(set(still) - set(zero))
        findings.append(
            Finding(
                "note",
                "labels",
                f"all forces are zero by symmetry in {list_frames(symmetric)}",
                "Keep them: their energies and stresses teach, their forces say little.",
            )
        )
    return rows, findings


def suspect_units(frames: Sequence[Structure], stress_key: str | None) -> list[Finding]:
    """Say which labels do not look like eV and Å, as reading them for training would.

    ``frames`` were read without that check.
    """
    size = PART if isinstance(frames, ShardedStructures) else max(len(frames), 1)
    parts = (list(frames[k : k + size]) for k in range(0, len(frames), size))
    return [
        Finding(
            "error",
            "units",
            f"{one.label}: {one.found}"
            + (f" (frame {one.frame})" if one.frame is not None else ""),
            "Convert to eV and Å. Commands that use these labels refuse them, unless "
            "check_units=false (data.check_units=false in train and prove) says they are right.",
        )
        for one in next(filter(None, (suspicions(part, stress_key) for part in parts)), [])
    ]


def find_outliers(
    frames: Sequence[Structure], fit: EnergyFit | None, labelled: np.ndarray
) -> tuple[list[Outlier], list[Finding]]:
    """Frames whose energy residual or whose largest force is extreme.

    Forces: robust z-score of log max_i |F_i| over frames, per element, high side only. Energies:
    robust z-score of the residual per atom; ``labelled`` are the frames that have one.
    """
    outliers = []
    if fit is not None:
        for k in np.flatnonzero(np.abs(fit.score) > LIMIT):
            outliers.append(
                Outlier(
                    int(labelled[k]),
                    "energy residual",
                    1e3 * float(fit.residual[k]),
                    "meV/atom",
                    float(fit.score[k]),
                )
            )
    outliers += _force_outliers(frames)
    outliers.sort(key=lambda o: -abs(o.score))
    findings = []
    for quantity, advice in (
        ("energy residual", "Were they equilibrated and converged? Keep them knowingly or drop."),
        ("largest force", "Look at the structures; a few such frames can dominate a squared loss."),
    ):
        some = [o for o in outliers if o.quantity.startswith(quantity)]
        if some:
            numbers = sorted({o.frame for o in some})
            worst = some[0]
            findings.append(
                Finding(
                    "warning",
                    "outliers",
                    f"{quantity} is extreme in {list_frames(numbers)}; worst: frame "
                    f"{worst.frame}, {worst.value:.3g} {worst.unit}, {abs(worst.score):.0f} robust "
                    "standard deviations off",
                    advice,
                )
            )
    return outliers, findings


def _force_outliers(frames: Sequence[Structure]) -> list[Outlier]:
    """Of each element, the frames where its largest force is extreme."""
    size = np.linalg.norm(columns.forces(frames), axis=1)
    known = np.flatnonzero(~np.isnan(size))
    size, numbers, owner = (
        size[known],
        columns.numbers(frames)[known],
        columns.owners(frames)[known],
    )
    found = []
    for number in np.flatnonzero(np.bincount(numbers)).tolist():
        members = np.flatnonzero(numbers == number)  # frames stay in order
        frame, start = np.unique(owner[members], return_index=True)
        largest = np.maximum.reduceat(size[members], start)
        present, largest = frame[largest > NO_FORCE], largest[largest > NO_FORCE]
        if len(present) < 10:  # too few to tell what is usual
            continue
        score = robust_score(np.log(largest))
        # twice the usual at least: sets of nearly equal frames have next to no spread
        extreme = (score > LIMIT) & (largest > 2 * np.median(largest))
        what = f"largest force on {chemical_symbols[number]}"
        found += [
            Outlier(int(present[k]), what, float(largest[k]), "eV/Å", float(score[k]))
            for k in np.flatnonzero(extreme)
        ]
    return found


def check_charges(frames: Sequence[Structure]) -> tuple[dict[str, Any], list[Finding]]:
    """Total charges, where frames carry them.

    Raises
    ------
    InputError
        A charge that is no number.
    """
    present: set[str] = set()
    values: dict[str, int] = {}
    charged = []
    for k, info in enumerate(infos_of(frames)):
        if here := info.keys() & CHARGE_KEYS:
            present |= here
            value = total_charge(frames[k])
            values[f"{value:g}"] = values.get(f"{value:g}", 0) + 1
            if abs(value) > 1e-6:
                charged.append(k)
    key = next((k for k in CHARGE_KEYS if k in present), None)
    if key is None:
        return {"key": None, "values_e": {}, "without": len(frames)}, []
    findings = []
    if charged:
        periodic = any(frames[k].pbc.all() for k in charged)
        findings.append(
            Finding(
                "warning" if periodic else "note",
                "charges",
                f"{list_frames(charged)} {'is' if len(charged) == 1 else 'are'} not neutral by "
                f"'{key}'",
                "A charged periodic cell has a neutralising background: its energy depends on "
                "the size of the cell."
                if periodic
                else "scalewise train reads the charge: keep network.charges on.",
            )
        )
    return {"key": key, "values_e": values, "without": len(frames) - sum(values.values())}, findings


def _rms(frames: Sequence[Structure]) -> Float[np.ndarray, " frames"]:
    """Root-mean-square component of each frame's forces, eV/Å; NaN without."""
    square = np.square(columns.forces(frames)).mean(axis=1)
    of = columns.sizes(frames)
    sums = np.bincount(columns.owners(frames), square, minlength=len(of))
    return np.asarray(np.sqrt(sums / np.maximum(of, 1)))
