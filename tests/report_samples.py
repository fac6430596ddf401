"""A small study, in which every kind of thing occurs once: what tables read, report, document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalewise.data.splits import DataFile
from scalewise.reporting.report import Report, provenance

REGIMES = ("all", "close_contact")
SELECTORS = ("fixed_selector", "regime_selector", "learned_selector")
SETTINGS = {"seed": 0, "data": "<b>here</b>"}
ORACLES = ("hard_oracle", "pool_oracle", "continuous_oracle")


def row(view: str, unit: str, regime: str, method: str, ratio: float) -> dict[str, Any]:
    found = {
        "view": view,
        "unit_of_choice": unit,
        "method": method,
        "uses_labels": method in (*ORACLES, "two_replicate_oracle", "best_single"),
        "regime": regime,
        "mae": 0.25 * ratio,
        "unit": "eV/Å",
        "mae_interval": [0.24 * ratio, 0.26 * ratio],
        "ratio_to_best_single": ratio,
        "interval": [ratio - 0.01, ratio + 0.01],
        "null_band": None,
        "n": 1000 + len(method),
    }
    if method in ORACLES:
        bands = {"permutation": [0.96, 0.97], "gaussian": [0.95, 0.98]}
        found |= {"null_band": [0.95, 0.98], "null_bands": bands, "outside_null": ratio < 0.95}
    if method in SELECTORS:
        found |= {"gap_closed": 0.4, "gap_interval": [0.1, 0.7]}
    return found


def section(branches: tuple[str, ...]) -> dict[str, Any]:
    error = {name: {"mae": 0.25, "interval": [0.2, 0.3]} for name in branches}
    return {
        "branches": [{"name": name, "cutoff": 6.0} for name in branches],
        "regimes": dict.fromkeys(REGIMES, 1000),
        "atoms": {"tune": 500, "test": 1000},
        "complementarity": {
            "correlation": {"all": {"estimate": 0.9, "interval": [0.8, 1.0], "n": 1000}},
            "distance": [
                {"from": 2.0, "to": 3.0, "n": 40, "branches": error},
                {"from": 3.0, "to": 5.0, "n": 60, "branches": error},
            ],
        },
        "selectors": {"chosen": "learned", "fixed_scale": 0.5, "learned_share": 1.0},
    }


def pool() -> dict[str, Any]:
    history = [
        {"round": 0, "action": "anchors", "scales": [0.0, 1.0], "loss": 0.25, "recovered": 0.9},
        {
            "round": 1,
            "action": "insert 0.5",
            "scales": [0.0, 0.5, 1.0],
            "loss": 0.24,
            "recovered": None,
        },
    ]
    moved = {"scales": [0.0, 0.4, 1.0], "result": "moved enough", "history": history}
    return {
        "scales": [0.0, 0.5, 1.0],
        "result": "recovered enough",
        "history": history,
        "moved": moved,
        "recovered_on_test": 0.98,
    }


def study(
    views: tuple[str, ...] = ("ions", "explicit"), branches: tuple[str, ...] = ("short", "long")
) -> dict[str, Any]:
    """Build what the tables and figures of a study with these views and branches read."""
    ratios = {name: 1.0 + 30.0 * k for k, name in enumerate(branches)}
    ratios |= {"best_single": 1.0, "average": 0.99}
    ratios |= dict.fromkeys(SELECTORS, 0.98) | dict.fromkeys(ORACLES, 0.94)
    ratios["two_replicate_oracle"] = 1.6
    counts = [5, 0, 5]
    edges = [0.0, 0.3, 0.7, 1.0]
    histogram = {k: dict.fromkeys(REGIMES, counts) for k in ("oracle", "selector")} | {
        "edges": edges
    }
    curve = {"scale": [0.0, 0.5, 1.0], "mae": {"all": [0.25, 0.24, 8.0], "Cl": [0.3, 0.2, 0.1]}}
    floor = {"mae": 0.2, "interval": [0.19, 0.21], "n": 10, "source": "8 solvent replicates"}
    verdict = {
        "answer": "needed",
        "gain": 0.05,
        "low": 0.04,
        "high": 0.06,
        "reason": "routing gains 5%",
        "selector": "learned",
        "ratio_to_fixed": 0.95,
        "interval": [0.94, 0.96],
        "p": 0.001,
        "n": 1000,
    }
    other = dict.fromkeys(("gain", "low", "high", "interval", "ratio_to_fixed"))
    other = {**verdict, "answer": "cannot tell", **other}
    return {
        "settings": SETTINGS,
        "data": None,
        "provenance": {
            "numpy": "2.4.6",
            "sources": {"replica-00.extxyz": "0" * 64},
            "settings_digest": "abc",
            "settings": SETTINGS,
        },
        "paper": {
            "reference": "arXiv 2606.09480",
            "unit": "kJ/mol/nm",
            "baseline": 400.0,
            "hard_oracle": 380.0,
            "pool_oracle": 379.0,
            "continuous_oracle": 378.0,
            "close_contact_baseline": 300.0,
            "close_contact_continuous_oracle": 150.0,
        },
        "checks": [{"ok": False, "quantity": "density", "sentence": "1.2 g/cm3, too dense."}],
        "views": {view: section(branches) for view in views},
        "noise_floor": {view: {"all": floor} for view in views},
        "pool": {"by_view": {view: {"ion": pool(), "frame": pool()} for view in views}},
        "pool_held_out": {"by_view": {view: pool() for view in views}},
        "verdict": {view: {"all": verdict, "close_contact": other} for view in views},
        "loss_curves": dict.fromkeys(views, curve),
        "scale_histograms": dict.fromkeys(views, histogram),
        "rows": [
            row(view, unit, regime, method, ratio)
            for view in views
            for unit in ("ion", "frame")
            for regime in REGIMES
            for method, ratio in ratios.items()
        ],
    }


def report(results: Mapping[str, Any]) -> Report:
    """Make the report that has these results."""
    body = {k: v for k, v in results.items() if k not in ("settings", "data", "provenance")}
    provenance = {
        "sources": {"replica-00.extxyz": "0" * 64},
        "settings_digest": "abc",
        "versions": {"numpy": "2.4.6"},
    }
    return Report("study", body, SETTINGS, provenance, {"mae": "as each row says"})


def document(results: Mapping[str, Any]) -> dict[str, Any]:
    """Make the document that has these results."""
    return report(results).to_json()


# -- forks: with answers that are given ------------------------------------------------------------

SCALES = [{"cutoff": c, "long": True} for c in (3.0, 4.5, 6.0)] + [{"cutoff": 6.0, "long": False}]
FLOOR = dict.fromkeys(("mae_floor", "rmse_floor", "rmse_floor_interval"))
LEARNED = {"steps": 1000, "seconds": 60.0, "fall": 0.0, "least": 1.0, "slope": 0.0}
LEARNING = {"steps": 1000, "seconds": 60.0, "fall": 0.3, "least": 0.4, "slope": 0.3}


def answered(answer: str, gain: float, reason: str = "") -> dict[str, Any]:
    now = {"answer": answer, "gain": gain, "low": gain - 0.02, "high": gain + 0.02, "p": 0.5}
    return {
        "mae": 20.0 / (1.0 - gain),
        "each": [19.0, 21.0],
        "ladder": 25.0,
        "now": now,
        "system": {**now, "reason": reason},
    }


def forks(
    answers: tuple[str, ...] = ("needed", "not needed", "not needed", "needed"),
    *,
    enough: float | None = 4.5,
    learning: dict[str, Any] = LEARNED,
    reason: str = "",
) -> Report:
    gains = {"needed": 0.3, "not needed": 0.0, "cannot tell": 0.02}
    rows = [answered(a, gains[a], reason if a == "cannot tell" else "") for a in answers]
    subset = {"scales": rows, "reference": 2, "enough": enough, "atoms": 9, **FLOOR}
    subset["learning"] = learning
    part = {**subset, "atoms": 4}
    other = {**part, "enough": 6.0, "scales": [rows[0], answered("needed", 0.3), *rows[2:]]}
    body = {
        "model": {"name": "scalewise", "ladder": [3.0, 6.0, "long"]},
        "choice": {"roles": ["test"], "scored": 9, "how": "", "groups": "9 groups"},
        "warnings": [],
        "learning": learning,
        "training": {"steps": 1000, "shorter_steps": 200, "fork_steps": 100, "seeds": 2},
        "scales": SCALES,
        "forks": [{"scale": 0, "replica": 0, "folder": "forks/3-0"}],
        "subsets": [
            {"kind": "all", "name": "all", **subset},
            {"kind": "element", "name": "O", **part},
            {"kind": "element", "name": "Na", **other},
        ],
    }
    data = DataFile(file="dft.xyz", sha256=64 * "0", frames=9)
    return Report("forks", body, settings={"min_gain": 0.03}, provenance=provenance(data))
