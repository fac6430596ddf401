"""The noise of the labels in doctor.json, and findings about its effect on training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from scalewise.core.wording import count
from scalewise.doctor.composition import Composition
from scalewise.doctor.findings import Finding
from scalewise.doctor.hidden_noise import HiddenNoise
from scalewise.doctor.noise import ElementNoise, NetForceNoise, UnitNoise

#: Noise per atom and component (eV/Å) that is worth a warning: good models err by 20 meV/Å.
NOTABLE: Final = 0.010
#: Elements, or formula units, that are named one by one.
MOST: Final = 3


def describe_noise(
    noise: NetForceNoise, hidden: Sequence[HiddenNoise], digit: float | None
) -> dict[str, Any]:
    """The section ``noise`` of ``doctor.json``, in meV/Å."""
    return {
        "rounding": 1e3 * (digit or 0.0) / float(np.sqrt(12)),
        "hidden": [
            {
                "element": one.name,
                "at_least": 1e3 * one.at_least,
                "grid": _source(one.grid),
                "grid_spacing_angstrom": one.spacing,
                "grid_seen_from": None if one.grid_reach is None else 1e3 * one.grid_reach,
                "pairs": _source(one.pairs),
            }
            for one in hidden
        ],
        "frames_with_net_force": int(noise.informative.sum()),
        "median_net_force_mev_per_angstrom": 1e3 * noise.median,
        "units": [
            {
                "unit": u.name,
                "atoms": u.atoms,
                "sigma_of_sum": 1e3 * u.total,
                "interval": _milli(u.interval),
                "sigma_per_atom_if_shared": 1e3 * u.per_atom,
                "mae_floor_if_shared": 1e3 * u.floor,
            }
            for u in noise.units
        ],
        "elements": [
            {
                "element": e.name,
                "sigma": 1e3 * e.sigma,
                "interval": _milli(e.interval),
                "mae_floor": 1e3 * e.floor,
                "sigma_at_most": 1e3 * e.at_most,
            }
            for e in noise.elements
        ],
    }


def _source(found: tuple[float, float, float] | None) -> dict[str, Any] | None:
    return found and {"sigma": 1e3 * found[0], "interval": [1e3 * found[1], 1e3 * found[2]]}


def _milli(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else [1e3 * end for end in ends]


def judge_noise(
    noise: NetForceNoise, hidden: Sequence[HiddenNoise], composition: Composition
) -> list[Finding]:
    """What net forces, waves and near-duplicates mean for training."""
    findings = _judge_hidden(hidden)
    removed = int((~noise.informative).sum())
    if removed:
        untold = removed == len(noise.informative) and not findings
        findings.append(
            Finding(
                "note",
                "noise",
                f"labels sum to zero in {count(removed, 'frame')} of {len(noise.informative)}"
                + "; how noisy they are cannot be told" * untold,
                "The code removed the net force (or makes none): these frames say nothing about "
                "label noise by it." + (_looked_for(hidden) if untold else ""),
            )
        )
    loud = [e for e in noise.elements if e.certain > NOTABLE]
    findings += [_loud_element(e) for e in loud] if len(loud) <= MOST else [_loud_elements(loud)]
    named = {e.name for e in loud}
    units = []
    for unit, known in zip(noise.units, composition.stoichiometric, strict=False):
        of = {e for e, n in zip(composition.elements, known, strict=True) if n}
        if unit.per_atom > NOTABLE and not of & named:
            units.append(unit)
    units.sort(key=lambda u: -u.per_atom)
    findings += [_loud_unit(unit) for unit in units[:MOST]]
    fixed = [u.name for u in noise.units if u.atoms > 1][:MOST]
    if fixed:
        findings.append(
            Finding(
                "note",
                "noise",
                f"the spread of net forces cannot tell elements of {' and '.join(fixed)} apart, "
                "which come in fixed ratios",
                "Their shares are from the covariance of each element's forces with the net force, "
                "which tells them less well.",
            )
        )
    return findings


def _looked_for(hidden: Sequence[HiddenNoise]) -> str:
    """What was looked for in vain, and how large it may be all the same."""
    told = []
    waves = [(e.grid_reach, e.name) for e in hidden if e.grid_reach is not None]
    if waves:
        told.append(
            " Waves of an integration grid were looked for and not found: they would show above "
            + _named(waves)
        )
    pairs = [(e.pairs[2], e.name) for e in hidden if e.pairs is not None]
    if pairs:
        told.append(" Near-duplicates allow noise up to " + _named(pairs))
    if not told:
        return (
            " Waves of an integration grid need frames of one cell in 40 groups that are "
            "independent of each other, and noise between near-duplicates needs 20 pairs so close "
            "that their forces are hardly different: neither could be looked for."
        )
    return ".".join(told) + "."


def _named(found: Sequence[tuple[float, str]]) -> str:
    """Sizes (eV/Å) of elements, the largest first."""
    shown = [f"{1e3 * size:.3g} ({name})" for size, name in sorted(found, reverse=True)[:MOST]]
    return f"{', '.join(shown)} meV/Å"


def _loud_element(element: ElementNoise) -> Finding:
    assert element.interval is not None
    low, high = (f"{1e3 * end:.0f}" for end in element.interval)
    return Finding(
        "warning",
        "noise",
        f"force labels of {element.name} carry noise of {1e3 * element.sigma:.0f} meV/Å per "
        f"component ({low} to {high}): frames' net forces come from there",
        f"No model gets below about {1e3 * element.floor:.0f} meV/Å MAE on {element.name} with "
        "these labels. Weigh them less, recompute them tighter, or take the net force off these "
        "atoms.",
    )


def _judge_hidden(hidden: Sequence[HiddenNoise]) -> list[Finding]:
    """Noise that near-duplicates or waves show, whether or not net forces do."""
    found = sorted((e for e in hidden if e.at_least > 0), key=lambda e: -e.at_least)
    if not found:
        return []
    named = "; ".join(
        f"{e.name}, at least {1e3 * e.at_least:.3g}"
        + (f" (a wave of {e.spacing:.3g} Å)" if _by_wave(e) else "")
        for e in found[:MOST]
    )
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    waves = [e.name for e in found if _by_wave(e)]
    others = [e.name for e in found if not _by_wave(e)]
    return [
        Finding(
            "warning" if found[0].at_least > NOTABLE else "note",
            "noise",
            "force labels seem to carry noise that no model can learn, in meV/Å per component: "
            f"{named}{more}",
            f"Forces on {_some(waves)} depend on the place in the cell: a coarse integration "
            "grid. "
            * bool(waves)
            + f"Frames that are nearly the same differ in the forces on {_some(others)}. "
            * bool(others)
            + "Weigh these labels less, or recompute them tighter.",
        )
    ]


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{', '.join(names[:MOST])}{more}"


def _by_wave(element: HiddenNoise) -> bool:
    """Whether the waves of an element tell more of its noise than near-duplicates do."""
    grid, pairs = (found[1] if found else 0.0 for found in (element.grid, element.pairs))
    return grid > 0 and grid >= pairs


def _loud_elements(loud: list[ElementNoise]) -> Finding:
    ordered = sorted(loud, key=lambda e: -e.sigma)
    named = ", ".join(f"{e.name} {1e3 * e.sigma:.0f}" for e in ordered[:MOST])
    return Finding(
        "warning",
        "noise",
        f"force labels of {count(len(loud), 'element')} carry noise, in meV/Å per component: "
        f"{named} and {len(loud) - MOST} more, down to {1e3 * ordered[-1].sigma:.0f}; frames' net "
        "forces come from there",
        "No model gets below 0.8 times that, as its MAE, with these labels. Weigh them less, "
        "recompute them tighter, or take the net force off these atoms.",
    )


def _loud_unit(unit: UnitNoise) -> Finding:
    return Finding(
        "warning",
        "noise",
        f"force labels of {unit.name} carry noise: {1e3 * unit.total:.0f} meV/Å per component, "
        f"summed over {count(unit.atoms, 'atom')}",
        f"If its atoms share it evenly no model gets below about {1e3 * unit.floor:.0f} meV/Å MAE "
        "there. Weigh these labels less, or recompute them tighter.",
    )
