"""Energies: references of isolated atoms, and how compositions lie about the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from ase.data import chemical_symbols

from scalewise.data.references import is_isolated_atom, reference_energies
from scalewise.data.structure import Structure
from scalewise.doctor.findings import Finding

#: eV by which energies of one isolated atom differ where they are of two states, or two methods.
APART: Final = 0.01
#: Elements that a sentence names.
NAMED: Final = 6


def judge_references(frames: Sequence[Structure]) -> list[Finding]:
    """Say what isolated atoms are used for, and where they contradict each other."""
    isolated = [f for f in frames if is_isolated_atom(f) and f.labels.energy is not None]
    if not isolated:
        return []
    known = reference_energies(isolated)
    elements = np.unique(np.concatenate([f.numbers for f in frames])).tolist()
    missing = [chemical_symbols[z] for z in elements if z not in known]
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
                "scalewise train takes them exactly, and keeps these frames for training. Take "
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
