"""Energies: those of isolated atoms, and the residuals of compositions from the linear fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from scalewise.data import columns
from scalewise.data.references import is_isolated_atom, reference_energies
from scalewise.data.shards import elements_of
from scalewise.data.structure import Structure
from scalewise.doctor.composition import Composition, EnergyFit, formula
from scalewise.doctor.findings import Finding

#: eV by which energies of one isolated atom differ where they are of two states, or two methods.
APART: Final = 0.01
#: Elements, or compositions, that a sentence names.
NAMED: Final = 6
#: Compositions that doctor.json lists, those with most frames.
LISTED: Final = 100
#: Frames from which a composition has a scatter.
FEWEST: Final = 3
#: Offsets this many times the scatter within compositions, and above this (meV/atom), are worth a
#: word: potentials reach 1 meV/atom, and offsets of 3 scatters are seen by eye.
LARGE: Final = 3.0
NOTABLE: Final = 2.0


@dataclass(frozen=True, eq=False)
class Offsets:
    """Energies of compositions beside the fit, one entry per reduced formula, most frames first.

    Attributes
    ----------
    counts
        Atoms of each element in the reduced formula [formulas, elements].
    frames
        With an energy [formulas].
    offset, scatter
        Mean of the residual, and its standard deviation, meV/atom [formulas]; the second is NaN
        below two frames.
    """

    counts: Int[np.ndarray, "formulas elements"]
    frames: Int[np.ndarray, " formulas"]
    offset: Float[np.ndarray, " formulas"]
    scatter: Float[np.ndarray, " formulas"]


def find_offsets(composition: Composition, fit: EnergyFit) -> Offsets:
    """Mean and spread of the residual energies of each reduced formula."""
    divisor = np.gcd.reduce(composition.counts, axis=1)
    reduced = composition.counts // np.maximum(divisor, 1)[:, None]
    counts, kind = np.unique(reduced, axis=0, return_inverse=True)
    kind, residual = kind.ravel(), 1e3 * fit.residual
    frames = np.bincount(kind)
    offset = np.bincount(kind, residual) / frames
    square = np.bincount(kind, (residual - offset[kind]) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        scatter = np.sqrt(np.where(frames > 1, square / (frames - 1), np.nan))
    order = np.argsort(-frames, kind="stable")
    return Offsets(counts[order], frames[order], offset[order], scatter[order])


def describe_offsets(composition: Composition, found: Offsets | None) -> list[dict[str, Any]]:
    """The compositions with most frames, for ``doctor.json``."""
    if found is None:
        return []
    return [
        {
            "formula": formula(composition.elements, found.counts[k].tolist()),
            "frames": int(found.frames[k]),
            "offset_mev_per_atom": float(found.offset[k]),
            "scatter_mev_per_atom": float(found.scatter[k]) if found.frames[k] > 1 else None,
        }
        for k in range(min(LISTED, len(found.frames)))
    ]


def judge_offsets(composition: Composition, found: Offsets | None) -> list[Finding]:
    """Say where energies differ more between compositions than within them."""
    several = found.frames >= FEWEST if found is not None else np.zeros(0, dtype=bool)
    if found is None or several.sum() < 2:
        return []
    frames, offset = found.frames[several], found.offset[several]
    within = float(np.sqrt(np.average(found.scatter[several] ** 2, weights=frames - 1)))
    between = float(np.sqrt(np.average(offset**2, weights=frames)))
    if between < LARGE * within or between < NOTABLE:
        return []
    worst = np.flatnonzero(several)[np.argsort(-np.abs(offset), kind="stable")][:NAMED]
    named = ", ".join(
        f"{formula(composition.elements, found.counts[k].tolist())} {found.offset[k]:+.1f}"
        for k in worst
    )
    return [
        Finding(
            "note",
            "energies",
            f"energies differ more between compositions ({between:.3g} meV/atom about the fit) "
            f"than within them ({within:.3g}): {named} meV/atom",
            "Compounds that bind differently do this, and are learnt; so do energies of different "
            "settings, or of another reference, which are not. Were all computed alike?",
        )
    ]


def judge_references(frames: Sequence[Structure]) -> list[Finding]:
    """Say what isolated atoms are used for, and where they contradict each other."""
    alone = (frames[k] for k in np.flatnonzero(columns.sizes(frames) == 1).tolist())
    isolated = [f for f in alone if is_isolated_atom(f) and f.labels.energy is not None]
    if not isolated:
        return []
    known = reference_energies(isolated)
    missing = [chemical_symbols[z] for z in elements_of(frames) if z not in known]
    rest = (
        f"; {_named(missing)} {'has' if len(missing) == 1 else 'have'} none and "
        f"{'is' if len(missing) == 1 else 'are'} fitted"
        if missing
        else ", all elements of the data"
    )
    findings = []
    if known:
        listed = _named([f"{chemical_symbols[z]} {e:.4f}" for z, e in known.items()])
        findings.append(
            Finding(
                "note",
                "energies",
                f"isolated atoms give reference energies (eV): {listed}{rest}",
                "scalewise train counts energies from them, and trains on these frames. Take "
                "them out where they were computed with other settings than the rest.",
            )
        )
    spread = {
        chemical_symbols[z]: np.ptp([f.labels.energy for f in isolated if f.numbers[0] == z])
        for z in known
    }
    odd = [symbol for symbol, apart in spread.items() if apart > APART]
    if odd:
        findings.append(
            Finding(
                "warning",
                "energies",
                f"isolated atoms of {_named(odd)} differ by up to "
                f"{max(spread.values()):.3g} eV in their energies",
                "Of neutral ones the lowest is taken: keep one of each element, in its ground "
                "state.",
            )
        )
    return findings


def _named(words: Sequence[str]) -> str:
    more = len(words) - NAMED
    return ", ".join(words[:NAMED]) + (f" and {more} more" if more > 0 else "")
